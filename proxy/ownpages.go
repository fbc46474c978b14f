package proxy

import (
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/proxy/portal"
)

// Limiter bounds how often Sallyport's own pages may be asked to do something.
type Limiter interface {
	// Allow counts one more, and reports whether it is within the limit. Without a
	// session, the limit is for the client's address. A session that is only signed in
	// has a budget of its own, and not its person's: an attacker with the person's
	// password must not keep them from using their passkey.
	Allow(client netip.Addr, who *authn.Session) (ok bool, retryAfter time.Duration)
	// AllowLogout is the same for messages of the OpenID provider. Any client can send
	// such messages, so they have a budget of their own: they do not delay people who
	// sign in, and an office full of people does not delay the provider.
	AllowLogout(client netip.Addr) (ok bool, retryAfter time.Duration)
}

const logoutTime = 10 * time.Second // for the body of a message of the provider

// ownPages serves the reserved prefix: the key set, and the pages of the portal. Pages
// that change something are limited in how often.
//
// Any web page can make a browser send requests, and these must cost no budget: an office
// shares an address, and one open tab of one person must not keep the others from signing
// in. So a request that is no page view is refused before it is counted, and only a
// request with the cookie that binds it to a person or to a sign-in is counted.
func (g *Gate) ownPages(w http.ResponseWriter, r *http.Request, v *Verdict) {
	if v.Target.Path == portal.Prefix+"jwks.json" && g.cfg.Assertions != nil {
		g.cfg.Assertions.ServeHTTP(w, r)
		return
	}
	if portal.NoPageView(r) {
		g.refuse(w, r, v, portal.Refusal{Status: http.StatusForbidden, Code: "not_a_page_view", Title: "That has to be opened as a page",
			Text: []string{"It cannot be used inside another page, or by it."}, Link: portal.YourTools})
		return
	}
	page := strings.TrimPrefix(v.Target.Path, portal.Prefix)
	if b, ok := r.Body.(interface {
		Within(time.Duration) func() bool
	}); ok && page == "backchannel-logout" {
		defer b.Within(logoutTime)()
	}
	ok, retry, answered := g.charge(w, r, v, page)
	switch {
	case answered:
	case !ok:
		if g.cfg.Observe != nil {
			g.cfg.Observe.Limited.WithLabelValues(endpoint(v.Target.Path)).Inc()
		}
		g.exceeded("ceremonies_per_minute", "limits.ceremonies_per_minute", v)
		w.Header().Set("Retry-After", strconv.Itoa(int(retry.Seconds())+1))
		g.refuse(w, r, v, portal.Refusal{Status: http.StatusTooManyRequests, Code: "too_many_requests", Title: "That was too often",
			Text: []string{"Too many attempts came from your network or your account in a short time. Wait a minute, then try again."}, Link: portal.YourTools})
	default:
		g.cfg.Portal.Serve(w, r, &pageRequest{g, r, v})
	}
}

// charge counts requests that change something. It answers a ceremony without a session
// here, without reading its body: it has nothing to do.
func (g *Gate) charge(w http.ResponseWriter, r *http.Request, v *Verdict, page string) (ok bool, retry time.Duration, answered bool) {
	free := func() (bool, time.Duration, bool) { return true, 0, false }
	origin := v.Target.Scheme + "://" + v.Target.Host
	post, home := r.Method == http.MethodPost, origin == g.cfg.SignIn
	var who authn.Session
	switch {
	case home && page == "backchannel-logout":
		if !post || g.cfg.Limit == nil {
			return free()
		}
		ok, retry = g.cfg.Limit.AllowLogout(v.Client)
		return ok, retry, false
	case g.cfg.Portal.Foreign(r, origin): // the portal refuses it
		return free()
	case home && page == "callback" && !post:
		if !g.cfg.Portal.HasFlowCookie(r) { // the portal refuses it without asking the provider or the store
			return free()
		}
	case page == "callback" && post: // by the sign-in host, with a code
	case home && page == "sign-in" && r.Method == http.MethodGet && g.cfg.Portal.Goes(r), post:
		var err error
		who, err = g.cfg.Sessions.Load(r, v.Target.Host)
		if post && errors.Is(err, session.ErrNoSession) {
			if portal.Ceremony(page) {
				g.refuse(w, r, v, *portal.SessionGone())
				return false, 0, true
			}
			return free() // without a session it does nothing
		}
	default:
		return free()
	}
	if g.cfg.Limit == nil {
		return free()
	}
	ok, retry = g.cfg.Limit.Allow(v.Client, &who)
	return ok, retry, false
}

// endpoint names one of our own pages for a metric. The client chooses the path, so any
// other path must not become a series of its own, or strangers would fill the memory.
func endpoint(path string) string {
	switch name := strings.TrimPrefix(path, portal.Prefix); name {
	case "sign-in", "callback", "handoff", "handoff/not-me", "step-up/begin", "step-up/finish", "enroll/begin", "enroll/finish", "enroll/confirm/begin", "enroll/confirm/finish", "ceremony/stopped", "account", "sign-out", "backchannel-logout":
		return name
	}
	return "other"
}
