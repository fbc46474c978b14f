package proxy_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/clocktest"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
	"sallyport/authn/signin"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/proxy"
	"sallyport/proxy/audit"
	"sallyport/proxy/clientip"
	"sallyport/proxy/portal"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

const (
	login    = "https://login.example.test"
	treasury = "https://treasury.example.test"
	wiki     = "https://wiki.example.test"
	desk     = "https://desk.example.test"

	home     = "203.0.113.7"
	cafe     = "203.0.113.99" // another address that no one knows anything about
	vpn      = "198.51.100.20"
	hosting  = "192.0.2.30"
	homeIPv6 = "2001:db8:1:2::7"
)

// testPolicy has one rule of each kind that the gate treats differently.
const testPolicy = `
version: 1
rules:
  - {name: hosting, when: ip.hosting, then: block, reason: nobody works in a data centre}
  - {name: anonymised, when: ip.vpn, then: step_up, max_age: 5m}
  - {name: no-deletes, when: 'request.method == "DELETE"', then: block}
  - {name: admin-paths, when: 'request.path.startsWith("/admin")', then: block}
  - {name: suspended, when: '"suspended" in user.groups', then: block}
  - {name: long-day, when: 'session.age > duration("9h")', then: block}
`

var epoch = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// auditLog is the audit log in memory. It keeps the contract of proxy.Auditor, and
// fails for the events named in down ("*" for all).
type auditLog struct {
	mu      sync.Mutex
	records []audit.Record
	runs    map[audit.RunKey]int
	down    map[string]bool
}

var errAuditLog = errors.New("no space left on device")

func (l *auditLog) Append(ctx context.Context, r audit.Record) error {
	if err := ctx.Err(); err != nil {
		return err // the real one may have written it, and says so with an error as well
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down["*"] || l.down[r.Event] {
		return errAuditLog
	}
	if r.Action == "allow" && (strings.HasSuffix(r.Event, "_failed") || strings.HasSuffix(r.Event, "_refused")) {
		panic(r.Event + " is on record as allowed")
	}
	l.records = append(l.records, r)
	return nil
}

func (l *auditLog) Count(k audit.RunKey) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down["*"] || l.down["access"] {
		return false, errAuditLog
	}
	if l.runs[k] == 0 {
		return false, nil
	}
	l.runs[k]++
	return true, nil
}

// Record has no budget: tests of what that does use the real log.
func (l *auditLog) Record(ctx context.Context, r audit.Record) (string, error) {
	return r.Incident, l.Append(ctx, r)
}

func (l *auditLog) all() []audit.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}

func (l *auditLog) AppendRun(ctx context.Context, r audit.Record) error {
	if known, err := l.Count(audit.RunKeyOf(&r)); known || err != nil {
		return err
	}
	if err := l.Append(ctx, r); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[audit.RunKeyOf(&r)] = 1
	return nil
}

// fail makes the log refuse the named events; none heals it.
func (l *auditLog) fail(events ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = map[string]bool{}
	for _, e := range events {
		l.down[e] = true
	}
}

// events are the names of all records since the last call.
func (l *auditLog) events() []string {
	var names []string
	for _, r := range l.take() {
		names = append(names, r.Event)
	}
	return names
}

func (l *auditLog) take() []audit.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	rs := l.records
	l.records = nil
	return rs
}

// reset forgets everything, the runs of allows as well.
func (l *auditLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records, l.runs = nil, map[audit.RunKey]int{}
}

// withLog gives a harness the real audit log, whose budget is by the harness's clock. The function returns
// what has been written since it was last called.
func withLog(t *testing.T, callsPerMinute ...int) (change func(*setup), written func() []audit.Record) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	change = func(p *setup) {
		before := p.change
		p.change = func(c *proxy.Config) {
			if before != nil {
				before(c)
			}
			cfg := audit.Config{CallsPerMinute: proxytest.ChangesPerMinute, File: file, Key: bytes.Repeat([]byte{7}, 32), Now: c.Now}
			for _, n := range callsPerMinute {
				cfg.CallsPerMinute = n
			}
			log, err := audit.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = log.Close() })
			c.Audit = log
		}
	}
	seen := 0
	return change, func() (recs []audit.Record) {
		for line, err := range audit.Read(file) {
			if err != nil {
				t.Fatal(err)
			}
			recs = append(recs, line.Record)
		}
		recs, seen = recs[seen:], len(recs)
		return recs
	}
}

// tool is the protected tool behind every route. It remembers what reached it.
type tool struct {
	mu     sync.Mutex
	got    []*http.Request
	answer func(*http.Request) (*http.Response, error)

	through func(*http.Request) (*http.Response, error) // in place of it all: not even the body is read
}

func (u *tool) RoundTrip(r *http.Request) (*http.Response, error) {
	if u.through != nil {
		return u.through(r)
	}
	u.mu.Lock()
	u.got = append(u.got, r)
	answer := u.answer
	u.mu.Unlock()
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	if answer != nil {
		return answer(r)
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/plain"}}, Body: io.NopCloser(strings.NewReader("the tool")), Request: r}, nil
}

// requests are what reached the tool since the last call.
func (u *tool) requests() []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := u.got
	u.got = nil
	return got
}

// lockedBuffer holds the log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// harness is the whole product in memory, with a real OpenID provider on loopback.
type harness struct {
	testing.TB
	clock    *clocktest.Clock
	mem      *authntest.Memory
	idp      *authntest.IdP
	audit    *auditLog
	tool     *tool
	log      *lockedBuffer
	sessions *session.Manager
	provider *signin.Provider
	issuer   *enroll.Issuer
	portal   *portal.Portal
	pages    *portal.Pages
	gate     *proxy.Gate
	config   proxy.Config                                    // of gate
	pageCfg  portal.Config                                   // of portal
	streams  *streams.Registry                               // only with a real tool
	roster   atomic.Pointer[func(authn.Person) authn.Person] // nil: completes no one
}

// setup is what a test changes before the harness is built.
type setup struct {
	policy    string
	clients   clientip.Config
	intel     ipintel.Config
	change    func(*proxy.Config)
	pages     func(*portal.Config)
	perPerson int              // session.Config.MaxPerPerson
	now       func() time.Time // instead of the harness's clock
	inspected *streams.Budget  // of a real tool's streams
	tool      string           // URL of a real tool behind every route, whose streams can be cut
	options   map[string]proxy.RouteOptions
	idle      time.Duration // idle_timeout of the treasury's route
}

// complete is what the roster says of people besides what the provider does.
func (g *harness) complete(p authn.Person) authn.Person {
	if f := g.roster.Load(); f != nil {
		return (*f)(p)
	}
	return p
}

func grants() map[string]policy.Grant {
	return map[string]policy.Grant{"treasury": {Groups: []string{"treasury"}}, "wiki": {Everyone: true}, "desk": {Everyone: true}}
}

func newHarness(t testing.TB, changes ...func(*setup)) *harness {
	t.Helper()
	p := setup{policy: testPolicy, intel: testIntel(t)}
	for _, change := range changes {
		change(&p)
	}
	g := &harness{TB: t, clock: clocktest.At(epoch), mem: authntest.NewMemory(), tool: &tool{}, log: &lockedBuffer{},
		audit: &auditLog{runs: map[audit.RunKey]int{}, down: map[string]bool{}}}
	logger, now := slog.New(slog.NewJSONHandler(g.log, nil)), g.clock.Now
	if p.now != nil {
		now = p.now
	}
	g.idp = authntest.StartIdP(t, authntest.IdPConfig{
		Clients: []authntest.IdPClient{{ID: "sallyport", Secret: "a secret of the client", RedirectURIs: []string{login + "/.sallyport/callback"}}},
		People: []authntest.IdPPerson{
			{Sub: "alice", Email: "alice@example.test", Name: "Alice", Groups: []string{"treasury"}, Verified: true},
			{Sub: "bob", Email: "bob@example.test", Name: "Bob", Groups: []string{"treasury"}, Verified: true},
			{Sub: "carol", Email: "carol@example.test", Name: "Carol", Groups: []string{"press"}, Verified: true},
		},
		Now: now,
	})
	var err error
	g.sessions, err = session.New(t.Context(), session.Config{Store: g.mem, Keys: g.mem, Codes: g.mem, MaxAge: proxytest.SessionMaxAge, IdleTimeout: proxytest.SessionIdleTimeout, Secure: true, Complete: g.complete, MaxPerPerson: cmp.Or(p.perPerson, proxytest.SessionsPerPerson), Now: now, Logger: logger})
	g.must(err)
	g.provider, err = signin.New(proxytest.SignIn(signin.Config{Issuer: g.idp.Issuer(), ClientID: "sallyport", ClientSecret: "a secret of the client",
		RedirectURL: login + "/.sallyport/callback", Flows: g.mem, Now: now, Logger: logger}))
	g.must(err)
	g.must(g.provider.Discover(t.Context()))
	passkeys, err := passkey.New(passkey.Config{RPID: "example.test", RPName: "Sallyport", Origins: []string{login}, Store: g.mem, Ceremonies: g.mem, Now: now, Logger: logger})
	g.must(err)
	g.issuer = enroll.New(enroll.Config{Store: g.mem, Now: now})
	g.pages, err = portal.NewPages("", now, logger)
	g.must(err)
	external, err := url.Parse(login)
	g.must(err)
	g.pageCfg = portal.Config{SignIn: external, Sessions: g.sessions, Provider: g.provider,
		Passkeys: passkeys, Tickets: g.issuer, Pages: g.pages, Now: now, Logger: logger}
	if p.pages != nil {
		p.pages(&g.pageCfg)
	}
	g.portal, err = portal.New(g.pageCfg)
	g.must(err)
	c := proxy.Config{
		Snapshot: g.snapshot(p), Sessions: g.sessions, Audit: g.audit, Portal: g.portal, Pages: g.pages, SignIn: login, Now: now, Logger: logger,
		IdleTimeout: proxytest.SessionIdleTimeout, SessionStreams: proxytest.StreamsPerSession,
		Forwarder: proxytest.NewForwarder(upstream.Config{
			Cookies: []string{g.sessions.CookieName(), g.sessions.HandoffCookiePrefix() + "*", g.sessions.DeviceCookieName()}, OnError: proxy.UpstreamError(g.pages), Logger: logger,
			Transport: func(*upstream.Route) http.RoundTripper { return g.tool },
		}),
	}
	if p.tool != "" {
		g.streams = newStreams(streams.Config{Now: now, Inspected: p.inspected})
		c.Streams = g.streams
		c.Forwarder = proxytest.NewForwarder(upstream.Config{
			Cookies: []string{g.sessions.CookieName(), g.sessions.HandoffCookiePrefix() + "*", g.sessions.DeviceCookieName()}, OnError: proxy.UpstreamError(g.pages), Logger: logger,
			OnResponse: func(_ *upstream.ForwardRequest, res *http.Response) error { return streams.Attach(res) },
		})
		t.Cleanup(c.Forwarder.Close)
	}
	if p.change != nil {
		p.change(&c)
	}
	g.config = c
	g.gate, err = proxy.New(c)
	g.must(err)
	g.sessions.OnEnd(g.gate.SessionChanged)
	t.Cleanup(func() {
		if v := g.mem.Violations(); len(v) > 0 {
			t.Errorf("the store was misused: %v", v)
		}
	})
	return g
}

// newStreams is [streams.New] with the limits of an empty configuration where c has none.
func newStreams(c streams.Config) *streams.Registry {
	if c.Inspected == nil {
		c.Inspected = streams.NewBudget(proxytest.InspectedPerSession, proxytest.Inspected)
	}
	c.MessageTime = cmp.Or(c.MessageTime, proxytest.MessageTime)
	r, err := streams.New(c)
	if err != nil {
		panic(err)
	}
	return r
}

// takesCalls returns o for a JSON-RPC route, with the limits of an empty configuration
// where o has none.
func takesCalls(o proxy.RouteOptions) proxy.RouteOptions {
	o.RPC, o.RPCBytes, o.RPCCalls = true, cmp.Or(o.RPCBytes, proxytest.MessageBytes), cmp.Or(o.RPCCalls, proxytest.BatchCalls)
	return o
}

// restart builds the gate and the portal anew, with another configuration. The stores stay.
func (g *harness) restart(change func(*proxy.Config, *portal.Config)) {
	g.Helper()
	c, err := g.config, error(nil)
	c.Snapshot = g.gate.Current()
	change(&c, &g.pageCfg)
	g.portal, err = portal.New(g.pageCfg)
	g.must(err)
	c.Portal = g.portal
	g.gate, err = proxy.New(c)
	g.must(err)
	g.config = c
	g.sessions.OnEnd(g.gate.SessionChanged)
}

func (g *harness) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

func (g *harness) snapshot(p setup) *proxy.Snapshot {
	g.Helper()
	to := func(otherwise string) []string {
		if p.tool != "" {
			return []string{p.tool}
		}
		return []string{otherwise}
	}
	routes, err := proxytest.NewTable([]upstream.RouteConfig{
		{Name: "treasury", From: treasury, To: to("http://10.0.0.1:3000"), Timeouts: upstream.Timeouts{Idle: p.idle}},
		{Name: "wiki", From: wiki + "/wiki", To: to("http://10.0.0.2:3000")},
		{Name: "desk", From: desk + "/app", To: to("http://10.0.0.3:3000")},
	})
	g.must(err)
	clients, err := clientip.New(p.clients)
	g.must(err)
	intel, errs := ipintel.Load(p.intel)
	if intel == nil {
		g.Fatal(errs)
	}
	if p.options == nil {
		all := proxy.SentGroups{All: true}
		p.options = map[string]proxy.RouteOptions{"treasury": {Groups: all}, "wiki": {Groups: all}, "desk": {Groups: all}}
	}
	return &proxy.Snapshot{Routes: routes, Clients: clients, Policy: g.compile(p.policy, grants()), Intel: intel, Options: p.options}
}

func (g *harness) compile(source string, grants map[string]policy.Grant) *policy.Policy {
	g.Helper()
	p, err := policy.Compile(policy.Config{Name: "policy.yaml", Source: []byte(source), Routes: []string{"treasury", "wiki", "desk"}, Grants: grants})
	g.must(err)
	return p
}

// testIntel knows one VPN network and one hosting network.
func testIntel(t testing.TB) ipintel.Config {
	t.Helper()
	dir := t.TempDir()
	list := func(name, signal, network string) ipintel.List {
		file := filepath.Join(dir, name+".txt")
		if err := os.WriteFile(file, []byte(network+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, epoch, epoch.Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		return ipintel.List{Name: name, Signal: signal, File: file}
	}
	return ipintel.Config{Lists: []ipintel.List{list("vpn-exits", "vpn", "198.51.100.0/24"), list("clouds", "hosting", "192.0.2.0/24")},
		Now: func() time.Time { return epoch }}
}

// ticket mints an enrolment ticket and returns its secret.
func (g *harness) ticket(email authn.Email) string {
	g.Helper()
	_, secret, err := g.issuer.Mint(g.Context(), enroll.MintRequest{Email: email, By: "security"})
	g.must(err)
	return secret
}

// use swaps in another policy, as a reload does.
func (g *harness) use(source string) {
	g.Helper()
	p := g.compile(source, grants())
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Policy = p; return s })
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// peeking is a store that a person reads along with.
type peeking struct {
	*authntest.Memory
	seen string
}

func (p *peeking) Put(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time) error {
	var record struct{ Payload []byte }
	if json.Unmarshal(payload, &record) == nil {
		p.seen += string(record.Payload)
	}
	p.seen += string(payload)
	return p.Memory.Put(ctx, purpose, key, payload, expires)
}

func (p *peeking) PutBounded(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time, b authn.Bound) error {
	var record struct{ Payload []byte }
	if json.Unmarshal(payload, &record) == nil {
		p.seen += string(record.Payload)
	}
	p.seen += string(payload)
	return p.Memory.PutBounded(ctx, purpose, key, payload, expires, b)
}
