package portal

import "net/http"

// This file answers a form that a browser posted and that the tool did not get. It cannot
// redirect: the form would come back as an empty GET, and the person would think that it
// was sent. So the answer is a page on the tool's own address that holds the form, and
// sends it again to the same address.
//
// Any site can choose the content of that page by posting to it, so the page holds
// escaped text in hidden fields and nothing else. No other page can frame it. A tool's
// page that reads it learns only what was on its way to that tool.

// Field is one name and value of a form, decoded.
type Field struct{ Name, Value string }

// PassOn answers with a page that sends the fields, from the tool's own origin, to the
// same address. Without auto the person has to press the button.
//
// The status is 401: a proxy in front that asks whether to let a request through takes
// every 2xx for a yes, and this one was not let through.
func (p *Pages) PassOn(w http.ResponseWriter, fields []Field, auto bool) {
	challenge(w, Refusal{Status: http.StatusUnauthorized})
	p.render(w, http.StatusUnauthorized, "resend", view{Title: "Taking you on", Text: []string{"Another page sent you here with a form. It goes on to the tool that you are opening."},
		Fields: fields, Button: "Continue", Auto: auto, Module: "resend.js", Resend: true})
}

// RefuseForm answers a posted form with a page, regardless of Accept. With kept, the page
// holds the fields and can send them again once the person has done what f.Link, which
// opens in another tab, asks for.
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

// sendAgainPage ends a proof in a tab next to a form: it tells the person to send the
// form again.
func (p *Portal) sendAgainPage(w http.ResponseWriter, _ *http.Request, _ PageRequest) error {
	p.cfg.Pages.render(w, http.StatusOK, "message", view{Title: "Now send your form", Module: "back.js",
		Text: []string{"Go back to the tab with your form and press “Send the form again”. You can close this tab."}})
	return nil
}

// resendHeaders sets the headers of a page that sends a tool's form again.
func resendHeaders(h http.Header) {
	// Browsers apply form-action to the redirects of the answer, and we cannot list where
	// a tool redirects from its own callback. The form has no action attribute: it goes
	// to the page's own address.
	h.Set("Content-Security-Policy", formAnywhere.Replace(contentSecurityPolicy))
	h.Set("Referrer-Policy", "strict-origin") // without a referrer, browsers post the form with the origin "null"
	// A sign-in in a window of its own ends with a message to the page that opened the
	// window. "same-origin" would disconnect the two for good.
	passThrough(h)
}
