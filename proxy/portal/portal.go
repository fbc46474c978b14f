// Package portal is the pages that a person sees: sign-in, proof by passkey, enrolment of
// a passkey, the account, and refusals.
//
// It combines the ceremonies of the authn packages and writes the answers. It decides
// nothing about access: every page that moves a person forward first asks the gate for
// the policy's decision, through [PageRequest.Judge], and writes every event to the audit log,
// through [PageRequest.Record], before its answer leaves. If either fails, the answer is 503
// and nothing has happened.
//
// All ceremonies run on the sign-in host, the one origin that the relying party accepts.
// The other hosts only send people there and take them back with a hand-off code (see
// authn/session).
//
// The pages work with a keyboard and a screen reader, load nothing from other hosts, and
// run under a content security policy without inline script or style.
package portal

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
	"sallyport/authn/signin"
	"sallyport/policy"
)

// Prefix is the path that Sallyport reserves on every host.
const Prefix = "/.sallyport/"

// Judgement is what the gate established about a request to these pages.
type Judgement struct {
	Session  authn.Session // zero: not signed in
	Facts    policy.Facts
	Decision policy.Decision
	Incident string // for every refusal and failure of this request
}

// PageRequest is one request to these pages, with the gate's canonical facts. It can be
// judged and recorded.
type PageRequest interface {
	// Origin is the canonical origin asked for, such as "https://app.example.com".
	Origin() string
	// Path is the canonical path.
	Path() string
	// Ours reports whether an origin is the sign-in host's or a route's, as routes are now.
	Ours(origin string) bool
	// Judge asks the policy about this request for one of the policy.Purpose*
	// values. An error means that no judgement could be made: the caller refuses.
	Judge(purpose string) (Judgement, error)
	// JudgeHandoff is Judge for policy.PurposeSignIn about handing the session over to a
	// host. began is the address that the tool was opened from, which may differ from the
	// visit's.
	JudgeHandoff(host string, began netip.Addr) (Judgement, error)
	// Addr is the client's address.
	Addr() netip.Addr
	// Unanswered is how many proofs in a row, the newest just now, did not satisfy this
	// host's policy.
	Unanswered() int
	// Proof is the newest assertion of the session that this host has.
	Proof() session.Proof
	// Asks notes that the person of a judgement is asked for their passkey: a prompt that no
	// one answers is a fact of behaviour.
	Asks(Judgement)
	// Near reports whether two addresses are of one network or one provider.
	Near(a, b netip.Addr) bool
	// Locate returns what the IP data says about an address.
	Locate(netip.Addr) policy.IP
	// Told are those of a person's groups that the pages of this origin may know.
	Told(groups []string) []string
	// StepUpDue reports whether a page of this origin, by its path, would ask the person
	// for a step-up now.
	StepUpDue(path string) bool
	// Browser describes the browser, without its time zone.
	Browser() authn.Browser
	// Record writes an identity event; it is durable when Record returns.
	Record(ctx context.Context, event string, j Judgement, detail map[string]string) error
	// Reference is the incident to search for in the log and to show to people. When
	// there are too many records of a kind, they share one.
	Reference(incident string) string
}

// Config is what the pages are made of. Fields are required unless they say otherwise.
type Config struct {
	SignIn   *url.URL // the sign-in host (external_url)
	Sessions *session.Manager
	Provider *signin.Provider
	Passkeys *passkey.RelyingParty
	Tickets  *enroll.Issuer
	Pages    *Pages
	// HandoffByPost hands every session over by a form, as to another site.
	HandoffByPost bool
	Tools         func(authn.Person) []Link // what this person may open; optional
	// Stopped counts a ceremony that the browser did not complete; optional. Both
	// arguments come from a short fixed list.
	Stopped func(phase, name string)
	// TooLarge is called when a request to these pages is larger than they accept;
	// optional.
	TooLarge func()
	Now      func() time.Time
	Logger   *slog.Logger
}

// Portal serves everything below [Prefix].
type Portal struct {
	cfg    Config
	origin string
	secure bool
	csrf   *http.CrossOriginProtection

	unrefreshed sync.Once // the warning about a provider without refresh tokens
}

// New checks c. It does no I/O.
func New(c Config) (*Portal, error) {
	if c.Sessions == nil || c.Provider == nil || c.Passkeys == nil || c.Tickets == nil || c.Pages == nil || c.Now == nil || c.Logger == nil {
		return nil, errors.New("portal: incomplete configuration")
	}
	origin, ok := canonicalOrigin(c.SignIn)
	if !ok {
		return nil, fmt.Errorf("portal: %q is not an http(s) origin", c.SignIn)
	}
	return &Portal{cfg: c, origin: origin, secure: c.SignIn.Scheme == "https", csrf: http.NewCrossOriginProtection()}, nil
}

// handler is one page. Serve renders the error that it returns, if any: Serve is the one
// place that turns errors into answers.
type handler func(w http.ResponseWriter, r *http.Request, v PageRequest) error

// Serve answers a request below Prefix.
func (p *Portal) Serve(w http.ResponseWriter, r *http.Request, v PageRequest) {
	if p.cfg.Pages.ServeAsset(w, r, v.Path()) {
		return
	}
	if v.Origin() == p.origin {
		// Asks for a process of its own, even beside a tool's page that opened this one,
		// because tools are the same site. On its own host the tool decides this.
		w.Header().Set("Origin-Agent-Cluster", "?1")
	}
	h := p.route(r.Method, strings.TrimPrefix(v.Path(), Prefix), v.Origin() == p.origin)
	if h == nil {
		p.fail(w, r, v, &Refusal{Status: 404, Code: "not_found", Title: "There is nothing here", Text: []string{"This address does not exist."}, Link: Link{URL: "/", Text: "Go to the start page"}})
		return
	}
	if err := p.sameOrigin(w, r, v); err != nil {
		p.fail(w, r, v, err)
		return
	}
	if err := h(w, r, v); err != nil {
		p.fail(w, r, v, err)
	}
}

// sameOrigin refuses a request that another origin makes a browser send. Back-channel
// logout is the one call that comes from a server, without a browser's cookies or origin.
func (p *Portal) sameOrigin(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	if v.Path() == Prefix+"backchannel-logout" {
		return nil
	}
	// Only the sign-in host may bring a session to a tool's host.
	if v.Origin() != p.origin && v.Path() == Prefix+"callback" && r.Method == http.MethodPost {
		if p.fromSignInHost(w, r) {
			return nil
		}
	} else if p.csrf.Check(r) == nil {
		return nil
	}
	j, err := v.Judge(policy.PurposeSignIn)
	if err != nil {
		return err
	}
	if err := v.Record(r.Context(), "cross_site_refused", j, nil); err != nil {
		return err
	}
	return &Refusal{Status: 403, Code: "cross_origin", Title: "That request came from another site", Incident: j.Incident,
		Text: []string{"It was refused to protect your account. Start again from the tool you wanted to open."}, Link: YourTools}
}

// route names the handler, or nil. Hosts other than the sign-in host serve only what
// concerns their own cookie; they redirect ceremonies.
func (p *Portal) route(method, page string, signInHost bool) handler {
	get := method == http.MethodGet || method == http.MethodHead
	post := method == http.MethodPost
	switch {
	case page == "whoami" && get:
		return p.whoami
	case !signInHost && page == "sign-out" && (get || post):
		return p.overToSignOut
	case page == "sign-out" && get:
		return p.signOutPage
	case page == "sign-out" && post:
		return p.signOut
	case !signInHost && page == "callback" && post:
		return p.handoff
	case !signInHost && page == "callback" && get:
		return p.handoffLink
	case !signInHost && get && page == "send-again":
		return p.sendAgainPage
	case !signInHost && get && page == "way":
		return p.wayPage
	case !signInHost && get && page == "go-back":
		return p.goBackPage
	case !signInHost && get && (page == "sign-in" || page == "step-up" || page == "enroll" || page == "account"):
		return p.overToSignInHost(page)
	case !signInHost:
		return nil
	}
	switch [2]string{page, method} {
	case [2]string{"sign-in", "GET"}, [2]string{"sign-in", "HEAD"}:
		return p.signInPage
	case [2]string{"callback", "GET"}:
		return p.callback
	case [2]string{"step-up", "GET"}, [2]string{"step-up", "HEAD"}:
		return p.stepUpPage
	case [2]string{"handoff", "GET"}:
		return p.handoffPage
	case [2]string{"handoff", "POST"}:
		return p.handoffMake
	case [2]string{"handoff/not-me", "POST"}:
		return p.handoffDenied
	case [2]string{"step-up/begin", "POST"}:
		return p.stepUpBegin
	case [2]string{"step-up/finish", "POST"}:
		return p.stepUpFinish
	case [2]string{"ceremony/stopped", "POST"}:
		return p.ceremonyStopped
	case [2]string{"enroll", "GET"}, [2]string{"enroll", "HEAD"}:
		return p.enrollPage
	case [2]string{"enroll/begin", "POST"}:
		return p.enrollBegin
	case [2]string{"enroll/finish", "POST"}:
		return p.enrollFinish
	case [2]string{"enroll/confirm/begin", "POST"}:
		return p.confirmBegin
	case [2]string{"enroll/confirm/finish", "POST"}:
		return p.confirmFinish
	case [2]string{"account", "GET"}, [2]string{"account", "HEAD"}:
		return p.accountPage
	case [2]string{"account", "POST"}:
		return p.accountChange
	case [2]string{"backchannel-logout", "POST"}:
		return p.backchannelLogout
	}
	return nil
}

// Error makes a Refusal an error that handlers can return.
func (f *Refusal) Error() string { return f.Code }

// fail turns an error into an answer. An error that is no Refusal is a fault of ours: the
// person gets a plain 503, and the log gets the cause.
func (p *Portal) fail(w http.ResponseWriter, r *http.Request, v PageRequest, err error) {
	// A refusal grants nothing, so it must not deliver a session that was already set.
	w.Header().Del("Set-Cookie")
	var refusal *Refusal
	if errors.As(err, &refusal) {
		f := *refusal
		if f.Code == codeTicketRefused || f.Code == codeEnrolled {
			p.dropTicket(w, r)
		}
		if f.Status == http.StatusRequestEntityTooLarge && p.cfg.TooLarge != nil {
			p.cfg.TooLarge()
		}
		if f.Incident == "" && f.Status != http.StatusNotFound {
			f.Incident = NewIncident()
			p.cfg.Logger.Info("page refused", "code", f.Code, "incident", f.Incident, "path", v.Path())
		}
		f.Incident = v.Reference(f.Incident)
		p.cfg.Pages.Refuse(w, r, f)
		return
	}
	incident := NewIncident()
	p.cfg.Logger.Error("page failed", "path", v.Path(), "incident", incident, "error", err)
	p.cfg.Pages.Refuse(w, r, Unavailable(incident))
}

// Unavailable is the answer when a part of the product is down. No request was forwarded,
// and no change is half done.
func Unavailable(incident string) Refusal {
	return Refusal{
		Status: http.StatusServiceUnavailable, Code: "unavailable", Title: "Sign-in is not working right now", Incident: incident,
		Text:  []string{"Something on our side is not available, so no one can be let in at the moment. Nothing you did was lost."},
		Steps: []string{"Wait a minute, then reload this page.", "If it goes on, tell your operations team and give them the reference below."},
	}
}

// NewIncident returns a reference for people to quote: 50 random bits, in letters and
// digits that are not confused when read aloud.
func NewIncident() string {
	var b [10]byte
	_, _ = rand.Read(b[:])
	s := incidentAlphabet.EncodeToString(b[:])
	return s[:5] + "-" + s[5:10]
}

// ReadIncident returns a reference as [NewIncident] writes it, from text that a person
// heard or typed: in small letters, without the hyphen or with spaces, with O for 0 and I
// or L for 1, as in Crockford's base 32. It returns false if the text cannot be a
// reference.
func ReadIncident(text string) (string, bool) {
	s := strings.NewReplacer("-", "", " ", "", "\n", "", "\r", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(text))
	if _, err := incidentAlphabet.DecodeString(s); err != nil || len(s) != 10 {
		return "", false
	}
	return s[:5] + "-" + s[5:], true
}

var incidentAlphabet = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding) // Crockford's

// judged asks the policy about a purpose, and turns a block into a recorded refusal.
func (p *Portal) judged(r *http.Request, v PageRequest, purpose string) (Judgement, error) {
	j, err := v.Judge(purpose)
	if err != nil {
		return j, err
	}
	refuse := j.Decision.Action == policy.Block ||
		// A person without a passkey cannot step up, so for enrolment a step-up is a
		// refusal.
		purpose == policy.PurposeEnroll && j.Decision.Action == policy.StepUp && j.Session.Level() != authn.None
	if !refuse {
		return j, nil
	}
	if err := v.Record(r.Context(), purpose+"_refused", j, nil); err != nil {
		return j, err
	}
	f := Blocked(j.Decision, string(j.Session.Person.Email), j.Incident)
	if purpose == policy.PurposeEnroll {
		f.Title = "You cannot enrol a passkey from here"
	}
	return j, &f
}

func hostOf(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

// target reads the return_to parameter. Without one, it is the account page, which lists
// the person's tools.
func (p *Portal) target(v PageRequest, raw string) (returnTo, error) {
	if raw == "" {
		return returnTo{p.origin, Prefix + "account"}, nil
	}
	to, err := parseReturnTo(raw, p.origin, v.Ours)
	if err != nil {
		return to, errBadReturnTo
	}
	return to, nil
}

var errBadReturnTo = &Refusal{Status: 400, Code: "bad_return_to", Title: "That link is not right",
	Text: []string{"It would lead to an address that does not belong to this sign-in. Open the tool you want directly."}, Link: YourTools}

// YourTools links from a page without a target to the page that lists the person's tools.
var YourTools = Link{URL: Prefix + "account", Text: "See the tools you can open"}

// validBind accepts nothing, and what has the form of a sealed bind. The seal is checked
// when the bind is used, and not while a person is on their way.
func validBind(s string) bool {
	return len(s) <= maxBind && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

const maxBind = 1024

// returnState is where a person is heading, as every page of a sign-in carries it.
type returnState struct {
	to     returnTo
	bind   string
	causes []policy.Cause
}

func (p *Portal) parseReturnState(v PageRequest, returnTo, bind, why string) (returnState, error) {
	to, err := p.target(v, returnTo)
	if err != nil {
		return returnState{}, err
	}
	if !validBind(bind) {
		return returnState{}, &Refusal{Status: 400, Code: "bad_request", Title: "That link is not right", Text: []string{"Open the tool you want directly."}, Link: YourTools}
	}
	return returnState{to, bind, parseCauses(why)}, nil
}

// page is the address of a page of the sign-in host that keeps the return state.
func (rs returnState) page(name string) string {
	q := url.Values{"return_to": {rs.to.String()}}
	if rs.bind != "" {
		q.Set("bind", rs.bind)
	}
	if len(rs.causes) > 0 {
		q.Set("why", joinCauses(rs.causes))
	}
	return Prefix + name + "?" + q.Encode()
}

func redirect(w http.ResponseWriter, to string) { sendTo(w, http.StatusFound, to) }

// seeOther answers a form, so that the next request is a GET.
func seeOther(w http.ResponseWriter, to string) { sendTo(w, http.StatusSeeOther, to) }

func sendTo(w http.ResponseWriter, status int, to string) {
	SecurityHeaders(w.Header())
	passThrough(w.Header())
	w.Header().Set("Location", to)
	w.WriteHeader(status)
}
