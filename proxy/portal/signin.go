package portal

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/authn/signin"
	"sallyport/policy"
)

// Send is how the gate hands somebody over to the sign-in host: page is "sign-in" or
// "step-up", back is where they were going. On another host than the sign-in host
// it also starts a hand-off, so that they come back with a session there.
func (p *Portal) Send(w http.ResponseWriter, r *http.Request, v Visit, page, back string, causes []policy.Cause) {
	j := journey{to: returnTo{v.Origin(), back}, causes: causes}
	if v.Origin() == p.origin {
		redirect(w, j.page(page))
		return
	}
	j.bind = p.Sessions.BeginHandoff(w, r, hostOf(v.Origin()))
	redirect(w, p.origin+j.page(page))
}

// PageURL is the absolute address of a page for clients that cannot be redirected.
func (p *Portal) PageURL(v Visit, page, back string) string {
	return p.origin + journey{to: returnTo{v.Origin(), back}}.page(page)
}

// overToSignInHost serves sign-in, step-up, enroll and account on the other hosts.
func (p *Portal) overToSignInHost(page string) handler {
	return func(w http.ResponseWriter, r *http.Request, v Visit) error {
		if page == "enroll" || page == "account" {
			redirect(w, p.origin+Prefix+page)
			return nil
		}
		back := "/"
		if raw := r.URL.Query().Get("return_to"); raw != "" {
			to, err := parseReturnTo(raw, v.Origin(), p.origins)
			if err != nil || to.origin != v.Origin() {
				return &Refusal{Status: 400, Code: "bad_return_to", Title: "That link is not right", Text: []string{"Open the tool you want directly."}}
			}
			back = to.path
		}
		p.Send(w, r, v, page, back, nil)
		return nil
	}
}

// handoff takes the session over from the sign-in host. The code works once, here,
// and only in the browser that was sent for it.
func (p *Portal) handoff(w http.ResponseWriter, r *http.Request, v Visit) error {
	s, back, err := p.Sessions.Redeem(w, r, hostOf(v.Origin()), r.URL.Query().Get("handoff"))
	if errors.Is(err, session.ErrUnavailable) {
		return err
	}
	if err != nil {
		return &Refusal{Status: 400, Code: "handoff_failed", Title: "That sign-in link was already used",
			Text: []string{"It works once, for a minute, and only in the browser that started signing in."},
			Link: Link{URL: "/", Text: "Open the tool again"}}
	}
	j, err := v.Judge(policy.PurposeSignIn)
	if err != nil {
		return err
	}
	j.Session = s
	if err := v.Record(r.Context(), "handoff", j, map[string]string{"host": hostOf(v.Origin())}); err != nil {
		return err
	}
	redirect(w, back)
	return nil
}

// flow is what a sign-in carries through the OpenID provider, on our side.
type flow struct {
	ReturnTo string `json:"return_to"`
	Bind     string `json:"bind,omitempty"`
}

// signInPage takes people as far as their session allows: on to their target, to
// the passkey page, or to the provider.
func (p *Portal) signInPage(w http.ResponseWriter, r *http.Request, v Visit) error {
	q := r.URL.Query()
	trip, err := p.journey(q.Get("return_to"), q.Get("bind"), q.Get("why"))
	if err != nil {
		return err
	}
	j, err := p.judged(r, v, policy.PurposeSignIn)
	if err != nil {
		return err
	}
	switch j.Session.Level() {
	case authn.Verified:
		next, err := p.next(r.Context(), j.Session, trip.to, trip.bind)
		if err != nil {
			return err
		}
		redirect(w, next)
		return nil
	case authn.SignedIn:
		redirect(w, trip.page("step-up"))
		return nil
	}
	if q.Get("go") != "" {
		return p.toProvider(w, r, trip)
	}
	// A link, not a form: browsers hold the whole redirect chain behind a form
	// submission against form-action, and where a provider redirects is not ours to list.
	p.Pages.render(w, http.StatusOK, "message", view{
		Title: "Sign in",
		Text:  []string{"Sign in with your company account. After that you confirm with your passkey that it is you."},
		Link:  Link{URL: trip.page("sign-in") + "&go=1", Text: "Continue with your company account", Action: "sign-in"},
	})
	return nil
}

func (p *Portal) toProvider(w http.ResponseWriter, r *http.Request, trip journey) error {
	payload, err := json.Marshal(flow{ReturnTo: trip.to.String(), Bind: trip.bind})
	if err != nil {
		return err
	}
	f, err := p.Provider.Begin(r.Context(), payload)
	if errors.Is(err, signin.ErrUnavailable) {
		p.Logger.Error("the OpenID provider cannot be reached", "error", err)
		return &Refusal{Status: http.StatusServiceUnavailable, Code: "provider_unavailable", Title: "Your company account cannot be reached",
			Text: []string{"The service that holds your company account does not answer, so nobody can sign in right now."},
			Link: Link{URL: trip.page("sign-in"), Text: "Try again"}}
	}
	if err != nil {
		return err
	}
	to, err := url.Parse(f.RedirectURL)
	if err != nil {
		return err
	}
	http.SetCookie(w, p.flowCookie(to.Query().Get("state"), f.Binding, 10*time.Minute))
	redirect(w, f.RedirectURL)
	return nil
}

// flowCookie binds a sign-in to this browser. It is named after the state, so that
// sign-ins in several tabs do not overwrite each other.
func (p *Portal) flowCookie(state, value string, age time.Duration) *http.Cookie {
	c := &http.Cookie{Name: p.flowCookieName(state), Value: value, Path: "/", MaxAge: int(age / time.Second), Secure: p.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

func (p *Portal) flowCookieName(state string) string {
	sum := sha256.Sum256([]byte(state))
	name := "sallyport-flow-" + base64.RawURLEncoding.EncodeToString(sum[:9])
	if p.secure {
		return "__Host-" + name
	}
	return name
}

// callback is where the provider sends people back.
func (p *Portal) callback(w http.ResponseWriter, r *http.Request, v Visit) error {
	j, err := p.judged(r, v, policy.PurposeSignIn)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	binding := ""
	if c, err := r.Cookie(p.flowCookieName(q.Get("state"))); err == nil {
		binding = c.Value
	}
	http.SetCookie(w, p.flowCookie(q.Get("state"), "", 0))
	result, err := p.Provider.Finish(r.Context(), q, binding)
	if err != nil {
		return p.signInFailed(r, v, j, err)
	}
	var f flow
	if err := json.Unmarshal(result.Payload, &f); err != nil {
		return err
	}
	trip, err := p.journey(f.ReturnTo, f.Bind, "")
	if err != nil {
		return err
	}
	s, err := p.Sessions.SignIn(w, r, hostOf(p.origin), session.NewSession{
		Person: p.Roster(result.Person), AuthTime: result.AuthTime, ProviderSession: result.ProviderSession,
		IDToken: result.IDToken, RefreshToken: result.RefreshToken,
	})
	if err != nil {
		return err
	}
	j.Session = s
	if err := v.Record(r.Context(), "sign_in", j, nil); err != nil {
		return err
	}
	if trip.to.origin == p.origin && isEnrollPage(trip.to.path) {
		redirect(w, trip.to.path)
		return nil
	}
	redirect(w, trip.page("step-up"))
	return nil
}

func (p *Portal) signInFailed(r *http.Request, v Visit, j Judgement, err error) error {
	var bad *signin.Error
	if !errors.As(err, &bad) {
		return err
	}
	if err := v.Record(r.Context(), "sign_in_failed", j, map[string]string{"code": bad.Code}); err != nil {
		return err
	}
	p.Logger.Warn("sign-in failed", "code", bad.Code, "incident", j.Incident, "error", err)
	return &Refusal{Status: http.StatusForbidden, Code: "sign_in_failed", Title: "Signing in did not work", Text: []string{bad.Public}, Incident: j.Incident,
		Link: Link{URL: Prefix + "sign-in", Text: "Start again", Action: "sign-in"}}
}

// backchannelLogout implements OpenID Connect Back-Channel Logout 1.0: the provider
// says that a person, or one of their sessions, is over.
func (p *Portal) backchannelLogout(w http.ResponseWriter, r *http.Request, v Visit) error {
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	j, err := v.Judge(policy.PurposeSignIn)
	if err != nil {
		return err
	}
	out, err := p.Provider.VerifyLogoutToken(r.Context(), r.PostFormValue("logout_token"))
	if err != nil {
		if errors.Is(err, signin.ErrUnavailable) {
			return err
		}
		p.Logger.Warn("back-channel logout refused", "incident", j.Incident, "error", err)
		writeJSON(w, http.StatusBadRequest, problem{Error: "invalid_request", Message: "The logout token was not accepted.", Incident: j.Incident})
		return nil
	}
	filter := session.Filter{Subject: out.Subject}
	if out.ProviderSession != "" {
		filter = session.Filter{ProviderIssuer: out.Subject.Issuer, ProviderSession: out.ProviderSession}
	}
	n, err := p.Sessions.Revoke(r.Context(), filter)
	if err != nil {
		return err
	}
	j.Session = authn.Session{}
	if err := v.Record(r.Context(), "backchannel_logout", j, map[string]string{"subject": out.Subject.ID, "sessions": itoa(n)}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
