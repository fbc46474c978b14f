package portal

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"sallyport/policy"
)

// An address that is too long to be a part of another one, as return_to is, stays in the browser: a page of ours on that
// very address puts it into the storage of its tab, under the tool's own host, and goes to the sign-in with a short way
// back, to a page that takes it out again. So it costs the server nothing, a stranger's neither, and has no limit of its own.
// The tool's scripts can read and change it, and lead nowhere with it but to their own host.
//
// Where one of these pages goes by itself is a link of the tool's own origin: its SameSite=Strict cookies come along, and
// Fetch metadata says "same-origin". So none of them does that with an address that another page may have chosen. It
// waits for a press, and shows where it leads.

// LongestWay is how long a path with its query may be to be carried in another address.
const LongestWay = 2000

// Way is a way to a page of the sign-in host and back.
type Way struct {
	Origin  string // of the tool
	Page    string // "sign-in" or "step-up"
	Without string // where people end whose browser keeps nothing, a path of this host
	Causes  []policy.Cause
}

// KeepWay answers a request for a longer address.
func (p *Pages) KeepWay(w http.ResponseWriter, r *http.Request, f Refusal, way Way) {
	challenge(w, f)
	back := Prefix + "way?" + url.Values{"to": {way.Without}}.Encode()
	p.render(w, f.Status, "way", view{Title: "Taking you to the sign-in", Module: "way.js", OnTheWay: true, Text: []string{"You come back to this page afterwards."},
		Link: Link{URL: Over(way.Page, back, way.Causes), Text: "Continue", Action: way.Page}, Keep: true, Linked: Linked(r, way.Origin)})
}

// wayPage takes people from the sign-in to the address that their tab has kept.
func (p *Portal) wayPage(w http.ResponseWriter, r *http.Request, v Visit) error {
	to, err := parseReturnTo(r.URL.Query().Get("to"), v.Origin(), p.origins)
	if err != nil || to.origin != v.Origin() {
		return errBadReturnTo
	}
	if _, _, ours := to.own(); ours { // from here ways lead to the tool
		return errBadReturnTo
	}
	// Anybody can make a link to this page: only a tab that has kept an address goes on by itself.
	p.cfg.Pages.render(w, http.StatusOK, "way", view{Title: "Back to " + hostOf(v.Origin()), Module: "way.js", OnTheWay: true,
		Text: []string{p.whereTo(to)}, Link: Link{URL: to.path, Text: "Go on"}})
	return nil
}

// whereTo says where a press of the button leads. After the press nothing asks again, so of a page of ours that leads on it
// says to where.
func (p *Portal) whereTo(to returnTo) string {
	const longest = 200
	to = p.beyond(to)
	if _, _, ours := to.own(); ours { // one that asks by itself, or leads nowhere
		return "Press the button if you want to go on."
	}
	path := to.path
	if len(path) > longest {
		path = path[:longest] + "…"
	}
	return "This leads to " + path + ". Press the button if that is where you want to go."
}

// beyond is where a person ends who goes to an address and does what our pages ask for on the way.
func (p *Portal) beyond(to returnTo) returnTo {
	for {
		page, query, _ := to.own()
		if page != "sign-in" && page != "step-up" {
			return to
		}
		next, err := parseReturnTo(cmp.Or(query.Get("return_to"), "/"), to.origin, p.origins)
		if err != nil || next.origin != to.origin {
			return to
		}
		to = next // shorter than the one that it was a part of
	}
}

// Linked reports whether another origin's page may have sent the browser here, and chosen the address. A browser without
// Fetch metadata says so by Referer, which a page can leave out: then it is not known, and that counts as yes.
func Linked(r *http.Request, origin string) bool {
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 {
		return len(site) != 1 || site[0] != "same-origin" && site[0] != "none"
	}
	return !strings.HasPrefix(r.Referer(), origin+"/")
}
