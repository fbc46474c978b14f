package proxy_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/proxy"
	"sallyport/proxy/audit"
	"sallyport/proxy/portal"
	"sallyport/proxy/streams"
)

// freshPolicy asks the treasury's visitors for a proof every half hour.
const freshPolicy = `
version: 1
rules:
  - {name: fresh, when: 'request.route == "treasury"', then: step_up, max_age: 30m}
`

// record is the session of a browser's person.
func (l *live) record(email authn.Email) session.Record {
	l.Helper()
	list, err := l.sessions.List(l.Context(), session.Filter{Email: email})
	l.must(err)
	if len(list) != 1 {
		l.Fatalf("%s has %d sessions", email, len(list))
	}
	return list[0]
}

// cuts are the ways to end the streams of Alice at the treasury, and no others.
var cuts = []struct {
	name, why string
	cut       func(*live, *browser)
}{
	{"revoked", "ended", func(l *live, _ *browser) {
		_, err := l.sessions.Revoke(l.Context(), session.Filter{Email: "alice@example.test"})
		l.must(err)
	}},
	{"signed out", "ended", func(l *live, b *browser) {
		if a := b.submit(login+"/.sallyport/sign-out", nil); a.StatusCode != 303 {
			l.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}},
	{"another policy", "blocked", func(l *live, _ *browser) {
		l.use(strings.Replace(testPolicy, "rules:", `rules:
  - {name: not-alice, when: 'user.email == "alice@example.test"', then: block}`, 1))
	}},
	{"another IP list", "blocked", func(l *live, _ *browser) {
		file := filepath.Join(l.TempDir(), "clouds.txt")
		l.must(os.WriteFile(file, []byte(home+"\n"), 0o600))
		l.must(os.Chtimes(file, epoch, epoch))
		intel, errs := ipintel.Load(ipintel.Config{Now: func() time.Time { return epoch }, Lists: []ipintel.List{{Name: "clouds", Signal: "hosting", File: file}}})
		if len(errs) > 0 {
			l.Fatal(errs)
		}
		l.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Intel = intel; return s })
	}},
	{"not in the group any more", "blocked", func(l *live, _ *browser) {
		r := l.record("alice@example.test")
		r.Person.Groups = []string{"press"}
		l.must(l.sessions.Refreshed(l.Context(), r.ID, r.Person, ""))
	}},
	{"nobody may use the route any more", "blocked", func(l *live, _ *browser) {
		who := grants()
		who["treasury"] = policy.Grant{Emails: []string{"bob@example.test"}}
		p := l.compile(testPolicy, who)
		l.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Policy = p; return s })
	}},
}

func TestStreamsEndWithWhatLetThemIn(t *testing.T) {
	for _, kind := range []string{"sse", "ws"} {
		for _, c := range cuts {
			t.Run(kind+" "+c.name, func(t *testing.T) {
				l := newLive(t)
				alice, bob := l.enrolled("alice", home), l.enrolled("bob", cafe)
				hers, his := l.open(alice, kind), l.open(bob, kind)
				l.must(hers.conn.SetDeadline(time.Now().Add(2 * time.Second)))
				c.cut(l, alice)
				hers.ended(c.why)
				his.alive()
			})
		}
	}
}

// A person whose declared country changes in the roster is judged by it where they are connected already.
func TestRosterChangeCutsOpenStreams(t *testing.T) {
	for _, kind := range []string{"sse", "ws"} {
		l := newLive(t, func(p *setup) {
			p.policy = "version: 1\nrules:\n  - {name: declared, when: '\"FR\" in user.countries', then: block}\n"
		})
		hers, his := l.open(l.enrolled("alice", home), kind), l.open(l.enrolled("bob", cafe), kind)
		complete := func(p authn.Person) authn.Person {
			if p.Email == "alice@example.test" {
				p.Countries = []string{"FR"}
			}
			return p
		}
		l.roster.Store(&complete)
		n, err := l.sessions.Recompleted(t.Context(), func(p authn.Person) bool { return complete(p).Countries != nil })
		if err != nil || n != 1 {
			t.Fatal(n, err)
		}
		hers.ended("blocked")
		his.alive()
	}
}

// A new assertion gives the session a new token. What is open stays open.
func TestStepUpElsewhereCutsNothing(t *testing.T) {
	for _, kind := range []string{"sse", "ws"} {
		l := newLive(t)
		alice := l.enrolled("alice", home)
		before, s := alice.session(login), l.open(alice, kind)
		alice.pressAndGo(alice.get(login + "/.sallyport/step-up"))
		if alice.session(login) == before {
			t.Fatal("the token is the same")
		}
		// The session is looked at again in the background: what looked has not cut if the
		// stream is alive when a later look has.
		s.alive()
		l.use(testPolicy)
		s.alive()
	}
}

// Routes that ask for it lose their streams with the freshness of the proof that
// opened them; elsewhere a proof that grew old breaks nothing off.
func TestStaleStreams(t *testing.T) {
	for _, stale := range []bool{true, false} {
		for _, kind := range []string{"sse", "ws"} {
			l := newLive(t, func(p *setup) {
				p.policy = freshPolicy
				p.options = map[string]proxy.RouteOptions{"treasury": {CutStale: stale}}
			})
			ctx, cancel := context.WithCancel(t.Context())
			var run sync.WaitGroup
			run.Go(func() { l.gate.Run(ctx) })
			s := l.open(l.enrolled("alice", home), kind)
			l.clock.Add(31 * time.Minute)
			if stale {
				s.ended("stale") // Run looks once a second
			} else {
				l.use(freshPolicy)
				s.alive()
			}
			cancel()
			run.Wait()
		}
	}
}

// A stolen cookie's stream gains nothing from its owner's next assertion.
func TestStreamKeepsItsOwnProof(t *testing.T) {
	l := newLive(t, func(p *setup) {
		p.policy = freshPolicy
		p.options = map[string]proxy.RouteOptions{"treasury": {CutStale: true}}
	})
	alice := l.enrolled("alice", home)
	s := l.open(alice, "ws")
	l.clock.Add(29 * time.Minute)
	alice.pressAndGo(alice.get(login + "/.sallyport/step-up"))
	s.alive()
	l.clock.Add(2 * time.Minute)
	l.use(freshPolicy)
	s.ended("stale")
}

// watched is an audit log that something happens before: the last thing that the gate
// does with a request before it opens a stream.
type watched struct {
	proxy.Auditor
	before func()
}

func (w *watched) Count(k audit.RunKey) (bool, error) {
	if f := w.before; f != nil {
		w.before = nil
		f()
	}
	return w.Auditor.Count(k)
}

func newWatched(t *testing.T) (*live, *browser, *watched) {
	t.Helper()
	w := &watched{}
	l := newLive(t, func(p *setup) {
		p.change = func(c *proxy.Config) { w.Auditor, c.Audit = c.Audit, w }
	})
	return l, l.enrolled("alice", home), w
}

// The session ends after its request has loaded it and before the stream is open. It
// must not slip through.
func TestSessionEndsWhileItsRequestIsJudged(t *testing.T) {
	l, alice, w := newWatched(t)
	w.before = func() {
		_, err := l.sessions.Revoke(l.Context(), session.Filter{Email: "alice@example.test"})
		l.must(err)
	}
	c := l.send(alice, "GET /events", "", "Accept: text/event-stream")
	text, err := io.ReadAll(c.res.Body)
	if err != nil || c.res.StatusCode != 401 && !strings.HasPrefix(string(text), "event: sallyport") {
		t.Errorf("%d %q %v", c.res.StatusCode, text, err)
	}
}

// What is cut before it is answered is told why, in the way of a refusal.
func TestCutBeforeTheAnswer(t *testing.T) {
	type answer struct {
		status int
		code   string
	}
	for why, want := range map[streams.Reason]answer{
		streams.Ended:    {401, "not_signed_in"},
		streams.Expired:  {401, "not_signed_in"},
		streams.Stale:    {401, "insufficient_user_authentication"},
		streams.Blocked:  {403, "blocked"},
		streams.Shutdown: {503, "shutdown"},
	} {
		l, alice, w := newWatched(t)
		w.before = func() { l.streams.CutAll(why) }
		c := l.send(alice, "GET /events", "", "Accept: application/json")
		text, err := io.ReadAll(c.res.Body)
		if err != nil || c.res.StatusCode != want.status || !strings.Contains(string(text), `"error":"`+want.code+`"`) {
			t.Errorf("%s: %d %q %v", why, c.res.StatusCode, text, err)
		}
		if n := len(l.peers); n != 0 {
			t.Errorf("%s: it reached the tool", why)
		}
	}
}

// Nor can it with requests that come at once, none of which has a place yet when the others ask for theirs.
func TestAttackOneSessionOpensEverythingAtOnce(t *testing.T) {
	const places, burst = 2, 8     // the tool holds no more
	var asked, judged atomic.Int64 // the last that is asked before a place is taken is the clock
	asserted, all := make(chan struct{}), make(chan struct{})
	l := newLive(t, func(p *setup) {
		p.change = func(c *proxy.Config) {
			c.SessionStreams = places
			now := c.Now
			c.Now = func() time.Time {
				select {
				case <-asserted:
					if asked.Add(1) == burst {
						close(all)
					}
					<-all
				default:
				}
				return now()
			}
		}
	})
	alice := l.enrolled("alice", home)
	l.restart(func(c *proxy.Config, _ *portal.Config) {
		c.Assertions = asserter(func() {
			if judged.Add(1) == burst {
				close(asserted)
			}
			<-asserted
		})
	})
	statuses := make(chan int, burst)
	for range burst {
		go func() { statuses <- l.send(alice, "GET /events", "", "Accept: application/json").res.StatusCode }()
	}
	served := 0
	for range burst {
		if receive(t, statuses) == 200 {
			served++
		}
	}
	if served > places {
		t.Errorf("%d streams of one session are open", served)
	}
}

type asserter func()

func (a asserter) For(*authn.Session, string, *policy.Decision) (string, error) {
	a()
	return "", nil
}

func (asserter) ServeHTTP(http.ResponseWriter, *http.Request) {}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

// One session cannot take every stream there is; another one is served all the same.
func TestAttackOneSessionOpensEverything(t *testing.T) {
	l := newLive(t, func(p *setup) { p.change = func(c *proxy.Config) { c.SessionStreams = 2 } })
	alice, bob := l.enrolled("alice", home), l.enrolled("bob", home)
	first := l.open(alice, "ws")
	l.open(alice, "sse")
	l.forwarded()
	if c := l.send(alice, "GET /", "", "Accept: application/json"); c.res.StatusCode != 429 || c.res.Header.Get("Retry-After") == "" {
		t.Errorf("a third: %d", c.res.StatusCode)
	}
	if calls := l.forwarded(); len(calls) != 0 {
		t.Errorf("%d requests reached the tool", len(calls))
	}
	l.open(bob, "sse")
	first.conn.Close()
	first.peer.conn.Close()
	for ended := time.Now().Add(patience); ; {
		if c := l.send(alice, "GET /", ""); c.res.StatusCode == 200 {
			break
		}
		if time.Now().After(ended) {
			t.Fatal("the place of a stream that has ended stays taken")
		}
	}
}
