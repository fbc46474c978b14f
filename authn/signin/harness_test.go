package signin_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/clocktest"
	"sallyport/authn/signin"
	"sallyport/proxy/proxytest"
)

const (
	clientID    = "sallyport"
	secret      = "a client secret: with/odd+characters&"
	redirectURL = "http://localhost:8080/.sallyport/callback"
)

// harness is a provider, a relying party that knows it, and what stands between.
type harness struct {
	t     *testing.T
	idp   *authntest.IdP
	rp    *signin.Provider
	store *authntest.Memory
	clock *clocktest.Clock
	cfg   signin.Config
}

type option func(*authntest.IdPConfig, *signin.Config)

func alice() authntest.IdPPerson {
	return authntest.IdPPerson{Sub: "alice-1", Email: "Alice@Example.com", Name: "Alice Ames", Verified: true,
		Groups: []string{"treasury", "staff"}, Countries: []string{"us", "CA"}}
}

func newHarness(t *testing.T, opts ...option) *harness {
	t.Helper()
	r := &harness{t: t, store: authntest.NewMemory(), clock: clocktest.At(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))}
	ic := authntest.IdPConfig{
		Clients: []authntest.IdPClient{{ID: clientID, Secret: secret, RedirectURIs: []string{redirectURL}}},
		People:  []authntest.IdPPerson{alice()}, Now: r.clock.Now,
	}
	r.cfg = signin.Config{ClientID: clientID, ClientSecret: secret, RedirectURL: redirectURL, CountriesClaim: "country",
		Flows: r.store, Now: r.clock.Now}
	for _, o := range opts {
		o(&ic, &r.cfg)
	}
	r.idp = authntest.StartIdP(t, ic)
	r.cfg.Issuer = r.idp.Issuer()
	if r.cfg.GroupsEndpoint == "graph" {
		r.cfg.GroupsEndpoint = r.idp.Issuer() + "/graph/me/getMemberObjects"
	}
	r.cfg = proxytest.SignIn(r.cfg)
	rp, err := signin.New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := rp.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.rp = rp
	t.Cleanup(func() {
		if v := r.store.Violations(); len(v) > 0 {
			t.Errorf("store invariants: %q", v)
		}
	})
	return r
}

// begin starts a flow and lets the person answer; it returns the callback's query.
func (r *harness) begin(sub string) (url.Values, string) {
	r.t.Helper()
	f, err := r.rp.Begin(r.t.Context(), netip.Addr{}, []byte("payload"))
	if err != nil {
		r.t.Fatal(err)
	}
	back, err := r.idp.SignIn(f.RedirectURL, sub)
	if err != nil {
		r.t.Fatal(err)
	}
	return back.Query(), f.Binding
}

func (r *harness) signIn(sub string) (signin.Result, error) {
	r.t.Helper()
	q, binding := r.begin(sub)
	return r.rp.Finish(r.t.Context(), q, binding)
}

func (r *harness) mustSignIn(sub string) signin.Result {
	r.t.Helper()
	res, err := r.signIn(sub)
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// wantCode fails unless err is an *Error with that code, and nothing came with it.
func wantCode(t *testing.T, res signin.Result, err error, code string) {
	t.Helper()
	var e *signin.Error
	switch {
	case err == nil:
		t.Fatalf("accepted %v, want a refusal with %q", res, code)
	case !errors.As(err, &e):
		t.Fatalf("error %T (%v), want *signin.Error", err, err)
	case e.Code != code:
		t.Fatalf("code %q (%v), want %q", e.Code, err, code)
	case e.Public == "":
		t.Fatalf("%s tells the person nothing", code)
	case !res.Person.Subject.IsZero() || res.IDToken != "" || res.RefreshToken != "":
		t.Fatalf("a refusal came with a result: %v", res)
	}
}

// direct serves requests by calling a handler: no sockets, so that a test can
// run on fake time.
type direct struct{ h http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	d.h.ServeHTTP(w, r)
	return w.Result(), nil
}

func subject(r *harness) authn.Subject { return authn.Subject{Issuer: r.idp.Issuer(), ID: "alice-1"} }
