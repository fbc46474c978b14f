package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// ours reports whether a cookie has a name that only the product may use.
func ours(name string) bool { return strings.Contains(strings.ToLower(name), "sallyport") }

// setCookies returns the cookies of the product in an answer, and what is wrong with
// them. Everything that is set under our own paths is ours.
func setCookies(from string, lines []string) (list []*http.Cookie, faults []string) {
	u, err := url.Parse(from)
	if err != nil || !ofTests(u.Hostname()) || u.Hostname() == "127.0.0.1" {
		return nil, nil
	}
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s sets %q: %v", from, line, err))
			continue
		}
		if !ours(c.Name) && !strings.HasPrefix(u.Path, "/.sallyport/") {
			continue
		}
		list = append(list, c)
		if fault := cookieFault(c, u.Scheme == "https"); fault != "" {
			faults = append(faults, fmt.Sprintf("%s sets %q: %s", from, line, fault))
		}
	}
	return list, faults
}

// cookieFault says what is wrong with a cookie of the product: a name without the prefix
// can be set by a neighbouring host, for one; a domain makes it readable there.
func cookieFault(c *http.Cookie, https bool) string {
	switch {
	case https && !strings.HasPrefix(c.Name, "__Host-Http-"):
		return "no __Host-Http- prefix"
	case https && !c.Secure:
		return "not Secure"
	case !c.HttpOnly:
		return "scripts can read it"
	case c.Path != "/" || c.Domain != "":
		return "not for exactly one host"
	// The nonce of a hand-off comes along with the form that brings the code, on localhost from another site.
	case c.SameSite != http.SameSiteLaxMode && c.SameSite != http.SameSiteStrictMode && (https || !strings.HasPrefix(c.Name, "sallyport-handoff-")):
		return "sent with requests of other sites"
	case c.Partitioned:
		return "can be there twice"
	}
	return ""
}

// TestCookiesAreForOneHostOnly goes through everything that sets a cookie: signing in with a
// ticket, enrolling, proving, opening a tool, signing out.
func TestCookiesAreForOneHostOnly(t *testing.T) {
	t.Parallel()
	for _, e := range entries {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			s := newHarnessAt(t, e)
			b := newBrowser(t, home)
			b.enrol(s.ticket(alice.Email), alice.Sub)
			b.open(s.treasury + "/")
			b.shows("Treasury of alice@example.com")
			if seen := eval[string](b, "document.cookie"); seen != "" {
				t.Errorf("a script of the tool reads %q", seen)
			}
			b.open(s.base + "/.sallyport/sign-out")
			b.act("sign-out")
			b.shows("You are signed out")
			b.checkCookies(t, e, map[string]time.Duration{
				"sallyport":          0, // ends with the browser
				"sallyport-device":   365 * 24 * time.Hour,
				"sallyport-flow-":    15 * time.Minute,
				"sallyport-ticket":   15 * time.Minute,
				"sallyport-handoff-": 20 * time.Minute,
				"sallyport-choose":   24 * time.Hour,

				"sallyport-signed-out": 10 * time.Minute,
			})
		})
	}
}

// checkCookies compares what was set with what there is, and for how long at most.
func (b *browser) checkCookies(t *testing.T, e entry, longest map[string]time.Duration) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := map[string]bool{}
	for _, c := range b.cookies {
		name, ok := strings.CutPrefix(c.Name, e.cookiePrefix())
		for _, many := range []string{"sallyport-flow-", "sallyport-handoff-"} {
			if strings.HasPrefix(name, many) {
				name = many
			}
		}
		most, known := longest[name]
		seen[name] = true
		switch {
		case !ok || !known:
			t.Errorf("the cookie %s is not documented", c.Name)
		case c.SameSite != http.SameSiteLaxMode && (name != "sallyport-handoff-" || e.tls): // it comes with a form of another site
			t.Errorf("the cookie %s is not SameSite=Lax", c.Name)
		case c.Secure != e.tls:
			t.Errorf("the cookie %s: secure is %t", c.Name, c.Secure)
		case c.MaxAge > int(most/time.Second):
			t.Errorf("the cookie %s lasts %d seconds", c.Name, c.MaxAge)
		}
	}
	for name := range longest {
		if !seen[name] {
			t.Errorf("no cookie %s was set: the test has lost its way", name)
		}
	}
}

// TestToolCannotSetOurCookies: a tool that could choose its users' session, or the nonce of
// a hand-off, would choose who they are. It tries in every answer that it gives.
func TestToolCannotSetOurCookies(t *testing.T) {
	inEveryEngine(t, toolCannotSetOurCookies)
}

func toolCannotSetOurCookies(t *testing.T, open func(t *testing.T, from string) *browser) {
	evil := newTool(t)
	s := newHarness(t, withTool("evil", evil))
	b := open(t, home)
	b.hostile = true
	b.enrol(s.ticket(alice.Email), alice.Sub)
	var headers []string
	for _, name := range []string{"sallyport", "sallyport-handoff-x", "sallyport-device", "sallyport-ticket", "sallyport-flow-x"} {
		for _, prefix := range []string{"", "__Host-", "__host-", "__Secure-", "__Http-", "__Host-Http-"} {
			headers = append(headers, "Set-Cookie", prefix+name+"=evil; Path=/; Secure", "Set-Cookie", prefix+name+"=evil; Path=/; Secure; Domain="+company)
		}
	}
	evil.page("/", "<h1>Evil</h1>", headers...)
	evil.page("/fetched", "evil", append(headers, "Set-Cookie", "its-own=1")...)
	b.open(s.origin("evil") + "/")
	b.shows("Evil")
	eval[bool](b, `fetch("/fetched").then(() => true)`)
	if got := eval[string](b, "document.cookie"); got != "its-own=1" {
		t.Errorf("the tool set %q", got)
	}
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")
	b.open(s.origin("evil") + "/.sallyport/whoami")
	b.shows("verified")
}
