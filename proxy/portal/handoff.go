package portal

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/policy"
)

// This file moves a session from the sign-in host to a tool's host.
//
// A tool's origin is hostile: its scripts, workers and cookies decide what happens to the
// answers of its own host. So the code that stands for the session is in no URL and in no
// answer of that host. The sign-in host shows a page of its own, as a top-level document;
// its script asks for a code and posts it:
//
//   - to a host of the same site with fetch, which the tool's service worker never sees;
//   - to a host of another site, whose cookies a fetch could not bring along, with a
//     form. A worker of that host could read the body, so the gate refuses such a worker.
//
// The address of the page holds no secret, and no code is made until its script asks: a
// frame, a prefetch or a reload costs no code.

// next is where the browser goes once the target's conditions are met: to the hand-off
// page if the target is on another host whose cookie took part (bind), otherwise to the
// target itself. A target host without a session sends the browser back here.
func (p *Portal) next(rs returnState) string {
	if rs.to.origin == p.origin || rs.bind == "" {
		return rs.to.String()
	}
	return p.origin + returnState{to: rs.to, bind: rs.bind}.page("handoff")
}

// crossing is a hand-off that a browser requests.
type crossing struct {
	judgement Judgement
	begun     session.Bind
	near      bool // begun from this network, or from this provider's
}

// crossing judges a hand-off. If elsewhere is not "", the person has to go there instead.
func (p *Portal) crossing(r *http.Request, v PageRequest, rs returnState) (c crossing, elsewhere string, err error) {
	if rs.to.origin == p.origin || rs.bind == "" {
		return c, rs.to.String(), nil
	}
	c.begun, err = p.cfg.Sessions.OpenBind(r.Context(), rs.bind)
	switch {
	case errors.Is(err, session.ErrBindExpired): // the tool's host starts again
		return c, rs.to.String(), nil
	case errors.Is(err, session.ErrHandoff):
		return c, "", errBadBind
	case err != nil:
		return c, "", err
	case c.begun.Host != hostOf(rs.to.origin):
		return c, "", errBadBind
	}
	c.near = v.Near(c.begun.Addr, v.Addr())
	if c.judgement, err = v.JudgeHandoff(c.begun.Host, c.begun.Addr); err != nil {
		return c, "", err
	}
	j := &c.judgement
	switch {
	case j.Session.Level() == authn.None:
		return c, rs.page("sign-in"), nil
	case j.Session.Level() != authn.Verified:
		return c, rs.page("step-up"), nil
	case j.Decision.Action == policy.Block:
		if err := v.Record(r.Context(), "handoff_refused", *j, p.about(v, c, "policy")); err != nil {
			return c, "", err
		}
		f := Blocked(j.Decision, string(j.Session.Person.Email), j.Incident)
		return c, "", &f
	case j.Decision.Action == policy.StepUp:
		rs.causes = j.Decision.Causes
		return c, rs.page("step-up"), nil
	}
	return c, "", nil
}

// answered reports whether the person has proved themselves, for another tool or on our
// own pages, since the tool's host last got a proof. Then the hand-off comes before a new
// step-up: the host judges again with that proof, and asks if it is not enough. By then
// it has this proof, so this happens once. If the hand-off itself would need a step-up or
// the person's consent, the step-up comes first.
func (p *Portal) answered(r *http.Request, v PageRequest, rs returnState) (bool, error) {
	if rs.to.origin == p.origin || rs.bind == "" {
		return false, nil
	}
	begun, err := p.cfg.Sessions.OpenBind(r.Context(), rs.bind)
	if errors.Is(err, session.ErrBindExpired) || errors.Is(err, session.ErrHandoff) {
		return false, nil // the hand-off says so
	}
	if err != nil || begun.Host != hostOf(rs.to.origin) || begun.Has.Session == "" || !v.Near(begun.Addr, v.Addr()) {
		return false, err
	}
	j, err := v.JudgeHandoff(begun.Host, begun.Addr)
	return err == nil && j.Decision.Action == policy.Allow && begun.Has.NewerIn(j.Session), err
}

var errBadBind = &Refusal{Status: 400, Code: "bad_bind", Title: "That link is not right",
	Text: []string{"It does not belong to a sign-in that was started here. Open the tool you want directly."}, Link: YourTools}

// about is the detail of an event about a hand-off.
func (p *Portal) about(v PageRequest, c crossing, reason string) map[string]string {
	detail := map[string]string{"host": c.begun.Host}
	if reason != "" {
		detail["reason"] = reason
	}
	began(detail, v, c.begun.Addr)
	return detail
}

func began(detail map[string]string, v PageRequest, addr netip.Addr) {
	if !addr.IsValid() {
		return
	}
	place := v.Locate(addr)
	detail["began_ip"], detail["began_country"] = addr.String(), place.Country
	if place.ASN != 0 {
		detail["began_asn"] = strconv.FormatInt(place.ASN, 10)
	}
}

// handoffPage hands a person with a verified session over to a tool's host. It asks first
// if the tool was opened from another network than the person's.
func (p *Portal) handoffPage(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	if !wholeWindow(r) { // for browsers without Fetch metadata, headers prevent frames, and the page holds no secret
		return &Refusal{Status: http.StatusForbidden, Code: "not_top_level", Title: "That cannot be done inside another page",
			Text: []string{"Open the tool in a window of its own."}, Link: YourTools}
	}
	q := r.URL.Query()
	rs, err := p.parseReturnState(v, q.Get("return_to"), q.Get("bind"), "")
	if err != nil {
		return err
	}
	c, elsewhere, err := p.crossing(r, v, rs)
	if err != nil {
		return err
	}
	if elsewhere != "" {
		redirect(w, elsewhere)
		return nil
	}
	host := c.begun.Host
	page := view{
		Title: "Taking you to " + host, Email: string(c.judgement.Session.Person.Email), Module: "handoff.js", Button: "Continue",
		Begin: Prefix + "handoff", Finish: rs.to.origin + Prefix + "callback", ReturnTo: rs.to.String(), Bind: rs.bind,
		Reach: rs.to.origin, Auto: c.near, OnTheWay: c.near,
		StepsTitle: "It does not work",
		Steps: []string{"Allow cookies for " + host + ", and switch off extensions that change requests.",
			"If your browser asks whether this site may connect to devices on your network, allow it.", "If it goes on, tell your security team."},
	}
	if !c.near {
		page.Title = "Did you just open " + host + "?"
		page.Text = []string{"It was opened from another network than the one you are on now. That can be: a phone that changes between Wi-Fi and mobile, or a VPN for some addresses only.",
			"It can also be another person who wants to get in as you. If you did not open it yourself, or got this link from another person, press “That was not me”: with “Yes”, they get in."}
		page.Began, page.Here = p.placeView(v, c.begun.Addr), p.placeView(v, v.Addr())
		page.Deny = Prefix + "handoff/not-me"
		if err := v.Record(r.Context(), "handoff_asked", c.judgement, p.about(v, c, "")); err != nil {
			return err
		}
	}
	p.cfg.Pages.render(w, http.StatusOK, "handoff", page)
	return nil
}

func (p *Portal) placeView(v PageRequest, addr netip.Addr) *placeView {
	n := v.Locate(addr)
	place := &placeView{Address: addr.String(), Provider: n.Org}
	if n.Country != "ZZ" {
		place.Country = n.Country
	}
	return place
}

// handoffRequest is what the script of the page posts.
type handoffRequest struct {
	ReturnTo  string `json:"return_to"`
	Bind      string `json:"bind"`
	Confirmed bool   `json:"confirmed"` // the person pressed the button
}

// handoffCode is the answer: a code and how to deliver it, or where to go instead.
type handoffCode struct {
	Code string `json:"code,omitempty"`
	How  string `json:"how,omitempty"` // "fetch" or "form"
	Next string `json:"next,omitempty"`
}

// handoffMake makes a code, for our own page only: [Portal.Serve] has refused other
// origins, and no form can send this content type.
func (p *Portal) handoffMake(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	var in handoffRequest
	if err := decodeJSON(w, r, maxForm, &in); err != nil {
		return err
	}
	rs, err := p.parseReturnState(v, in.ReturnTo, in.Bind, "")
	if err != nil {
		return err
	}
	c, elsewhere, err := p.crossing(r, v, rs)
	switch {
	case err != nil:
		return err
	case elsewhere != "":
		writeJSON(w, http.StatusOK, handoffCode{Next: elsewhere})
		return nil
	case !c.near && !in.Confirmed: // the person has changed network since the page was made
		writeJSON(w, http.StatusOK, handoffCode{Next: returnState{to: rs.to, bind: rs.bind}.page("handoff")})
		return nil
	case !c.near:
		if err := v.Record(r.Context(), "handoff_confirmed", c.judgement, p.about(v, c, "")); err != nil {
			return err
		}
	}
	code, err := p.cfg.Sessions.Handoff(r.Context(), c.judgement.Session, c.begun, v.Addr(), rs.to.path)
	if err != nil {
		return err
	}
	answer := handoffCode{Code: code, How: "fetch"}
	if p.CrossSite(rs.to.origin) {
		answer.How = "form"
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// handoffDenied answers a person who says that they did not open the tool. No code was
// made.
func (p *Portal) handoffDenied(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	if err := readForm(w, r); err != nil {
		return err
	}
	rs, err := p.parseReturnState(v, r.PostFormValue("return_to"), r.PostFormValue("bind"), "")
	if err != nil {
		return err
	}
	begun, err := p.cfg.Sessions.OpenBind(r.Context(), rs.bind)
	if err != nil && !errors.Is(err, session.ErrBindExpired) {
		return errBadBind
	}
	j, err := v.JudgeHandoff(begun.Host, begun.Addr)
	if err != nil {
		return err
	}
	if err := p.needSession(j, Prefix+"account"); err != nil {
		return err
	}
	detail := p.about(v, crossing{begun: begun}, "not_me")
	if j.Session.Level() == authn.Verified {
		// The page with this button needs a verified session. An attacker with the
		// password alone can post here too, and must not use up the alarms of the person.
		detail["risk"] = "high"
	}
	if err := v.Record(r.Context(), "handoff_refused", j, detail); err != nil {
		return err
	}
	p.cfg.Pages.render(w, http.StatusOK, "message", view{
		Title: "No one was let in", Email: string(j.Session.Person.Email), Incident: j.Incident,
		Text:  []string{"Your sign-in was not handed over, and your security team can see what happened."},
		Steps: []string{"Tell your security team, and give them the reference below.", "Close the page that brought you here."},
		Link:  YourTools,
	})
	return nil
}

// handoff takes over the session from the sign-in host, on a tool's host. The code works
// once, here, and only in the browser that was sent for it.
func (p *Portal) handoff(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	j, err := p.judged(r, v, policy.PurposeSignIn)
	if err != nil {
		return err
	}
	if err := readForm(w, r); err != nil {
		return err
	}
	s, to, err := p.cfg.Sessions.Redeem(w, r, session.Presented{
		Host: hostOf(v.Origin()), Code: r.PostFormValue("code"), Addr: v.Addr(), Family: v.Browser().Family, Near: v.Near,
	})
	if bad, ok := errors.AsType[*session.HandoffError](err); ok {
		return p.handoffFailed(w, r, v, j, bad)
	}
	if errors.Is(err, session.ErrNoSession) { // it ended meanwhile
		return p.handoffFailed(w, r, v, j, &session.HandoffError{Code: "session_over"})
	}
	if err != nil {
		return err
	}
	j.Session = s
	if err := v.Record(r.Context(), "handoff", j, map[string]string{"host": hostOf(v.Origin())}); err != nil {
		return err
	}
	p.arrived(w, r, v, to.Path, to.Linked)
	return nil
}

// arrived sends the browser on: with JSON if the script of the sign-in host asks, and
// with a page if the browser posted a form. A redirect would belong to the form, and
// browsers apply form-action of the form's page to every redirect of it, the tool's own
// included.
//
// That page is of the tool's origin, and a link that it follows by itself is the tool's
// own: it carries the SameSite=Strict cookies, and "same-origin" in Fetch metadata. So
// the page waits for a press if another page may have chosen the address.
func (p *Portal) arrived(w http.ResponseWriter, r *http.Request, v PageRequest, path string, linked bool) {
	to := v.Origin() + path
	if KindOf(r) != Page { // the page of the sign-in host navigates: the tool sees a link of another origin
		writeJSON(w, http.StatusOK, handoffCode{Next: to})
		return
	}
	page := view{Title: "You are signed in", Refresh: to, Module: "arrived.js", OnTheWay: true, Link: Link{URL: to, Text: "Go on"}}
	if linked && path != "/" { // no attack is possible with the start page
		page.Press, page.Refresh = true, ""
		page.Text, page.Link.Text = []string{p.whereTo(returnTo{v.Origin(), path})}, "Go on to "+hostOf(v.Origin())
	}
	p.cfg.Pages.render(w, http.StatusOK, "message", page)
}

// handoffFailed answers a code that gave no session. Failures of honest people (a second
// click, a cookie that was not kept, a minute that has passed) start again once. If that
// fails too, a browser that has a session here goes on with it: another tab was faster,
// and "you could not be signed in" would be wrong. The restart comes first, because the
// session may be too old for the target, which would then loop. A leaked code is a
// high-risk event.
func (p *Portal) handoffFailed(w http.ResponseWriter, r *http.Request, v PageRequest, j Judgement, bad *session.HandoffError) error {
	lost := bad.Code == session.CodeNoNonce || bad.Code == session.CodeExpired
	if bad.Code == session.CodeSpent && j.Session.Level() != authn.None {
		p.arrived(w, r, v, bad.ReturnTo, bad.Linked)
		return nil
	}
	p.cfg.Logger.Warn("hand-off refused", "incident", j.Incident, "reason", bad.Code, "leaked", bad.Leaked)
	detail := map[string]string{"host": hostOf(v.Origin()), "reason": bad.Code}
	began(detail, v, bad.Began)
	if bad.Leaked {
		// The alarm concerns the code's owner, who need not be the person that presents
		// it. It uses the owner's reserve in the log, and each code is an event of its
		// own.
		detail["risk"], detail["owner"], detail["handoff"] = "high", bad.Owner, bad.ID
	}
	if err := v.Record(r.Context(), "handoff_refused", j, detail); err != nil {
		return err
	}
	if lost && bad.Again && alreadyIn(j, v) {
		p.arrived(w, r, v, bad.ReturnTo, bad.Linked)
		return nil
	}
	if lost && !bad.Again {
		q := url.Values{"return_to": {v.Origin() + bad.ReturnTo}, "again": {"1"}}
		p.arrived(w, r, v, Prefix+"sign-in?"+q.Encode(), bad.Linked)
		return nil
	}
	f := &Refusal{Status: 400, Code: "handoff_failed", Title: "That did not work", Incident: j.Incident,
		Text: []string{"You could not be signed in here: a sign-in works once, for a minute, and only in the browser and on the network where it started."},
		Link: Link{URL: "/", Text: "Open the tool again"}}
	if bad.Code == session.CodeNoNonce {
		f.Text = []string{"Your browser did not keep a cookie that is needed to sign in here."}
		f.Steps = []string{"Allow cookies for this site, then open the tool again."}
	}
	return f
}

// alreadyIn reports whether the browser has a session on this host that was handed to it.
// A session that was handed to a browser of another family may be planted, and the gate
// would send it back here at once.
func alreadyIn(j Judgement, v PageRequest) bool {
	handedTo := j.Session.Verification.Browser.HandedTo
	return j.Session.Level() == authn.Verified && (handedTo == "" || handedTo == v.Browser().Family)
}

// handoffLink answers an address with a code in the URL (from earlier versions), and a
// callback that a person opens by hand.
func (p *Portal) handoffLink(http.ResponseWriter, *http.Request, PageRequest) error {
	return &Refusal{Status: 400, Code: "handoff_failed", Title: "That sign-in link does not work any more",
		Text: []string{"Signing in does not use such links. Open the tool again: you will be signed in on the way."},
		Link: Link{URL: "/", Text: "Open the tool again"}}
}

// fromSignInHost lets the sign-in host, and no other origin, post to a tool's host and
// read the answer. Browsers send Origin with every POST; a client that does not is no
// browser.
func (p *Portal) fromSignInHost(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Add("Vary", "Origin")
	if o := r.Header["Origin"]; len(o) != 1 || o[0] != p.origin {
		return false
	}
	h.Set("Access-Control-Allow-Origin", p.origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	return true
}

// overToSignOut serves sign-out on a tool's host. It ends nothing, because a script of
// the tool can post here. The sign-in host asks first.
func (p *Portal) overToSignOut(w http.ResponseWriter, _ *http.Request, _ PageRequest) error {
	seeOther(w, p.origin+Prefix+"sign-out")
	return nil
}

// send redirects a browser to a page of the sign-in host. On any other host it also
// starts a hand-off, so that the person comes back with a session there.
func (p *Portal) send(w http.ResponseWriter, r *http.Request, v PageRequest, page, back string, causes []policy.Cause, again bool) error {
	j := returnState{to: returnTo{v.Origin(), back}, causes: causes}
	if v.Origin() == p.origin {
		redirect(w, j.page(page))
		return nil
	}
	begin := session.HandoffRequest{Host: hostOf(v.Origin()), Addr: v.Addr(), CrossSite: p.CrossSite(v.Origin()), Again: again, Proofs: v.Unanswered(), Linked: Linked(r, v.Origin())}
	if page == "step-up" {
		begin.Has = v.Proof()
	}
	var err error
	j.bind, err = p.cfg.Sessions.BeginHandoff(w, r, begin)
	if err != nil {
		return err
	}
	redirect(w, p.origin+j.page(page))
	return nil
}
