package proxy

import (
	"net/http"
	"strings"

	"sallyport/policy"
	"sallyport/proxy/portal"
	"sallyport/proxy/upstream"
)

// A tool must not act on another tool as the person who has both open. The session cookie
// does not prevent that: SameSite compares sites, and the tools of one company are one
// site. The browser tells them apart in headers that no page can set: Origin, and Fetch
// metadata (Sec-Fetch-*).
//
// A request with neither passes. Current browsers send Origin with every WebSocket
// handshake and every unsafe method (so does Safari before 16.4, which has no Fetch
// metadata). A request without it comes from curl, a command-line tool or an agent, and
// no page can make these send a person's cookie. A browser without Fetch metadata can
// still be made to load cross-origin images and scripts, whose effect is that of a link,
// and frames, which X-Frame-Options in the answer prevents. Not covered: browsers from
// before 2020 that send a form without Origin, and tools that share a host, which are one
// origin to every browser.

// The reasons for a refusal. They appear in records, so there must be few of them.
const (
	foreignMalformed = "malformed Origin or Fetch metadata"
	foreignOrigin    = "the page of another origin"
	foreignWrite     = "an unsafe method or an upgrade from another origin"
	foreignRead      = "a frame, script, image or background request of another origin"
	foreignLink      = "a link of another origin to a JSON-RPC route: "
)

// foreign returns why a request must not be forwarded as the person: another origin's
// page caused it. "" means that there is no objection.
func foreign(r *http.Request, v *Verdict) string {
	origin, site := r.Header["Origin"], r.Header["Sec-Fetch-Site"]
	if len(origin) == 0 && (len(site) == 0 || len(site) == 1 && nearby(site[0])) {
		return "" // nearly all requests
	}
	return foreignTo(r, v)
}

// nearby reports whether the page itself sent the request, or the person did by typing
// the address or choosing a bookmark.
func nearby(site string) bool { return site == "same-origin" || site == "none" }

func foreignTo(r *http.Request, v *Verdict) string {
	for _, name := range [...]string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
		if len(r.Header[name]) > 1 {
			return foreignMalformed // no browser sends two, and each reader would choose another
		}
	}
	site := r.Header.Get("Sec-Fetch-Site")
	switch site {
	case "", "same-origin", "none", "same-site", "cross-site":
	default:
		return foreignMalformed
	}
	if lines := r.Header["Origin"]; len(lines) == 1 {
		switch origin := lines[0]; {
		case isOwn(origin, v):
		case v.Route.AllowsOrigin(canonical(origin)):
			return ""
		case origin == "null" && nearby(site):
			// A page with Referrer-Policy: no-referrer says so in its own forms.
		case origin != "null" && canonical(origin) == "":
			return foreignMalformed
		case !unsafe(r) && topLevel(r, site): // no browser sends Origin with it
		default:
			return foreignOrigin
		}
	}
	switch {
	case site == "" || nearby(site):
		return ""
	case unsafe(r):
		return foreignWrite
	case topLevel(r, site) || v.Route.Embeddable() && embeds(r, site):
		return ""
	}
	return foreignRead
}

// isOwn reports whether origin is the one that the request is for. Clients that are no
// browsers spell it as they like.
func isOwn(origin string, v *Verdict) bool {
	own := func(o string) bool {
		scheme, host, ok := strings.Cut(o, "://")
		return ok && scheme == v.Target.Scheme && host == v.Target.Host
	}
	return own(origin) || own(canonical(origin))
}

// canonical is an origin as the configuration has it, "" if it is none.
func canonical(origin string) string {
	c, err := upstream.CanonicalOrigin(origin)
	if err != nil || strings.HasSuffix(origin, "/") {
		return ""
	}
	return c
}

// unsafe reports whether a request may change something (RFC 9110 section 9.2.1), or
// opens a connection on which anything can be sent. A WebSocket over HTTP/2 has an
// Upgrade header at this point. A tool that takes another method from a header does not
// get that header.
func unsafe(r *http.Request) bool {
	if len(r.Header["Upgrade"]) > 0 {
		return true
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return true
}

// topLevel reports whether the person goes to the page and sees where they are: a link or
// a form of another page, by GET. A prefetch does not count, because the person does not
// see it; the browser asks again when the person goes there.
func topLevel(r *http.Request, site string) bool {
	// A service worker that forwards a navigation hides its destination. No page can make
	// a request of this mode, so the worker is the tool's own. X-Frame-Options in the
	// answer prevents a frame.
	return site != "" && r.Header.Get("Sec-Fetch-Mode") == "navigate" && portal.KindOf(r) == portal.Page
}

// embeds reports whether a page shows a part of the tool, as routes[].embeddable allows.
// Images, scripts and media are for pages of the same site.
//
// A frame may come from any site. A tool that does its own sign-in inside a frame comes
// back from its provider as a cross-site GET, and our cookie is sent because the page
// around the frame is of the same site. If a page of another site shows the tool, the
// browser has no cookie to send (SameSite=Lax), and the answer is "not signed in". The
// tool's frame-ancestors says which pages of this site may show it.
func embeds(r *http.Request, site string) bool {
	switch mode := r.Header.Get("Sec-Fetch-Mode"); mode {
	case "navigate", "nested-navigate":
		if site == "same-site" {
			return true
		}
		dest := r.Header.Get("Sec-Fetch-Dest")
		return r.Method == http.MethodGet && portal.KindOf(r) == portal.Framed && (dest == "iframe" || dest == "frame" || mode == "nested-navigate")
	case "no-cors":
		return site == "same-site"
	}
	return false
}

// allowedOrigin is the Origin of a request if the route lets pages of that origin use the
// tool, or "".
func allowedOrigin(r *http.Request, v *Verdict) string {
	if lines := r.Header["Origin"]; v.Route != nil && len(lines) == 1 && v.Route.AllowsOrigin(canonical(lines[0])) && !isOwn(lines[0], v) {
		return lines[0]
	}
	return ""
}

// refuseForeign refuses and records a request that another origin's page caused.
func (g *Gate) refuseForeign(w http.ResponseWriter, r *http.Request, v *Verdict, why string) {
	v.Decision = policy.Decision{Rules: []string{"baseline.cross-origin"}}
	v.shadow = shadowed{} // no policy decided this
	rec := g.record(r, v, "cross_site_refused", portal.NewIncident())
	rec.Shadow = nil
	rec.Detail = sentBy(r, why)
	if v.Route != nil && why != foreignMalformed {
		rec.Detail["setting"] = "allowed_origins"
		if why == foreignRead { // a frame, an image
			rec.Detail["setting"] += ", embeddable"
		}
	}
	incident, ok := g.recordRefusal(w, r, v, rec)
	if !ok {
		return
	}
	g.refuse(w, r, v, portal.Refusal{Status: http.StatusForbidden, Code: "cross_origin", Title: "Another page sent this request", Incident: incident,
		Email: string(v.Session.Person.Email), Link: portal.YourTools,
		Text: []string{"A page of another address made your browser ask this tool for something. It was refused to protect your account."},
		Steps: []string{"Open the tool by its own address, and do there what you wanted to do.",
			"If the two belong together, give the reference to your operations team: they can allow it."}})
}

// sentBy is the detail of a record about a request that another origin's page may have
// caused.
func sentBy(r *http.Request, why string) map[string]string {
	detail := map[string]string{"reason": why}
	for key, name := range map[string]string{"origin": "Origin", "site": "Sec-Fetch-Site", "mode": "Sec-Fetch-Mode", "dest": "Sec-Fetch-Dest"} {
		if lines := r.Header[name]; len(lines) > 0 {
			detail[key] = cut(strings.Join(lines, " "), 256)
		}
	}
	return detail
}

// linked reports whether another origin's page sent the browser here. foreign lets links
// pass.
func linked(r *http.Request, v *Verdict) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "same-site" || site == "cross-site") && allowedOrigin(r, v) == ""
}

// blockedAnyway reports whether the policy blocks the person for every request to this
// route. If it does not, a rule about the request itself blocks, and the other page chose
// the request.
func (v *Verdict) blockedAnyway() bool {
	if v.memo == nil {
		return true
	}
	f := v.Facts
	f.Request.Method, f.Request.Path, f.Request.PathFolded = http.MethodGet, v.Route.Prefix, ""
	f.Request.WebSocket, f.Request.RPCMethods = false, nil
	return v.snapshot.Policy.Finish(&f, v.memo.partial).Action == policy.Block
}

// preflight answers the request that a browser sends before a page's request to another
// origin (Fetch section 4.8). It has no cookies, so it has no person to forward it as.
// The tool does not get it, and still decides about the request that follows, which
// carries the session. preflight reports whether r was one.
func (g *Gate) preflight(w http.ResponseWriter, r *http.Request, v *Verdict) bool {
	method := r.Header["Access-Control-Request-Method"]
	if subrequest(r) {
		return false // a proxy in front asks, and would take the 204 for a yes
	}
	if r.Method != http.MethodOptions || len(method) != 1 || !isToken(method[0], "") {
		return false
	}
	origin := allowedOrigin(r, v)
	wanted := strings.Join(r.Header["Access-Control-Request-Headers"], ",")
	if origin == "" || len(wanted) > 4096 || wanted != "" && !isToken(wanted, ", ") {
		return false
	}
	h := w.Header()
	upstream.Readable(h, origin)
	h.Set("Access-Control-Allow-Methods", method[0])
	if wanted != "" {
		h.Set("Access-Control-Allow-Headers", wanted)
	}
	if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	h.Set("Access-Control-Max-Age", "600")
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// refuse writes the gate's own answer on a route. Scripts of allowed origins can tell a
// 401 from a 503.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, v *Verdict, f portal.Refusal) {
	readable(w, r, v)
	if v.Route != nil && portal.KindOf(r) == portal.Framed {
		f.Verified = v.Session.Verification.At
		g.cfg.Pages.RefuseFramed(w, f, ancestors(v.Route))
		return
	}
	g.cfg.Pages.Refuse(w, r, f)
}

// readable lets the page of an allowed origin read our own answer. The answer says what
// to do, and without this the page would see a network error. The forwarder does the same
// for its own answers.
func readable(w http.ResponseWriter, r *http.Request, v *Verdict) {
	if origin := allowedOrigin(r, v); origin != "" {
		upstream.Readable(w.Header(), origin)
	}
}

// Refuse writes the answer to a request that the server in front refuses before the gate
// sees it. It looks up the route alone, and only if a script could read the answer. It
// judges nothing.
func (g *Gate) Refuse(w http.ResponseWriter, r *http.Request, f portal.Refusal) {
	if len(r.Header["Origin"]) != 1 {
		g.cfg.Pages.Refuse(w, r, f)
		return
	}
	v := g.pool.Get().(*Verdict)
	v.snapshot = g.current.Load()
	if v.establish(r) == nil {
		if route, ok := v.snapshot.Routes.Match(v.Target); ok && route.Scheme == v.Target.Scheme && !upstream.Reserved(v.Target.Path) {
			v.Route = route
		}
	}
	g.refuse(w, r, v, f)
	*v = Verdict{}
	g.pool.Put(v)
}

// isToken reports whether s has only characters of a token (RFC 9110 section 5.6.2) and
// more.
func isToken(s, more string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return s != ""
}

// fromElsewhere handles requests that another origin's page may have caused, and reports
// whether it answered. A person blocked by the policy stays blocked, so that naming
// another origin does not avoid that record.
func (g *Gate) fromElsewhere(w http.ResponseWriter, r *http.Request, v *Verdict) bool {
	blocked := v.Decision.Action == policy.Block
	switch {
	case !blocked && crossPost(r, v):
		g.passOn(w, r, v)
		return true
	case v.foreign != "" && (!blocked || !v.blockedAnyway()):
		g.refuseForeign(w, r, v, v.foreign)
		return true
	case blocked:
		return false
	}
	return g.preflight(w, r, v)
}
