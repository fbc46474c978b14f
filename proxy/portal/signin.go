package portal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/authn/signin"
	"sallyport/policy"
)

// Send is how the gate sends a person to the sign-in host: page is "sign-in" or
// "step-up", back is where they were going.
func (p *Portal) Send(w http.ResponseWriter, r *http.Request, v PageRequest, page, back string, causes []policy.Cause) {
	if err := p.send(w, r, v, page, back, causes, false); err != nil {
		p.fail(w, r, v, err)
	}
}

// PageURL is the absolute address of a page for clients that cannot be redirected.
func (p *Portal) PageURL(v PageRequest, page, back string) string {
	return p.origin + returnState{to: returnTo{v.Origin(), back}}.page(page)
}

// BesideForm is the address on a tool's own host where people prove themselves in a tab
// next to a form of theirs: page is "sign-in" or "step-up".
func BesideForm(page string, causes []policy.Cause) string {
	return Over(page, Prefix+"send-again", causes)
}

// Over is the address on a tool's own host that leads to a page of the sign-in host and
// back.
func Over(page, back string, causes []policy.Cause) string {
	q := url.Values{"return_to": {back}}
	if len(causes) > 0 {
		q.Set("why", joinCauses(causes))
	}
	return Prefix + page + "?" + q.Encode()
}

// overToSignInHost redirects sign-in, step-up, enroll and account on the other hosts.
func (p *Portal) overToSignInHost(page string) handler {
	return func(w http.ResponseWriter, r *http.Request, v PageRequest) error {
		if page == "enroll" || page == "account" {
			to := p.origin + Prefix + page
			if ticket := r.URL.Query().Get("ticket"); ticket != "" && page == "enroll" {
				to += "?" + url.Values{"ticket": {ticket}}.Encode()
			}
			redirect(w, to)
			return nil
		}
		back := "/"
		if raw := r.URL.Query().Get("return_to"); raw != "" {
			to, err := parseReturnTo(raw, v.Origin(), only(v.Origin()))
			if err != nil {
				return &Refusal{Status: 400, Code: "bad_return_to", Title: "That link is not right", Text: []string{"Open the tool you want directly."}, Link: YourTools}
			}
			back = to.path
		}
		return p.send(w, r, v, page, back, parseCauses(r.URL.Query().Get("why")), r.URL.Query().Get("again") != "")
	}
}

// signInPage takes people as far as their session allows: on to their target, to
// the passkey page, or to the provider.
func (p *Portal) signInPage(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	q := r.URL.Query()
	rs, err := p.parseReturnState(v, q.Get("return_to"), q.Get("bind"), q.Get("why"))
	if err != nil {
		return err
	}
	j, err := p.judged(r, v, policy.PurposeSignIn)
	if err != nil {
		return err
	}
	switch j.Session.Level() {
	case authn.Verified:
		redirect(w, p.next(rs))
		return nil
	case authn.SignedIn:
		redirect(w, rs.page("step-up"))
		return nil
	}
	if p.Goes(r) {
		_, err := r.Cookie(p.chooseCookie(false).Name)
		return p.toProvider(w, r, j.Facts.IP.Addr, rs, err == nil)
	}
	p.keepDevice(w, r)
	// A link, not a form: browsers apply form-action to all redirects after a form, and
	// we cannot list where a provider redirects.
	p.cfg.Pages.render(w, http.StatusOK, "message", view{
		Title: "Sign in",
		Text:  []string{"Sign in with your company account. After that you confirm with your passkey that it is you, or create it if you were sent a link for that."},
		Link:  Link{URL: rs.page("sign-in") + "&go=1", Text: "Continue with your company account", Action: "sign-in"}, Module: "signin.js",
		OnTheWay: rs.to.origin != p.origin,
	})
	return nil
}

// toProvider starts a sign-in. choose makes the provider ask which account it is for.
func (p *Portal) toProvider(w http.ResponseWriter, r *http.Request, client netip.Addr, rs returnState, choose bool) error {
	key := newFlowKey()
	payload, err := key.seal(sealedState{ReturnTo: rs.to.String(), Bind: rs.bind})
	if err != nil {
		return err
	}
	var prompt []string
	if choose {
		prompt = []string{"select_account"} // otherwise the provider signs in the same person without asking
	}
	f, err := p.cfg.Provider.Begin(r.Context(), client, payload, prompt...)
	if bad, ok := errors.AsType[*signin.Error](err); ok && errors.Is(err, signin.ErrUnavailable) {
		return p.providerDown(rs, bad)
	}
	if err != nil {
		return err
	}
	to, err := url.Parse(f.RedirectURL)
	if err != nil {
		return err
	}
	p.boundFlows(w, r)
	http.SetCookie(w, p.flowCookie(to.Query().Get("state"), f.Binding+flowSeparator+string(key)))
	redirect(w, f.RedirectURL)
	return nil
}

// notBegun refuses a callback without the cookie of its sign-in: that of another browser,
// or an invented one. It asks neither the provider nor the store, so that another
// browser's sign-in is not used up.
func (p *Portal) notBegun(r *http.Request, v PageRequest, j Judgement, noState bool) error {
	code := signin.CodeStateOtherBrowser
	if noState {
		code = signin.CodeStateMissing
	}
	if err := v.Record(r.Context(), "sign_in_failed", j, map[string]string{"code": code}); err != nil {
		return err
	}
	return &Refusal{Status: http.StatusForbidden, Code: "sign_in_failed", Title: "Signing in did not work", Incident: j.Incident, Ended: true,
		Text: []string{"This sign-in was not begun in this browser, it took more than a quarter of an hour, or the browser keeps no cookies."},
		Link: Link{URL: returnState{to: returnTo{p.origin, Prefix + "account"}}.page("sign-in"), Text: "Start again", Action: "sign-in"}}
}

// callback is where the provider sends people back.
func (p *Portal) callback(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	j, err := p.judged(r, v, policy.PurposeSignIn)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	if !p.HasFlowCookie(r) && j.Session.Level() != authn.None && KindOf(r) == Page {
		// The back button, a bookmark, or a tab whose sign-in was done in another one:
		// nothing failed. The query is not read, so that it decides nothing: the tab
		// knows its target.
		to := returnState{to: returnTo{p.origin, Prefix + "account"}}.page("sign-in")
		p.cfg.Pages.render(w, http.StatusOK, "message", view{Title: "Taking you on", Module: "resume.js", Resume: "on", Refresh: to, OnTheWay: true,
			Link: Link{URL: to, Text: "Go on"}})
		return nil
	}
	if !p.HasFlowCookie(r) {
		return p.notBegun(r, v, j, q.Get("state") == "")
	}
	binding, key := p.flowSecrets(r, q.Get("state"))
	http.SetCookie(w, p.flowCookie(q.Get("state"), ""))
	result, err := p.cfg.Provider.Finish(r.Context(), q, binding)
	if bad, ok := errors.AsType[*signin.Error](err); ok && bad.Code == signin.CodeStateSpent {
		// A double click at the provider. The first request signs in, or is about to;
		// this one gives no session, and follows it. If the browser has dropped the first
		// answer, the sign-in page starts the same journey again.
		redirect(w, p.signedIn(p.returnStateOf(v, key, bad.Payload)))
		return nil
	}
	if err != nil {
		if bad, ok := errors.AsType[*signin.Error](err); ok && p.cannotAsk(r, bad) {
			p.cfg.Logger.Warn("the provider refuses prompt=select_account", "error", bad)
			http.SetCookie(w, p.chooseCookie(false))
			return p.toProvider(w, r, j.Facts.IP.Addr, p.returnStateOf(v, key, bad.Payload), false)
		}
		return p.signInFailed(r, v, j, key, err)
	}
	f, err := key.open(result.Payload)
	if err != nil {
		return err
	}
	rs, err := p.parseReturnState(v, f.ReturnTo, f.Bind, "")
	if err != nil {
		return err
	}
	var displaced []string
	s, err := p.cfg.Sessions.SignIn(w, r, hostOf(p.origin), session.NewSession{
		Person: result.Person, AuthTime: result.AuthTime, ProviderSession: result.ProviderSession,
		IDToken: result.IDToken, RefreshToken: result.RefreshToken,
		Displaced: func(ids []string) { displaced = ids },
	})
	if errors.Is(err, authn.ErrBlocked) {
		return p.personBlocked(r, v, j, result.Person)
	}
	if err != nil {
		return err
	}
	if result.RefreshToken == "" {
		p.unrefreshed.Do(func() {
			p.cfg.Logger.Warn("the OpenID provider gives no refresh token", "hint", p.cfg.Provider.RefreshAdvice())
		})
	}
	j.Session = s
	http.SetCookie(w, p.chooseCookie(false))
	p.forgetSignedOut(w, r)
	for _, n := range result.Notices {
		p.cfg.Logger.Warn("unexpected answer of the OpenID provider", "notice", n.Code, "text", n.Text, "user", s.Person.Email)
	}
	if err := v.Record(r.Context(), "sign_in", j, noticed(result.Notices, nil)); err != nil {
		return err
	}
	for _, id := range displaced {
		if err := v.Record(r.Context(), "session_ended", j, map[string]string{"session": id, "reason": "too_many_sessions"}); err != nil {
			return err
		}
	}
	redirect(w, p.signedIn(rs))
	return nil
}

// signedIn is where a journey continues after the provider: at the passkey, or at the
// page that creates one.
func (p *Portal) signedIn(rs returnState) string {
	if rs.to.origin == p.origin && isEnrollPage(rs.to.path) {
		return rs.to.path
	}
	return rs.page("step-up")
}

// providerDown answers when the person cannot be identified, because the provider, or the
// store of sign-ins under way, does not answer.
func (p *Portal) providerDown(rs returnState, bad *signin.Error) error {
	incident := NewIncident()
	p.cfg.Logger.Error("sign-in is unavailable", "code", bad.Code, "incident", incident, "error", bad)
	return &Refusal{Status: http.StatusServiceUnavailable, Code: bad.Code, Title: "Signing in is not possible right now", Incident: incident,
		Text: []string{bad.Public}, Link: Link{URL: rs.page("sign-in"), Text: "Try again", Action: "sign-in"}}
}

func (p *Portal) signInFailed(r *http.Request, v PageRequest, j Judgement, key flowKey, err error) error {
	bad, ok := errors.AsType[*signin.Error](err)
	if !ok {
		return err
	}
	rs := p.returnStateOf(v, key, bad.Payload)
	if errors.Is(err, signin.ErrUnavailable) {
		return p.providerDown(rs, bad)
	}
	// Records the person that the signed token names. Without it, the record of a person
	// who is locked out could not be found.
	detail := map[string]string{"code": bad.Code, "issuer": p.cfg.Provider.Issuer(), "why": bad.Err.Error()}
	if bad.Subject != "" {
		detail["subject"] = bad.Subject
	}
	if err := v.Record(r.Context(), "sign_in_failed", j, detail); err != nil {
		return err
	}
	p.cfg.Logger.Warn("sign-in failed", "code", bad.Code, "subject", bad.Subject, "incident", j.Incident, "error", err)
	return &Refusal{Status: http.StatusForbidden, Code: "sign_in_failed", Title: "Signing in did not work", Text: []string{bad.Public}, Incident: j.Incident,
		Ended: bad.Code == signin.CodeStateUnknown, Link: Link{URL: rs.page("sign-in"), Text: "Start again", Action: "sign-in"}}
}

// personBlocked answers a person that an operator has blocked, and that the provider still
// signs in. Why they are blocked is for the operators.
func (p *Portal) personBlocked(r *http.Request, v PageRequest, j Judgement, who authn.Person) error {
	j.Session.Person = who // of no session: the record names them
	detail := map[string]string{"code": "person_blocked", "issuer": who.Subject.Issuer, "subject": who.Subject.ID}
	if err := v.Record(r.Context(), "sign_in_failed", j, detail); err != nil {
		return err
	}
	p.cfg.Logger.Warn("a person who is blocked tried to sign in", "user", who.Email, "subject", who.Subject.ID, "incident", j.Incident)
	// Without Email, which the page shows as who is signed in: this person is not.
	return &Refusal{Status: http.StatusForbidden, Code: "person_blocked", Title: "Your access is blocked", Incident: j.Incident,
		Text:  []string{fmt.Sprintf("The account %s may not be used here at the moment. Signing in again does not change that.", cmp.Or(string(who.Email), "that you chose"))},
		Steps: []string{"Talk to your security team, and give them the reference."}}
}

// noticed adds the oddities of a provider's answer to the detail of a record.
func noticed(notices []signin.Notice, detail map[string]string) map[string]string {
	if len(notices) == 0 {
		return detail
	}
	if detail == nil {
		detail = map[string]string{}
	}
	codes := make([]string, len(notices))
	for i, n := range notices {
		codes[i] = n.Code
	}
	detail["notices"] = strings.Join(codes, ",")
	return detail
}

// cannotAsk reports whether the provider has refused a sign-in of this browser that made
// it ask which account it is for. Support is optional for providers: some always answer
// with an error, and people could not sign in again after signing out. A person who
// pressed "Cancel" there is still asked the next time.
func (p *Portal) cannotAsk(r *http.Request, bad *signin.Error) bool {
	_, err := r.Cookie(p.chooseCookie(false).Name)
	return err == nil && bad.Code == signin.CodeProviderError && bad.Payload != nil
}

// chooseCookie marks a browser whose person signed out, so that the provider asks which
// account the next sign-in is for. false deletes it.
func (p *Portal) chooseCookie(set bool) *http.Cookie {
	c := &http.Cookie{Name: session.HostCookie(p.secure, "sallyport-choose"), Value: "1", Path: "/", MaxAge: 24 * 60 * 60,
		Secure: p.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if !set {
		c.Value, c.MaxAge = "", -1
	}
	return c
}

// backchannelLogout implements OpenID Connect Back-Channel Logout 1.0: the provider
// reports that a person, or one of their sessions, has signed out.
func (p *Portal) backchannelLogout(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	SecurityHeaders(w.Header())
	j, err := v.Judge(policy.PurposeSignIn)
	if err != nil {
		return err
	}
	if err := readForm(w, r); err != nil {
		return err
	}
	out, err := p.cfg.Provider.VerifyLogoutToken(r.Context(), r.PostFormValue("logout_token"))
	if err != nil {
		return p.logoutRefused(w, r, v, j, err)
	}
	n, err := p.endFor(r.Context(), out)
	if err == nil {
		j.Session = authn.Session{}
		detail := map[string]string{"subject": out.Subject.ID, "sessions": strconv.Itoa(n)}
		if out.NoExpiry {
			detail["notices"] = "logout_without_exp"
		}
		err = v.Record(r.Context(), "backchannel_logout", j, detail)
	}
	if err != nil {
		// The provider delivers the message again, which must not look like a replay. The
		// request's context is not used: a provider that hung up retries as well.
		if forget := p.cfg.Provider.ForgetLogout(context.WithoutCancel(r.Context()), out); forget != nil {
			p.cfg.Logger.Error("a logout token stays spent although nothing was ended", "incident", j.Incident, "error", forget)
		}
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// endFor ends the sessions that a logout token names: one by its sid, or else all of the
// person. If the sid is unknown here (providers need not put it into ID tokens), all
// sessions end: a person that the provider signed out must not stay signed in.
func (p *Portal) endFor(ctx context.Context, out signin.Logout) (int, error) {
	if out.ProviderSession == "" && out.Subject.ID == "" {
		return 0, errors.New("the logout token names neither a session nor a person") // an empty filter would match everyone
	}
	if out.ProviderSession != "" {
		n, err := p.cfg.Sessions.Revoke(ctx, session.Filter{ProviderIssuer: out.Subject.Issuer, ProviderSession: out.ProviderSession})
		if err != nil || n > 0 || out.Subject.ID == "" {
			return n, err
		}
	}
	return p.cfg.Sessions.Revoke(ctx, session.Filter{Subject: out.Subject})
}

func (p *Portal) logoutRefused(w http.ResponseWriter, r *http.Request, v PageRequest, j Judgement, err error) error {
	bad, ok := errors.AsType[*signin.Error](err)
	if !ok || errors.Is(err, signin.ErrUnavailable) {
		return err
	}
	if err := v.Record(r.Context(), "backchannel_logout_refused", j, map[string]string{"code": bad.Code}); err != nil {
		return err
	}
	p.cfg.Logger.Warn("back-channel logout refused", "incident", j.Incident, "error", err)
	writeJSON(w, http.StatusBadRequest, problem{Error: "invalid_request", Message: "The logout token was not accepted.", Incident: v.Reference(j.Incident)})
	return nil
}
