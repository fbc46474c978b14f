package proxy

import (
	"net/http"

	"sallyport/proxy/observe"
)

// A tool's service worker can answer every page of its host from a cache, our own pages
// included: a person whose session has ended would see the tool's shell forever, and
// never a sign-in. No worker sees the request for its own script, which browsers repeat
// when a page in its scope is opened. If the gate refuses that request, it answers with a
// worker of ours that handles nothing and replaces the tool's. The next page comes from
// the network. The tool's own worker comes back as a new version would, when its script
// is requested with a session.

// standIn answers a refused request for the script of a service worker; status is what a
// client that is no browser would get. It reports whether it answered.
func (g *Gate) standIn(w http.ResponseWriter, r *http.Request, status int) bool {
	if r.Method != http.MethodGet || len(r.Header["Service-Worker"]) != 1 || r.Header["Service-Worker"][0] != "script" ||
		header(r, "Sec-Fetch-Dest") != "serviceworker" || subrequest(r) {
		return false
	}
	// Browsers send no cookies with the request for a module's script, even if the person
	// is signed in. A page that registers one gets the refusal, and not a worker that
	// does nothing. The browser's own update checks have no Referer.
	if len(r.Header["Cookie"]) == 0 && len(r.Header["Referer"]) > 0 {
		return false
	}
	observe.Means(w, status)
	g.cfg.Pages.StandIn(w)
	return true
}

// subrequest reports whether a proxy in front asks about another request (nginx
// auth_request and the like). Such a proxy looks at the status alone, and would take the
// 200 for a yes.
func subrequest(r *http.Request) bool {
	for _, name := range [...]string{"X-Original-Uri", "X-Original-Url", "X-Original-Method", "X-Forwarded-Uri", "X-Forwarded-Method"} {
		if len(r.Header[name]) > 0 {
			return true
		}
	}
	return false
}
