package portal

import (
	"mime"
	"net/http"
	"strings"

	"sallyport/proxy/grpc"
)

// Kind is what becomes of an answer of ours in the client that gets it. A page, or a redirect to one, is for a person who
// looks at it: sent to a script, a frame or an image it is shown nowhere, and the person is left with a tool that
// does not work and does not say why.
//
// It decides the form of an answer and never whether there is one: who may ask is the gate's question (crossorigin.go), and
// a client can claim any kind.
type Kind int

const (
	// Data is for a script or a programme, or for nothing that is looked at (an image, a style sheet): JSON. A redirect would
	// be followed to a page of another origin, which scripts see as a broken network.
	Data Kind = iota
	// Call is for a client of gRPC: its status.
	Call
	// Ahead is for a page that the browser loads before the person goes there, if they ever do. Nothing may be
	// begun for it. With an error status the browser throws it away, and asks again when they go.
	Ahead
	// Framed is for a page inside another page, whose address the person does not see: no redirect, as our pages are
	// not shown in frames, and nothing to press but what opens a tab.
	Framed
	// Page is for the whole window: a redirect, or a page with forms.
	Page
)

// KindOf is the one place that reads what the client will do with the answer. Browsers say it in Fetch metadata, which no
// script can set; those of before 2023 (Safari 16.4) and programmes are judged by what they accept.
func KindOf(r *http.Request) Kind {
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	kind := Data
	switch {
	case len(r.Header["Upgrade"]) > 0: // the handshake of a WebSocket
	case mode == "" && dest == "":
		if acceptsPage(r) {
			kind = Page
		}
	case mode == "nested-navigate": // Chrome before 80, of a frame
		kind = Framed
	case passedOn(r):
		kind = Page
	case mode != "" && mode != "navigate":
	case dest == "document":
		kind = Page
	case dest == "iframe", dest == "frame", dest == "embed", dest == "object", dest == "fencedframe":
		kind = Framed
	case mode == "":
	case dest == "", dest == "empty": // a service worker that passes a navigation on makes it "empty"
		kind = Page
	default: // a place for pages that is not known yet
		kind = Framed
	}
	switch {
	case kind == Data && grpc.IsCall(r):
		return Call
	case kind >= Framed && ahead(r):
		return Ahead
	}
	return kind
}

// passedOn reports whether a service worker passes a navigation on in Firefox, which then calls the mode "same-origin" and
// not "navigate", as the other engines do. A script that fetches sends neither this Accept nor Upgrade-Insecure-Requests
// unless it sets them itself.
func passedOn(r *http.Request) bool {
	h := r.Header
	return h.Get("Sec-Fetch-Mode") == "same-origin" && h.Get("Sec-Fetch-Dest") == "empty" && h.Get("Upgrade-Insecure-Requests") == "1" && acceptsPage(r)
}

// acceptsPage judges a client without Fetch metadata. Scripts of that time that ask for HTML to put into their page say
// X-Requested-With. What is posted is looked at if it is a form.
func acceptsPage(r *http.Request) bool {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") || r.Header.Get("X-Requested-With") != "" {
		return false
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodPost:
		return FormType(r) != ""
	}
	return false
}

// ahead reports whether the browser asks before the person goes there: Sec-Purpose has no other use
// (Fetch section 3.3), and Purpose is what it was called before.
func ahead(r *http.Request) bool {
	return len(r.Header["Sec-Purpose"])+len(r.Header["Purpose"]) > 0
}

// wholeWindow reports whether a browser says that the answer takes the whole window. One without Fetch metadata is
// believed if it accepts pages.
func wholeWindow(r *http.Request) bool {
	bare := len(r.Header["Sec-Fetch-Site"])+len(r.Header["Sec-Fetch-Mode"])+len(r.Header["Sec-Fetch-Dest"]) == 0
	return KindOf(r) == Page && (bare || r.Header.Get("Sec-Fetch-Dest") == "document")
}

// URLEncoded is how a form is sent unless its page says otherwise.
const URLEncoded = "application/x-www-form-urlencoded"

// FormType is the encoding of a form, "" if the body is none that a form of HTML makes.
func FormType(r *http.Request) string {
	if len(r.Header["Content-Type"]) != 1 {
		return ""
	}
	switch kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case err != nil:
	case kind == URLEncoded, kind == "multipart/form-data", kind == "text/plain":
		return kind
	}
	return ""
}
