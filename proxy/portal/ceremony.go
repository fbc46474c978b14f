package portal

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
	"sallyport/policy"
)

// addFreshness is how recent an assertion has to be to add or remove a passkey.
const addFreshness = 5 * time.Minute

const maxCeremonyBody = 128 << 10

// ceremonyRequest is what the script posts at begin and finish.
type ceremonyRequest struct {
	Ticket     string          `json:"ticket"`
	ReturnTo   string          `json:"return_to"`
	Bind       string          `json:"bind"`
	Ceremony   string          `json:"ceremony"`
	Credential json.RawMessage `json:"credential"`
	Name       string          `json:"name"`
}

func readCeremony(w http.ResponseWriter, r *http.Request) (ceremonyRequest, error) {
	var c ceremonyRequest
	bad := &Refusal{Status: 400, Code: "bad_request", Title: "That request was not complete", Text: []string{"Reload the page and try again."}}
	// A cross-site form cannot send this type without a preflight that nobody answers.
	if mt, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); mt != "application/json" {
		return c, bad
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCeremonyBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil || d.More() {
		return c, bad
	}
	return c, nil
}

type ceremonyBegun struct {
	Ceremony string          `json:"ceremony"`
	Options  json.RawMessage `json:"options"`
}

type ceremonyDone struct {
	Next string `json:"next"`
}

// needSession lets a signed-in person pass; others are told where to sign in.
func (p *Portal) needSession(j Judgement, back string) error {
	if j.Session.Level() != authn.None {
		return nil
	}
	return &Refusal{Status: http.StatusUnauthorized, Code: "not_signed_in", Title: "You are not signed in any more",
		Text: []string{"Your session has ended. Sign in again to go on."}, Incident: j.Incident,
		Link: Link{URL: Prefix + "sign-in?" + url.Values{"return_to": {back}}.Encode(), Text: "Sign in", Action: "sign-in"}}
}

func (p *Portal) stepUpPage(w http.ResponseWriter, r *http.Request, v Visit) error {
	q := r.URL.Query()
	trip, err := p.journey(q.Get("return_to"), q.Get("bind"), q.Get("why"))
	if err != nil {
		return err
	}
	j, err := p.judged(r, v, policy.PurposeStepUp)
	if err != nil {
		return err
	}
	if j.Session.Level() == authn.None {
		redirect(w, trip.page("sign-in"))
		return nil
	}
	usable, err := p.usablePasskeys(r, j.Session.Person.Subject)
	if err != nil {
		return err
	}
	if usable == 0 {
		return p.noPasskey(w, r, v, j)
	}
	causes := trip.causes
	if len(causes) == 0 && j.Session.Level() == authn.SignedIn {
		causes = []policy.Cause{policy.CauseUnverified}
	}
	p.Pages.render(w, http.StatusOK, "ceremony", view{
		Title: "Verify it’s you", Email: string(j.Session.Person.Email), Script: true,
		Text:   []string{because(causes), "Use your passkey: confirm with your fingerprint, your face or your device PIN."},
		Action: "verify", Button: "Verify with your passkey",
		Begin: Prefix + "step-up/begin", Finish: Prefix + "step-up/finish", ReturnTo: trip.to.String(), Bind: trip.bind,
		StepsTitle: "It does not work",
		Steps: []string{
			"Use the device or security key on which you set up your passkey.",
			"On another device, choose “use a phone or tablet” in the prompt and scan the code.",
			"If you have lost the device, ask your security team for a new enrolment ticket.",
		},
		More: []Link{{URL: Prefix + "sign-out", Text: "Not you? Sign out"}},
	})
	return nil
}

func (p *Portal) usablePasskeys(r *http.Request, who authn.Subject) (int, error) {
	list, err := p.Passkeys.List(r.Context(), who)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, c := range list {
		if c.Blocked == "" {
			n++
		}
	}
	return n, nil
}

// noPasskey is the end of the road for somebody without a passkey and without a
// ticket: it says what to do, and gives nothing.
func (p *Portal) noPasskey(w http.ResponseWriter, r *http.Request, v Visit, j Judgement) error {
	if err := v.Record(r.Context(), "no_passkey", j, nil); err != nil {
		return err
	}
	p.Pages.Refuse(w, r, Refusal{
		Status: http.StatusForbidden, Code: "no_passkey", Title: "You need a passkey to go on", Email: string(j.Session.Person.Email), Incident: j.Incident,
		Text: []string{"You have signed in, but no passkey is enrolled for you yet."},
		Steps: []string{
			"Ask your security team for an enrolment ticket. They will check who you are, usually in a short video call.",
			"They give you a link. Open it on the device you work with, in this browser.",
		},
		More: []Link{{URL: Prefix + "sign-out", Text: "Sign out"}},
	})
	return nil
}

func (p *Portal) stepUpBegin(w http.ResponseWriter, r *http.Request, v Visit) error {
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
	c, err := p.Passkeys.BeginAssertion(r.Context(), j.Session)
	if errors.Is(err, passkey.ErrNoCredential) {
		return p.noPasskey(w, r, v, j)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ceremonyBegun{c.ID, c.Options})
	return nil
}

func (p *Portal) stepUpFinish(w http.ResponseWriter, r *http.Request, v Visit) error {
	c, err := readCeremony(w, r)
	if err != nil {
		return err
	}
	trip, err := p.journey(c.ReturnTo, c.Bind, "")
	if err != nil {
		return err
	}
	j, err := p.judged(r, v, policy.PurposeStepUp)
	if err != nil {
		return err
	}
	if err := p.needSession(j, trip.to.String()); err != nil {
		return err
	}
	cred, err := p.Passkeys.FinishAssertion(r.Context(), j.Session, c.Ceremony, c.Credential)
	if err != nil {
		return p.ceremonyFailed(r, v, j, "step_up_failed", err)
	}
	s, err := p.Sessions.Verify(w, r, j.Session, authn.Verification{At: p.Now(), Addr: j.Facts.IP.Addr, Credential: cred})
	if err != nil {
		return err
	}
	j.Session = s
	if err := v.Record(r.Context(), "step_up", j, map[string]string{"credential": credentialHandle(cred), "class": cred.Class.String()}); err != nil {
		return err
	}
	next, err := p.next(r.Context(), s, trip.to, trip.bind)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ceremonyDone{next})
	return nil
}

// ceremonyFailed records why the authenticator's answer was refused, and tells the
// person what the passkey package says they can do about it.
func (p *Portal) ceremonyFailed(r *http.Request, v Visit, j Judgement, event string, err error) error {
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
	p.Logger.Warn("passkey ceremony refused", "event", event, "code", bad.Code, "incident", j.Incident, "error", err)
	return &Refusal{Status: http.StatusForbidden, Code: bad.Code, Title: "You were not verified", Text: []string{bad.Public}, Incident: j.Incident}
}

// enrollPage offers a first passkey to whoever brings a ticket, and a further one
// to whoever has just used one they have.
func (p *Portal) enrollPage(w http.ResponseWriter, r *http.Request, v Visit) error {
	q := r.URL.Query()
	ticket := q.Get("ticket")
	j, err := p.judged(r, v, policy.PurposeEnroll)
	if err != nil {
		return err
	}
	here := Prefix + "enroll"
	if ticket != "" {
		here += "?" + url.Values{"ticket": {ticket}}.Encode()
	}
	if j.Session.Level() == authn.None {
		redirect(w, Prefix+"sign-in?"+url.Values{"return_to": {here}}.Encode())
		return nil
	}
	if ticket == "" {
		if j.Session.Level() != authn.Verified {
			return p.noPasskey(w, r, v, j)
		}
		if p.Now().Sub(j.Session.Verification.At) > addFreshness-time.Minute { // leave a minute for the ceremony
			redirect(w, journey{to: returnTo{p.origin, here}, causes: []policy.Cause{policy.CauseSession}}.page("step-up"))
			return nil
		}
	} else if _, err := p.Tickets.Check(r.Context(), ticket, j.Session.Person.Email); err != nil {
		return p.ticketRefused(r, v, j, err)
	}
	p.Pages.render(w, http.StatusOK, "ceremony", view{
		Title: "Enrol your passkey", Email: string(j.Session.Person.Email), Script: true,
		Text:   []string{"A passkey replaces a second password: from now on you confirm sign-ins with your fingerprint, your face or your device PIN. These never leave your device."},
		Action: "enroll", Button: "Create the passkey", Suggested: suggestName(r.UserAgent()),
		Begin: Prefix + "enroll/begin", Finish: Prefix + "enroll/finish", Ticket: ticket, ReturnTo: q.Get("return_to"),
		StepsTitle: "What you need",
		Steps:      []string{"A screen lock on this device (fingerprint, face or PIN), or a security key with a PIN.", "Enrol on the device you work with. You can add more passkeys later on your account page."},
		More:       []Link{{URL: Prefix + "sign-out", Text: "Not you? Sign out"}},
	})
	return nil
}

func isEnrollPage(path string) bool {
	return path == Prefix+"enroll" || strings.HasPrefix(path, Prefix+"enroll?")
}

// ticketRefused has one page for every reason, so that a stranger with a guessed or
// stolen ticket learns nothing from it. The audit log has the reason.
func (p *Portal) ticketRefused(r *http.Request, v Visit, j Judgement, err error) error {
	reason := ""
	for _, known := range []struct {
		err  error
		name string
	}{{enroll.ErrUnknown, "unknown"}, {enroll.ErrSpent, "spent"}, {enroll.ErrExpired, "expired"}, {enroll.ErrRevoked, "revoked"}, {enroll.ErrWrongPerson, "wrong_person"}} {
		if errors.Is(err, known.err) {
			reason = known.name
		}
	}
	if reason == "" {
		return err
	}
	if err := v.Record(r.Context(), "ticket_refused", j, map[string]string{"reason": reason}); err != nil {
		return err
	}
	return &Refusal{
		Status: http.StatusForbidden, Code: "ticket_refused", Title: "This enrolment link does not work for you", Email: string(j.Session.Person.Email), Incident: j.Incident,
		Text:  []string{"It may have been used already, have expired, or have been made for somebody else."},
		Steps: []string{"If you have enrolled already, just open the tool you want.", "Otherwise ask your security team for a new link."},
		More:  []Link{{URL: Prefix + "sign-out", Text: "Signed in as the wrong person? Sign out"}},
	}
}

// mayEnroll says whether this session may create a passkey: with a ticket that is
// good for this person, or with a fresh assertion of a passkey they have.
func (p *Portal) mayEnroll(r *http.Request, v Visit, ticket string) (Judgement, error) {
	j, err := p.judged(r, v, policy.PurposeEnroll)
	if err != nil {
		return j, err
	}
	if err := p.needSession(j, Prefix+"account"); err != nil {
		return j, err
	}
	if ticket != "" {
		if _, err := p.Tickets.Check(r.Context(), ticket, j.Session.Person.Email); err != nil {
			return j, p.ticketRefused(r, v, j, err)
		}
		return j, nil
	}
	if j.Session.Level() != authn.Verified || p.Now().Sub(j.Session.Verification.At) > addFreshness {
		return j, &Refusal{Status: http.StatusForbidden, Code: "not_fresh", Title: "Verify yourself first", Incident: j.Incident,
			Text: []string{"To add a passkey, first verify yourself with one you have. Reload the page to do so."}}
	}
	return j, nil
}

func (p *Portal) enrollBegin(w http.ResponseWriter, r *http.Request, v Visit) error {
	c, err := readCeremony(w, r)
	if err != nil {
		return err
	}
	j, err := p.mayEnroll(r, v, c.Ticket)
	if err != nil {
		return err
	}
	begun, err := p.Passkeys.BeginRegistration(r.Context(), j.Session)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ceremonyBegun{begun.ID, begun.Options})
	return nil
}

func (p *Portal) enrollFinish(w http.ResponseWriter, r *http.Request, v Visit) error {
	c, err := readCeremony(w, r)
	if err != nil {
		return err
	}
	j, err := p.mayEnroll(r, v, c.Ticket)
	if err != nil {
		return err
	}
	rec, err := p.Passkeys.FinishRegistration(r.Context(), j.Session, c.Ceremony, c.Credential)
	if err != nil {
		return p.ceremonyFailed(r, v, j, "enroll_failed", err)
	}
	rec.Name = passkeyName(c.Name, r.UserAgent())
	detail := map[string]string{"credential": credentialHandle(rec.Credential), "class": rec.Class.String(), "aaguid": rec.AAGUID, "with": "passkey"}
	if c.Ticket != "" {
		detail["with"] = "ticket"
	}
	// Written ahead: an enrolment that cannot be audited does not happen, and one that
	// is cut off between store and log is not unknown.
	if err := v.Record(r.Context(), "enroll_verified", j, detail); err != nil {
		return err
	}
	next := Prefix + "account?added=1"
	if c.Ticket != "" {
		if err := p.Tickets.Redeem(r.Context(), c.Ticket, j.Session.Person, rec); err != nil {
			return p.ticketRefused(r, v, j, err)
		}
		// The baseline is an assertion in this session, so the new passkey is used at once.
		trip, err := p.journey(c.ReturnTo, "", "")
		if err != nil {
			return err
		}
		trip.causes = []policy.Cause{policy.CauseUnverified}
		next = trip.page("step-up")
	} else if err := p.Passkeys.Add(r.Context(), j.Session, rec); err != nil {
		return p.ceremonyFailed(r, v, j, "enroll_failed", err)
	}
	if err := v.Record(r.Context(), "enroll", j, detail); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ceremonyDone{next})
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }
