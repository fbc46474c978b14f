package portal

import (
	"net/http"
	"strings"
)

// NoPageView reports whether a browser requests one of our pages without showing it to a
// person: for an image, a script, a frame, a fetch of another origin, or a prefetch. Any
// web page can cause such requests as often as it likes, with the person's cookies if it
// is of our site. Browsers that send no Fetch metadata are not recognised. Posts are not
// covered: [Portal.Foreign] refuses those.
func NoPageView(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if ahead(r) {
		return true // on a click, the browser asks again
	}
	if KindOf(r) == Framed {
		return true // nor do our own pages: they have none
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	return !wholeWindow(r)
}

// Foreign reports whether r is refused because another origin makes the browser send it.
func (p *Portal) Foreign(r *http.Request, origin string) bool {
	if origin != p.origin && strings.HasSuffix(r.URL.Path, Prefix+"callback") && r.Method == http.MethodPost {
		o := r.Header["Origin"]
		return len(o) != 1 || o[0] != p.origin
	}
	return p.csrf.Check(r) != nil
}

// HasFlowCookie reports whether the browser has the cookie of the sign-in that a callback
// answers.
func (p *Portal) HasFlowCookie(r *http.Request) bool {
	binding, _ := p.flowSecrets(r, r.URL.Query().Get("state"))
	return binding != ""
}

// Goes reports whether the sign-in page is to send the person on to the provider. Only
// the link on that page has this effect; a link on another site shows the page, and
// starts nothing.
func (p *Portal) Goes(r *http.Request) bool {
	if r.Method != http.MethodGet || r.URL.Query().Get("go") == "" {
		return false
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "" || (site == "same-origin" || site == "none") && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

// Ceremony reports whether the script of a ceremony posts to this page. Such a page needs
// a session.
func Ceremony(page string) bool {
	switch page {
	case "step-up/begin", "step-up/finish", "enroll/begin", "enroll/finish", "enroll/confirm/begin", "enroll/confirm/finish", "ceremony/stopped":
		return true
	}
	return false
}

// SessionGone answers a ceremony without a session.
func SessionGone() *Refusal { return sessionGone(Prefix+"account", "") }
