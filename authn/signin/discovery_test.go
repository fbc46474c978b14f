package signin_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/signin"
	"sallyport/proxy/proxytest"
)

// counter counts calls to paths that end in a suffix.
type counter struct {
	base   http.RoundTripper
	suffix string
	n      atomic.Int64
}

func (c *counter) client(suffix string) *http.Client {
	c.base, c.suffix = http.DefaultTransport, suffix
	return &http.Client{Transport: c}
}

func (c *counter) count() int64 { return c.n.Load() }

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, c.suffix) {
		c.n.Add(1)
	}
	return c.base.RoundTrip(r)
}

// inBubble makes a provider and a relying party that share fake time and no socket.
func inBubble(t *testing.T) (*authntest.IdP, *signin.Provider, *counter) {
	t.Helper()
	idp, err := authntest.NewIdP(authntest.IdPConfig{Issuer: "https://id.example/realm", People: []authntest.IdPPerson{alice()},
		Clients: []authntest.IdPClient{{ID: clientID, Secret: secret, RedirectURIs: []string{redirectURL}}}})
	if err != nil {
		t.Fatal(err)
	}
	calls := &counter{base: direct{idp}, suffix: "/.well-known/openid-configuration"}
	rp, err := signin.New(proxytest.SignIn(signin.Config{Issuer: idp.Issuer(), ClientID: clientID, ClientSecret: secret, RedirectURL: redirectURL,
		Flows: authntest.NewMemory(), HTTPClient: &http.Client{Transport: calls}}))
	if err != nil {
		t.Fatal(err)
	}
	return idp, rp, calls
}

// The provider is down when the proxy starts: Run keeps trying, less and less
// often, Ready says why, and sign-in works once it is back.
func TestTheProviderMayStartLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp, rp, calls := inBubble(t)
		idp.SetFaults(authntest.FaultDown)
		go rp.Run(t.Context())
		time.Sleep(10 * time.Minute) // fake time
		if err := rp.Ready(); !errors.Is(err, signin.ErrUnavailable) || !strings.Contains(err.Error(), "503") {
			t.Errorf("ready: %v", err)
		}
		if n := calls.count(); n < 10 || n > 22 { // 1, 2, 4 ... 60 s apart, a quarter either way
			t.Errorf("%d attempts in 10 minutes", n)
		}
		idp.SetFaults()
		time.Sleep(76 * time.Second)
		if err := rp.Ready(); err != nil {
			t.Fatal(err)
		}
		f, err := rp.Begin(t.Context(), netip.Addr{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := idp.SignIn(f.RedirectURL, "alice-1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rp.Finish(t.Context(), back.Query(), f.Binding); err != nil {
			t.Fatal(err)
		}
	})
}

// A person who waits at the sign-in page shortens the pause; a crowd does not
// turn it into a flood.
func TestWaitingPeopleHurryDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp, rp, calls := inBubble(t)
		idp.SetFaults(authntest.FaultDown)
		go rp.Run(t.Context())
		time.Sleep(10 * time.Minute)
		before := calls.count()
		for range 600 { // a minute of ten people a second
			_, _ = rp.Begin(t.Context(), netip.Addr{}, nil)
			time.Sleep(100 * time.Millisecond)
		}
		if n := calls.count() - before; n < 8 || n > 13 {
			t.Errorf("%d attempts in a minute, want one each 5 s", n)
		}
	})
}

// Metadata once known survives an outage, and Run looks again every hour.
func TestMetadataOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp, rp, calls := inBubble(t)
		go rp.Run(t.Context())
		synctest.Wait()
		if err := rp.Ready(); err != nil {
			t.Fatal(err)
		}
		idp.SetFaults(authntest.FaultDocument) // worse than down: another provider answers
		time.Sleep(3 * time.Hour)
		if err := rp.Ready(); err != nil || calls.count() < 3 {
			t.Errorf("ready: %v after %d calls", err, calls.count())
		}
		if _, err := rp.Begin(t.Context(), netip.Addr{}, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, rp, _ := inBubble(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { rp.Run(ctx); close(done) }()
		synctest.Wait()
		cancel()
		<-done
	})
}

// Keys rotate without anyone telling us; and when even a fetch finds no fitting
// key, the metadata is looked at again.
func TestKeysRotate(t *testing.T) {
	r := newHarness(t)
	for range 3 {
		r.mustSignIn("alice-1")
		if err := r.idp.RotateKeys(); err != nil {
			t.Fatal(err)
		}
	}
	r.mustSignIn("alice-1")
}

func TestAnUnknownKeyMakesUsLookAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp, rp, calls := inBubble(t)
		go rp.Run(t.Context())
		time.Sleep(10 * time.Minute)
		before := calls.count()
		idp.SetFaults(authntest.FaultForeignKey)
		f, err := rp.Begin(t.Context(), netip.Addr{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := idp.SignIn(f.RedirectURL, "alice-1")
		if err != nil {
			t.Fatal(err)
		}
		res, err := rp.Finish(t.Context(), back.Query(), f.Binding)
		wantCode(t, res, err, signin.CodeTokenSignature)
		synctest.Wait()
		if calls.count() != before+1 {
			t.Errorf("%d discoveries, want one more than %d", calls.count(), before)
		}
	})
}

func TestDiscoveryRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		fault authntest.IdPFault
		says  string
	}{
		"another issuer's document":  {authntest.FaultDocument, "oidc.issuer has to be written exactly so"},
		"an endpoint in plain http":  {authntest.FaultPlain, "token_endpoint"},
		"symmetric signatures only":  {authntest.FaultWeak, "HS256"},
		"a redirect":                 {authntest.FaultRedirect, "not followed"},
		"an answer of 64 MiB":        {authntest.FaultHuge, "larger than"},
		"an answer that never comes": {authntest.FaultSlow, "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHarness(t, func(_ *authntest.IdPConfig, c *signin.Config) {
				c.HTTPClient = &http.Client{Timeout: 300 * time.Millisecond}
			})
			fresh, err := signin.New(r.cfg)
			if err != nil {
				t.Fatal(err)
			}
			r.idp.SetFaults(c.fault)
			err = fresh.Discover(t.Context())
			if !errors.Is(err, signin.ErrUnavailable) || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 600 {
				t.Errorf("error %.700v, want one that says %q", err, c.says)
			}
			if fresh.Ready() == nil {
				t.Error("ready")
			}
		})
	}
}

// Every endpoint is bounded in size and time, not only discovery.
func TestEveryCallIsBounded(t *testing.T) {
	for _, fault := range []authntest.IdPFault{authntest.FaultHuge, authntest.FaultSlow, authntest.FaultRedirect} {
		t.Run(string(fault), func(t *testing.T) {
			r := newHarness(t, func(_ *authntest.IdPConfig, c *signin.Config) {
				c.HTTPClient = &http.Client{Timeout: 300 * time.Millisecond}
			})
			res := r.mustSignIn("alice-1")
			q, binding := r.begin("alice-1")
			r.idp.SetFaults(fault)
			bad, err := r.rp.Finish(t.Context(), q, binding)
			wantCode(t, bad, err, signin.CodeUnavailable)
			_, err = r.rp.Refresh(t.Context(), subject(r), res.RefreshToken)
			if !errors.Is(err, signin.ErrUnavailable) || errors.Is(err, signin.ErrGone) {
				t.Error(err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	good := proxytest.SignIn(signin.Config{Issuer: "https://id.example", ClientID: "c", RedirectURL: "https://a.example/cb", Flows: authntest.NewMemory()})
	if _, err := signin.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*signin.Config){
		"no issuer":                    func(c *signin.Config) { c.Issuer = "" },
		"plain http issuer":            func(c *signin.Config) { c.Issuer = "http://id.example" },
		"http to a loopback lookalike": func(c *signin.Config) { c.Issuer = "http://localhost.example" },
		"http to 127.0.0.1.example":    func(c *signin.Config) { c.Issuer = "http://127.0.0.1.example" },
		"http to the whole machine":    func(c *signin.Config) { c.Issuer = "http://0.0.0.0:9100" },
		"issuer with query":            func(c *signin.Config) { c.Issuer = "https://id.example/?x=1" },
		"issuer with user":             func(c *signin.Config) { c.Issuer = "https://localhost@id.example" },
		"issuer of another scheme":     func(c *signin.Config) { c.Issuer = "file:///etc/passwd" },
		"another scheme to loopback":   func(c *signin.Config) { c.Issuer = "gopher://localhost" },
		"no scopes":                    func(c *signin.Config) { c.Scopes = nil },
		"no scope openid":              func(c *signin.Config) { c.Scopes = []string{"email", "profile"} },
		"no claim of the address":      func(c *signin.Config) { c.EmailClaim, c.EmailsVerified = "", true },
		"no claim of the groups":       func(c *signin.Config) { c.GroupsClaim = "" },
		"no client":                    func(c *signin.Config) { c.ClientID = "" },
		"no store":                     func(c *signin.Config) { c.Flows = nil },
		"relative redirect":            func(c *signin.Config) { c.RedirectURL = "/cb" },
		"plain http redirect":          func(c *signin.Config) { c.RedirectURL = "http://a.example/cb" },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			if _, err := signin.New(c); err == nil {
				t.Error("accepted")
			}
		})
	}
	for _, issuer := range []string{"http://127.0.0.1:9100", "http://[::1]:9100", "http://localhost:9100", "http://id.localhost", "http://127.8.9.10"} {
		c := good
		c.Issuer = issuer
		if _, err := signin.New(c); err != nil {
			t.Error(err)
		}
	}
}
