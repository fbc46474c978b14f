package portal

import "net/http"

// A form that a browser posted and that the tool did not get. It cannot be turned into a redirect: what is posted would
// come back as an empty GET, and the person would think that it was sent. So the answer is a page on the tool's own
// address that holds the form, and sends it again to where it was going.
//
// The page says what anybody may post to it, so it is escaped text in hidden fields and nothing else; no other page can
// frame it, and a tool's page that reads it learns what was on its way to that tool.

// Field is one name and value of a form, decoded.
type Field struct{ Name, Value string }

// PassOn answers with a page that sends the fields on, from the tool's own origin, to the address that was asked for.
// Without auto the person has to press the button.
//
// The status is 401: a proxy in front that asks whether to let a request through takes every 2xx for a yes, and this one
// was not let through.
func (p *Pages) PassOn(w http.ResponseWriter, fields []Field, auto bool) {
	challenge(w, Refusal{Status: http.StatusUnauthorized})
	p.render(w, http.StatusUnauthorized, "resend", view{Title: "Taking you on", Text: []string{"Another page sent you here with a form. It goes on to the tool that you are opening."},
		Fields: fields, Button: "Continue", Auto: auto, Module: "resend.js", Resend: true})
}

// RefuseForm answers a posted form with a page, whatever the browser says it accepts. With kept, the page holds the fields
// and can send them again once f.Link, which opens beside it, is done.
func (p *Pages) RefuseForm(w http.ResponseWriter, f Refusal, kept bool, fields []Field) {
	challenge(w, f)
	v := f.view()
	if !kept {
		p.render(w, f.Status, "message", v)
		return
	}
	v.Fields, v.Button, v.Resend = fields, "Send the form again", true
	p.render(w, f.Status, "resend", v)
}

// sendAgainPage is where people end who proved themselves in a tab beside their form.
func (p *Portal) sendAgainPage(w http.ResponseWriter, _ *http.Request, _ Visit) error {
	p.cfg.Pages.render(w, http.StatusOK, "message", view{Title: "Now send your form", Module: "back.js",
		Text: []string{"Go back to the tab with your form and press “Send the form again”. You can close this tab."}})
	return nil
}

// resendHeaders are what a page says differently that sends a form of the tool's.
func resendHeaders(h http.Header) {
	// Browsers hold the redirects of the answer against form-action, and where a tool goes from its own callback is
	// not ours to list. The form has no action of its own: it goes where the page is.
	h.Set("Content-Security-Policy", formAnywhere.Replace(contentSecurityPolicy))
	h.Set("Referrer-Policy", "strict-origin") // with none at all, the form would be posted in the name of the origin "null"
	// A sign-in in a window of its own ends with a message to the page that opened the window. "same-origin"
	// would part the two for good.
	passThrough(h)
}
