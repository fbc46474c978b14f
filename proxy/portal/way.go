package portal

import (
	"net/http"
	"net/url"

	"sallyport/policy"
)

// An address that is too long to be a part of another one, as return_to is, stays in the browser: a page of ours on that
// very address puts it into the storage of its tab, under the tool's own host, and goes to the sign-in with a short way
// back, to a page that takes it out again. So it costs the server nothing, a stranger's neither, and has no limit of its own.
// The tool's scripts can read and change it, and lead nowhere with it but to their own host.

// LongestWay is how long a path with its query may be to be carried in another address.
const LongestWay = 2000

// KeepWay answers a request for a longer one: page is "sign-in" or "step-up", and without is where people end whose
// browser keeps nothing, a path of this host.
func (p *Pages) KeepWay(w http.ResponseWriter, f Refusal, page, without string, causes []policy.Cause) {
	challenge(w, f)
	back := Prefix + "way?" + url.Values{"to": {without}}.Encode()
	p.render(w, f.Status, "way", view{Title: "Taking you to the sign-in", Module: "way.js", OnTheWay: true, Text: []string{"You come back to this page afterwards."},
		Link: Link{URL: Over(page, back, causes), Text: "Continue", Action: page}, Keep: true})
}

// wayPage takes people from the sign-in to the address that their tab has kept.
func (p *Portal) wayPage(w http.ResponseWriter, r *http.Request, v Visit) error {
	to, err := parseReturnTo(r.URL.Query().Get("to"), v.Origin(), p.origins)
	if err != nil || to.origin != v.Origin() {
		return errBadReturnTo
	}
	p.Pages.render(w, http.StatusOK, "way", view{Title: "Taking you back", Module: "way.js", OnTheWay: true, Link: Link{URL: to.path, Text: "Continue"}})
	return nil
}
