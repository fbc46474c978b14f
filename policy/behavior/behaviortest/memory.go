// Package behaviortest is what tests of behaviour need: a store in memory that can be
// made to fail, and the contract of [behavior.Store] as a test.
package behaviortest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sallyport/authn"
	"sallyport/policy/behavior"
)

// ErrFault is what an injected fault returns.
var ErrFault = errors.New("injected fault")

// Fault says how a store fails. The two come as a pair because callers must survive both:
// after an error the caller cannot know which one it was.
type Fault int

const (
	NotStored Fault = iota + 1 // the call fails and changes nothing
	Stored                     // the call does its work, then fails: only the answer is lost
)

// Memory implements [behavior.Store]. Two trackers that share one behave like two
// processes that share a database. A sighting that breaks an invariant is an error.
type Memory struct {
	mu        sync.Mutex
	last      int64
	sightings []numbered
	places    map[behavior.Sighting]time.Time // by the place with First and At zero: First
	latest    map[behavior.Sighting]time.Time // the same: At
	activity  map[hourOf]hourBits
	days      map[hourOf]uint32 // by day
	events    []numberedEvent

	fault   Fault
	failing []string // methods; none is all
	hook    func()   // before each call
	calls   int
}

type numbered struct {
	seq int64
	behavior.Sighting
}

type numberedEvent struct {
	seq int64
	behavior.Event
}

type hourOf struct {
	subject authn.Subject
	hour    int64
}

type hourBits struct {
	seq  int64
	bits uint16
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{places: map[behavior.Sighting]time.Time{}, latest: map[behavior.Sighting]time.Time{}, activity: map[hourOf]hourBits{}, days: map[hourOf]uint32{}}
}

// Fail makes every call of the named methods fail from now on, of all methods if none is
// named; 0 heals.
func (m *Memory) Fail(f Fault, methods ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault, m.failing = f, methods
}

// Before has f called at the beginning of each call, without a lock.
func (m *Memory) Before(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = f
}

// Calls is how many there were.
func (m *Memory) Calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}

// Rows is how many numbered sightings there are.
func (m *Memory) Rows() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sightings)
}

// call runs f under the lock, and the fault.
func (m *Memory) call(ctx context.Context, method string, f func() error) error {
	m.mu.Lock()
	hook := m.hook
	m.calls++
	m.mu.Unlock()
	if hook != nil {
		hook()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fault := m.fault
	if len(m.failing) > 0 && !slices.Contains(m.failing, method) {
		fault = 0
	}
	if fault == NotStored {
		return ErrFault
	}
	if err := f(); err != nil {
		return err
	}
	if fault == Stored {
		return ErrFault
	}
	return nil
}

func micro(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

// check refuses what a Tracker must never write.
func check(s *behavior.Sighting) error {
	switch {
	case s.Subject.Issuer == "" || s.Subject.ID == "":
		return errors.New("a sighting without a person")
	case s.First.After(s.At) || s.First.IsZero():
		return fmt.Errorf("a sighting from %s to %s", s.First, s.At)
	case s.Addr.Is4In6() || s.Addr.Zone() != "":
		return fmt.Errorf("%s is not canonical", s.Addr)
	case s.Host>>63 != 0 || s.Network>>63 != 0 || s.Site>>63 != 0:
		return errors.New("a hash of more than 63 bits")
	case s.Flagged && s.Point.Known:
		return errors.New("a journey from an address that stands for many")
	}
	return nil
}

// AppendBehavior implements [behavior.Store].
func (m *Memory) AppendBehavior(ctx context.Context, b behavior.Batch) error {
	return m.call(ctx, "AppendBehavior", func() error {
		for i := range b.Sightings {
			if err := check(&b.Sightings[i]); err != nil {
				return err
			}
		}
		for _, s := range b.Sightings {
			m.last++
			s.First, s.At = micro(s.First), micro(s.At)
			m.sightings = append(m.sightings, numbered{m.last, s})
		}
		for _, a := range b.Activity {
			m.last++
			k := hourOf{a.Subject, a.Hour}
			m.activity[k] = hourBits{m.last, m.activity[k].bits | a.Bits}
			m.days[hourOf{a.Subject, a.Hour / 24}] |= 1 << (a.Hour % 24)
		}
		for _, e := range b.Events {
			m.last++
			e.At = micro(e.At)
			m.events = append(m.events, numberedEvent{m.last, e})
		}
		return nil
	})
}

// BehaviorSince implements [behavior.Store].
func (m *Memory) BehaviorSince(ctx context.Context, after int64, limit int) (b behavior.Batch, last int64, err error) {
	err = m.call(ctx, "BehaviorSince", func() error {
		type row struct {
			seq int64
			add func()
		}
		var rows []row
		for _, s := range m.sightings {
			rows = append(rows, row{s.seq, func() { b.Sightings = append(b.Sightings, s.Sighting) }})
		}
		for k, v := range m.activity {
			rows = append(rows, row{v.seq, func() {
				b.Activity = append(b.Activity, behavior.Activity{Subject: k.subject, Hour: k.hour, Bits: v.bits})
			}})
		}
		for _, e := range m.events {
			rows = append(rows, row{e.seq, func() { b.Events = append(b.Events, e.Event) }})
		}
		rows = slices.DeleteFunc(rows, func(r row) bool { return r.seq <= after })
		slices.SortFunc(rows, func(a, b row) int { return int(a.seq - b.seq) })
		last = m.last
		if len(rows) > limit {
			rows = rows[:limit]
			last = rows[limit-1].seq
		}
		for _, r := range rows {
			r.add()
		}
		return nil
	})
	return b, last, err
}

// BehaviorPlaces implements [behavior.Store].
func (m *Memory) BehaviorPlaces(ctx context.Context, each func(behavior.Sighting) error) error {
	return m.call(ctx, "BehaviorPlaces", func() error {
		for s := range m.places {
			if err := each(m.place(s)); err != nil {
				return err
			}
		}
		return nil
	})
}

// BehaviorDays implements [behavior.Store].
func (m *Memory) BehaviorDays(ctx context.Context, each func(behavior.Day) error) error {
	return m.call(ctx, "BehaviorDays", func() error {
		for k, bits := range m.days {
			if err := each(behavior.Day{Subject: k.subject, Day: k.hour, Hours: bits}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m *Memory) place(s behavior.Sighting) behavior.Sighting {
	s.First, s.At = m.places[s], m.latest[s]
	return s
}

// BehaviorOf implements [behavior.Store].
func (m *Memory) BehaviorOf(ctx context.Context, who authn.Subject) (b behavior.Batch, err error) {
	err = m.call(ctx, "BehaviorOf", func() error {
		for s := range m.places {
			if s.Subject == who {
				b.Sightings = append(b.Sightings, m.place(s))
			}
		}
		for _, s := range m.sightings {
			if s.Subject == who {
				b.Sightings = append(b.Sightings, s.Sighting)
			}
		}
		for k, v := range m.activity {
			if k.subject == who {
				b.Activity = append(b.Activity, behavior.Activity{Subject: who, Hour: k.hour, Bits: v.bits})
			}
		}
		for k, bits := range m.days {
			if k.subject == who {
				b.Days = append(b.Days, behavior.Day{Subject: who, Day: k.hour, Hours: bits})
			}
		}
		for _, e := range m.events {
			if e.Subject == who {
				b.Events = append(b.Events, e.Event)
			}
		}
		return nil
	})
	return b, err
}

// TidyBehavior implements [behavior.Store].
func (m *Memory) TidyBehavior(ctx context.Context, l behavior.Limits) error {
	return m.call(ctx, "TidyBehavior", func() error {
		var stay []numbered
		for _, s := range m.sightings {
			if s.At.Before(l.Addrs) {
				s.Addr = netip.Addr{}
			}
			if !s.At.Before(l.Condense) {
				stay = append(stay, s)
			} else if s.Allowed {
				m.merge(s.Sighting)
			}
		}
		m.sightings = stay
		for s := range m.places {
			p := m.place(s)
			if !p.At.Before(l.Forget) && !p.At.Before(l.Addrs) && !p.At.Before(l.Hosts) {
				continue
			}
			delete(m.places, s)
			delete(m.latest, s)
			if p.At.Before(l.Forget) {
				continue
			}
			if p.At.Before(l.Addrs) {
				p.Addr = netip.Addr{}
			}
			if p.At.Before(l.Hosts) {
				p.Host, p.Site = 0, 0
			}
			m.merge(p)
		}
		for k := range m.activity {
			if time.Unix(k.hour*3600, 0).Before(l.Condense.Add(-time.Hour)) {
				delete(m.activity, k)
			}
		}
		for k := range m.days {
			if time.Unix((k.hour+1)*86400, 0).Before(l.Hosts) {
				delete(m.days, k)
			}
		}
		m.events = slices.DeleteFunc(m.events, func(e numberedEvent) bool {
			return e.At.Before(l.Hosts) || e.Kind != behavior.Enrolled && e.At.Before(l.Condense)
		})
		return nil
	})
}

func (m *Memory) merge(s behavior.Sighting) {
	first, at := s.First, s.At
	s.First, s.At, s.Point, s.Session = time.Time{}, time.Time{}, behavior.Point{}, ""
	if old, ok := m.places[s]; !ok || first.Before(old) {
		m.places[s] = first
	}
	if at.After(m.latest[s]) {
		m.latest[s] = at
	}
}
