package portal

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
	"sallyport/policy"
)

// enrollPage offers a passkey to a person who brings a ticket, and a further one to a
// person who has just used one they have.
func (p *Portal) enrollPage(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	q := r.URL.Query()
	ticket := p.ticketOf(r)
	if _, err := p.target(v, q.Get("return_to")); err != nil {
		return err
	}
	j, err := p.judged(r, v, policy.PurposeEnroll)
	if err != nil {
		return err
	}
	here := Prefix + "enroll"
	switch {
	case j.Session.Level() == authn.None:
		p.keepTicket(w, ticket)
		redirect(w, Prefix+"sign-in?"+url.Values{"return_to": {here}}.Encode())
		return nil
	case ticket != "":
		if _, err := p.cfg.Tickets.Check(r.Context(), ticket, j.Session.Person); err != nil {
			return p.ticketUseless(w, r, v, j, err)
		}
	case j.Session.Level() != authn.Verified:
		return p.another(w, r, v, j, "")
	case !p.atHand(agedBy(j, time.Minute)): // leave a minute for the ceremony
		redirect(w, p.verifyToAdd())
		return nil
	}
	p.keepDevice(w, r)
	page := view{
		Title: "Enrol your passkey", Email: string(j.Session.Person.Email), Script: true,
		Text: []string{
			"A passkey replaces a second password: from now on you confirm sign-ins with your fingerprint, your face or your device PIN. These never leave your device.",
			"You are asked twice: once to create the passkey, and once more to sign in with it.",
		},
		Action: "enroll", Button: "Create the passkey", Suggested: suggestName(r.UserAgent()),
		Begin: Prefix + "enroll/begin", Finish: Prefix + "enroll/finish", Ticket: ticket, ReturnTo: q.Get("return_to"),
		StepsTitle: "What you need",
		Steps:      []string{"A screen lock on this device (fingerprint, face or PIN), or a security key with a PIN.", "Enrol on the device you work with. You can add more passkeys later on your account page."},
		More:       []Link{{URL: Prefix + "sign-out", Text: "Not you? Sign out"}},
	}
	if ticket == "" {
		page.Title = "Add a passkey"
		page.Text = []string{"This takes two steps, so that only you can add one: first create the new passkey, then confirm it with a passkey you already have."}
		page.Confirm = Prefix + "enroll/confirm"
		page.Steps = []string{"For the first step: a screen lock on this device (fingerprint, face or PIN), or a security key with a PIN.", "For the second: the device or security key that holds a passkey of yours. For a passkey on your phone, choose “use a phone or tablet” in the prompt."}
	}
	p.cfg.Pages.render(w, http.StatusOK, "ceremony", page)
	return nil
}

// ticketUseless answers a ticket that cannot be used. Its owner has a passkey and needs
// no ticket: they came back by the back button, a second tab or a bookmark, or the answer
// to their enrolment was lost. Each new ticket would cost them an identity check.
func (p *Portal) ticketUseless(w http.ResponseWriter, r *http.Request, v PageRequest, j Judgement, err error) error {
	var text string
	recorded := false
	switch {
	case errors.Is(err, enroll.ErrSpentByYou):
		text = "You created it with this link, so the link has done its work."
	case errors.Is(err, enroll.ErrExpired), errors.Is(err, enroll.ErrRevoked):
		text = "This enrolment link does not work any more, and you do not need it."
		recorded = true
	default: // strangers get one answer for all other cases
		return p.ticketRefused(r, v, j, err)
	}
	passkeys, down := p.cfg.Passkeys.List(r.Context(), j.Session.Person.Subject)
	switch {
	case down != nil:
		return down
	case len(passkeys) == 0:
		return p.ticketRefused(r, v, j, err)
	}
	if bad, ok := errors.AsType[*enroll.Error](err); ok && recorded {
		if err := v.Record(r.Context(), "ticket_refused", j, map[string]string{"code": bad.Code}); err != nil {
			return err
		}
	}
	p.dropTicket(w, r)
	return p.another(w, r, v, j, text)
}

// another answers a person who has not verified themselves and brings no ticket. If they
// have a passkey, they can go on by using it.
func (p *Portal) another(w http.ResponseWriter, r *http.Request, v PageRequest, j Judgement, why string) error {
	passkeys, err := p.cfg.Passkeys.List(r.Context(), j.Session.Person.Subject)
	switch {
	case err != nil:
		return err
	case len(passkeys) == 0:
		return p.noPasskey(r, v, j)
	case usable(passkeys) == 0:
		return p.passkeyBlocked(r, v, j)
	}
	page := view{
		Title: "You have a passkey already", Email: string(j.Session.Person.Email),
		Text: []string{"To add another one, first verify yourself with the passkey you have. You need no new link for that."},
		Link: Link{URL: p.verifyToAdd(), Text: "Verify, then add another", Action: "add"},
		More: []Link{{URL: Prefix + "account", Text: "Go on to your tools"}, {URL: Prefix + "sign-out", Text: "Not you? Sign out"}},
	}
	if why != "" {
		page.Text = append([]string{why}, page.Text...)
	}
	if j.Session.Level() == authn.Verified { // the page itself asks for a step-up if it needs one
		page.Link.URL = Prefix + "enroll"
	}
	p.cfg.Pages.render(w, http.StatusOK, "message", page)
	return nil
}

// verifyToAdd is the address that asks for verification and then leads to the page for a
// further passkey.
func (p *Portal) verifyToAdd() string {
	return returnState{to: returnTo{p.origin, Prefix + "enroll"}, causes: []policy.Cause{policy.CauseSession}}.page("step-up")
}

// agedBy is j as it will be after d.
func agedBy(j Judgement, d time.Duration) Judgement {
	j.Session.Verification.At = j.Session.Verification.At.Add(-d)
	return j
}

func isEnrollPage(path string) bool {
	return path == Prefix+"enroll" || strings.HasPrefix(path, Prefix+"enroll?")
}

// ticketRefused shows strangers one page, so that a guessed or stolen ticket tells them
// nothing; the enroll package decides who learns more. The audit log has the reason.
func (p *Portal) ticketRefused(r *http.Request, v PageRequest, j Judgement, err error) error {
	bad, ok := errors.AsType[*enroll.Error](err)
	if !ok {
		return err
	}
	if errors.Is(err, enroll.ErrSpentByYou) { // a script reads this; the page says more
		return &Refusal{Status: http.StatusForbidden, Code: codeEnrolled, Title: "You have used this link already", Email: string(j.Session.Person.Email),
			Text: []string{bad.Public}, Link: Link{URL: Prefix + "enroll", Text: "Go on"}, Incident: j.Incident}
	}
	if err := v.Record(r.Context(), "ticket_refused", j, map[string]string{"code": bad.Code}); err != nil {
		return err
	}
	return &Refusal{
		Status: http.StatusForbidden, Code: codeTicketRefused, Title: "This enrolment link does not work for you", Email: string(j.Session.Person.Email), Incident: j.Incident,
		Text:  []string{bad.Public},
		Steps: []string{"If you have enrolled already, just open the tool you want.", "Otherwise ask your security team for a new link."},
		More:  []Link{{URL: Prefix + "sign-out", Text: "Signed in as the wrong person? Sign out"}},
	}
}

// mayEnroll decides whether this session may create a passkey: with a ticket that is
// valid for this person, which it returns, or as a verified session. A further passkey
// also needs a fresh assertion made here, which is checked at begin, so that an attacker
// with a stolen cookie stops there. The confirmation by another passkey is the real
// protection.
func (p *Portal) mayEnroll(r *http.Request, v PageRequest, secret string) (j Judgement, ticket enroll.Ticket, err error) {
	if j, err = p.judged(r, v, policy.PurposeEnroll); err != nil {
		return j, ticket, err
	}
	if err := p.needSession(j, Prefix+"account"); err != nil {
		return j, ticket, err
	}
	if secret != "" {
		if ticket, err = p.cfg.Tickets.Check(r.Context(), secret, j.Session.Person); err != nil {
			return j, ticket, p.ticketRefused(r, v, j, err)
		}
		return j, ticket, nil
	}
	if j.Session.Level() != authn.Verified {
		return j, ticket, p.verifyFirst(j)
	}
	return j, ticket, nil
}

// verifyFirst sends a page that was left open to where the person can verify themselves.
func (p *Portal) verifyFirst(j Judgement) error {
	return &Refusal{Status: http.StatusForbidden, Code: passkey.CodeNotFresh, Title: "Verify yourself first", Incident: j.Incident,
		Text: []string{"To add a passkey, first verify yourself with one you have."},
		Link: Link{URL: p.verifyToAdd(), Text: "Verify, then add another", Action: "verify"}}
}

func (p *Portal) enrollBegin(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	c, err := readCeremony(w, r)
	if err != nil {
		return err
	}
	j, _, err := p.mayEnroll(r, v, c.Ticket)
	if err != nil {
		return err
	}
	if c.Ticket == "" && !p.atHand(j) {
		return p.verifyFirst(j)
	}
	begun, err := p.cfg.Passkeys.BeginRegistration(r.Context(), j.Session)
	if err != nil {
		return p.ceremonyFailed(r, v, j, "enroll_failed", err)
	}
	writeJSON(w, http.StatusOK, ceremonyBegun{begun.ID, begun.Options})
	return nil
}

// enrollFinish stores the passkey of a ticket. A further passkey is kept aside until
// another passkey of the person confirms it.
func (p *Portal) enrollFinish(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	c, err := readCeremony(w, r)
	if err != nil {
		return err
	}
	rs, err := p.parseReturnState(v, c.ReturnTo, "", "") // before any state is spent on a request that must fail
	if err != nil {
		return err
	}
	j, ticket, err := p.mayEnroll(r, v, c.Ticket)
	if bad, ok := errors.AsType[*Refusal](err); ok && bad.Code == codeEnrolled {
		return p.enrolledBefore(w, r, j, rs, c, bad)
	}
	if err != nil {
		return err
	}
	rec, err := p.cfg.Passkeys.FinishRegistration(r.Context(), j.Session, c.Ceremony, c.Credential)
	if err != nil {
		return p.ceremonyFailed(r, v, j, "enroll_failed", err)
	}
	rec.Name = passkeyName(c.Name, r.UserAgent())
	if c.Ticket == "" {
		id, err := p.cfg.Passkeys.Propose(r.Context(), j.Session, rec)
		if err != nil {
			return p.ceremonyFailed(r, v, j, "enroll_failed", err)
		}
		writeJSON(w, http.StatusOK, ceremonyMade{id})
		return nil
	}
	detail := enrolDetail(v, c, rec)
	detail["with"], detail["ticket"], detail["ticket_by"] = "ticket", ticket.ID, ticket.CreatedBy
	redeem := func() error {
		if err := p.cfg.Tickets.Redeem(r.Context(), c.Ticket, j.Session.Person, rec); err != nil {
			return p.ticketRefused(r, v, j, err)
		}
		p.dropTicket(w, r)
		return nil
	}
	if err := p.recorded(r, v, j, detail, redeem); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ceremonyDone{signInWithIt(rs)})
	return nil
}

// signInWithIt is the page after an enrolment. The baseline is an assertion in this
// session: a registration does not prove possession of the key (see authn/README.md).
func signInWithIt(rs returnState) string {
	rs.causes = []policy.Cause{policy.CauseUnverified}
	return rs.page("step-up") + "&made=1"
}

// enrolledBefore answers an enrolment that is finished a second time because its answer
// was lost. If that very passkey is stored, it repeats the answer, and grants nothing:
// the person has to use the passkey next.
func (p *Portal) enrolledBefore(w http.ResponseWriter, r *http.Request, j Judgement, rs returnState, c ceremonyRequest, refusal *Refusal) error {
	has, err := p.cfg.Passkeys.Has(r.Context(), j.Session.Person.Subject, passkey.IDOf(c.Credential))
	switch {
	case err != nil:
		return err
	case !has:
		return refusal
	}
	p.dropTicket(w, r)
	writeJSON(w, http.StatusOK, ceremonyDone{signInWithIt(rs)})
	return nil
}

// confirmBegin starts the confirmation of a further passkey, a second time if necessary.
func (p *Portal) confirmBegin(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	c, err := readCeremony(w, r)
	if err != nil {
		return err
	}
	j, _, err := p.mayEnroll(r, v, "")
	if err != nil {
		return err
	}
	begun, err := p.cfg.Passkeys.BeginVouching(r.Context(), j.Session, c.Proposal)
	if bad, ok := errors.AsType[*passkey.Error](err); ok && bad.Code == passkey.CodeChallengeUnknown {
		// Already confirmed, and the answer was lost. Repeating the answer grants
		// nothing.
		id, _ := base64.RawURLEncoding.DecodeString(c.Made) // an invalid id belongs to no passkey
		switch has, down := p.cfg.Passkeys.Has(r.Context(), j.Session.Person.Subject, id); {
		case down != nil:
			return down
		case has:
			writeJSON(w, http.StatusOK, ceremonyDone{Prefix + "account?added=1"})
			return nil
		}
	}
	if err != nil {
		return p.ceremonyFailed(r, v, j, "enroll_failed", err)
	}
	writeJSON(w, http.StatusOK, ceremonyBegun{begun.ID, begun.Options})
	return nil
}

// confirmFinish stores a further passkey that another passkey of the person has
// confirmed. It is no step-up: the session stays as it is.
func (p *Portal) confirmFinish(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	c, err := readCeremony(w, r)
	if err != nil {
		return err
	}
	j, _, err := p.mayEnroll(r, v, "")
	if err != nil {
		return err
	}
	vouched, err := p.cfg.Passkeys.FinishVouching(r.Context(), j.Session, c.Ceremony, c.Credential)
	if err != nil {
		return p.ceremonyFailed(r, v, j, "enroll_failed", err)
	}
	detail := enrolDetail(v, c, vouched.Record())
	detail["with"], detail["vouched_by"] = "passkey", credentialHandle(vouched.By())
	add := func() error {
		if err := p.cfg.Passkeys.Add(r.Context(), vouched); err != nil {
			return p.ceremonyFailed(r, v, j, "enroll_failed", err)
		}
		return nil
	}
	if err := p.recorded(r, v, j, detail, add); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, ceremonyDone{Prefix + "account?added=1"})
	return nil
}

func enrolDetail(v PageRequest, c ceremonyRequest, rec passkey.Record) map[string]string {
	browser := v.Browser()
	browser.TimeZone = timeZone(c.TimeZone)
	return withBrowser(map[string]string{"credential": credentialHandle(rec.Credential), "class": rec.Class.String(), "aaguid": rec.AAGUID}, browser)
}

// recorded stores a passkey between two records. The first is written ahead: an enrolment
// that cannot be audited does not happen, and one that fails between store and log still
// has a record.
func (p *Portal) recorded(r *http.Request, v PageRequest, j Judgement, detail map[string]string, store func() error) error {
	if err := v.Record(r.Context(), "enroll_verified", j, detail); err != nil {
		return err
	}
	if err := store(); err != nil {
		return err
	}
	return v.Record(r.Context(), "enroll", j, detail)
}
