package portal

import (
	"mime"
	"net/http"
	"strings"

	"sallyport/proxy/grpc"
)

// Kind is what the client does with an answer of ours. A page, or a redirect to one, is
// for a person who sees it. A script, a frame or an image does not show it, and the
// person would be left with a tool that fails without a reason.
//
// It decides the form of an answer and never whether there is one: the gate decides who
// may ask (crossorigin.go), and a client can claim any kind.
type Kind int

const (
	// Data is for a script or a program, or for a resource that is not read (an image, a
	// style sheet): JSON. A redirect would lead to a page of another origin, which
	// scripts see as a network error.
	Data Kind = iota
	// Call is for a gRPC client: its status.
	Call
	// Ahead is for a page that the browser prefetches. Nothing may be started for it.
	// With an error status the browser discards it, and asks again when the person goes
	// there.
	Ahead
	// Framed is for a page inside another page, whose address the person does not see: no
	// redirect, as our pages are not shown in frames, and no control except a link that
	// opens a tab.
	Framed
	// Page is for the whole window: a redirect, or a page with forms.
	Page
)

// KindOf is the one place that reads what the client will do with the answer. Browsers
// say it in Fetch metadata, which no script can set; those of before 2023 (Safari 16.4)
// and programs are classified by what they accept.
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
	case dest == "", dest == "empty": // a service worker that forwards a navigation makes it "empty"
		kind = Page
	default: // a page context that is not known yet
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

// passedOn reports whether a service worker forwards a navigation in Firefox, which then
// sends the mode "same-origin" and not "navigate", as other engines do. A script that
// fetches sends neither this Accept nor Upgrade-Insecure-Requests unless it sets them
// itself.
func passedOn(r *http.Request) bool {
	h := r.Header
	return h.Get("Sec-Fetch-Mode") == "same-origin" && h.Get("Sec-Fetch-Dest") == "empty" && h.Get("Upgrade-Insecure-Requests") == "1" && acceptsPage(r)
}

// acceptsPage classifies a client without Fetch metadata. Scripts of that time that fetch
// HTML for their page send X-Requested-With. A POST counts as a page if it is a form.
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

// ahead reports whether the browser asks before the person goes there: Sec-Purpose has no
// other use (Fetch section 3.3), and Purpose is its older name.
func ahead(r *http.Request) bool {
	return len(r.Header["Sec-Purpose"])+len(r.Header["Purpose"]) > 0
}

// wholeWindow reports whether a browser says that the answer fills the whole window. A
// browser without Fetch metadata is believed if it accepts pages.
func wholeWindow(r *http.Request) bool {
	bare := len(r.Header["Sec-Fetch-Site"])+len(r.Header["Sec-Fetch-Mode"])+len(r.Header["Sec-Fetch-Dest"]) == 0
	return KindOf(r) == Page && (bare || r.Header.Get("Sec-Fetch-Dest") == "document")
}

// URLEncoded is how a form is sent unless its page says otherwise.
const URLEncoded = "application/x-www-form-urlencoded"

// FormType is the encoding of a form, "" if no HTML form sends such a body.
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
