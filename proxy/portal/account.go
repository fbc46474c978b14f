package portal

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport/authn"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
	"sallyport/policy"
)

// accountPage shows people their passkeys and sessions. It needs a verified session,
// because its content is useful to an intruder.
func (p *Portal) accountPage(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	j, err := p.judged(r, v, policy.PurposeSignIn)
	if err != nil {
		return err
	}
	rs := returnState{to: returnTo{p.origin, Prefix + "account"}}
	switch {
	case j.Session.Level() != authn.Verified:
		redirect(w, rs.page("sign-in"))
		return nil
	case !j.Facts.Session.VerifiedHere: // a stolen session cookie must not show the account
		rs.causes = []policy.Cause{policy.CauseNetwork}
		redirect(w, rs.page("step-up"))
		return nil
	}
	passkeys, err := p.cfg.Passkeys.List(r.Context(), j.Session.Person.Subject)
	if err != nil {
		return err
	}
	sessions, err := p.cfg.Sessions.List(r.Context(), session.Filter{Subject: j.Session.Person.Subject})
	if err != nil {
		return err
	}
	page := view{
		Title: "Your account", Email: string(j.Session.Person.Email), Wide: true, Module: "kept.js",
		Begin: Prefix + "enroll", Finish: Prefix + "account", Notice: notices[r.URL.RawQuery],
		More: []Link{{URL: Prefix + "sign-out", Text: "Sign out"}},
	}
	if p.cfg.Tools != nil {
		page.Tools = p.cfg.Tools(j.Session.Person)
	}
	left := usable(passkeys)
	names := passkeyNames(passkeys)
	for i, c := range passkeys {
		page.Passkeys = append(page.Passkeys, passkeyView{
			ID: base64.RawURLEncoding.EncodeToString(c.ID), Name: names[i], Kind: kind(c.Credential), Created: day(c.CreatedAt), Used: day(c.LastUsedAt),
			Current: string(c.ID) == string(j.Session.Verification.Credential.ID), Blocked: c.Blocked != "", Removable: left > 1 || c.Blocked != "",
		})
	}
	now := p.cfg.Now()
	for _, s := range sessions {
		if now.After(s.ExpiresAt) {
			continue
		}
		page.Sessions = append(page.Sessions, sessionView{ID: s.ID, Created: timeText(s.CreatedAt), Seen: timeText(s.LastSeenAt), Expires: timeText(s.ExpiresAt), Current: s.ID == j.Session.ID})
	}
	p.cfg.Pages.render(w, http.StatusOK, "account", page)
	return nil
}

var notices = map[string]string{
	"added=1":   "The passkey was added.",
	"removed=1": "The passkey was removed. Delete it on the device as well.",
	"ended=1":   "The session was ended.",
}

// accountChange removes a passkey or ends a session, of the person's own.
func (p *Portal) accountChange(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	j, err := p.judged(r, v, policy.PurposeSignIn)
	if err != nil {
		return err
	}
	if err := readForm(w, r); err != nil {
		return err
	}
	rs := returnState{to: returnTo{p.origin, Prefix + "account"}, causes: []policy.Cause{policy.CauseSession}}
	if !p.atHand(j) {
		seeOther(w, rs.page("step-up"))
		return nil
	}
	switch r.PostFormValue("do") {
	case "remove-passkey":
		return p.removePasskey(w, r, v, j)
	case "end-session":
		return p.endSession(w, r, v, j)
	}
	return errNoSuchThing
}

func (p *Portal) removePasskey(w http.ResponseWriter, r *http.Request, v PageRequest, j Judgement) error {
	id, err := base64.RawURLEncoding.DecodeString(r.PostFormValue("credential"))
	if err != nil {
		return errNoSuchThing
	}
	// The event below is a line of the log even if nothing is removed, so a request that
	// can remove nothing must not write it.
	passkeys, err := p.cfg.Passkeys.List(r.Context(), j.Session.Person.Subject)
	if err != nil {
		return err
	}
	detail := map[string]string{"credential": credentialHandle(authn.Credential{ID: id})}
	i := slices.IndexFunc(passkeys, func(c passkey.Record) bool { return string(c.ID) == string(id) })
	var no *Refusal
	switch {
	case i < 0:
		no, detail["code"] = errNoSuchThing, passkey.CodeCredentialGone
	case passkeys[i].Blocked == "" && usable(passkeys) == 1:
		no, detail["code"] = errLastPasskey, passkey.CodeLastCredential
	}
	if no != nil {
		if err := v.Record(r.Context(), "passkey_remove_refused", j, detail); err != nil {
			return err
		}
		f := *no
		f.Incident = j.Incident
		return &f
	}
	// Written ahead, like an enrolment: a person's passkeys never change without a
	// record.
	if err := v.Record(r.Context(), "passkey_remove", j, detail); err != nil {
		return err
	}
	switch err := p.cfg.Passkeys.Remove(r.Context(), j.Session.Person.Subject, id); {
	case errors.Is(err, passkey.ErrLastCredential):
		return errLastPasskey
	case errors.Is(err, authn.ErrNotFound):
		return errNoSuchThing
	case err != nil:
		return err
	}
	over, late := p.sessionOver(r)
	if err := errors.Join(v.Record(r.Context(), "passkey_removed", j, detail), late); err != nil {
		return err
	}
	if over {
		return p.removedOwn(w, r)
	}
	seeOther(w, Prefix+"account?removed=1")
	return nil
}

var errLastPasskey = &Refusal{Status: http.StatusConflict, Code: "last_passkey", Title: "That is your last passkey", Text: []string{"Add another one first; without any you could not get in."}, Link: Link{URL: Prefix + "account", Text: "Back to your account"}}

// removedOwn answers a person who removed the passkey that they are signed in with.
func (p *Portal) removedOwn(w http.ResponseWriter, r *http.Request) error {
	if _, err := p.cfg.Sessions.SignOut(w, r, authn.Session{}); err != nil { // the cookie of a session that is gone
		return err
	}
	p.cfg.Pages.render(w, http.StatusOK, "message", view{
		Title: "The passkey was removed",
		Text:  []string{"You had signed in with it, so your session has ended as well. Sign in again with another passkey.", "Delete it on the device as well."},
		Link:  sessionGone(Prefix+"account", "").Link,
	})
	return nil
}

func (p *Portal) endSession(w http.ResponseWriter, r *http.Request, v PageRequest, j Judgement) error {
	id := r.PostFormValue("session")
	if id == "" {
		return errNoSuchThing
	}
	// The subject is part of the filter, so that a person ends only their own sessions.
	n, err := p.cfg.Sessions.Revoke(r.Context(), session.Filter{ID: id, Subject: j.Session.Person.Subject})
	switch {
	case err != nil:
		return err
	case n == 0:
		return errNoSuchThing
	}
	if err := v.Record(r.Context(), "session_ended", j, map[string]string{"session": id}); err != nil {
		return err
	}
	seeOther(w, Prefix+"account?ended=1")
	return nil
}

var errNoSuchThing = &Refusal{Status: http.StatusNotFound, Code: "not_found", Title: "That is not there any more", Text: []string{"Reload your account page to see what is."}, Link: Link{URL: Prefix + "account", Text: "Back to your account"}}

// signOutPage asks first, so that a link on another page cannot sign people out.
func (p *Portal) signOutPage(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	j, err := v.Judge(policy.PurposeSignIn)
	if err != nil {
		return err
	}
	if j.Session.Level() == authn.None {
		p.signedOut(w, r)
		return nil
	}
	p.cfg.Pages.render(w, http.StatusOK, "sign-out", view{
		Title: "Sign out?", Email: string(j.Session.Person.Email), Module: "kept.js", Finish: Prefix + "sign-out",
		Text: []string{"This ends your session in this browser, for every tool behind this sign-in."},
		More: []Link{{URL: "/", Text: "No, stay signed in"}},
	})
	return nil
}

func (p *Portal) signOut(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	j, err := v.Judge(policy.PurposeSignIn)
	if err != nil {
		return err
	}
	if j.Session.Level() == authn.None {
		seeOther(w, Prefix+"sign-out")
		return nil
	}
	idToken, err := p.cfg.Sessions.SignOut(w, r, j.Session)
	if err != nil {
		return err
	}
	if err := v.Record(r.Context(), "sign_out", j, nil); err != nil {
		return err
	}
	http.SetCookie(w, p.chooseCookie(true))
	http.SetCookie(w, p.signedOutCookie(idToken, string(j.Session.Person.Email)))
	seeOther(w, Prefix+"sign-out") // otherwise the back button and a reload would ask to send the form again
	return nil
}

// signedOutCookie remembers which account the provider is to sign out, in case the person
// wants that as well, for the page after the form. It is used for nothing else: the
// address of the provider's own page comes from the provider's metadata.
func (p *Portal) signedOutCookie(idToken, email string) *http.Cookie {
	value := ""
	if _, ok := p.cfg.Provider.EndSessionURL("", "", "", ""); ok {
		if len(idToken) > maxIDTokenKept { // it would not fit into the address either
			idToken = ""
		}
		value = idToken + "/" + base64.RawURLEncoding.EncodeToString([]byte(email))
	}
	c := &http.Cookie{Name: session.HostCookie(p.secure, "sallyport-signed-out"), Value: value, Path: "/", MaxAge: int(signedOutLife / time.Second),
		Secure: p.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

const (
	signedOutLife  = 10 * time.Minute
	maxIDTokenKept = 2500
	wasThere       = "signed-out-there" // the state of a person that the provider has sent back
)

// forgetSignedOut deletes the cookie of an earlier sign-out.
func (p *Portal) forgetSignedOut(w http.ResponseWriter, r *http.Request) {
	c := p.signedOutCookie("", "")
	if _, err := r.Cookie(c.Name); err == nil {
		c.Value, c.MaxAge = "", -1
		http.SetCookie(w, c)
	}
}

// endThere is the address at which the person who has signed out here can do so at the
// provider, or "".
func (p *Portal) endThere(r *http.Request) string {
	c, err := r.Cookie(p.signedOutCookie("", "").Name)
	if err != nil {
		return ""
	}
	idToken, email, _ := strings.Cut(c.Value, "/")
	hint, err := base64.RawURLEncoding.DecodeString(email)
	if err != nil {
		return ""
	}
	end, _ := p.cfg.Provider.EndSessionURL(idToken, string(hint), p.origin+Prefix+"sign-out", wasThere)
	return end
}

// signedOut offers the provider's own sign-out as a second step (OpenID Connect
// RP-Initiated Logout 1.0), because it may end more than the person asked for.
func (p *Portal) signedOut(w http.ResponseWriter, r *http.Request) {
	providerURL := ""
	if r.URL.Query().Get("state") == wasThere {
		p.forgetSignedOut(w, r)
	} else {
		providerURL = p.endThere(r)
	}
	page := view{Title: "You are signed out", Text: []string{"Your session here has ended."},
		Link: Link{URL: p.origin + Prefix + "sign-in", Text: "Sign in again", Action: "sign-in"}}
	if providerURL != "" {
		page.Text = append(page.Text, "You may still be signed in to your company account. On a shared computer, sign out there as well.")
		page.More = []Link{{URL: providerURL, Text: "Sign out of your company account too"}}
	}
	p.cfg.Pages.render(w, http.StatusOK, "message", page)
}

// whoami is the JSON form of a session, for applications and scripts. A tool's script can
// read it on the tool's host, so there it lists only groups that the tool may know.
type whoami struct {
	User               authn.Email `json:"user"`
	Name               string      `json:"name,omitempty"`
	Subject            string      `json:"subject"`
	Groups             []string    `json:"groups"`
	Level              string      `json:"level"`
	Session            string      `json:"session"`
	SessionAgeSeconds  int64       `json:"session_age_seconds"`
	VerifiedAgeSeconds *int64      `json:"verified_age_seconds"` // null: not verified in this session
	VerifiedAt         *time.Time  `json:"verified_at"`          // null: as above
	Credential         string      `json:"credential,omitempty"` // class of the passkey
	ExpiresAt          time.Time   `json:"expires_at"`
	IP                 string      `json:"ip"`
	Country            string      `json:"country"`
	StepUpDue          bool        `json:"step_up_due,omitempty"` // for the page in the query
}

// stepUpDue answers a tool's page that asks whether the person has to verify to go on.
// That page could as well request its own address and get a 401. No other origin's page
// learns how long the answer takes, or how long it is.
func stepUpDue(r *http.Request, v PageRequest, s *authn.Session) bool {
	page, site := r.URL.Query().Get("page"), r.Header.Get("Sec-Fetch-Site")
	return page != "" && s.Level() == authn.Verified && (site == "" || site == "same-origin") && v.StepUpDue(page)
}

func (p *Portal) whoami(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	j, err := v.Judge(policy.PurposeSignIn)
	if err != nil {
		return err
	}
	s := j.Session
	if s.Level() == authn.None {
		w.Header().Set("WWW-Authenticate", "Bearer")
		writeJSON(w, http.StatusUnauthorized, map[string]string{
			"error": "not_signed_in", "message": "No one is signed in.", "level": s.Level().String(),
			"sign_in": p.origin + Prefix + "sign-in?" + url.Values{"return_to": {v.Origin() + "/"}}.Encode(),
		})
		return nil
	}
	now := p.cfg.Now()
	answer := whoami{
		User: s.Person.Email, Name: s.Person.Name, Subject: s.Person.Subject.ID, Groups: append([]string{}, v.Told(s.Person.Groups)...),
		Level: s.Level().String(), Session: s.ID, SessionAgeSeconds: seconds(now.Sub(s.CreatedAt)), ExpiresAt: s.ExpiresAt.UTC(),
		IP: j.Facts.IP.Address, Country: j.Facts.IP.Country,
	}
	if s.Level() == authn.Verified {
		at, age := s.Verification.At.UTC(), seconds(now.Sub(s.Verification.At))
		answer.VerifiedAgeSeconds, answer.VerifiedAt, answer.Credential = &age, &at, s.Verification.Credential.Class.String()
	}
	answer.StepUpDue = stepUpDue(r, v, &s)
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func day(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2 January 2006")
}

func timeText(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04 MST") }

func kind(c authn.Credential) string {
	switch c.Class {
	case authn.ClassSynced:
		return "synced passkey"
	case authn.ClassAttested:
		return "security key or device, make confirmed"
	case authn.ClassUnattested:
		return "stays on one device"
	default:
		return "unknown"
	}
}

// credentialHandle names a credential in logs: enough to find it, not its whole id.
func credentialHandle(c authn.Credential) string {
	s := base64.RawURLEncoding.EncodeToString(c.ID)
	return s[:min(len(s), 16)]
}

// passkeyName is the name that a person gave, or one made from their browser. Invisible
// characters and those that change the text direction are removed, as the passkey package
// requires.
func passkeyName(given, userAgent string) string {
	given = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, given))
	if runes := []rune(given); len(runes) > 60 {
		given = string(runes[:60])
	}
	if given == "" {
		return suggestName(userAgent)
	}
	return given
}

// passkeyNames are the names of a person's passkeys, all different, because the button
// that removes a passkey names it. Two passkeys with one name, such as two made on one
// computer, also show when they were made, and a number if that is the same minute.
func passkeyNames(list []passkey.Record) []string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.Name
	}
	for i, others := range alike(names) {
		if others.of > 1 {
			names[i] += ", added " + timeText(list[i].CreatedAt)
		}
	}
	for i, others := range alike(names) {
		if others.of > 1 {
			names[i] += ", number " + strconv.Itoa(others.place)
		}
	}
	return names
}

// placed is the position of a name among those that look like it, from 1.
type placed struct{ place, of int }

// alike returns the position of each name among those that look the same. It ignores case
// and spaces.
func alike(names []string) []placed {
	seen := map[string]int{}
	key := func(name string) string { return strings.ToLower(strings.Join(strings.Fields(name), " ")) }
	list := make([]placed, len(names))
	for i, name := range names {
		seen[key(name)]++
		list[i].place = seen[key(name)]
	}
	for i, name := range names {
		list[i].of = seen[key(name)]
	}
	return list
}

// suggestName guesses the device from the User-Agent. It is only a label; no decision
// uses it.
func suggestName(userAgent string) string {
	for _, known := range [][2]string{{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android device"}, {"Macintosh", "Mac"}, {"Windows", "Windows PC"}, {"CrOS", "Chromebook"}, {"Linux", "Linux computer"}} {
		if strings.Contains(userAgent, known[0]) {
			return "My " + known[1]
		}
	}
	return "My passkey"
}
