package portal

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"sallyport/policy"
)

// This file keeps an address that is too long for a parameter of another one, such as
// return_to, in the browser. A page of ours on that very address puts it into the storage
// of its tab, under the tool's own host, and goes to the sign-in with a short return
// address, whose page reads it from there. So it costs the server nothing, not even for
// strangers, and needs no limit of its own. The tool's scripts can read and change it,
// but it leads only to their own host.
//
// A link that one of these pages follows by itself is the tool's own: it carries the
// SameSite=Strict cookies, and Fetch metadata says "same-origin". So no page does that
// with an address that another page may have chosen. It waits for a press, and shows
// where it leads.

// LongestWay is the longest path with query that fits into another address.
const LongestWay = 2000

// Way is a way to a page of the sign-in host and back.
type Way struct {
	Origin  string // of the tool
	Page    string // "sign-in" or "step-up"
	Without string // target for a browser that stores nothing, a path of this host
	Causes  []policy.Cause
}

// KeepWay answers a request whose address is longer.
func (p *Pages) KeepWay(w http.ResponseWriter, r *http.Request, f Refusal, way Way) {
	challenge(w, f)
	back := Prefix + "way?" + url.Values{"to": {way.Without}}.Encode()
	p.render(w, f.Status, "way", view{Title: "Taking you to the sign-in", Module: "way.js", OnTheWay: true, Text: []string{"You come back to this page afterwards."},
		Link: Link{URL: Over(way.Page, back, way.Causes), Text: "Continue", Action: way.Page}, Keep: true, Linked: Linked(r, way.Origin)})
}

// wayPage leads from the sign-in to the address that the tab has kept.
func (p *Portal) wayPage(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	to, err := parseReturnTo(r.URL.Query().Get("to"), v.Origin(), only(v.Origin()))
	if err != nil {
		return errBadReturnTo
	}
	if _, _, ours := to.own(); ours { // from here on the target is the tool
		return errBadReturnTo
	}
	// Any site can link to this page: only a tab that has kept an address goes on by
	// itself.
	p.cfg.Pages.render(w, http.StatusOK, "way", view{Title: "Back to " + hostOf(v.Origin()), Module: "way.js", OnTheWay: true,
		Text: []string{p.whereTo(to)}, Link: Link{URL: to.path, Text: "Go on"}})
	return nil
}

// whereTo says where a press of the button leads. After the press there is no further
// question, so for a page of ours that leads on it names the final target.
func (p *Portal) whereTo(to returnTo) string {
	const longest = 200
	to = p.beyond(to)
	if _, _, ours := to.own(); ours { // a page that asks by itself, or leads nowhere
		return "Press the button if you want to go on."
	}
	path := to.path
	if len(path) > longest {
		path = path[:longest] + "…"
	}
	return "This leads to " + path + ". Press the button if that is where you want to go."
}

// beyond is where a person ends who goes to an address and completes our pages on the
// way.
func (p *Portal) beyond(to returnTo) returnTo {
	for {
		page, query, _ := to.own()
		if page != "sign-in" && page != "step-up" {
			return to
		}
		next, err := parseReturnTo(cmp.Or(query.Get("return_to"), "/"), to.origin, only(to.origin))
		if err != nil {
			return to
		}
		to = next // shorter than the address that contained it
	}
}

// Linked reports whether another origin's page may have sent the browser here, and chosen
// the address. For a browser without Fetch metadata, Referer tells. A page can leave it
// out: then it is unknown, and counts as yes.
func Linked(r *http.Request, origin string) bool {
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 {
		return len(site) != 1 || site[0] != "same-origin" && site[0] != "none"
	}
	return !strings.HasPrefix(r.Referer(), origin+"/")
}
