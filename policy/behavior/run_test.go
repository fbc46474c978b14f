package behavior_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/policy/behavior/behaviortest"
	"sallyport/proxy/proxytest"
)

var key = bytes.Repeat([]byte{7}, 32)

// process is a tracker that runs, in a bubble of package synctest.
type process struct {
	*behavior.Tracker
	log  lockedBuffer
	stop func() error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
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

func run(t *testing.T, store behavior.Store, change ...func(*behavior.Config)) *process {
	t.Helper()
	p := &process{}
	cfg := behavior.Config{Retention: proxytest.BehaviorRetention, Household: proxytest.BehaviorHousehold, Store: store, Key: key, RawAddresses: 30 * 24 * time.Hour, Logger: slog.New(slog.NewTextHandler(&p.log, nil))}
	for _, f := range change {
		f(&cfg)
	}
	tr, err := behavior.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.Tracker = tr
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	var once sync.Once
	var result error
	p.stop = func() error {
		once.Do(func() { cancel(); result = <-done })
		return result
	}
	t.Cleanup(func() { _ = p.stop() })
	synctest.Wait()
	return p
}

func visit(who string) behavior.Visit {
	return behavior.Visit{
		Subject: behaviortest.Person(who), At: time.Now(), Device: "laptop-" + who, Session: "session-" + who,
		Place: behavior.Place{Addr: netip.MustParseAddr("198.51.100.7"), Country: "DE", ASN: 3320, Point: behavior.Point{Lat: 52.52, Lon: 13.405, RadiusKm: 10, Known: true}},
	}
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestHistoryOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		p := run(t, store)
		for h := range 20 {
			p.Active(behaviortest.Person("alice"), time.Now())
			p.Record(visit("alice"), policy.Allow)
			if h == 10 {
				p.Record(visit("bob"), policy.Allow)
			}
			pass(time.Hour)
		}
		abroad := visit("alice")
		abroad.Place = behavior.Place{Addr: netip.MustParseAddr("203.0.113.1"), Country: "SG", ASN: 4657, Point: behavior.Point{Lat: 1.352, Lon: 103.82, RadiusKm: 10, Known: true}}
		p.Record(abroad, policy.Block)
		want := p.Assess(abroad)
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		if want.Seen.Countries1h != 2 || !want.Seen.NewCountry || want.Activity.ActiveHours24h != 20 || want.Travel.SpeedKMH < 900 || want.Concurrent != 1 {
			t.Fatalf("before: %+v", want)
		}
		next := run(t, store)
		if got := next.Assess(abroad); got != want {
			t.Errorf("after a restart:\n%+v\nwant\n%+v", got, want)
		}
		if got := next.Assess(visit("alice")).Address.People30d; got != 2 {
			t.Errorf("%d people at home", got)
		}
	})
}

func TestPasskeyEventsOutliveTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		p, other := run(t, store), run(t, store)
		for range 20 {
			p.Active(behaviortest.Person("alice"), time.Now())
			p.Record(visit("alice"), policy.Allow)
			pass(24 * time.Hour)
		}
		answered, abandoned, enrolled := visit("alice"), visit("alice"), visit("bob")
		abandoned.Session, enrolled.Device = "another", "laptop-alice"
		p.Begun(answered)
		p.Begun(abandoned)
		p.Enrolled(enrolled)
		pass(time.Minute)
		p.Answered(answered)
		pass(time.Hour)
		want := p.Assess(visit("alice"))
		if want.Seen.AbandonedStepUps24h != 1 || want.Address.Enrolments30d != 1 || want.Device.Enrolments30d != 1 || want.Activity.UsualHours != 100 || want.Devices30d != 1 {
			t.Fatalf("%+v", want)
		}
		if got := other.Assess(visit("alice")); got.Seen.AbandonedStepUps24h != 1 || got.Device.Enrolments30d != 1 || got.Activity.UsualHours != 100 {
			t.Errorf("in another process: %+v", got)
		}
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		if got := run(t, store).Assess(visit("alice")); got.Seen != want.Seen || got.Address != want.Address || got.Device != want.Device || got.Activity != want.Activity || got.Devices30d != 1 {
			t.Errorf("after a restart:\n%+v\nwant\n%+v", got, want)
		}
	})
}

// After two days rows are condensed; two months later the places are still known; more
// than a year later nothing is.
func TestLongTermHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		var ahead atomic.Int64 // the months are jumped over, for the sake of two-second ticks
		config := func(c *behavior.Config) {
			c.RawAddresses, c.Now = time.Hour, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		}
		alice := func() behavior.Visit {
			v := visit("alice")
			v.At = v.At.Add(time.Duration(ahead.Load()))
			return v
		}
		p := run(t, store, config)
		p.Record(alice(), policy.Allow)
		pass(10 * time.Second)
		ahead.Add(int64(60 * 24 * time.Hour))
		pass(2 * time.Hour)
		if n := store.Rows(); n != 0 {
			t.Errorf("%d rows are not condensed", n)
		}
		places := 0
		if err := store.BehaviorPlaces(t.Context(), func(s behavior.Sighting) error {
			if places++; s.Addr.IsValid() || s.Host != 0 || s.Network == 0 || s.Country != "DE" || s.ASN != 3320 {
				t.Errorf("kept: %+v", s)
			}
			return nil
		}); err != nil || places != 1 {
			t.Fatal(places, err)
		}
		second := run(t, store, config)
		for _, q := range []*process{p, second} {
			got := q.Assess(alice())
			if s := got.Seen; s.NewCountry || s.NewASN || s.NewDevice || s.FirstDays != 60 || !s.Known || got.Address.People30d != 1 {
				t.Errorf("%+v", got)
			}
		}
		ahead.Add(int64(341 * 24 * time.Hour))
		pass(2 * time.Hour)
		for _, q := range []*process{p, second, run(t, store, config)} {
			if got := q.Assess(alice()).Seen; !got.NewCountry || got.FirstDays != 0 || q.Stats().People != 0 || q.Stats().Addresses != 0 || q.Stats().Devices != 0 {
				t.Errorf("never forgotten: %+v, %+v", got, q.Stats())
			}
		}
	})
}

func TestPrivacyModeNeverStoresAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		p := run(t, store, func(c *behavior.Config) { c.RawAddresses = 0 })
		p.Record(visit("alice"), policy.Allow)
		p.Record(visit("bob"), policy.Allow)
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		b, _, err := store.BehaviorSince(t.Context(), 0, 10)
		if err != nil || len(b.Sightings) != 2 {
			t.Fatal(b, err)
		}
		for _, s := range b.Sightings {
			if s.Addr.IsValid() || s.Host == 0 {
				t.Errorf("stored: %+v", s)
			}
		}
		if got := run(t, store).Assess(visit("carol")).Address.People30d; got != 3 {
			t.Errorf("%d people are counted without their addresses", got)
		}
	})
}

// Replicas that share a store see each other's sightings within seconds.
func TestReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		a, b := run(t, store), run(t, store)
		a.Record(visit("alice"), policy.Allow)
		a.Active(behaviortest.Person("alice"), time.Now())
		pass(5 * time.Second)
		got := b.Assess(visit("alice"))
		if got.Seen.NewCountry || got.Activity.ActiveHours24h != 1 || got.Concurrent != 1 {
			t.Errorf("%+v", got)
		}
		other := visit("alice")
		other.Session = "another"
		if got := b.Assess(other).Concurrent; got != 2 {
			t.Errorf("%d sessions", got)
		}
		if got := b.Assess(visit("bob")).Address.People30d; got != 2 {
			t.Errorf("%d people", got)
		}
		calls := store.Calls()
		pass(time.Minute)
		if n := store.Calls() - calls; n > 2*31 {
			t.Errorf("%d calls in an idle minute", n)
		}
	})
}

func TestOneRowInFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		p := run(t, store)
		time.Sleep(time.Until(time.Now().Truncate(5 * time.Minute).Add(5 * time.Minute)))
		for range 1000 {
			p.Record(visit("alice"), policy.Allow)
			pass(time.Second / 10)
		}
		if n := store.Rows(); n != 1 {
			t.Errorf("%d rows for a thousand requests in 100 s", n)
		}
		p.Record(visit("alice"), policy.Block)
		other := visit("alice")
		other.Device = "phone"
		p.Record(other, policy.Allow)
		other.Session = "another"
		p.Record(other, policy.Allow)
		other.Place.Addr = netip.MustParseAddr("198.51.100.8")
		p.Record(other, policy.Allow)
		pass(5 * time.Minute)
		p.Record(visit("alice"), policy.Allow)
		pass(5 * time.Second)
		if n := store.Rows(); n != 6 {
			t.Errorf("%d rows", n)
		}
	})
}

func TestHistoryThatIsNotLoadedIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		before := run(t, store)
		before.Record(visit("alice"), policy.Allow)
		if err := before.stop(); err != nil {
			t.Fatal(err)
		}
		store.Fail(behaviortest.NotStored)
		p := run(t, store)
		v := visit("alice")
		v.Zone = "Europe/Berlin"
		unknown := behavior.Assessment{Browser: policy.Browser{TimezoneKnown: true}, Concurrent: 1, Devices30d: -1, HomeKM: -1, Activity: policy.Activity{UsualHours: -1}}
		if got := p.Assess(v); p.HistoryKnown() || got != unknown {
			t.Errorf("%v, %+v", p.HistoryKnown(), got)
		}
		p.Record(visit("alice"), policy.Allow) // is remembered all the same
		pass(10 * time.Minute)
		if p.HistoryKnown() || p.Stats().ReadErrors == 0 || p.Stats().WriteErrors == 0 || p.Stats().Waiting != 1 {
			t.Errorf("%+v", p.Stats())
		}
		store.Fail(0)
		pass(3 * time.Second)
		if got := p.Assess(visit("alice")); !p.HistoryKnown() || got.Seen.NewCountry {
			t.Errorf("%v, %+v", p.HistoryKnown(), got)
		}
		if n := store.Rows(); n != 2 {
			t.Errorf("%d rows", n)
		}
	})
}

// slowToLoad is a store whose places take a while, and that notes in which order it is called.
type slowToLoad struct {
	*behaviortest.Memory
	mu    sync.Mutex
	calls []string
}

func (s *slowToLoad) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

func (s *slowToLoad) BehaviorPlaces(ctx context.Context, each func(behavior.Sighting) error) error {
	time.Sleep(10 * time.Second) // of the bubble's clock
	defer s.note("loaded")
	return s.Memory.BehaviorPlaces(ctx, each)
}

func (s *slowToLoad) TidyBehavior(ctx context.Context, l behavior.Limits) error {
	s.note("tidied")
	return s.Memory.TidyBehavior(ctx, l)
}

// A request that waits for the history does not share the store with what can wait.
func TestTidyingWaitsForTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowToLoad{Memory: behaviortest.NewMemory()}
		run(t, s)
		pass(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if got := strings.Join(s.calls, " "); got != "loaded tidied" {
			t.Error(got)
		}
	})
}

// Reads and writes that fail are noticed by rules after the lease, and not before.
func TestFailuresBecomeUnknown(t *testing.T) {
	for _, fault := range []behaviortest.Fault{behaviortest.NotStored, behaviortest.Stored} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := behaviortest.NewMemory()
				p := run(t, store)
				store.Fail(fault)
				p.Record(visit("alice"), policy.Allow)
				pass(behavior.Lease - 10*time.Second)
				if !p.HistoryKnown() {
					t.Error("too early")
				}
				pass(20 * time.Second)
				if p.HistoryKnown() || p.Assess(visit("alice")).Seen.Known {
					t.Error("a store that has failed for five minutes is not noticed")
				}
				if log := p.log.String(); strings.Count(log, "ERROR") != 1 {
					t.Errorf("one failure, told so:\n%s", log)
				}
				store.Fail(0)
				pass(3 * time.Second)
				if !p.HistoryKnown() || !strings.Contains(p.log.String(), "again") || p.Assess(visit("alice")).Seen.NewCountry {
					t.Errorf("healed: %+v\n%s", p.Stats(), p.log.String())
				}
			})
		})
	}
}

// Each half of the store is enough to know nothing, or to lose it at the next restart.
func TestHalfAStoreIsNotEnough(t *testing.T) {
	for _, method := range []string{"AppendBehavior", "BehaviorSince"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := behaviortest.NewMemory()
				p := run(t, store)
				store.Fail(behaviortest.NotStored, method)
				p.Record(visit("alice"), policy.Allow)
				pass(behavior.Lease + 10*time.Second)
				if p.HistoryKnown() {
					t.Error("known")
				}
				if s := p.Stats(); (s.WriteErrors > 0) != (method == "AppendBehavior") || (s.ReadErrors > 0) != (method == "BehaviorSince") {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// A store that hangs is as good as one that fails.
func TestAHangingStoreBecomesUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		p := run(t, store)
		release := make(chan struct{})
		store.Before(func() { <-release })
		pass(behavior.Lease + 3*time.Second)
		if p.HistoryKnown() {
			t.Error("known")
		}
		p.Record(visit("alice"), policy.Allow) // does not hang
		close(release)
		pass(3 * time.Second)
		if !p.HistoryKnown() || store.Rows() != 1 {
			t.Error("it answers again, and nobody noticed")
		}
	})
}

// What is queued is written before Run returns, even if the store stumbles.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		p := run(t, store)
		store.Fail(behaviortest.NotStored)
		for i := range 2000 {
			p.Record(visit(fmt.Sprint("p", i)), policy.Allow)
			p.Active(behaviortest.Person(fmt.Sprint("p", i)), time.Now())
		}
		go func() {
			time.Sleep(3 * time.Second)
			store.Fail(0)
		}()
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		if n := store.Rows(); n != 2000 {
			t.Errorf("%d rows of 2000", n)
		}
		next := run(t, store)
		for i := range 2000 {
			if got := next.Assess(visit(fmt.Sprint("p", i))); got.Seen.NewCountry || got.Activity.ActiveHours24h != 1 {
				t.Fatalf("p%d: %+v", i, got)
			}
		}
	})
}

func TestAnEndWithoutAStoreSaysWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		p := run(t, store)
		store.Fail(behaviortest.NotStored)
		p.Record(visit("alice"), policy.Allow)
		begin := time.Now()
		err := p.stop()
		if !errors.Is(err, behaviortest.ErrFault) || !strings.Contains(err.Error(), "1 sightings") {
			t.Errorf("%v", err)
		}
		if d := time.Since(begin); d > behavior.Farewell+time.Second {
			t.Errorf("it took %s", d)
		}
	})
}

// A full queue never blocks; what it merges is counted and logged, and since when
// a person is known survives.
func TestAFullQueueIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		p := run(t, store, func(c *behavior.Config) { c.Queue = 16 })
		store.Fail(behaviortest.NotStored)
		for range 100 {
			p.Record(visit("alice"), policy.Allow)
			pass(5 * time.Minute)
		}
		if s := p.Stats(); s.Waiting != 16 || s.Merged != 84 || s.Lost != 0 {
			t.Errorf("%+v", s)
		}
		if !strings.Contains(p.log.String(), "no room for sightings") {
			t.Error("nobody is told")
		}
		store.Fail(0)
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		pass(24 * time.Hour)
		if got := run(t, store).Assess(visit("alice")).Seen.FirstDays; got != 1 {
			t.Errorf("%d days", got) // 100 times 5 minutes, and a day
		}
	})
}

// Beyond the bound, the person who was not seen for longest is unknown until read again.
func TestPeopleBeyondTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		p := run(t, store, func(c *behavior.Config) { c.People = 400 })
		for i := range 1500 {
			v := visit(fmt.Sprint("p", i))
			p.Record(v, policy.Allow)
			p.Active(v.Subject, time.Now())
			pass(time.Second)
		}
		if n := p.Stats().People; n > 400+100 {
			t.Errorf("%d people", n)
		}
		forgotten := 0
		for i := range 1500 {
			v := visit(fmt.Sprint("p", i))
			got := p.Assess(v)
			if !got.Seen.Known {
				forgotten++
				if got.Seen != (policy.Seen{}) || got.Travel.Known || got.Activity.Known {
					t.Fatalf("half known: %+v", got)
				}
				if !got.Device.Known || got.Address.People30d < 250 {
					t.Fatalf("who is at an address does not depend on the bound: %+v", got)
				}
				synctest.Wait()
				if got = p.Assess(v); !got.Seen.Known {
					t.Fatalf("p%d was not read again", i)
				}
			}
			if got.Seen.NewCountry || got.Seen.NewDevice || got.Activity.ActiveHours24h != 1 {
				t.Fatalf("p%d: %+v", i, got)
			}
		}
		if forgotten < 1000 {
			t.Errorf("only %d had left the memory", forgotten)
		}
		// Their own sighting does not make people known who may have been here before. The seed of
		// the memory is random: where no one had to leave a part, new people are new for certain.
		store.Fail(behaviortest.NotStored)
		var stranger behavior.Visit
		for i := 0; ; i++ {
			stranger = visit(fmt.Sprint("new", i))
			p.Record(stranger, policy.Allow)
			if got := p.Assess(stranger).Seen; !got.Known {
				break
			}
			if i == 20 {
				t.Fatal("people who may be people who left are new")
			}
		}
		synctest.Wait()
		if !strings.Contains(p.log.String(), "a person's history cannot be read") {
			t.Error("nobody is told")
		}
		store.Fail(0)
		p.Assess(stranger)
		synctest.Wait()
		if got := p.Assess(stranger).Seen; !got.Known || got.NewCountry {
			t.Errorf("nobody knows them: %+v", got)
		}
	})
}

func TestNobodyIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := behaviortest.NewMemory()
		p := run(t, store)
		v := visit("alice")
		v.Subject.Issuer, v.Subject.ID = "", ""
		p.Record(v, policy.Allow)
		p.Active(v.Subject, time.Now())
		p.Assess(visit("bob"))
		if err := p.stop(); err != nil || store.Rows() != 0 || p.Stats().People != 0 {
			t.Errorf("%v, %d rows, %+v", err, store.Rows(), p.Stats())
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	store := behaviortest.NewMemory()
	tr, err := behavior.New(behavior.Config{Retention: proxytest.BehaviorRetention, Household: proxytest.BehaviorHousehold, Store: store, Key: key, People: 512, Queue: 64})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				v := visit(fmt.Sprint("p", i%700))
				v.Session = fmt.Sprint(g)
				v.Zone = "Europe/Berlin"
				if a := tr.Assess(v); a.Seen.Countries1h < 0 || a.Seen.Countries1h > 1 {
					t.Errorf("%+v", a)
				}
				tr.Record(v, policy.Action(i%3))
				tr.Active(v.Subject, v.At.Add(time.Duration(i)*time.Minute))
				if i%500 == 0 {
					tr.Stats()
				}
			}
		})
	}
	wg.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
