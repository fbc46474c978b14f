package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/proxy/audit"
	"sallyport/proxy/portal"
	"sallyport/proxy/upstream"
)

// ServeHTTP judges a request and acts on the verdict.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := g.pool.Get().(*Verdict)
	defer g.recoverPanic(w, r, v)
	if err := g.Check(r, v); err != nil {
		g.unjudged(w, r, v, err)
	} else {
		g.act(w, r, v)
	}
	*v = Verdict{}
	g.pool.Put(v)
}

// act is the only place that lets a request through.
func (g *Gate) act(w http.ResponseWriter, r *http.Request, v *Verdict) {
	switch v.Decision.Action {
	case policy.Allow:
		g.allow(w, r, v)
	case policy.StepUp:
		g.stepUp(w, r, v)
	default:
		g.block(w, r, v)
	}
}

func (g *Gate) allow(w http.ResponseWriter, r *http.Request, v *Verdict) {
	// Whatever a policy says, nobody gets through unproven. Conclude sees to that; this
	// is the second lock on the same door.
	if v.Session.Level() != authn.Verified || v.Route == nil {
		g.fail(w, r, v, errors.New("an allow without a verified session or a route"))
		return
	}
	if err := g.recordAllow(r, v); err != nil {
		g.fail(w, r, v, fmt.Errorf("audit: %w", err))
		return
	}
	p := &v.Session.Person
	v.forwarding = true
	g.Forwarder.Forward(w, r, &upstream.ForwardRequest{
		Route: v.Route, Target: v.Target, ClientAddr: v.Client,
		Identity: upstream.Identity{User: string(p.Email), Email: string(p.Email), Groups: p.Groups},
	})
}

// stepUp answers a request that needs a proof first. Browsers are sent to give it and
// come back; everything else is told how.
func (g *Gate) stepUp(w http.ResponseWriter, r *http.Request, v *Verdict) {
	page, f := "step-up", portal.Refusal{
		Status: http.StatusUnauthorized, Code: "insufficient_user_authentication", Title: "Verify it’s you", StepUp: true, MaxAge: v.Decision.MaxAge,
		Text: []string{"This request needs a fresh verification with your passkey."}, Email: string(v.Session.Person.Email),
	}
	if v.Session.Level() == authn.None {
		page, f.Code, f.StepUp = "sign-in", "not_signed_in", false
		f.Title, f.Text = "You are not signed in", []string{"Sign in, then try again."}
	} else {
		f.Incident = portal.NewIncident()
		if err := g.Audit.Append(r.Context(), g.record(r, v, "access", f.Incident)); err != nil {
			g.fail(w, r, v, fmt.Errorf("audit: %w", err))
			return
		}
	}
	back := v.Target.RawPath
	if v.Target.RawQuery != "" {
		back += "?" + v.Target.RawQuery
	}
	if portal.Navigation(r) {
		if len(back) > 2000 { // the address must survive being a parameter of another one
			back = v.Target.RawPath
		}
		if len(back) > 2000 {
			back = "/"
		}
		g.Portal.Send(w, r, &visit{g, r, v}, page, back, v.Decision.Causes)
		return
	}
	f.Link = portal.Link{URL: g.Portal.PageURL(&visit{g, r, v}, page, "/"), Text: f.Title}
	g.Pages.Refuse(w, r, f)
}

func (g *Gate) block(w http.ResponseWriter, r *http.Request, v *Verdict) {
	incident := portal.NewIncident()
	if err := g.Audit.Append(r.Context(), g.record(r, v, "access", incident)); err != nil {
		g.fail(w, r, v, fmt.Errorf("audit: %w", err))
		return
	}
	g.Pages.Refuse(w, r, portal.Blocked(v.Decision, string(v.Session.Person.Email), incident))
}

// unjudged answers what Check could not judge, and what is not for a route.
func (g *Gate) unjudged(w http.ResponseWriter, r *http.Request, v *Verdict, err error) {
	var bad *upstream.BadRequest
	switch {
	case errors.As(err, &bad):
		g.badRequest(w, r, v, bad)
	case errors.Is(err, ErrNoRoute):
		g.noRoute(w, r, v)
	case errors.Is(err, ErrAddress):
		g.noAddress(w, r, v, err)
	default:
		g.fail(w, r, v, err)
	}
}

// badRequest answers a request that could be read in two ways. The request line is
// not trustworthy, so neither is what it says it accepts.
func (g *Gate) badRequest(w http.ResponseWriter, r *http.Request, v *Verdict, bad *upstream.BadRequest) {
	incident := portal.NewIncident()
	rec := g.record(r, v, "bad_request", incident)
	target, _, _ := strings.Cut(r.RequestURI, "?") // a query may hold secrets
	rec.Method = cut(r.Method, 32)
	rec.Detail = map[string]string{"reason": bad.Reason, "target": cut(target, 512), "host": cut(r.Host, 256)}
	if err := g.Audit.Append(r.Context(), rec); err != nil {
		g.fail(w, r, v, fmt.Errorf("audit: %w", err))
		return
	}
	w.Header().Set("Connection", "close")
	http.Error(w, bad.Reason+" (reference "+incident+")", bad.Status)
}

// noRoute serves Sallyport's own pages, on the hosts that are ours.
func (g *Gate) noRoute(w http.ResponseWriter, r *http.Request, v *Verdict) {
	origin := v.Target.Scheme + "://" + v.Target.Host
	switch {
	case !g.serves(v.snapshot, origin):
		g.elsewhere(w, r, v)
	case ownPage(v.Target.Path):
		g.Portal.Serve(w, r, &visit{g, r, v})
	case origin == g.SignIn && v.Target.Path == "/" && portal.Navigation(r):
		http.Redirect(w, r, portal.Prefix+"account", http.StatusFound)
	default:
		g.Pages.Refuse(w, r, portal.Refusal{Status: http.StatusNotFound, Code: "not_found", Title: "There is nothing here", Text: []string{"This address does not exist."}, Link: portal.YourTools})
	}
}

// serves reports whether an origin, scheme included, is one of ours.
func (g *Gate) serves(s *Snapshot, origin string) bool {
	return origin == g.SignIn || slices.ContainsFunc(s.Routes.Routes(), func(r *upstream.Route) bool { return r.Origin() == origin })
}

// elsewhere answers for origins that are not ours. Where only the scheme is wrong it
// says so, with a link and not a redirect: behind a proxy that ends TLS without
// telling us, a redirect would never end.
func (g *Gate) elsewhere(w http.ResponseWriter, r *http.Request, v *Verdict) {
	if g.Pages.ServeAsset(w, r, v.Target.Path) { // of the page below; its policy allows no other host's
		return
	}
	f := portal.Refusal{Status: http.StatusMisdirectedRequest, Code: "unknown_host", Title: "Nothing is served under this name",
		Text: []string{"This address is not set up here. Check it for a typing mistake."}}
	if secure := "https://" + v.Target.Host; v.Target.Scheme == "http" && g.serves(v.snapshot, secure) {
		g.Logger.Warn("plain http for a host that is served over https; a proxy in front that ends TLS has to be in trusted_proxies and to say X-Forwarded-Proto", "host", v.Target.Host, "peer", r.RemoteAddr)
		f.Code, f.Title = "https_required", "This address needs https"
		f.Text = []string{"It is only served over an encrypted connection."}
		f.Link = portal.Link{URL: secure + v.Target.RawPath, Text: "Open it over https"}
	}
	g.Pages.Refuse(w, r, f)
}

// noAddress blocks a request whose client cannot be told: behind a broken or forged
// forwarding header there may be anybody.
func (g *Gate) noAddress(w http.ResponseWriter, r *http.Request, v *Verdict, err error) {
	incident := portal.NewIncident()
	rec := g.record(r, v, "access", incident)
	rec.Action, rec.Rules = policy.Block.String(), []string{"baseline.client-address"}
	rec.Detail = map[string]string{"error": err.Error(), "peer": r.RemoteAddr}
	if err := g.Audit.Append(r.Context(), rec); err != nil {
		g.fail(w, r, v, fmt.Errorf("audit: %w", err))
		return
	}
	g.Pages.Refuse(w, r, portal.Blocked(policy.Decision{Causes: []policy.Cause{policy.CauseNetwork}}, "", incident))
}

// fail answers when something of our own is broken. Nothing gets through.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, v *Verdict, err error) {
	incident := portal.NewIncident()
	g.Logger.Error("request could not be judged", "error", err, "incident", incident, "host", v.Target.Host, "path", v.Target.Path)
	w.Header().Del("Set-Cookie")
	g.Pages.Refuse(w, r, portal.Unavailable(incident))
}

// UpstreamError renders what the forwarder could not do. It is the forwarder's OnError.
func UpstreamError(pages *portal.Pages) func(http.ResponseWriter, *http.Request, int, error) {
	texts := map[int][3]string{
		http.StatusBadGateway:                  {"bad_gateway", "The tool does not answer", "You are signed in and allowed, but the tool behind this address is not running or answered with nonsense."},
		http.StatusServiceUnavailable:          {"upstream_unavailable", "The tool is not available", "You are signed in and allowed, but the tool behind this address is not available at the moment."},
		http.StatusGatewayTimeout:              {"gateway_timeout", "The tool takes too long to answer", "You are signed in and allowed, but the tool behind this address did not answer in time."},
		http.StatusRequestEntityTooLarge:       {"too_large", "That is too large", "The request has more data than is accepted for this tool."},
		http.StatusRequestHeaderFieldsTooLarge: {"headers_too_large", "The request headers are too large", "Delete the cookies of this site in your browser, then try again."},
	}
	return func(w http.ResponseWriter, r *http.Request, status int, err error) {
		text, ok := texts[status]
		if !ok {
			text = [3]string{"upstream_error", http.StatusText(status), "The request could not be passed on."}
		}
		f := portal.Refusal{Status: status, Code: text[0], Title: text[1], Text: []string{text[2]}}
		if status >= 500 {
			f.Steps = []string{"Wait a minute, then reload this page.", "If it goes on, tell the people who run the tool."}
			w.Header().Set("Retry-After", "10")
		}
		pages.Refuse(w, r, f)
	}
}

// recoverPanic turns a bug into a 500 for one request. http.ErrAbortHandler is how a
// stream to the client is broken off on purpose, and passes. So is every answer that
// may have begun: an error page in the middle of it would be taken for a part of it.
func (g *Gate) recoverPanic(w http.ResponseWriter, r *http.Request, v *Verdict) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	incident := portal.NewIncident()
	g.Logger.Error("panic while serving a request", "panic", cause, "incident", incident, "stack", string(debug.Stack()))
	if v.forwarding {
		panic(http.ErrAbortHandler)
	}
	w.Header().Del("Set-Cookie")
	f := portal.Unavailable(incident)
	f.Status = http.StatusInternalServerError
	g.Pages.Refuse(w, r, f)
}

// recordAllow has the request in the audit log before it is forwarded. A repeat of what
// is already there is counted, and costs no I/O.
func (g *Gate) recordAllow(r *http.Request, v *Verdict) error {
	if len(v.Decision.Reported) == 0 && len(v.Decision.Rules) == 0 {
		known, err := g.Audit.Repeat(audit.Same{
			Session: v.Session.ID, IP: v.Facts.IP.Address, Route: v.Route.Name,
			Policy: v.snapshot.Policy.Hash(), Decision: policy.Allow.String(),
		})
		if known || err != nil {
			return err
		}
	}
	return g.Audit.Allow(r.Context(), g.record(r, v, "access", ""))
}

// addressOf is the client as text. Facts have it once the request was judged, and
// then making it costs nothing.
func addressOf(v *Verdict) string {
	if v.Facts.IP.Address == "" && v.Client.IsValid() {
		return v.Client.String()
	}
	return v.Facts.IP.Address
}

// record is the audit record of what v says.
func (g *Gate) record(r *http.Request, v *Verdict, event, incident string) audit.Record {
	f := v.Facts // the record outlives the verdict
	rec := audit.Record{
		Time: g.Now(), Event: event, User: string(v.Session.Person.Email), Session: v.Session.ID,
		IP: addressOf(v), Country: f.IP.Country, ASN: f.IP.ASN,
		Method: r.Method, Host: v.Target.Host, Path: v.Target.Path,
		Action: v.Decision.Action.String(), Rules: v.Decision.Rules, Reasons: v.Decision.Reasons,
		Score: v.Decision.Score, Reported: v.Decision.Reported, Incident: incident, Facts: &f,
	}
	if v.Route != nil {
		rec.Route = v.Route.Name
	}
	if s := v.snapshot; s != nil {
		rec.Policy = s.Policy.Hash()
		rec.Data = dataSources(s, rec.Time)
	}
	return rec
}
