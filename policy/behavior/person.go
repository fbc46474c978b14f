package behavior

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"sallyport/authn"
)

// parts is how many locks the memory is spread over.
const parts = 256

// Bounds of the history of one person; the oldest entry makes room.
const (
	maxCountries = 64
	maxASNs      = 128
	maxDevices   = 64
	maxRows      = 32
)

// person is all that the signals need of one person.
type person struct {
	first     moment   // let through for the first time; 0 never
	last      moment   // seen at all
	partial   bool     // there may be more in the store: nothing is known until that is read
	dirty     bool     // active has something that the store may not have
	here      waypoint // let through last
	countries []kept[country]
	asns      []kept[uint32]
	devices   []kept[uint64]
	sessions  []kept[uint64]
	recent    []visitTrace
	rows      []kept[uint64] // what was queued, by hash, and in which five minutes
	active    *buckets       // nil: nothing in 48 hours
	hours     *hours         // nil: nothing in 30 days
	prompts   prompts
}

// see takes a sighting up; it may have been taken up before. device and session are
// hashes, 0 for none.
func (p *person) see(s *Sighting, device, session uint64, now moment) {
	at, c := momentOf(s.At), countryOf(s.Country)
	p.last = max(p.last, at)
	if at.within(day, now) {
		p.recent = addVisitTrace(p.recent, visitTrace{net: s.Network, at: at, asn: s.ASN, country: c, six: s.Six})
	}
	if session != 0 && at.within(recently, now) {
		p.sessions = keep(p.sessions, session, at, maxSessions)
	}
	if !s.Allowed {
		return // an attacker who was turned away must not be at home the next time
	}
	if first := momentOf(s.First); p.first == 0 || first < p.first {
		p.first = first
	}
	if device != 0 {
		p.devices = keep(p.devices, device, at, maxDevices)
	}
	if !s.Flagged {
		if c != 0 {
			p.countries = keep(p.countries, c, at, maxCountries)
		}
		if s.ASN != 0 {
			p.asns = keep(p.asns, s.ASN, at, maxASNs)
		}
	}
	// A stop in the future (the clock was set back since) gives way to any that is not.
	if to := waypointAt(s.Point, s.At); to.known && at.within(journeyMax, now) && (to.at >= p.here.at || momentOf64(p.here.at) > now) {
		p.here = to
	}
}

// devicesSince counts the devices that the person was let through on in the last 30 days,
// this one included; this is 0 for none.
func (p *person) devicesSince(this uint64, now moment) (n int64) {
	if this != 0 {
		n++
	}
	for _, d := range p.devices {
		if d.what != this && d.last.within(month, now) {
			n++
		}
	}
	return n
}

func momentOf64(micros int64) moment { return moment(micros / 1e6) }

// queued reports whether a row like this was queued in these five minutes, and notes it.
func (p *person) queued(row uint64, at moment) bool {
	in := at / moment(bucketLen.Seconds())
	for _, r := range p.rows {
		if r.what == row && r.last == in {
			return true
		}
	}
	p.rows = slices.DeleteFunc(p.rows, func(r kept[uint64]) bool { return r.last != in })
	p.rows = keep(p.rows, row, in, maxRows)
	return false
}

// expire drops entries that no signal needs any more, and reports whether none is left.
func (p *person) expire(c *Config, now moment) bool {
	p.countries = expire(p.countries, c.Retention, now)
	p.asns = expire(p.asns, c.Retention, now)
	p.devices = expire(p.devices, c.Retention, now)
	p.sessions = expire(p.sessions, recently, now)
	n := len(p.recent)
	p.recent = slices.DeleteFunc(p.recent, func(t visitTrace) bool { return !t.at.within(day, now) })
	if len(p.recent) == 0 {
		p.recent = nil
	} else if len(p.recent) < n {
		p.recent = slices.Clip(slices.Clone(p.recent))
	}
	if !p.last.within(bucketLen, now) {
		p.rows = nil
	}
	if p.active != nil && !p.dirty && bucketOf(now) > p.active.last && bucketOf(now)-p.active.last >= ring {
		p.active = nil
	}
	if p.hours != nil && hourOfBucket(bucketOf(now)) > p.hours.last && hourOfBucket(bucketOf(now))-p.hours.last >= hourRing {
		p.hours = nil
	}
	p.prompts = p.prompts.expire(now)
	return !p.last.within(c.Retention, now) && !p.dirty
}

// part is the people of one lock.
type part struct {
	sync.RWMutex
	people map[authn.Subject]*person
	dirty  map[authn.Subject]struct{}
	// evicted is set when a person had to leave: an unknown person may then be a known one.
	evicted bool
}

// memory holds the history of all people.
type memory struct {
	seed  maphash.Seed
	limit int64
	count atomic.Int64
	parts [parts]part
}

func newMemory(people int) *memory {
	m := &memory{seed: maphash.MakeSeed(), limit: int64(people)}
	for i := range m.parts {
		m.parts[i].people = map[authn.Subject]*person{}
		m.parts[i].dirty = map[authn.Subject]struct{}{}
	}
	return m
}

// personOf returns the entry of s, and makes one if there is none. p is its part, and
// locked. At the bound, the person of that part who was not seen for longest leaves, if
// the store has all that is known of them.
func (m *memory) personOf(p *part, s authn.Subject) *person {
	if one := p.people[s]; one != nil {
		return one
	}
	if m.count.Load() >= m.limit && len(p.people) > 0 {
		var victim authn.Subject
		oldest := ^moment(0)
		for k, v := range p.people {
			if v.last < oldest && !v.dirty {
				victim, oldest = k, v.last
			}
		}
		m.drop(p, victim)
		p.evicted = true
	}
	one := &person{partial: p.evicted}
	p.people[s] = one
	m.count.Add(1)
	return one
}

// drop removes s, if there.
func (m *memory) drop(p *part, s authn.Subject) {
	if _, ok := p.people[s]; ok {
		delete(p.people, s)
		m.count.Add(-1)
	}
}

// ref is a number for a person, a device or a session. It differs in each process, so
// that no client can choose it. 0 means none.
func (m *memory) ref(s authn.Subject) uint64 {
	if s.IsZero() {
		return 0
	}
	return maphash.Comparable(m.seed, s) | 1
}

func (m *memory) text(s string) uint64 {
	if s == "" {
		return 0
	}
	return maphash.String(m.seed, s) | 1
}

func (m *memory) part(ref uint64) *part { return &m.parts[ref>>8%parts] }
