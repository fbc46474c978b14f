package assertion_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/clocktest"
	"sallyport/policy"
	"sallyport/proxy/assertion"
)

const issuer = "https://sallyport.example.com"

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newSigner(t testing.TB, mem *authntest.Memory, c *clocktest.Clock, change ...func(*assertion.Config)) *assertion.Signer {
	t.Helper()
	cfg := assertion.Config{Keys: mem, Issuer: issuer, Now: c.Now}
	for _, f := range change {
		f(&cfg)
	}
	s, err := assertion.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func alice() *authn.Session {
	return &authn.Session{
		ID: "s-1", Host: "treasury.example.com",
		Person:    authn.Person{Subject: authn.Subject{Issuer: "https://idp.example.com", ID: "u1"}, Email: "alice@example.com", Groups: []string{"treasury", "staff"}},
		CreatedAt: start.Add(-time.Hour), ExpiresAt: start.Add(time.Hour), AuthTime: start.Add(-time.Hour),
		Verification: authn.Verification{At: start.Add(-time.Minute), Addr: netip.MustParseAddr("192.0.2.1"), Credential: authn.Credential{Class: authn.ClassSynced}},
	}
}

func allow() *policy.Decision { return &policy.Decision{Action: policy.Allow} }

func verify(t testing.TB, s *assertion.Signer, token, route string, now time.Time) assertion.Claims {
	t.Helper()
	c, err := assertion.Verify(token, s.JWKS(), assertion.Expected{Issuer: issuer, Audience: route, Now: now})
	if err != nil {
		t.Fatalf("%v: %s", err, token)
	}
	return c
}

func TestClaims(t *testing.T) {
	c := clocktest.At(start)
	s := newSigner(t, authntest.NewMemory(), c)
	d := &policy.Decision{Action: policy.Allow, Score: 20, Causes: []policy.Cause{policy.CauseNetwork, policy.CauseTime}}
	token, err := s.For(alice(), "treasury", d)
	if err != nil {
		t.Fatal(err)
	}
	got := verify(t, s, token, "treasury", start)
	if len(got.ID) < 20 {
		t.Errorf("jti %q", got.ID)
	}
	got.ID = ""
	want := assertion.Claims{
		Issuer: issuer, Audience: "treasury", Subject: "u1", Provider: "https://idp.example.com", Email: "alice@example.com",
		Groups: []string{"treasury", "staff"}, Session: "s-1", AuthTime: start.Add(-time.Hour).Unix(), VerifiedAt: start.Add(-time.Minute).Unix(),
		Credential: "synced", AMR: []string{"swk", "user", "mfa"}, ACR: "phr", Risk: 20, Reasons: d.Causes,
		IssuedAt: start.Unix(), NotBefore: start.Unix() - 5, Expires: start.Unix() + 55,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// hwk is claimed only for what attestation proves.
func TestMethodsAreWhatIsKnown(t *testing.T) {
	for _, tc := range []struct {
		class authn.Class
		amr   []string
		acr   string
	}{
		{authn.ClassNone, []string{}, ""},
		{authn.ClassSynced, []string{"swk", "user", "mfa"}, "phr"},
		{authn.ClassUnattested, []string{"pop", "user", "mfa"}, "phr"},
		{authn.ClassAttested, []string{"hwk", "user", "mfa"}, "phrh"},
	} {
		sess := alice()
		sess.Person.Groups = nil
		sess.Verification.Credential.Class = tc.class
		got := assertion.ClaimsOf(sess, "r", allow())
		if !slices.Equal(got.AMR, tc.amr) || got.ACR != tc.acr || got.Credential != tc.class.String() {
			t.Errorf("%s: amr %q, acr %q, credential %q", tc.class, got.AMR, got.ACR, got.Credential)
		}
		if text, _ := json.Marshal(got); !strings.Contains(string(text), `"groups":[]`) {
			t.Errorf("nobody's groups are not an empty array: %s", text)
		}
	}
}

func TestNothingIsSignedForTheUnverified(t *testing.T) {
	s := newSigner(t, authntest.NewMemory(), clocktest.At(start))
	signedIn := alice()
	signedIn.Verification = authn.Verification{}
	for name, sess := range map[string]*authn.Session{"nobody": {}, "signed in only": signedIn} {
		if token, err := s.For(sess, "r", allow()); !errors.Is(err, assertion.ErrUnverified) || token != "" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Sign(assertion.ClaimsOf(sess, "r", allow())); !errors.Is(err, assertion.ErrUnverified) {
			t.Errorf("%s, Sign: %v", name, err)
		}
	}
	for _, a := range []policy.Action{policy.Block, policy.StepUp} {
		if _, err := s.For(alice(), "r", &policy.Decision{Action: a}); !errors.Is(err, assertion.ErrUnverified) {
			t.Errorf("%s: %v", a, err)
		}
	}
}

func TestCache(t *testing.T) {
	c := clocktest.At(start)
	s := newSigner(t, authntest.NewMemory(), c)
	sess := alice()
	get := func(sess *authn.Session, route string, d *policy.Decision) string {
		t.Helper()
		token, err := s.For(sess, route, d)
		if err != nil {
			t.Fatal(err)
		}
		verify(t, s, token, route, c.Now())
		return token
	}
	first := get(sess, "r", allow())
	if get(sess, "r", allow()) != first {
		t.Error("the same question is signed twice")
	}
	c.Add(assertion.Life/2 - 1)
	if get(sess, "r", allow()) != first {
		t.Error("replaced before half its life")
	}
	c.Add(1)
	second := get(sess, "r", allow())
	if second == first {
		t.Error("handed out after half its life")
	}
	c.Add(-time.Second) // the clock was set back
	if get(sess, "r", allow()) == second {
		t.Error("an assertion from the future was handed out")
	}

	// All that an assertion says is in the question.
	for name, change := range map[string]func(*authn.Session, *policy.Decision) string{
		"route":        func(*authn.Session, *policy.Decision) string { return "r2" },
		"session":      func(s *authn.Session, _ *policy.Decision) string { s.ID = "s-2"; return "r" },
		"host":         func(s *authn.Session, _ *policy.Decision) string { s.Host = "other"; return "r" },
		"verification": func(s *authn.Session, _ *policy.Decision) string { s.Verification.At = start; return "r" },
		"groups":       func(s *authn.Session, _ *policy.Decision) string { s.Person.Groups = []string{"staff"}; return "r" },
		"email":        func(s *authn.Session, _ *policy.Decision) string { s.Person.Email = "a2@example.com"; return "r" },
		"subject":      func(s *authn.Session, _ *policy.Decision) string { s.Person.Subject.ID = "u2"; return "r" },
		"auth time":    func(s *authn.Session, _ *policy.Decision) string { s.AuthTime = start; return "r" },
		"class": func(s *authn.Session, _ *policy.Decision) string {
			s.Verification.Credential.Class = authn.ClassAttested
			return "r"
		},
		"score": func(_ *authn.Session, d *policy.Decision) string { d.Score = 1; return "r" },
		"cause": func(_ *authn.Session, d *policy.Decision) string {
			d.Causes = []policy.Cause{policy.CauseTime}
			return "r"
		},
		"unknown cause": func(_ *authn.Session, d *policy.Decision) string { d.Causes = []policy.Cause{"new"}; return "r" },
	} {
		t.Run(name, func(t *testing.T) {
			old := get(sess, "r", allow())
			other, d := alice(), allow()
			route := change(other, d)
			token := get(other, route, d)
			if token == old {
				t.Fatal("answered with another question's assertion")
			}
			want, got := assertion.ClaimsOf(other, route, d), verify(t, s, token, route, c.Now())
			got.Issuer, got.ID, got.IssuedAt, got.NotBefore, got.Expires = "", "", 0, 0, 0
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Two people whose parts run together alike never share an assertion.
func TestAttackCacheKeyCollision(t *testing.T) {
	s := newSigner(t, authntest.NewMemory(), clocktest.At(start))
	seen := map[string]string{}
	for _, p := range [][3]string{{"a", "bc", "d"}, {"ab", "c", "d"}, {"a", "b", "cd"}, {"abc", "", "d"}, {"", "abc", "d"}, {"a", "bcd", ""}} {
		sess := alice()
		sess.ID, sess.Host, sess.Person.Subject.ID = p[0], p[1], p[0]+"|"+p[1]
		if p[0] == "" || p[2] == "" {
			if token, err := s.For(sess, p[2], allow()); err == nil {
				t.Errorf("%q: signed: %s", p, token)
			}
			continue
		}
		token, err := s.For(sess, p[2], allow())
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[token]; ok {
			t.Errorf("%q and %s share an assertion", p, other)
		}
		seen[token] = p[0] + "," + p[1]
		if got := verify(t, s, token, p[2], start); got.Subject != sess.Person.Subject.ID {
			t.Errorf("%q got the assertion of %q", p, got.Subject)
		}
	}
}

// At half life one request pays for the new signature, not all of them.
func TestRefreshIsPaidOnce(t *testing.T) {
	c := clocktest.At(start)
	s := newSigner(t, authntest.NewMemory(), c)
	sess := alice()
	old, err := s.For(sess, "r", allow())
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		c.Add(assertion.Life / 2)
		var wg sync.WaitGroup
		var mu sync.Mutex
		fresh := map[string]bool{}
		begin := make(chan struct{})
		for range 16 {
			wg.Go(func() {
				<-begin
				token, err := s.For(sess, "r", allow())
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if token != old {
					fresh[token] = true
				}
			})
		}
		close(begin)
		wg.Wait()
		if len(fresh) != 1 {
			t.Fatalf("%d new assertions at half life", len(fresh))
		}
		for token := range fresh {
			old = token
		}
	}
}

func TestJWKS(t *testing.T) {
	mem, c := authntest.NewMemory(), clocktest.At(start)
	s := newSigner(t, mem, c, func(c *assertion.Config) { c.JWKSMaxAge = 10 * time.Minute })
	if got := string(s.JWKS()); strings.Contains(got, `"d"`) || !strings.Contains(got, `"alg":"ES256"`) || !strings.Contains(got, `"use":"sig"`) {
		t.Fatalf("key set %s", got)
	}
	get := func(method, etag string) *http.Response {
		r := httptest.NewRequest(method, "/.sallyport/jwks.json", nil)
		r.Header.Set("If-None-Match", etag)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Result()
	}
	res := get(http.MethodGet, "")
	if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "public, max-age=600" || res.Header.Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if res := get(http.MethodGet, res.Header.Get("Etag")); res.StatusCode != http.StatusNotModified {
		t.Errorf("known set: %d", res.StatusCode)
	}
	if res := get(http.MethodHead, ""); res.StatusCode != 200 || res.ContentLength != int64(len(s.JWKS())) {
		t.Errorf("HEAD: %d, %d bytes", res.StatusCode, res.ContentLength)
	}
	if res := get(http.MethodPost, ""); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", res.StatusCode)
	}
}

func TestRunRotates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := authntest.NewMemory()
		s, err := assertion.New(t.Context(), assertion.Config{Keys: mem, Issuer: issuer, Now: time.Now, RotateEvery: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		time.Sleep(23*time.Hour + 59*time.Minute)
		if n := strings.Count(string(s.JWKS()), `"kid"`); n != 1 {
			t.Errorf("%d keys before rotation is due", n)
		}
		time.Sleep(12 * time.Minute)
		if n := strings.Count(string(s.JWKS()), `"kid"`); n != 2 {
			t.Errorf("%d keys after it was due", n)
		}
		time.Sleep(time.Hour)
		if n := strings.Count(string(s.JWKS()), `"kid"`); n != 1 {
			t.Errorf("%d keys when the old one should be gone", n)
		}
		stop()
		<-done
	})
}
