package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/session"
	"sallyport/authn/signin"
	"sallyport/proxy/audit"
)

var monday = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)

// directory is an OpenID provider of which only Refresh is asked. Tokens rotate, and
// an old one is refused, as with a provider that takes theft seriously.
type directory struct {
	mu      sync.Mutex
	people  map[string]authn.Person // by subject; not there: disabled
	tokens  map[string]string       // by subject
	down    map[string]error
	asked   map[string]int
	blocked chan struct{} // if set, answers wait for it to be closed
	waiting chan string   // told of every answer that waits
}

func (d *directory) Refresh(ctx context.Context, sub authn.Subject, token string) (signin.Result, error) {
	if d.blocked != nil {
		d.waiting <- sub.ID
		<-d.blocked
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked[sub.ID]++
	if err := d.down[sub.ID]; err != nil {
		return signin.Result{}, err
	}
	p, ok := d.people[sub.ID]
	if !ok {
		return signin.Result{}, fmt.Errorf("refresh: %w", signin.ErrGone)
	}
	if d.tokens[sub.ID] != token {
		return signin.Result{}, fmt.Errorf("token used before: %w", signin.ErrGone)
	}
	d.tokens[sub.ID] = fmt.Sprintf("%s-%d", sub.ID, d.asked[sub.ID])
	return signin.Result{Person: p, RefreshToken: d.tokens[sub.ID]}, nil
}

func (d *directory) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// records is an audit log that only remembers.
type records struct {
	mu   sync.Mutex
	list []audit.Record
}

func (r *records) Append(_ context.Context, rec audit.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, rec)
	return nil
}

// refreshRig is a refresher over real sessions, with a clock and a provider of its own.
type refreshRig struct {
	t        *testing.T
	now      time.Time
	sessions *session.Manager
	provider *directory
	audit    *records
	*refresher
}

func newRefreshRig(t *testing.T) *refreshRig {
	t.Helper()
	g := &refreshRig{t: t, now: monday, audit: &records{}, provider: &directory{
		people: map[string]authn.Person{}, tokens: map[string]string{}, down: map[string]error{}, asked: map[string]int{},
	}}
	mem := authntest.NewMemory()
	var err error
	g.sessions, err = session.New(t.Context(), session.Config{Store: mem, Keys: mem, Codes: mem, MaxAge: 10 * time.Hour, IdleTimeout: time.Hour, MaxPerPerson: 20, Now: func() time.Time { return g.now }})
	if err != nil {
		t.Fatal(err)
	}
	g.refresher = &refresher{
		sessions: g.sessions, provider: g.provider, audit: g.audit,
		every: 5 * time.Minute, now: func() time.Time { return g.now }, logger: slog.New(slog.DiscardHandler),
	}
	return g
}

// signIn makes a person known to the provider and signs them in.
func (g *refreshRig) signIn(sub string, groups ...string) {
	g.t.Helper()
	p := authn.Person{Subject: authn.Subject{Issuer: "https://idp", ID: sub}, Email: authn.Email(sub + "@example.com"), Groups: groups}
	g.provider.people[sub], g.provider.tokens[sub] = p, sub+"-0"
	r := httptest.NewRequest("GET", "http://localhost/", nil)
	if _, err := g.sessions.SignIn(httptest.NewRecorder(), r, "localhost", session.NewSession{Person: p, RefreshToken: sub + "-0"}); err != nil {
		g.t.Fatal(err)
	}
}

// person is what the session of a subject says now; false if it has ended.
func (g *refreshRig) person(sub string) (authn.Person, bool) {
	g.t.Helper()
	list, err := g.sessions.List(g.t.Context(), session.Filter{Subject: authn.Subject{Issuer: "https://idp", ID: sub}})
	if err != nil {
		g.t.Fatal(err)
	}
	if len(list) == 0 {
		return authn.Person{}, false
	}
	return list[0].Person, true
}

// pass lets one tick go by.
func (g *refreshRig) pass() {
	g.now = g.now.Add(g.tick())
	g.refresher.pass(g.t.Context())
}

// TestAttackDisabledUserKeepsSession measures the bound: whenever the provider learns
// of it, the person is out at most one interval later.
func TestAttackDisabledUserKeepsSession(t *testing.T) {
	for after := range 20 { // passes before the account is disabled
		g := newRefreshRig(t)
		g.signIn("alice", "treasury")
		for range after {
			g.pass()
		}
		disabled := g.now
		g.provider.change(func() { delete(g.provider.people, "alice") })
		for {
			if _, in := g.person("alice"); !in {
				break
			}
			if g.now.Sub(disabled) > g.every {
				t.Fatalf("disabled after %d passes, and still signed in %s later", after, g.now.Sub(disabled))
			}
			g.pass()
		}
		if took := g.now.Sub(disabled); took > g.every {
			t.Errorf("took %s, bound is %s", took, g.every)
		}
		if len(g.audit.list) != 1 || g.audit.list[0].Event != "session_ended" || g.audit.list[0].Detail["reason"] != "refresh_refused" || g.audit.list[0].Session == "" {
			t.Errorf("audit: %+v", g.audit.list)
		}
	}
}

// TestAttackRemovedGroup is the same for a group: the session lives on, without it.
func TestAttackRemovedGroup(t *testing.T) {
	g := newRefreshRig(t)
	g.signIn("alice", "treasury", "staff")
	removed := g.now
	g.provider.change(func() {
		p := g.provider.people["alice"]
		p.Groups = []string{"staff"}
		g.provider.people["alice"] = p
	})
	for g.now.Sub(removed) < g.every {
		g.pass()
	}
	p, in := g.person("alice")
	if !in || len(p.Groups) != 1 || p.Groups[0] != "staff" {
		t.Errorf("in: %v, groups %v", in, p.Groups)
	}
}

func TestRefreshAsksNoMoreThanItHasTo(t *testing.T) {
	g := newRefreshRig(t)
	g.signIn("alice")
	for range 100 { // ten intervals
		g.pass()
	}
	if n := g.provider.asked["alice"]; n < 10 || n > 13 {
		t.Errorf("asked %d times in ten intervals", n)
	}
	if _, in := g.person("alice"); !in {
		t.Error("the rotated token was lost")
	}
}

func TestProviderOutageSignsNobodyOut(t *testing.T) {
	g := newRefreshRig(t)
	g.signIn("alice")
	g.provider.down["alice"] = fmt.Errorf("discovery: %w", signin.ErrUnavailable)
	for range 30 {
		g.pass()
	}
	if _, in := g.person("alice"); !in {
		t.Fatal("an outage of the provider ended a session")
	}
	g.provider.change(func() { clear(g.provider.down); delete(g.provider.people, "alice") })
	g.pass()
	if _, in := g.person("alice"); in {
		t.Error("not asked again at once when the provider was back")
	}
}

func TestOneFailingSessionDoesNotStopTheOthers(t *testing.T) {
	g := newRefreshRig(t)
	for i := range 3 * atOnce {
		g.signIn(fmt.Sprint("p", i))
		if i%2 == 0 {
			g.provider.down[fmt.Sprint("p", i)] = errors.New("answer is not JSON")
		}
	}
	g.provider.change(func() { clear(g.provider.people) })
	g.now = g.now.Add(g.every)
	g.pass()
	for i := range 3 * atOnce {
		if _, in := g.person(fmt.Sprint("p", i)); in != (i%2 == 0) {
			t.Errorf("p%d: in %v", i, in)
		}
	}
}

// TestSlowAnswersDoNotQueue: the provider answers no one before it was asked about
// everyone.
func TestSlowAnswersDoNotQueue(t *testing.T) {
	g := newRefreshRig(t)
	for i := range atOnce {
		g.signIn(fmt.Sprint("p", i))
	}
	g.provider.blocked, g.provider.waiting = make(chan struct{}), make(chan string)
	g.now = g.now.Add(g.every)
	done := make(chan struct{})
	go func() { defer close(done); g.pass() }()
	for range atOnce {
		<-g.provider.waiting
	}
	close(g.provider.blocked)
	<-done
}

func TestRefreshStopsWithItsContext(t *testing.T) {
	g := newRefreshRig(t)
	g.signIn("alice")
	g.now = g.now.Add(g.every)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.refresher.pass(ctx)
	if g.provider.asked["alice"] != 0 {
		t.Error("asked after the end")
	}
	g.refresher.run(ctx) // returns
}

func TestSessionThatEndedMeanwhileIsNoFailure(t *testing.T) {
	g := newRefreshRig(t)
	g.signIn("alice")
	due, err := g.sessions.DueForRefresh(t.Context(), g.now.Add(time.Hour))
	if err != nil || len(due) != 1 {
		t.Fatal(due, err)
	}
	if _, err := g.sessions.Revoke(t.Context(), session.Filter{ID: due[0].ID}); err != nil {
		t.Fatal(err)
	}
	if err := g.one(t.Context(), due[0]); err != nil {
		t.Error(err)
	}
}

// TestAttackManySessionsOfOnePersonStarveNobody: each person's first session is asked about before any person's second, and of one person's the
// one first that was confirmed longest ago.
func TestAttackManySessionsOfOnePersonStarveNobody(t *testing.T) {
	var due []session.Refreshable
	add := func(person string, n int, age time.Duration) {
		due = append(due, session.Refreshable{ID: fmt.Sprint(person, n), Subject: authn.Subject{Issuer: "https://idp", ID: person}, ConfirmedAt: monday.Add(-age)})
	}
	for n := range 1000 {
		add("mallory", n, time.Hour+time.Duration(n)*time.Second)
	}
	add("alice", 0, time.Minute)
	add("bob", 0, 2*time.Minute)
	add("bob", 1, time.Minute)
	order := fair(due)
	var first []string
	for _, s := range order[:5] {
		first = append(first, s.ID)
	}
	if got := fmt.Sprint(first); got != "[mallory999 bob0 alice0 mallory998 bob1]" || len(order) != 1003 {
		t.Errorf("%s of %d", got, len(order))
	}
}
