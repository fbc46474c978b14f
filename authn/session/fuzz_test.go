package session_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"sallyport/authn/session"
)

// For every Cookie header, only the one cookie that was issued gets in.
func FuzzCookie(f *testing.F) {
	e := newHarness(f)
	b := e.browser()
	b.signIn(signInHost, alice())
	name, good := e.m.CookieName(), b.cookie(signInHost)
	for _, s := range []string{
		name + "=" + good, name + "=" + good + ";", "a=b; " + name + "=" + good, name + "=" + good + "; " + name + "=",
		name + "=\"" + good + "\"", name, "=" + good, name + "=" + good[:40], ";;;" + name + " = " + good, name + "=" + strings.Repeat("A", 80),
	} {
		f.Add(s, "")
		f.Add("x=y", s)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		r := httptest.NewRequest("GET", "https://"+signInHost+"/", nil)
		r.Header["Cookie"] = []string{one, two}
		s, err := e.m.Load(r, signInHost)
		if err != nil {
			if !errors.Is(err, session.ErrNoSession) || s.ID != "" {
				t.Fatalf("%+v, %v", s, err)
			}
			return
		}
		// net/http must agree that there is one such cookie, and that it is ours:
		// what strips cookies on the way upstream reads them with net/http.
		cs := (&http.Request{Header: r.Header}).CookiesNamed(name)
		if len(cs) != 1 || cs[0].Value != good {
			t.Fatalf("a session for %q, %q", one, two)
		}
	})
}

// Decode accepts only what Encode gives: one spelling per token.
func FuzzDecodeCookie(f *testing.F) {
	e := newHarness(f)
	good := e.m.Seal(e.m.CookieName(), [32]byte{1, 2, 3})
	raw, _ := base64.RawURLEncoding.DecodeString(good)
	f.Add(good)
	f.Add(good[:79] + "\n")
	f.Add(good + "=")
	f.Add(good + good)
	f.Add(base64.StdEncoding.EncodeToString(raw))
	f.Add(strings.Repeat("\r\n", 40))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := e.m.Decode(s); err == nil && s != good {
			t.Fatalf("%q was opened", s)
		}
	})
}

// What comes out is a path that every reader of URLs keeps on this host.
func FuzzReturnTo(f *testing.F) {
	for _, s := range []string{"/", "//e", `/\e`, "https://corp.com/x?y", "https://corp.com@e/", "/\t/e", "https:e", "/a?b=//c#d"} {
		f.Add(s)
	}
	base, _ := url.Parse("https://corp.com/a/b")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := session.ReturnPath(s, "corp.com")
		if err != nil {
			return
		}
		u, err := base.Parse(got)
		if err != nil || u.Host != "corp.com" || u.Scheme != "https" || u.User != nil ||
			!strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\r\n\t\x00 ") {
			t.Fatalf("%q gives %q: %v, %v", s, got, u, err)
		}
		if again, err := session.ReturnPath(got, "corp.com"); err != nil || again != got {
			t.Fatalf("%q gives %q and then %q, %v", s, got, again, err)
		}
	})
}
