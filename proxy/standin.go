package proxy

import (
	"net/http"

	"sallyport/proxy/observe"
)

// A tool's service worker can answer every page of its host from a cache, and our own pages there as well: a person
// whose session has ended would see the tool's shell for ever, and never a sign-in. What no worker sees is the
// request for its own script, which browsers make again when a page in its scope is opened. Where the gate does not
// let that request through, the answer is a worker of ours that handles nothing, in the place of the tool's. The next
// page comes from the network. The tool's own worker comes back as a new version of it would, when its script is
// asked for with a session.

// standIn answers a request for the script of a service worker that does not get through; status is what the answer
// stands for. It reports whether it did.
func (g *Gate) standIn(w http.ResponseWriter, r *http.Request, status int) bool {
	if r.Method != http.MethodGet || len(r.Header["Service-Worker"]) != 1 || r.Header["Service-Worker"][0] != "script" ||
		header(r, "Sec-Fetch-Dest") != "serviceworker" || subrequest(r) {
		return false
	}
	// For the script of a module, browsers send no cookies, whoever is signed in. A page that registers one is told no, as
	// ever, instead of being given one that does nothing. The browser's own checks name no page.
	if len(r.Header["Cookie"]) == 0 && len(r.Header["Referer"]) > 0 {
		return false
	}
	observe.Means(w, status)
	g.Pages.StandIn(w)
	return true
}

// subrequest reports whether a proxy in front asks on behalf of another request (nginx auth_request and the like). It
// looks at the status alone, and would take the 200 for a yes.
func subrequest(r *http.Request) bool {
	for _, name := range [...]string{"X-Original-Uri", "X-Original-Url", "X-Original-Method", "X-Forwarded-Uri", "X-Forwarded-Method"} {
		if len(r.Header[name]) > 0 {
			return true
		}
	}
	return false
}
