package proxy

import (
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/policy/ipintel"
	"sallyport/policy/rehearse"
)

// maxLive is how many sessions the gate keeps the last place of. Most of a session's
// memory is its memo, which the verdict cache shares while it has it.
const maxLive = 200_000

// lastSeen is what was judged last of a session: by a request to a route.
type lastSeen struct {
	memo   *memo
	person *authn.Person // the person as of now, if the provider has changed it since; else nil
}

func newLive() (*otter.Cache[string, lastSeen], error) {
	return otter.New(&otter.Options[string, lastSeen]{MaximumSize: maxLive})
}

// alive reports whether the session can still be in use. Its last use may be up to a
// minute later than its memo says.
func (g *Gate) alive(m *memo, now time.Time) bool {
	return now.Before(m.session.ExpiresAt) && now.Sub(m.made) < g.cfg.IdleTimeout+memoAge
}

// Rehearse judges every session that was used here and is alive by next, and compares the
// verdicts with those of the snapshot in force. It changes nothing.
//
// A session is judged where it was last seen: from that address, on that route, with the
// proof that it has. Rules that read the request itself (method, path) are not evaluated:
// there is none.
//
// It also says who would be asked less than now ([rehearse.Tally.AddAsked]).
func (g *Gate) Rehearse(next *Snapshot) *rehearse.Tally { return g.Compare(g.current.Load(), next) }

// Compare is Rehearse beside another snapshot than the one in force.
func (g *Gate) Compare(before, after *Snapshot) *rehearse.Tally {
	return g.compare(before, after, true, nil)
}

// CompareAt is Compare with rules that read another time than now: by those that name a
// point in time, what they do to the same sessions later.
func (g *Gate) CompareAt(before, after *Snapshot, clock func(now time.Time) time.Time) *rehearse.Tally {
	return g.compare(before, after, true, clock)
}

// compare runs on all processors, and makes way for requests several times a millisecond.
// With asked it takes twice the time.
func (g *Gate) compare(before, after *Snapshot, asked bool, clock func(time.Time) time.Time) *rehearse.Tally {
	now := g.cfg.Now()
	var all []lastSeen
	for id, l := range g.live.All() {
		if g.alive(l.memo, now) {
			all = append(all, l)
		} else {
			g.live.Invalidate(id)
		}
	}
	workers := runtime.GOMAXPROCS(0)
	tallies := make([]rehearse.Tally, workers)
	var running sync.WaitGroup
	for i := range workers {
		part := all[len(all)*i/workers : len(all)*(i+1)/workers]
		running.Go(func() {
			for n, l := range part {
				if n%64 == 0 {
					runtime.Gosched()
				}
				old, was := l.reevaluate(before, now, clock)
				f, is := l.reevaluate(after, now, clock)
				tallies[i].Add(f.User.Email, &f, 1, was, is)
				if asked {
					tallies[i].AddAsked(f.User.Email, &f, 1, rehearse.Pair{Given: was, Asked: before.Policy.Unanswered().Decide(&old)}, rehearse.Pair{Given: is, Asked: after.Policy.Unanswered().Decide(&f)})
				}
			}
		})
	}
	running.Wait()
	total := &tallies[0]
	for i := range tallies[1:] {
		total.Merge(&tallies[i+1])
	}
	return total
}

// reevaluate judges a session as of now. A clock, if there is one, says which time rules
// read; how old things are stays as it is now.
func (l lastSeen) reevaluate(s *Snapshot, now time.Time, clock func(time.Time) time.Time) (policy.Facts, policy.Decision) {
	m := l.memo
	f, who := m.facts, m.session
	if l.person != nil {
		who.Person = *l.person
	}
	if m.snapshot.Intel != s.Intel || now.Sub(m.made) >= memoAge {
		network := s.lookup(m.facts.IP.Addr)
		f.IP = network.facts(now)
		movedFacts(&f, &who, network.Network, s.Intel)
	}
	f.Time.Now = now
	identityFacts(&f, who, now)
	sessionFacts(&f, &who, f.IP.Addr, now)
	// What behaviour said stays as it was found, but for the way from a home that changed.
	behaviorFacts(&f, m.seen)
	if who.Person.Home != m.session.Person.Home {
		f.User.HomeKM = -1
	}
	if clock != nil {
		f.Time.Now = clock(now)
	}
	if m.snapshot == s && l.person == nil && !m.partial.ClockBound() {
		return f, s.Policy.DecideSession(&f, m.partial)
	}
	return f, s.Policy.DecideSession(&f, policy.Partial{})
}

// SessionFacts fills in the session's own facts: its person, what they proved and when,
// as of now and from an address.
func SessionFacts(f *policy.Facts, s authn.Session, addr netip.Addr, now time.Time) {
	identityFacts(f, s, now)
	sessionFacts(f, &s, addr, now)
}

// HomeFact fills in how far an address, of which n says what is known, is from the home of
// a person: for those who have no history. Of c, only what says which networks are no
// person's place counts.
func HomeFact(f *policy.Facts, p authn.Person, n ipintel.Network, c behavior.Config) (err error) {
	here := network{n, f.IP.Internal}
	f.User.HomeKM, err = behavior.FromHome(c, behavior.Visit{Place: here.behaviorPlace(), Home: p.Home})
	return err
}

// reviewSessions reports what a new snapshot changes for the live sessions. Their streams
// have been cut by then, and each further request is judged by the new snapshot anyway:
// the report is for operators.
func (g *Gate) reviewSessions(before, after *Snapshot) {
	if before.Policy == after.Policy && before.Intel == after.Intel {
		return
	}
	begin := time.Now()
	t := g.compare(before, after, false, nil)
	g.reviewed.Store(t)
	rules := make([]slog.Attr, 0, maxLoggedRules)
	for _, r := range t.ByRule() {
		if len(rules) == maxLoggedRules {
			break
		}
		rules = append(rules, slog.Any(r.Rule, r.Counts))
	}
	g.cfg.Logger.Info("live sessions were judged again", "sessions", t.Judged, "changed", t.Changed(),
		"newly_blocked", t.Blocked, "newly_stepped_up", t.SteppedUp, "newly_allowed", t.Allowed,
		slog.Attr{Key: "rules", Value: slog.GroupValue(rules...)},
		"policy_changed", before.Policy != after.Policy, "ip_data_changed", before.Intel != after.Intel, "ms", time.Since(begin).Milliseconds())
}

const maxLoggedRules = 20

// Reviewed is what the last change of policy or IP data changed for live sessions; nil
// before the first.
func (g *Gate) Reviewed() *rehearse.Tally { return g.reviewed.Load() }

// learnPerson notes that a session's person has changed, or (nil) that it is gone.
func (g *Gate) learnPerson(id string, p *authn.Person) {
	if p == nil {
		g.live.Invalidate(id)
		return
	}
	g.live.ComputeIfPresent(id, func(l lastSeen) (lastSeen, otter.ComputeOp) {
		return lastSeen{l.memo, p}, otter.WriteOp
	})
}
