package portal

import (
	"net/http"
	"strings"

	"sallyport/policy"
)

// A tool can be shown in a frame of another tool (routes[].embeddable), and a question may be due there. Our pages are not shown
// in frames, because a press of a button in a frame need not be what it looks like. So the frame gets a page that
// has nothing to press but a link which opens a tab, where the person sees whose page they are on.

// RefuseFramed answers a request for a frame. ancestors are the pages that may show it, as
// frame-ancestors of a content security policy has them.
//
// What another page of the site can do with it is show it, and hide what is on it: it holds nobody's name, no token, and
// no address but its own and that of the tab.
func (p *Pages) RefuseFramed(w http.ResponseWriter, f Refusal, ancestors string) {
	challenge(w, f)
	v := f.view()
	v.Email, v.More, v.Ancestors, v.Again = "", nil, ancestors, f.Again
	if f.Again != "" {
		v.Module = "framed.js"
	}
	p.render(w, f.Status, "framed", v)
}

// framable lets a page be shown in frames of some origins. Where a browser knows frame-ancestors, it does
// not ask X-Frame-Options, which has no word for several.
func framable(h http.Header, ancestors string) {
	h.Set("Content-Security-Policy", strings.Replace(contentSecurityPolicy, "frame-ancestors 'none'", "frame-ancestors "+ancestors, 1))
	h.Del("X-Frame-Options")
}

// BesideFrame is the address on a tool's own host where people prove themselves in a tab beside a page that waits for
// it: page is "sign-in" or "step-up".
func BesideFrame(page string, causes []policy.Cause) string { return Over(page, goBack, causes) }

const goBack = Prefix + "go-back"

// goBackPage is where people end who proved themselves in a tab beside another one.
func (p *Portal) goBackPage(w http.ResponseWriter, _ *http.Request, _ Visit) error {
	p.cfg.Pages.render(w, http.StatusOK, "message", view{Title: "Now go back", Module: "back.js",
		Text: []string{"Go back to the tab that you came from: it goes on there. You can close this tab."}})
	return nil
}
