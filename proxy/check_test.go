package proxy_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/session"
	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/clientip"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

// people is a proxy.Sessions whose cookie is a name.
type people struct {
	*session.Manager
	by  map[string]authn.Session
	err error
}

func (p *people) Load(r *http.Request, host string) (authn.Session, error) {
	if p.err != nil {
		return authn.Session{}, p.err
	}
	if c, err := r.Cookie("who"); err == nil {
		if s, ok := p.by[c.Value]; ok {
			return s, nil
		}
	}
	return authn.Session{}, session.ErrNoSession
}

// somebody is a session verified a minute ago from an address.
func somebody(name string, from string, groups ...string) authn.Session {
	return authn.Session{
		ID: "session-of-" + name, Host: "treasury.example.test", CreatedAt: epoch.Add(-time.Minute), ExpiresAt: epoch.Add(10 * time.Hour),
		Person:       authn.Person{Subject: authn.Subject{Issuer: "https://idp.test", ID: name}, Email: authn.Email(name + "@example.test"), Groups: groups},
		Verification: authn.Verification{At: epoch.Add(-time.Minute), Addr: addr(from), Credential: authn.Credential{ID: []byte("key of " + name), Class: authn.ClassSynced}},
	}
}

// newCrowdHarness returns a harness whose sessions the test makes up.
func newCrowdHarness(t testing.TB, changes ...func(*setup)) (*harness, *people) {
	t.Helper()
	who := &people{by: map[string]authn.Session{}}
	g := newHarness(t, append(changes, func(p *setup) {
		before := p.change
		p.change = func(c *proxy.Config) {
			who.Manager = c.Sessions.(*session.Manager)
			c.Sessions = who
			if before != nil {
				before(c)
			}
		}
	})...)
	return g, who
}

// ask makes the request of somebody from an address.
func (g *harness) ask(who, from, method, to string) *http.Request {
	g.Helper()
	r := g.browser(from).request(method, to, "")
	if who != "" {
		r.AddCookie(&http.Cookie{Name: "who", Value: who})
	}
	return r
}

func (g *harness) check(who, from, method, to string) *proxy.Verdict {
	g.Helper()
	var v proxy.Verdict
	if err := g.gate.Check(g.ask(who, from, method, to), &v); err != nil {
		g.Fatalf("%s %s: %v", method, to, err)
	}
	return &v
}

func TestZeroVerdictBlocks(t *testing.T) {
	var v proxy.Verdict
	if v.Decision.Action != policy.Block {
		t.Fatalf("the zero verdict is %v", v.Decision.Action)
	}
}

func TestCheckVerdicts(t *testing.T) {
	g, who := newCrowdHarness(t)
	signedIn := somebody("dora", home, "treasury")
	signedIn.Verification = authn.Verification{}
	who.by["alice"], who.by["carol"], who.by["dora"] = somebody("alice", home, "treasury"), somebody("carol", home, "press"), signedIn
	for _, c := range []struct {
		name, who, from, method, to string
		action                      policy.Action
		rules                       []string
	}{
		{"nobody", "", home, "GET", treasury + "/", policy.StepUp, []string{"baseline.sign-in"}},
		{"nobody, from where nobody may come", "", hosting, "GET", treasury + "/", policy.Block, []string{"baseline.sign-in", "hosting"}},
		{"signed in, not verified", "dora", home, "GET", treasury + "/", policy.StepUp, []string{"baseline.verify"}},
		{"verified", "alice", home, "GET", treasury + "/", policy.Allow, nil},
		{"not named by the grant", "carol", home, "GET", treasury + "/", policy.Block, []string{"baseline.grant"}},
		{"named by another grant", "carol", home, "GET", wiki + "/wiki/x", policy.Allow, nil},
		{"verified elsewhere, now from a VPN", "alice", vpn, "GET", treasury + "/", policy.StepUp, []string{"anonymised"}},
		{"hosting", "alice", hosting, "GET", treasury + "/", policy.Block, []string{"hosting"}},
		{"the method is judged", "alice", home, "DELETE", treasury + "/", policy.Block, []string{"no-deletes"}},
		{"the path is judged", "alice", home, "GET", treasury + "/admin/users", policy.Block, []string{"admin-paths"}},
		{"the canonical path is judged", "alice", home, "GET", treasury + "/%61dmin/users", policy.Block, []string{"admin-paths"}},
		{"an allow of one request is none for the next", "alice", home, "GET", treasury + "/", policy.Allow, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := g.check(c.who, c.from, c.method, c.to)
			if v.Decision.Action != c.action || !slices.Equal(v.Decision.Rules, c.rules) {
				t.Fatalf("%v by %q, want %v by %q", v.Decision.Action, v.Decision.Rules, c.action, c.rules)
			}
			if v.Route == nil || v.Facts.Request.Route != v.Route.Name || v.Facts.Request.Purpose != policy.PurposeAccess {
				t.Errorf("route %v, facts %+v", v.Route, v.Facts.Request)
			}
			if v.Client != addr(c.from) || v.Facts.IP.Addr != v.Client || v.Facts.IP.Address != c.from {
				t.Errorf("judged for %v, %+v", v.Client, v.Facts.IP)
			}
		})
	}
}

// A request that cannot be judged leaves a verdict that blocks, also in a Verdict that
// was used before.
func TestCheckErrors(t *testing.T) {
	behindProxy := func(p *setup) { p.clients = clientip.Config{Trusted: prefixes("10.0.0.0/8")} }
	g, who := newCrowdHarness(t, behindProxy)
	who.by["alice"] = somebody("alice", home, "treasury")
	status := func(want int) func(error) bool {
		return func(err error) bool {
			bad, ok := errors.AsType[*upstream.BadRequest](err)
			return ok && bad.Status == want
		}
	}
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	for _, c := range []struct {
		name string
		to   string
		edit func(*http.Request)
		want func(error) bool
	}{
		{"a host that is not ours", "https://other.example.test/", nil, is(proxy.ErrNoRoute)},
		{"a path outside the prefix", wiki + "/wikipedia", nil, is(proxy.ErrNoRoute)},
		{"a reserved path", treasury + "/.sallyport/whoami", nil, is(proxy.ErrNoRoute)},
		{"the reserved folder", treasury + "/.sallyport", nil, is(proxy.ErrNoRoute)},
		{"a reserved path, spelled otherwise", treasury + "/%2esallyport/whoami", nil, is(proxy.ErrNoRoute)},
		{"http for a route of https", "http://treasury.example.test/", nil, is(proxy.ErrNoRoute)},
		{"an ambiguous path", treasury + "/a//b", nil, status(400)},
		{"a connection for another host", treasury + "/", func(r *http.Request) { r.TLS = &tls.ConnectionState{ServerName: "wiki.example.test"} }, status(421)},
		{"an address that cannot be told", treasury + "/", func(r *http.Request) {
			r.RemoteAddr = "10.0.0.1:80"
			r.Header.Set("X-Forwarded-For", "203.0.113.7, unknown")
		}, is(proxy.ErrAddress)},
		{"no address at all", treasury + "/", func(r *http.Request) { r.RemoteAddr = "" }, is(proxy.ErrAddress)},
		{"an address that cannot be told, and an ambiguous path", treasury + "/a//b", func(r *http.Request) { r.RemoteAddr = "" }, is(proxy.ErrAddress)},
		{"no store", treasury + "/", func(*http.Request) { who.err = session.ErrUnavailable }, is(session.ErrUnavailable)},
		{"a store that fails in a way of its own", treasury + "/", func(*http.Request) { who.err = authntest.ErrFault }, is(authntest.ErrFault)},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() { who.err = nil }()
			v := g.check("alice", home, "GET", treasury+"/")
			if v.Decision.Action != policy.Allow {
				t.Fatal("the test needs an allow to forget")
			}
			r := g.ask("alice", home, "GET", c.to)
			if c.edit != nil {
				c.edit(r)
			}
			if err := g.gate.Check(r, v); !c.want(err) {
				t.Fatalf("error %v", err)
			}
			if v.Decision.Action != policy.Block || v.Session.ID != "" {
				t.Fatalf("%v for %q is left of the verdict before", v.Decision.Action, v.Session.ID)
			}
		})
	}
}

// A verification holds for the address it was made from: the same IPv4 address, the
// same /64 of IPv6.
func TestVerifiedHere(t *testing.T) {
	g, who := newCrowdHarness(t)
	for _, c := range []struct {
		verified, now string
		want          bool
	}{
		{home, home, true},
		{home, cafe, false},
		{homeIPv6, homeIPv6, true},
		{homeIPv6, "2001:db8:1:2:ffff::1", true},
		{homeIPv6, "2001:db8:1:3::7", false},
		{home, homeIPv6, false},
		{homeIPv6, home, false},
		{"::ffff:203.0.113.7", home, false}, // not canonical: no one stores this
	} {
		who.by["alice"] = somebody("alice", c.verified, "treasury")
		if v := g.check("alice", c.now, "GET", treasury+"/"); v.Facts.Session.VerifiedHere != c.want {
			t.Errorf("verified from %s, now from %s: %v", c.verified, c.now, v.Facts.Session.VerifiedHere)
		}
	}
	s := somebody("alice", home, "treasury")
	s.Verification.Addr = addr("::").Prev() // the zero Addr
	who.by["alice"] = s
	if g.check("alice", home, "GET", treasury+"/").Facts.Session.VerifiedHere {
		t.Error("an assertion from nowhere was made here")
	}
}

// A clock that was set back makes nothing fresh.
func TestClockSetBack(t *testing.T) {
	g, who := newCrowdHarness(t)
	s := somebody("alice", vpn, "treasury")
	who.by["alice"] = s
	if v := g.check("alice", vpn, "GET", treasury+"/"); v.Decision.Action != policy.Allow {
		t.Fatalf("verified a minute ago from this VPN: %v %q", v.Decision.Action, v.Decision.Rules)
	}
	g.clock.Add(-3 * time.Hour)
	v := g.check("alice", vpn, "GET", treasury+"/")
	if v.Decision.Action != policy.StepUp {
		t.Fatalf("an assertion three hours in the future: %v", v.Decision.Action)
	}
	if v.Facts.Session.Age != 0 || v.Facts.Credential.Age < 0 {
		t.Errorf("negative ages: %v, %v", v.Facts.Session.Age, v.Facts.Credential.Age)
	}
}

func TestNewRefusesHalfAGate(t *testing.T) {
	g := newHarness(t)
	full := g.config
	for name, cut := range map[string]func(*proxy.Config){
		"snapshot":  func(c *proxy.Config) { c.Snapshot = nil },
		"routes":    func(c *proxy.Config) { s := *c.Snapshot; s.Routes = nil; c.Snapshot = &s },
		"clients":   func(c *proxy.Config) { s := *c.Snapshot; s.Clients = nil; c.Snapshot = &s },
		"policy":    func(c *proxy.Config) { s := *c.Snapshot; s.Policy = nil; c.Snapshot = &s },
		"intel":     func(c *proxy.Config) { s := *c.Snapshot; s.Intel = nil; c.Snapshot = &s },
		"sessions":  func(c *proxy.Config) { c.Sessions = nil },
		"audit":     func(c *proxy.Config) { c.Audit = nil },
		"portal":    func(c *proxy.Config) { c.Portal = nil },
		"pages":     func(c *proxy.Config) { c.Pages = nil },
		"forwarder": func(c *proxy.Config) { c.Forwarder = nil },
		"sign-in":   func(c *proxy.Config) { c.SignIn = "" },
		"clock":     func(c *proxy.Config) { c.Now = nil },
		"logger":    func(c *proxy.Config) { c.Logger = nil },
	} {
		c := full
		cut(&c)
		if _, err := proxy.New(c); err == nil || !strings.HasPrefix(err.Error(), "gate: incomplete") {
			t.Errorf("without %s: %v", name, err)
		}
	}
	idle := full
	idle.IdleTimeout = 0
	if _, err := proxy.New(idle); err == nil || !strings.Contains(err.Error(), "IdleTimeout") {
		t.Errorf("without an idle time: %v", err)
	}
	full.Streams, full.SessionStreams = newStreams(streams.Config{}), 0
	if _, err := proxy.New(full); err == nil || !strings.Contains(err.Error(), "SessionStreams") {
		t.Errorf("without a limit of streams: %v", err)
	}
}

// The configuration refuses it, and so does all other code that would put a gate together.
func TestNoGateWithAToolOnTheSignInHost(t *testing.T) {
	for _, from := range []string{login, login + "/app", login + ":8443", "http://login.example.test", "https://LOGIN.example.test./"} {
		full := newHarness(t).config
		routes, err := proxytest.NewTable([]upstream.RouteConfig{
			{Name: "treasury", From: treasury, To: []string{"http://10.0.0.1"}}, {Name: "tool", From: from, To: []string{"http://10.0.0.2"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		s := *full.Snapshot
		s.Routes = routes
		full.Snapshot = &s
		if _, err := proxy.New(full); err == nil || !strings.Contains(err.Error(), `route "tool" is on the host that people sign in at`) {
			t.Errorf("%s: %v", from, err)
		}
	}
}
