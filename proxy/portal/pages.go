package portal

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sallyport/proxy/grpc"
	"sallyport/proxy/observe"
)

//go:embed pages/*.html assets/*
var files embed.FS

// contentSecurityPolicy allows what the pages need and nothing else: own style,
// own script as a module, fetches to this host. Trusted Types make assigning
// markup from script an error.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// formAnywhere allows the page's form to lead to any page of the web, but to no script.
var formAnywhere = strings.NewReplacer("form-action 'self'", "form-action 'self' https: http:")

// Link is a link on a page.
type Link struct{ URL, Text, Action string }

// view is what the templates see. One struct serves every page, so that the
// layout can rely on its fields.
type view struct {
	Title, Email, Incident, Contact, Assets string
	Made                                    int64     // by our clock, in milliseconds since 1970
	Verified                                time.Time // the person had verified then, perhaps by another replica's clock
	Script, Wide                            bool
	Text, Steps                             []string
	StepsTitle                              string
	Link                                    Link
	More                                    []Link

	// ceremony pages
	Action, Button, Begin, Finish, ReturnTo, Bind, Ticket, Suggested string
	Stopped                                                          string // where the script reports that the browser did not complete the ceremony
	Confirm                                                          string // where a further passkey is confirmed; "": no such step

	// hand-off page
	Module      string     // a script other than that of the ceremonies
	Reach       string     // an origin that the page may post to
	Auto        bool       // go on without a press
	Began, Here *placeView // where the tool was opened, and where the person is; nil: no question
	Deny        string     // where the button "that was not me" leads
	Refresh     string     // an address to go on to automatically

	Resume string // "on", "again": the script goes on to the target of this tab's sign-in, or starts it again

	Keep   bool // the page keeps its address until the person is back
	Linked bool // with Keep: another page may have chosen the address, see [Linked]
	Press  bool // the script does not navigate by itself

	// a page in a frame
	Ancestors string // who may show it, as frame-ancestors has it; "": no page may
	Again     string // the requested address

	// OnTheWay: the page lies between a tool's page and another page of a tool, see
	// [passThrough].
	OnTheWay bool

	// a form of the tool's that is sent again
	Resend bool
	Fields []Field

	// account page
	Notice   string
	Passkeys []passkeyView
	Sessions []sessionView
	Tools    []Link
}

// placeView is a network as people know it. Country is a code, which the script replaces
// with a name.
type placeView struct{ Address, Provider, Country string }

type passkeyView struct {
	ID, Name, Kind, Created, Used string
	Current, Blocked, Removable   bool
}

type sessionView struct {
	ID, Created, Seen, Expires string
	Current                    bool
}

// Pages renders what a person sees. It holds no state beyond its templates, and
// is safe for concurrent use.
type Pages struct {
	contact   string
	now       func() time.Time
	logger    *slog.Logger
	templates map[string]*template.Template
	assets    map[string]asset
	base      string // path of the assets, which changes with their content
}

type asset struct {
	contentType string
	body        []byte
}

// NewPages prepares the templates. contact is shown as "Need help? ..." on every
// page; empty leaves the line out. now is the clock of the sessions.
func NewPages(contact string, now func() time.Time, logger *slog.Logger) (*Pages, error) {
	p := &Pages{contact: contact, now: now, logger: logger, templates: map[string]*template.Template{}, assets: map[string]asset{}}
	for _, name := range []string{"message", "framed", "ceremony", "handoff", "resend", "way", "sign-out", "account"} {
		t, err := template.ParseFS(files, "pages/layout.html", "pages/"+name+".html")
		if err != nil {
			return nil, err
		}
		p.templates[name] = t
	}
	entries, err := fs.ReadDir(files, "assets")
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	for _, e := range entries {
		body, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, err
		}
		sum.Write(body)
		p.assets[e.Name()] = asset{contentTypes[e.Name()[strings.LastIndexByte(e.Name(), '.'):]], body}
	}
	p.base = Prefix + "assets/" + hex.EncodeToString(sum.Sum(nil)[:8])
	return p, nil
}

// sessionScript is for the pages of tools, which rely on this name.
const sessionScript = "session.js"

var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// ServeAsset answers for a style sheet, script or icon, if path names one. The folder
// name is a hash of the content, so that browsers may keep them for good.
func (p *Pages) ServeAsset(w http.ResponseWriter, r *http.Request, path string) bool {
	name, ok := strings.CutPrefix(path, p.base+"/")
	keep := "public, max-age=31536000, immutable"
	if path == Prefix+sessionScript {
		name, ok, keep = sessionScript, true, "public, max-age=3600" // its address stays
	}
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	a, ok := p.assets[name]
	if !ok {
		return false
	}
	h := w.Header()
	SecurityHeaders(h)
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", keep)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, _ = w.Write(a.body)
	return true
}

// render writes one page. The body is complete before the first byte leaves, so
// that a template error becomes a clean 500 and never half a page.
func (p *Pages) render(w http.ResponseWriter, status int, name string, v view) {
	v.Assets, v.Contact, v.Stopped, v.Made = p.base, p.contact, Prefix+"ceremony/stopped", max(p.now().UnixMilli(), v.Verified.UnixMilli())
	var body bytes.Buffer
	if err := p.templates[name].ExecuteTemplate(&body, "layout", v); err != nil {
		p.logger.Error("page could not be rendered", "page", name, "error", err)
		http.Error(w, "This page could not be shown. Please try again.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	SecurityHeaders(h)
	if v.Reach != "" {
		h.Set("Content-Security-Policy", strings.NewReplacer("connect-src 'self'", "connect-src 'self' "+v.Reach, "form-action 'self'", "form-action 'self' "+v.Reach).Replace(contentSecurityPolicy))
		h.Set("Referrer-Policy", "strict-origin") // without a referrer, browsers post forms with the origin "null"
	}
	if v.Resend {
		resendHeaders(h)
	}
	if v.OnTheWay {
		passThrough(h)
	}
	if v.Ancestors != "" {
		framable(h, v.Ancestors)
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}

// SecurityHeaders sets the headers of every answer that we make ourselves, with any
// status and in any form.
func SecurityHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // tickets travel in URLs
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "publickey-credentials-create=(self), publickey-credentials-get=(self)")
}

// passThrough keeps a window connected to the page that opened it; SecurityHeaders
// disconnects it. A tool opens a window of its own (its OAuth, a picker), and waits there
// for a message by opener.postMessage. One answer with another policy in between, even a
// redirect, would disconnect the two forever, and the tool would see its window as
// closed.
//
// So redirects, and the pages of a sign-in or a step-up that lead to a tool, do not
// disconnect. The opener gains little: it can close the window or navigate it, as when it
// opened it, and read nothing of another origin. The pages listen to no message, have no
// frames, and ask for a passkey, which works on this host alone. Pages where a button
// grants something (a hand-off to another network, enrolment, the account, signing out)
// do disconnect.
func passThrough(h http.Header) { h.Set("Cross-Origin-Opener-Policy", "unsafe-none") }

// Refusal is an answer instead of the requested resource. It is rendered as a page for a
// browser that navigates, as a gRPC status for gRPC calls, and as JSON for everything
// else.
type Refusal struct {
	Status   int
	Code     string // machine-readable, stable: "blocked", "not_signed_in", ...
	Title    string
	Text     []string
	Steps    []string // what the person can do
	Link     Link
	More     []Link
	Incident string
	Email    string        // the signed-in person, if any
	MaxAge   time.Duration // with StepUp: how old the assertion may be
	StepUp   bool          // answer with the RFC 9470 challenge
	Tool     bool          // the request was forwarded, and the tool failed
	Ended    bool          // a sign-in is over: a browser that started one in this tab starts it again
	Again    string        // for a page in a frame: what to show after the proof
	Verified time.Time     // for such a page: when the person had verified, if they had
}

// challenge says in a header which proof would help.
func challenge(w http.ResponseWriter, f Refusal) {
	switch {
	case f.StepUp: // RFC 9470 section 3
		challenge := `Bearer error="insufficient_user_authentication", error_description="A fresh passkey verification is required"`
		if f.MaxAge > 0 {
			challenge += ", max_age=" + strconv.Itoa(int(f.MaxAge/time.Second))
		}
		w.Header().Set("WWW-Authenticate", challenge)
	case f.Status == http.StatusUnauthorized: // RFC 9110 section 15.5.2
		w.Header().Set("WWW-Authenticate", "Bearer")
	case f.Status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "10")
	}
}

// view is f as a page.
func (f *Refusal) view() view {
	v := view{Title: f.Title, Text: f.Text, Steps: f.Steps, Link: f.Link, More: f.More, Incident: f.Incident, Email: f.Email}
	if f.Ended {
		v.Module, v.Resume = "resume.js", "again"
	}
	return v
}

// Refuse answers r. It is the only place that does, for the gate as well, except
// [Pages.RefuseForm].
func (p *Pages) Refuse(w http.ResponseWriter, r *http.Request, f Refusal) {
	challenge(w, f)
	kind := KindOf(r)
	if kind >= Ahead {
		p.render(w, f.Status, "message", f.view())
		return
	}
	message := f.Title
	if len(f.Text) > 0 {
		message = f.Text[0]
	}
	if kind == Call {
		refuseCall(w, r, f, message)
		return
	}
	writeJSON(w, f.Status, problem{Error: f.Code, Message: message, Incident: f.Incident, Next: f.Link.URL})
}

// refuseCall answers a gRPC call. A refusal of ours keeps its HTTP status beside gRPC's,
// so that a client that knows only HTTP (nginx asking whether to let a call through, a
// balancer, a cache) does not take it for a yes. gRPC clients use their own status if
// both are there (doc/http-grpc-status-mapping.md). A failure of the tool is reported as
// a tool reports it, with 200.
func refuseCall(w http.ResponseWriter, r *http.Request, f Refusal, message string) {
	if f.Incident != "" {
		message += " (reference " + f.Incident + ")"
	}
	status := f.Status
	if f.Tool {
		status = http.StatusOK
		observe.Means(w, f.Status)
	}
	SecurityHeaders(w.Header())
	grpc.Refuse(w, r, status, grpc.CodeOf(f.Status), message)
}

// problem is the JSON form of a refusal.
type problem struct {
	Error    string `json:"error"`
	Message  string `json:"message"`
	Incident string `json:"incident,omitempty"`
	Next     string `json:"next,omitempty"` // where a browser can fix it
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, `{"error":"internal"}`, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	SecurityHeaders(h)
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
