package proxy_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/proxy"
	"sallyport/proxy/portal"
)

// A session that moves to a blocked network is stopped at its next request, and
// goes on where it left off.
func TestEveryRequestIsJudged(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for range 2 {
		b.addr = home
		if a := b.get(treasury + "/"); a.StatusCode != 200 {
			t.Fatalf("at home: %d", a.StatusCode)
		}
		b.addr = hosting
		if a := b.get(treasury + "/"); a.StatusCode != 403 {
			t.Fatalf("from a data centre: %d", a.StatusCode)
		}
	}
	if n := len(g.tool.requests()); n != 2 {
		t.Fatalf("%d requests reached the tool, want 2", n)
	}
	var actions []string
	for _, r := range g.audit.take() {
		actions = append(actions, r.Action)
	}
	if got := strings.Join(actions, " "); got != "allow block block" { // the second allow is counted on the first
		t.Errorf("recorded %q", got)
	}
}

// What a refused request gets, as a page and as JSON.
func TestRefusals(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	b.addr = hosting
	page := b.get(treasury + "/")
	rec := g.audit.take()[0]
	if page.StatusCode != 403 || !strings.Contains(page.Header.Get("Content-Type"), "text/html") || rec.Incident == "" || !strings.Contains(page.body, rec.Incident) {
		t.Errorf("%d %s", page.StatusCode, page.body)
	}
	r := b.request("GET", treasury+"/", "")
	script := b.do(r)
	rec = g.audit.take()[0]
	if script.StatusCode != 403 || script.code() != "blocked" || !strings.Contains(script.body, rec.Incident) {
		t.Errorf("%d %s", script.StatusCode, script.body)
	}
	for _, a := range []answer{page, script} {
		for _, secret := range []string{"hosting", "data centre", "192.0.2", "policy.yaml", "clouds"} {
			if strings.Contains(a.body, secret) {
				t.Errorf("the refusal tells %q", secret)
			}
		}
		if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("headers %v", a.Header)
		}
	}
	if rec.Rules[0] != "hosting" || rec.Reasons[0] != "nobody works in a data centre" || rec.Facts == nil || rec.Facts.User.Email != "alice@example.test" || rec.Policy != g.gate.Current().Policy.Hash() || rec.Sources == nil {
		t.Errorf("the record %s", jsonText(rec))
	}

	b.addr = vpn
	r = b.request("POST", treasury+"/pay", "amount=1")
	script = b.do(r)
	if script.StatusCode != 401 || script.code() != "insufficient_user_authentication" {
		t.Errorf("%d %s", script.StatusCode, script.body)
	}
	if got := script.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer error=\"insufficient_user_authentication\"") || !strings.HasSuffix(got, "max_age=300") {
		t.Errorf("challenge %q", got)
	}
	page = b.get(treasury + "/books?q=1")
	if page.StatusCode != 302 || !strings.HasPrefix(page.location(), login+"/.sallyport/step-up?") || !strings.Contains(page.location(), "why=network") {
		t.Errorf("%d %q", page.StatusCode, page.location())
	}
	stranger := g.browser(home)
	if a := stranger.do(stranger.request("GET", treasury+"/", "")); a.StatusCode != 401 || a.code() != "not_signed_in" || a.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("a stranger's script got %d %s", a.StatusCode, a.body)
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached the tool", n)
	}
}

// Without the session store, and without the audit log, nothing gets through.
func TestAttackStoreDown(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	g.clock.Add(10 * time.Second) // longer than memory is believed without news
	g.mem.Fail(authntest.NotStored)
	for _, to := range []string{treasury + "/", wiki + "/wiki", login + "/.sallyport/whoami", login + "/.sallyport/sign-in", login + "/.sallyport/account", login + "/.sallyport/sign-out"} {
		a := b.get(to)
		if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s got %d", to, a.StatusCode)
		}
		if len(a.Cookies()) != 0 {
			t.Errorf("%s sets cookies", to)
		}
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached the tool", n)
	}
	g.mem.Heal()
	if a := b.get(treasury + "/"); a.StatusCode != 200 {
		t.Errorf("after the outage: %d", a.StatusCode)
	}
}

func TestAttackAuditDown(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	open := func(from string) answer {
		b.addr = from
		return b.get(treasury + "/")
	}
	g.audit.fail("*")
	for name, from := range map[string]string{"an allow": home, "a block": hosting, "a step-up": vpn} {
		if a := open(from); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s that cannot be recorded got %d", name, a.StatusCode)
		}
	}
	// Counted repeats are no way round it.
	g.audit.fail()
	if a := open(home); a.StatusCode != 200 {
		t.Fatal(a.StatusCode)
	}
	g.tool.requests()
	g.audit.fail("*")
	if a := open(home); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
		t.Errorf("a repeat that cannot be counted got %d", a.StatusCode)
	}
	// Nor is a request that is refused for its form, or for its address.
	if a := b.get(treasury + "/a//b"); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
		t.Errorf("a bad request that cannot be recorded got %d", a.StatusCode)
	}
	r := b.request("GET", treasury+"/", "")
	r.RemoteAddr = "nowhere"
	if a := b.do(r); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
		t.Errorf("a block by address that cannot be recorded got %d", a.StatusCode)
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached the tool", n)
	}
}

// A bug is a 500 for one request, with a reference that the log has too.
func TestPanicIsA500(t *testing.T) {
	var sessions *panicking
	g := newHarness(t, func(p *setup) {
		p.change = func(c *proxy.Config) {
			sessions = &panicking{Sessions: c.Sessions}
			c.Sessions = sessions
		}
	})
	b := g.enrolled("alice", home)
	sessions.cause = "a bug"
	for _, to := range []string{treasury + "/", login + "/.sallyport/whoami"} {
		a := b.get(to)
		if a.StatusCode != 500 || len(a.Cookies()) != 0 {
			t.Errorf("%s got %d", to, a.StatusCode)
		}
		_, rest, _ := strings.Cut(a.body, "<code>")
		incident, _, _ := strings.Cut(rest, "</code>")
		if len(incident) != 11 || !strings.Contains(g.log.String(), incident) {
			t.Errorf("reference %q is not in the log", incident)
		}
		if strings.Contains(a.body, "a bug") {
			t.Error("the page shows the bug")
		}
	}
	sessions.cause = http.ErrAbortHandler
	if got := panics(func() { b.get(treasury + "/") }); got != http.ErrAbortHandler {
		t.Errorf("ErrAbortHandler became %v", got)
	}
	sessions.cause = nil
	if a := b.get(treasury + "/"); a.StatusCode != 200 {
		t.Errorf("after the panic: %d", a.StatusCode)
	}
}

type panicking struct {
	proxy.Sessions
	cause any
}

func (p *panicking) Load(r *http.Request, host string) (authn.Session, error) {
	if p.cause != nil {
		panic(p.cause)
	}
	return p.Sessions.Load(r, host)
}

func panics(f func()) (cause any) {
	defer func() { cause = recover() }()
	f()
	return nil
}

// An answer that may have begun is broken off: an error page in the middle of it
// would be taken for a part of it.
func TestPanicInAnAnswerBreaksIt(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	g.tool.answer = func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(&halfway{})}, nil
	}
	w := httptest.NewRecorder()
	if got := panics(func() { g.gate.ServeHTTP(w, b.request("GET", treasury+"/", "")) }); got != http.ErrAbortHandler {
		t.Fatalf("panic %v", got)
	}
	if strings.Contains(w.Body.String(), "reference") || strings.Contains(w.Body.String(), "<html") {
		t.Errorf("an error page was written into the answer: %q", w.Body.String())
	}
	if !strings.Contains(g.log.String(), "a bug in the middle") {
		t.Error("the log does not have it")
	}
}

// halfway gives some bytes, then panics.
type halfway struct{ begun bool }

func (h *halfway) Read(p []byte) (int, error) {
	if h.begun {
		panic("a bug in the middle")
	}
	h.begun = true
	return copy(p, "the first half"), nil
}

// A tool that does not answer is a page that says so, and no session is lost over it.
func TestUpstreamErrors(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for status, err := range map[int]error{502: errors.New("connection refused"), 504: context.DeadlineExceeded} {
		g.tool.answer = func(*http.Request) (*http.Response, error) { return nil, err }
		a := b.get(treasury + "/")
		if a.StatusCode != status || !strings.Contains(a.body, "You are signed in and allowed") || a.Header.Get("Retry-After") == "" || strings.Contains(a.body, "refused") {
			t.Errorf("%v got %d %s", err, a.StatusCode, a.body)
		}
	}
	pages := g.pages
	for _, status := range []int{400, 404, 413, 431, 502, 503, 504} {
		w := httptest.NewRecorder()
		proxy.UpstreamError(pages)(w, b.request("GET", treasury+"/", ""), status, errors.New("internal detail"))
		if w.Code != status || strings.Contains(w.Body.String(), "internal detail") || !strings.Contains(w.Body.String(), `"error":`) {
			t.Errorf("%d became %d %s", status, w.Code, w.Body)
		}
	}
}

// A frame shows that the tool is down, to the pages that may show the tool.
func TestToolThatIsDownInAFrame(t *testing.T) {
	g := neighbours(t)
	g.tool.answer = func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }
	for to, want := range map[string]string{
		treasury + "/": "frame-ancestors 'self';",
		wiki + "/":     "frame-ancestors 'self' https://example.test:* https://*.example.test:*;",
	} {
		a := g.browser(home).do(sent{"GET", to, "same-origin/navigate/iframe", "", nil}.by(g, "alice"))
		csp := a.Header.Get("Content-Security-Policy")
		if a.StatusCode != 502 || !strings.Contains(csp, want) || a.Header.Get("X-Frame-Options") != "" || !strings.Contains(a.body, "The tool does not answer") {
			t.Errorf("%s: %d, %q, %q\n%s", to, a.StatusCode, csp, a.Header.Get("X-Frame-Options"), a.body)
		}
		a = g.browser(home).do(sent{"GET", to, "none/navigate/document", "", nil}.by(g, "alice"))
		if a.StatusCode != 502 || a.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s, the whole window: %d, %q", to, a.StatusCode, a.Header.Get("X-Frame-Options"))
		}
	}
}

// The reserved folder is one and the same for the gate, the pages and the forwarder.
func TestOnePrefix(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	if a := b.get(treasury + portal.Prefix + "whoami"); a.StatusCode != 200 || !strings.Contains(a.body, `"level":"verified"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestFrontDoor(t *testing.T) {
	g := newHarness(t)
	if a := g.browser(home).get(login + "/"); a.StatusCode != 302 || a.location() != "/.sallyport/account" {
		t.Errorf("%d %q", a.StatusCode, a.location())
	}
	if a := g.browser(home).get(login + "/nothing"); a.StatusCode != 404 {
		t.Errorf("%d", a.StatusCode)
	}
}
