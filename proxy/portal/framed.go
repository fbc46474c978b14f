package portal

import (
	"net/http"
	"strings"

	"sallyport/policy"
)

// This file answers in frames. A tool can be shown in a frame of another tool
// (routes[].embeddable), and a sign-in or step-up may be due there. Our pages are not
// shown in frames, because another page can trick a person into pressing a button in a
// frame. So the frame gets a page whose only control is a link that opens a tab, where
// the person sees the address of the page.

// RefuseFramed answers a request for a frame. ancestors are the pages that may show it,
// in the syntax of frame-ancestors in a content security policy.
//
// Another page of the site can show this page and cover its content. The page holds no
// name of a person, no token, and no address but its own and that of the tab.
func (p *Pages) RefuseFramed(w http.ResponseWriter, f Refusal, ancestors string) {
	challenge(w, f)
	v := f.view()
	v.Email, v.More, v.Ancestors, v.Again, v.Verified = "", nil, ancestors, f.Again, f.Verified
	if f.Again != "" {
		v.Module = "framed.js"
	}
	p.render(w, f.Status, "framed", v)
}

// framable lets pages of some origins frame this page. A browser that knows
// frame-ancestors ignores X-Frame-Options, which cannot list several origins.
func framable(h http.Header, ancestors string) {
	h.Set("Content-Security-Policy", strings.Replace(contentSecurityPolicy, "frame-ancestors 'none'", "frame-ancestors "+ancestors, 1))
	h.Del("X-Frame-Options")
}

// BesideFrame is the address on a tool's own host where people prove themselves in a tab
// next to a page that waits for it: page is "sign-in" or "step-up".
func BesideFrame(page string, causes []policy.Cause) string { return Over(page, goBack, causes) }

const goBack = Prefix + "go-back"

// goBackPage ends a proof in a tab next to another one: it tells the person to go back.
func (p *Portal) goBackPage(w http.ResponseWriter, _ *http.Request, _ PageRequest) error {
	p.cfg.Pages.render(w, http.StatusOK, "message", view{Title: "Now go back", Module: "back.js",
		Text: []string{"Go back to the tab that you came from: it goes on there. You can close this tab."}})
	return nil
}
