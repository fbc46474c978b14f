package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/proxy/audit"
	"sallyport/proxy/edge"
	"sallyport/proxy/jsonrpc"
	"sallyport/proxy/observe"
	"sallyport/proxy/portal"
	"sallyport/proxy/trace"
	"sallyport/proxy/upstream"
)

// ServeHTTP judges a request and acts on the verdict.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := g.pool.Get().(*Verdict)
	v.arrived = time.Now()
	server := w
	if g.cfg.Observe != nil {
		v.writer.Reset(w)
		w = &v.writer
	}
	if g.cfg.Trace != nil {
		v.span = g.cfg.Trace.Begin(r, g.current.Load().Clients.TrustedPeer(r), v.arrived)
	}
	defer g.finish(server, r, v)
	defer g.recoverPanic(w, r, v)
	err := g.Check(r, v)
	v.decided = time.Now()
	v.span.Judged(v.arrived, v.decided, v.Decision.Action.String())
	if err != nil || v.Decision.Action != policy.Allow {
		portal.SecurityHeaders(w.Header()) // also for answers of ours: no tool wrote them
	}
	if err != nil {
		g.unjudged(w, r, v, err)
	} else {
		g.act(w, r, v)
	}
}

// finish reports a request that is over, and gives v back. A request that panicked keeps
// its Verdict, because something may still hold it. A connection that has switched
// protocols runs on a goroutine of its own from here on, and is reported when it ends.
func (g *Gate) finish(w http.ResponseWriter, r *http.Request, v *Verdict) {
	v.release()
	switch {
	case v.serveTunnel != nil:
		g.detach(w, r, v)
	case g.cfg.Observe != nil:
		e := g.event(r, v)
		g.report(&e, v.span)
	}
	if g.cfg.Observe != nil && v.shadow.judged {
		g.cfg.Observe.Shadow(int(v.Decision.Action), int(v.shadow.decision.Action))
	}
	if !v.panicked {
		*v = Verdict{}
		g.pool.Put(v)
	}
}

func (g *Gate) report(e *observe.Event, span *trace.Request) {
	g.cfg.Observe.Request(e)
	span.End(e)
}

// event is the access event of a request that is over.
func (g *Gate) event(r *http.Request, v *Verdict) observe.Event {
	e := observe.Event{
		Method: r.Method, Host: v.Target.Host, Path: v.Target.Path, Action: "refused",
		User: string(v.Session.Person.Email), Session: v.Session.ID, IP: addressOf(v), Country: v.Facts.IP.Country, Incident: v.incident,
		Status: v.writer.Answered(), Bytes: v.writer.Bytes, Verdict: v.decided.Sub(v.arrived), Total: time.Since(v.arrived),
	}
	switch {
	case v.Route != nil:
		e.Route, e.Action = v.Route.Name, v.Decision.Action.String()
		if v.forwarding {
			e.Added = v.decided.Sub(v.arrived)
		}
	case upstream.Reserved(v.Target.Path):
		e.Action = "page"
	}
	if e.Status >= 500 && !v.forwarding {
		e.Action = "error"
	}
	return e
}

// act is the only place that lets a request through.
func (g *Gate) act(w http.ResponseWriter, r *http.Request, v *Verdict) {
	if g.fromElsewhere(w, r, v) {
		return
	}
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
	// No request without a verified session gets through, even if the policy allows it.
	// Policy.Finish ensures that; this is a second, independent check.
	if v.Session.Level() != authn.Verified || v.Route == nil {
		g.fail(w, r, v, errors.New("an allow without a verified session or a route"))
		return
	}
	if g.planted(r, v) {
		g.handAgain(w, r, v)
		return
	}
	if g.listens(r, v) {
		g.noWorker(w, r, v)
		return
	}
	switch err := g.recordAllow(r, v); {
	case errors.Is(err, audit.ErrManyCalls):
		g.exceeded("changes_per_minute", "limits.changes_per_minute", v)
		g.tooManyRequests(w, r, v, portal.Refusal{Code: "too_many_calls", Title: "Those were too many different calls", Text: []string{"More different changes came from this session than are accepted in a short time. Wait a minute, then try again."}})
		return
	case err != nil:
		g.fail(w, r, v, fmt.Errorf("audit: %w", err))
		return
	}
	g.recordVisit(r, v, policy.Allow)
	g.noteAnswered(r, v)
	g.forward(w, r, v)
}

// forward forwards a request that was allowed and recorded.
func (g *Gate) forward(w http.ResponseWriter, r *http.Request, v *Verdict) {
	options := v.snapshot.Options[v.Route.Name]
	session := g.told(v, &options.Groups)
	p := &session.Person
	fr := &upstream.ForwardRequest{
		Route: v.Route, Target: v.Target, Destination: v.destination, ClientAddr: v.Client, AllowedOrigin: allowedOrigin(r, v), RootWorker: options.RootWorkers,
		Identity: upstream.Identity{User: string(p.Email), Email: string(p.Email), Groups: p.Groups},
	}
	if g.cfg.Assertions != nil {
		var err error
		if fr.Identity.Assertion, err = g.cfg.Assertions.For(session, audience(v), &v.Decision); err != nil {
			g.fail(w, r, v, fmt.Errorf("assertion: %w", err))
			return
		}
	}
	inspected := options.RPC && len(r.Header["Upgrade"]) > 0
	if inspected && r.ProtoMajor != 1 { // only HTTP/1 has a connection whose messages can be inspected
		g.refuse(w, r, v, portal.Refusal{Status: http.StatusNotImplemented, Code: "http_1_1_required", Title: "This WebSocket needs HTTP/1.1",
			Text: []string{"What is said on it is checked, which is not possible over HTTP/2."}})
		return
	}
	// A client that streams its calls may be silent for long. From here on, and not
	// before it was allowed, that is no attack on the server. Hijacked connections count
	// as streams anyway.
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") || r.ProtoMajor != 1 && isWebSocket(r) {
		edge.Stream(w)
	}
	v.forwarding = true
	v.span.Forwarding(r.Header)
	edge.Forwarded(w)
	edge.Admit(w, v.Route.Idle())
	if g.cfg.Streams == nil {
		if inspected { // its messages could not be inspected
			r.Header.Del("Upgrade")
		}
		g.cfg.Forwarder.Forward(w, r, fr)
		return
	}
	ctx, keep := r.Context(), func() bool { return true }
	if r.ProtoMajor == 1 && len(r.Header["Upgrade"]) > 0 {
		ctx, keep = detachContext(ctx)
	}
	s := g.open(ctx, v)
	fr.Detach = func(serve func()) {
		keep()
		v.serveTunnel = func() {
			defer s.Close()
			serve()
			g.notTaken(s)
		}
	}
	defer func() {
		if v.serveTunnel == nil {
			s.Close()
		}
	}()
	if g.overStreamLimit(w, r, v) {
		return
	}
	if c := s.Cut(); c != nil { // cut since it was judged: the tool must not see it at all
		g.interrupted(w, r, v, c.Reason)
		return
	}
	if inspected {
		r.Header.Del("Sec-WebSocket-Extensions") // compressed messages cannot be inspected
		inner, j := r.WithContext(s.Context()), s.Info().Value.(*admission)
		s.Inspect(options.rpcLimits().MaxBytes, g.inspect(inner, j), g.tooLargeInside(inner, j))
	}
	if v.held > 0 {
		var stop func()
		r.Body, stop = s.HandOver(r.Body, r.ContentLength)
		defer stop()
	}
	if why, refused := s.Run(func() { g.cfg.Forwarder.Forward(s.Writer(w), r.WithContext(s.Context()), fr) }); refused {
		g.notTaken(s)
		g.interrupted(w, r, v, why)
	}
}

// audience is who an assertion is for. Each host of a wildcard has its own, so that an
// assertion for one host is worthless at another.
func audience(v *Verdict) string {
	if v.Route.Wildcard() {
		return v.Route.Name + "@" + v.Target.Hostname
	}
	return v.Route.Name
}

// stepUp answers a request that needs a proof first. Browsers are redirected to give it
// and come back; other clients get an error that says how.
func (g *Gate) stepUp(w http.ResponseWriter, r *http.Request, v *Verdict) {
	page, f := "step-up", portal.Refusal{
		Status: http.StatusUnauthorized, Code: "insufficient_user_authentication", Title: "Verify it’s you", StepUp: true, MaxAge: v.Decision.MaxAge,
		Text: []string{"This request needs a fresh verification with your passkey."}, Email: string(v.Session.Person.Email),
	}
	if v.Session.Level() == authn.None {
		page, f.Code, f.StepUp = "sign-in", "not_signed_in", false
		f.Title, f.Text = "You are not signed in", []string{"Sign in, then try again."}
	} else {
		var ok bool
		if f.Incident, ok = g.recordRefusal(w, r, v, g.record(r, v, "access", portal.NewIncident())); !ok {
			return
		}
		g.recordVisit(r, v, policy.StepUp)
	}
	if g.standIn(w, r, f.Status) {
		return
	}
	if formPost(r) {
		g.notSent(w, r, v, page, f)
		return
	}
	if g.inVain(w, r, v, f) {
		return
	}
	if portal.KindOf(r) == portal.Framed {
		g.askBeside(w, r, v, page, f)
		return
	}
	if portal.KindOf(r) == portal.Page && !unsafe(r) { // a posted form would come back as an empty GET
		g.sendOff(w, r, v, page, v.Decision.Causes, f)
		return
	}
	f.Link = portal.Link{URL: g.cfg.Portal.PageURL(&pageRequest{g, r, v}, page, "/"), Text: f.Title}
	g.refuse(w, r, v, f)
}

// sendOff sends a browser to a page of the sign-in host, and back to where it was going.
func (g *Gate) sendOff(w http.ResponseWriter, r *http.Request, v *Verdict, page string, causes []policy.Cause, f portal.Refusal) {
	back := wayBack(v)
	if len(back) <= portal.LongestWay {
		g.cfg.Portal.Send(w, r, &pageRequest{g, r, v}, page, back, causes)
		return
	}
	without := v.Target.RawPath
	if len(without) > portal.LongestWay {
		without = "/"
	}
	g.cfg.Pages.KeepWay(w, r, f, portal.Way{Origin: v.Target.Scheme + "://" + v.Target.Host, Page: page, Without: without, Causes: causes})
}

// wayBack is where a browser was going.
func wayBack(v *Verdict) string {
	if v.Target.RawQuery == "" {
		return v.Target.RawPath
	}
	return v.Target.RawPath + "?" + v.Target.RawQuery
}

func (g *Gate) block(w http.ResponseWriter, r *http.Request, v *Verdict) {
	incident, ok := g.recordRefusal(w, r, v, g.record(r, v, "access", portal.NewIncident()))
	if !ok {
		return
	}
	g.recordVisit(r, v, policy.Block)
	if g.standIn(w, r, http.StatusForbidden) {
		return
	}
	g.refuse(w, r, v, portal.Blocked(v.Decision, string(v.Session.Person.Email), incident))
}

// unjudged answers what Check could not judge, and what is not for a route.
func (g *Gate) unjudged(w http.ResponseWriter, r *http.Request, v *Verdict, err error) {
	var bad *upstream.BadRequest
	var rpc *jsonrpc.Error
	switch {
	case errors.As(err, &bad):
		g.badRequest(w, r, v, bad)
	case errors.Is(err, errBody):
		g.refuse(w, r, v, portal.Refusal{Status: http.StatusRequestTimeout, Code: "slow_body", Title: "The request did not arrive whole",
			Text: []string{"What you sent did not come to its end in time. Try again."}})
	case errors.As(err, &rpc):
		g.badRPC(w, r, v, rpc)
	case errors.Is(err, ErrNoRoute):
		g.noRoute(w, r, v)
	case errors.Is(err, ErrAddress):
		g.noAddress(w, r, v, err)
	default:
		g.fail(w, r, v, err)
	}
}

// badRequest answers a request that could be read in two ways. If the path is ambiguous,
// people and programs learn which part of it. Otherwise the answer does not even follow
// the Accept header, which is not trustworthy then. The setting that would let the path
// pass is in the audit log, for the operator who gets the reference: employees cannot
// change it.
func (g *Gate) badRequest(w http.ResponseWriter, r *http.Request, v *Verdict, bad *upstream.BadRequest) {
	rec := g.record(r, v, "bad_request", portal.NewIncident())
	target, _, _ := strings.Cut(r.RequestURI, "?") // a query may hold secrets
	rec.Method = cut(r.Method, 32)
	rec.Detail = sentBy(r, bad.Reason) // without the session: any page can make a browser send this
	rec.Detail["target"], rec.Detail["host"] = cut(target, 512), cut(r.Host, 256)
	if bad.Setting != "" {
		rec.Detail["setting"] = bad.Setting
	}
	incident, ok := g.recordRefusal(w, r, v, rec)
	if !ok {
		return
	}
	w.Header().Set("Connection", "close")
	if bad.Path {
		g.refuse(w, r, v, ambiguous(bad, incident))
		return
	}
	readable(w, r, v)
	http.Error(w, bad.Reason+" (reference "+incident+")", bad.Status)
}

// ambiguous is the refusal of a path. The reason stands in the first text, which is all
// that programs get.
func ambiguous(bad *upstream.BadRequest, incident string) portal.Refusal {
	text := "The path of this address is refused, because programs could read it in different ways: " + bad.Reason + "."
	return portal.Refusal{Status: bad.Status, Code: "ambiguous_path", Title: "This address is not accepted", Text: []string{text}, Incident: incident,
		Steps: []string{"Check the address for a typing mistake.", "If a tool sent you here, give the reference to your operations team."}}
}

// noRoute serves Sallyport's own pages, on the hosts that are ours.
func (g *Gate) noRoute(w http.ResponseWriter, r *http.Request, v *Verdict) {
	origin := v.Target.Scheme + "://" + v.Target.Host
	switch {
	case !g.serves(v.snapshot, origin):
		g.elsewhere(w, r, v)
	case upstream.Reserved(v.Target.Path):
		g.ownPages(w, r, v)
	case origin == g.cfg.SignIn && v.Target.Path == "/" && portal.KindOf(r) == portal.Page:
		http.Redirect(w, r, portal.Prefix+"account", http.StatusFound)
	default:
		g.refuse(w, r, v, portal.Refusal{Status: http.StatusNotFound, Code: "not_found", Title: "There is nothing here", Text: []string{"This address does not exist."}, Link: portal.YourTools})
	}
}

// serves reports whether an origin, scheme included, is one of ours.
func (g *Gate) serves(s *Snapshot, origin string) bool {
	return origin == g.cfg.SignIn || s.Routes.HasOrigin(origin)
}

// elsewhere answers for origins that are not ours. If only the scheme is wrong it says
// so, with a link and not a redirect: behind a proxy that ends TLS without telling us, a
// redirect would never end.
func (g *Gate) elsewhere(w http.ResponseWriter, r *http.Request, v *Verdict) {
	if g.cfg.Pages.ServeAsset(w, r, v.Target.Path) { // assets of the page below, whose policy allows no other host
		return
	}
	f := portal.Refusal{Status: http.StatusMisdirectedRequest, Code: "unknown_host", Title: "Nothing is served under this name",
		Text: []string{"This address is not set up here. Check it for a typing mistake."}}
	if secure := "https://" + v.Target.Host; v.Target.Scheme == "http" && g.serves(v.snapshot, secure) {
		g.cfg.Logger.Warn("plain http for a host that is served over https", "hint", "list a proxy that ends TLS in trusted_proxies, and let it send X-Forwarded-Proto", "host", v.Target.Host, "peer", r.RemoteAddr)
		f.Code, f.Title = "https_required", "This address needs https"
		f.Text = []string{"It is only served over an encrypted connection."}
		f.Link = portal.Link{URL: secure + v.Target.RawPath, Text: "Open it over https"}
	}
	g.refuse(w, r, v, f)
}

// noAddress blocks a request whose client address cannot be determined. Behind a broken
// or forged forwarding header there may be any client.
func (g *Gate) noAddress(w http.ResponseWriter, r *http.Request, v *Verdict, err error) {
	// A tool on the machine of a trusted proxy asks for the keys that assertions are
	// verified with. They are public, and nothing is judged for them.
	if v.Target.Path == portal.Prefix+"jwks.json" && g.serves(v.snapshot, v.Target.Scheme+"://"+v.Target.Host) {
		g.ownPages(w, r, v)
		return
	}
	rec := g.record(r, v, "access", portal.NewIncident())
	rec.Action, rec.Rules = policy.Block.String(), []string{"baseline.client-address"}
	rec.Detail = map[string]string{"error": err.Error(), "peer": r.RemoteAddr}
	incident, ok := g.recordRefusal(w, r, v, rec)
	if !ok {
		return
	}
	g.cfg.Logger.Warn("client address unknown", "error", err, "host", v.Target.Host, "peer", r.RemoteAddr, "incident", incident)
	g.refuse(w, r, v, portal.NoAddress(incident))
}

// fail answers when a part of the product is broken. Nothing gets through.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, v *Verdict, err error) {
	incident := portal.NewIncident()
	v.incident = incident
	g.cfg.Logger.Error("request could not be judged", "error", err, "incident", incident, "host", v.Target.Host, "path", v.Target.Path)
	w.Header().Del("Set-Cookie")
	g.refuse(w, r, v, portal.Unavailable(incident))
}

// recoverPanic turns a bug into a 500 for one request. http.ErrAbortHandler breaks off a
// stream to the client on purpose, and passes. So does every panic after the answer may
// have begun: the client would take an error page for a part of the answer.
func (g *Gate) recoverPanic(w http.ResponseWriter, r *http.Request, v *Verdict) {
	cause := recover()
	if cause == nil {
		return
	}
	v.panicked = true
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	incident := portal.NewIncident()
	g.cfg.Logger.Error("panic while serving a request", "panic", cause, "incident", incident, "stack", string(debug.Stack()))
	if v.forwarding {
		panic(http.ErrAbortHandler)
	}
	w.Header().Del("Set-Cookie")
	f := portal.Unavailable(incident)
	f.Status = http.StatusInternalServerError
	g.refuse(w, r, v, f)
}
