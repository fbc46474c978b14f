package portal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"sallyport/authn"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
	"sallyport/policy"
)

// maxCeremonyBody leaves room around the longest answer that the passkey package reads,
// so that the passkey package refuses an answer that is too long.
const maxCeremonyBody = passkey.MaxBody + 16<<10

// atHand reports whether the person proved themselves with a passkey just now and from
// where they are. Changing passkeys and looking at the account need that. A cookie that
// was stolen and used from another network is not enough.
func (p *Portal) atHand(j Judgement) bool {
	return p.cfg.Passkeys.Fresh(j.Session) == nil && j.Facts.Session.VerifiedHere
}

// ceremonyRequest is what the script posts at begin and finish.
type ceremonyRequest struct {
	Ticket     string          `json:"ticket"`
	ReturnTo   string          `json:"return_to"`
	Bind       string          `json:"bind"`
	Ceremony   string          `json:"ceremony"`
	Proposal   string          `json:"proposal"` // a passkey that was made and waits for confirmation
	Made       string          `json:"made"`     // its credential id, base64url
	Credential json.RawMessage `json:"credential"`
	Name       string          `json:"name"`
	TimeZone   string          `json:"time_zone"` // as the browser names it
}

func readCeremony(w http.ResponseWriter, r *http.Request) (ceremonyRequest, error) {
	var c ceremonyRequest
	err := decodeJSON(w, r, maxCeremonyBody, &c)
	if refusal, ok := errors.AsType[*Refusal](err); ok && refusal.Status == http.StatusRequestEntityTooLarge {
		refusal.Code = passkey.CodeResponseTooLarge
	}
	return c, err
}

// maxForm bounds the forms and scripts of our own pages, except the answers of passkeys.
const maxForm = 16 << 10

func tooLarge(most int64) *Refusal {
	return &Refusal{Status: http.StatusRequestEntityTooLarge, Code: "form_too_large", Title: "That is too large",
		Text: []string{fmt.Sprintf("More than %d KB were sent, which is the most that this page takes. Reload the page and try again.", most>>10)}}
}

// readForm reads the fields of a form of ours. If the form cannot be read, it has no
// fields.
func readForm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if _, large := errors.AsType[*http.MaxBytesError](r.ParseForm()); large {
		return tooLarge(maxForm)
	}
	return nil
}

var errIncomplete = &Refusal{Status: 400, Code: "bad_request", Title: "That request was not complete", Text: []string{"Reload the page and try again."}}

// decodeJSON reads the body that a script of ours posts: one JSON value of at most so
// many bytes, and nothing after it. Another site's form cannot send this content type
// without a preflight, which we refuse.
func decodeJSON(w http.ResponseWriter, r *http.Request, most int64, into any) error {
	if mt, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); mt != "application/json" {
		return errIncomplete
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return tooLarge(most)
		}
		return errIncomplete
	}
	if _, end := d.Token(); end != io.EOF {
		return errIncomplete
	}
	return nil
}

type ceremonyBegun struct {
	Ceremony string          `json:"ceremony"`
	Options  json.RawMessage `json:"options"`
}

// ceremonyMade answers the creation of a further passkey, which waits for confirmation.
type ceremonyMade struct {
	Proposal string `json:"proposal"`
}

type ceremonyDone struct {
	Next string `json:"next"`
}

// needSession lets a signed-in person pass; others get the address of the sign-in.
func (p *Portal) needSession(j Judgement, back string) error {
	if j.Session.Level() != authn.None {
		return nil
	}
	return sessionGone(back, j.Incident)
}

func sessionGone(back, incident string) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Code: "not_signed_in", Title: "You are not signed in any more",
		Text: []string{"Your session has ended. Sign in again to go on."}, Incident: incident,
		Link: Link{URL: Prefix + "sign-in?" + url.Values{"return_to": {back}}.Encode(), Text: "Sign in", Action: "sign-in"}}
}

func (p *Portal) stepUpPage(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	q := r.URL.Query()
	rs, err := p.parseReturnState(v, q.Get("return_to"), q.Get("bind"), q.Get("why"))
	if err != nil {
		return err
	}
	if yes, err := p.answered(r, v, rs); err != nil {
		return err
	} else if yes {
		redirect(w, p.next(rs))
		return nil
	}
	j, err := p.judged(r, v, policy.PurposeStepUp)
	if err != nil {
		return err
	}
	if j.Session.Level() == authn.None {
		redirect(w, rs.page("sign-in"))
		return nil
	}
	passkeys, err := p.cfg.Passkeys.List(r.Context(), j.Session.Person.Subject)
	switch {
	case err != nil:
		return err
	case len(passkeys) == 0:
		return p.noPasskey(r, v, j)
	case usable(passkeys) == 0:
		return p.passkeyBlocked(r, v, j)
	}
	p.keepDevice(w, r)
	causes := rs.causes
	if len(causes) == 0 && j.Session.Level() == authn.SignedIn {
		causes = []policy.Cause{policy.CauseUnverified}
	}
	title, text, button := "Verify it’s you", []string{because(causes), "Use your passkey: confirm with your fingerprint, your face or your device PIN."}, "Verify with your passkey"
	if q.Get("made") == "1" && j.Session.Level() == authn.SignedIn { // right after an enrolment
		title, button = "One more touch, to sign in", "Sign in with your new passkey"
		text = []string{"Your passkey is created. Now use it once: this time to sign in.", "Creating a passkey does not show yet that it works for you. Using it does."}
	}
	p.cfg.Pages.render(w, http.StatusOK, "ceremony", view{
		Title: title, Email: string(j.Session.Person.Email), Script: true, Verified: j.Session.Verification.At,
		Text:   text,
		Action: "verify", Button: button,
		Begin: Prefix + "step-up/begin", Finish: Prefix + "step-up/finish", ReturnTo: rs.to.String(), Bind: rs.bind,
		StepsTitle: "It does not work",
		Steps: []string{
			"Use the device or security key on which you set up your passkey.",
			"On another device, choose “use a phone or tablet” in the prompt and scan the code.",
			"If you have lost the device, ask your security team for a new enrolment ticket.",
		},
		More:     []Link{{URL: Prefix + "sign-out", Text: "Not you? Sign out"}},
		OnTheWay: rs.to.origin != p.origin,
	})
	return nil
}

func usable(list []passkey.Record) (n int) {
	for _, c := range list {
		if c.Blocked == "" {
			n++
		}
	}
	return n
}

// noPasskey answers a person without a passkey and without a ticket. It says what to do,
// and grants nothing.
func (p *Portal) noPasskey(r *http.Request, v PageRequest, j Judgement) error {
	if err := v.Record(r.Context(), "no_passkey", j, nil); err != nil {
		return err
	}
	return &Refusal{
		Status: http.StatusForbidden, Code: "no_passkey", Title: "You need a passkey to go on", Email: string(j.Session.Person.Email), Incident: j.Incident,
		Text: []string{"You have signed in, but no passkey is enrolled for you yet."},
		Steps: []string{
			"Ask your security team for an enrolment ticket. They will check who you are, usually in a short video call.",
			"They give you a link. Open it on the device you work with, in this browser.",
		},
		More: []Link{{URL: Prefix + "sign-out", Text: "Sign out"}},
	}
}

// passkeyBlocked answers a person whose passkeys are all blocked, because one behaved
// like a copy or because the security team blocked it.
func (p *Portal) passkeyBlocked(r *http.Request, v PageRequest, j Judgement) error {
	if err := v.Record(r.Context(), "step_up_failed", j, map[string]string{"code": passkey.CodeCredentialBlocked}); err != nil {
		return err
	}
	return &Refusal{
		Status: http.StatusForbidden, Code: passkey.CodeCredentialBlocked, Title: "Your passkey was blocked", Email: string(j.Session.Person.Email), Incident: j.Incident,
		Text:  []string{"It is not accepted any more: it did not behave as it should, or your security team has blocked it."},
		Steps: []string{"Tell your security team and give them the reference below. They can give you a new enrolment ticket."},
		More:  []Link{{URL: Prefix + "sign-out", Text: "Sign out"}},
	}
}

func (p *Portal) stepUpBegin(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	if _, err := readCeremony(w, r); err != nil {
		return err
	}
	j, err := p.judged(r, v, policy.PurposeStepUp)
	if err != nil {
		return err
	}
	if err := p.needSession(j, ""); err != nil {
		return err
	}
	c, err := p.cfg.Passkeys.BeginAssertion(r.Context(), j.Session)
	if errors.Is(err, passkey.ErrNoCredential) {
		return p.noPasskey(r, v, j)
	}
	if err != nil {
		return p.ceremonyFailed(r, v, j, "step_up_failed", err)
	}
	v.Asks(j)
	writeJSON(w, http.StatusOK, ceremonyBegun{c.ID, c.Options})
	return nil
}

func (p *Portal) stepUpFinish(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	c, err := readCeremony(w, r)
	if err != nil {
		return err
	}
	rs, err := p.parseReturnState(v, c.ReturnTo, c.Bind, "")
	if err != nil {
		return err
	}
	j, err := p.judged(r, v, policy.PurposeStepUp)
	if err != nil {
		return err
	}
	if err := p.needSession(j, rs.to.String()); err != nil {
		return err
	}
	cred, err := p.cfg.Passkeys.FinishAssertion(r.Context(), j.Session, c.Ceremony, c.Credential)
	if err != nil {
		return p.ceremonyFailed(r, v, j, "step_up_failed", err)
	}
	browser := v.Browser()
	browser.TimeZone = timeZone(c.TimeZone)
	s, err := p.cfg.Sessions.Verify(w, r, j.Session, authn.Verification{At: p.cfg.Now(), Addr: j.Facts.IP.Addr, Credential: cred, Browser: browser})
	if errors.Is(err, session.ErrNoSession) { // another tab was first, or the session ended meanwhile
		if err := v.Record(r.Context(), "step_up_failed", j, map[string]string{"code": passkey.CodeOvertaken}); err != nil {
			return err
		}
		return sessionGone(rs.to.String(), j.Incident)
	}
	if err != nil {
		return err
	}
	j.Session = s
	detail := withBrowser(map[string]string{"credential": credentialHandle(cred), "class": cred.Class.String()}, browser)
	if err := v.Record(r.Context(), "step_up", j, detail); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ceremonyDone{p.next(rs)})
	return nil
}

// ceremonyFailed records why the authenticator's answer was refused, and shows the person
// the passkey package's advice.
func (p *Portal) ceremonyFailed(r *http.Request, v PageRequest, j Judgement, event string, err error) error {
	var bad *passkey.Error
	if !errors.As(err, &bad) {
		return err
	}
	detail := map[string]string{"code": bad.Code}
	if bad.Risk {
		detail["risk"] = "high"
	}
	if err := v.Record(r.Context(), event, j, detail); err != nil {
		return err
	}
	p.cfg.Logger.Warn("passkey ceremony refused", "event", event, "code", bad.Code, "incident", j.Incident, "error", err)
	refusal := &Refusal{Status: http.StatusForbidden, Code: bad.Code, Title: "You were not verified", Text: []string{bad.Public}, Incident: j.Incident}
	if bad.Risk { // it may have blocked the passkey, and ended sessions
		over, err := p.sessionOver(r)
		if err != nil {
			return err
		}
		if over {
			refusal.Text[0] += " You have been signed out everywhere."
			refusal.Link = sessionGone(Prefix+"account", "").Link
		}
	}
	return refusal
}

// sessionOver applies, at once and in this process, what blocking or removing a passkey
// has ended. It reports whether the session of r has ended too.
func (p *Portal) sessionOver(r *http.Request) (bool, error) {
	// Without WithoutCancel, an attacker with a copied key could hang up in time.
	if err := p.cfg.Sessions.Sync(context.WithoutCancel(r.Context())); err != nil {
		return false, err
	}
	_, err := p.cfg.Sessions.Load(r, hostOf(p.origin))
	if errors.Is(err, session.ErrNoSession) {
		return true, nil
	}
	return false, err
}
