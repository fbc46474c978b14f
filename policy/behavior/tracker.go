package behavior

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/ipv4in6"
)

// Config is what a Tracker is made of. Other fields that are zero have the defaults that
// are named.
type Config struct {
	// Store keeps history. Nil: there is none beyond the memory, and what the memory holds
	// is all there ever was (for tests of policies and for simulations).
	Store  Store
	Now    func() time.Time // time.Now
	Logger *slog.Logger     // nothing is logged
	// Key names addresses and networks in the stored history. It has 16 bytes or more,
	// and must stay the same: with another key, every address is new for every person.
	Key []byte
	// Offices are networks in which many people are at home: neither shared addresses nor
	// moving between networks mean anything there.
	Offices []netip.Prefix
	// MobileASNs and SatelliteASNs are known in addition to those that the package knows.
	MobileASNs, SatelliteASNs []uint32
	// Translators put IPv4 clients under these prefixes: a household there is the address
	// inside.
	Translators ipv4in6.Translators
	// Household is how many bits the IPv6 network of one household has, 48 to 64; required.
	// Providers hand out a /56, and with it 256 networks that one home can put its people
	// into.
	Household int
	// Retention is how long places and devices stay a person's own, not below 30 days;
	// required.
	Retention time.Duration
	// RawAddresses is how long addresses are stored as such. 0: never.
	RawAddresses time.Duration
	// People is about how many people are kept in memory; 100,000. Beyond that the person
	// who was not seen for longest, of some hundred, leaves it, and is not known
	// (policy.Seen.Known is false) until read again, which their next request sets off.
	People int
	// Queue is how many sightings wait to be written at most; 32,768.
	Queue int
}

func (c *Config) defaults() error {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.People == 0 {
		c.People = 100_000
	}
	if c.Queue == 0 {
		c.Queue = 1 << 15
	}
	switch {
	case c.Retention < month:
		return errors.New("behavior: a retention of less than 30 days would make the facts about 30 days wrong")
	case c.RawAddresses < 0 || c.RawAddresses > c.Retention:
		return errors.New("behavior: addresses cannot be kept for longer than the rest")
	case c.Household < 48 || c.Household > 64:
		return errors.New("behavior: a household has an IPv6 network of 48 to 64 bits")
	case c.People < 0 || c.Queue < looks:
		return errors.New("behavior: there is no room to remember people")
	}
	return nil
}

// Tracker remembers, and compares. It is safe for concurrent use.
type Tracker struct {
	cfg    Config
	nets   *networks
	people *memory
	at, on *sharerTable // at an address, on a device

	enrolledAt, enrolledOn *sharerTable // who enrolled a passkey there

	clocks  clocks
	queue   *queue
	events  *eventQueue
	wanted  chan authn.Subject // partial people to be read
	seq     int64              // of the last row read; Run's own
	polled  time.Time          // Run's own
	read    lease
	write   lease
	reads   atomic.Uint64 // that failed
	writes  atomic.Uint64
	warned  struct{ merged, lost uint64 } // Run's own
	nothing *person
}

// Lease is how long history counts as known after it was last read, and after it was last
// written (or there was nothing to write).
const Lease = 5 * time.Minute

// lease is a time that has to be moved on: a Run that hangs is noticed as well as one
// that fails.
type lease struct{ until atomic.Int64 }

func (l *lease) renew(now time.Time)      { l.until.Store(now.Add(Lease).UnixNano()) }
func (l *lease) holds(now time.Time) bool { return now.UnixNano() < l.until.Load() }

// perPerson is how many addresses, and devices, there is room for per person in memory.
const perPerson = 32

// New returns a Tracker that knows nothing yet; Run makes it.
func New(cfg Config) (*Tracker, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	nets, err := newNetworks(&cfg)
	if err != nil {
		return nil, err
	}
	world()
	return &Tracker{
		cfg: cfg, nets: nets, people: newMemory(cfg.People), at: newSharerTable(perPerson * cfg.People), on: newSharerTable(perPerson * cfg.People),
		enrolledAt: newSharerTable(cfg.People), enrolledOn: newSharerTable(cfg.People),
		queue: newQueue(cfg.Queue), events: &eventQueue{limit: cfg.Queue}, wanted: make(chan authn.Subject, 1024), nothing: new(person),
	}, nil
}

// HistoryKnown reports whether history is loaded, and was readable and writable lately.
func (t *Tracker) HistoryKnown() bool {
	if t.cfg.Store == nil {
		return true
	}
	now := t.cfg.Now()
	return t.read.holds(now) && t.write.holds(now)
}

// Assess compares a visit with the history. It does not record the visit.
func (t *Tracker) Assess(v Visit) Assessment {
	v.Place.Addr = ipv4in6.Canonical(v.Place.Addr)
	session := t.people.text(v.Session)
	a := Unread()
	a.Concurrent = concurrent(nil, session, 0)
	if v.Zone != "" {
		a.Browser = t.clocks.at(v.At).browser(v.Zone, t.nets.clock(v.Place))
	}
	a.HomeKM = t.nets.fromHome(&v)
	if !t.HistoryKnown() {
		return a
	}
	now, me, device := momentOf(v.At), t.people.ref(v.Subject), t.people.text(v.Device)
	where := t.nets.places(&v.Place)
	if where.host != 0 {
		a.Address = policy.Address{Known: true, People30d: t.at.count(where.host, me, now), Enrolments30d: t.enrolledAt.count(where.host, 0, now)}
		if where.site != 0 { // rows from before there were sites count by their /64
			a.Address.People30d = max(a.Address.People30d, t.at.count(where.site, me, now))
			a.Address.Enrolments30d = max(a.Address.Enrolments30d, t.enrolledAt.count(where.site, 0, now))
		}
	}
	if device != 0 {
		a.Device = policy.Device{Known: true, People30d: t.on.count(device, me, now), Enrolments30d: t.enrolledOn.count(device, 0, now)}
	}
	if me == 0 {
		return a
	}
	part := t.people.part(me)
	part.RLock()
	defer part.RUnlock()
	p := part.people[v.Subject]
	if p == nil && !part.evicted {
		p = t.nothing
	}
	if p == nil || p.partial {
		t.want(v.Subject)
		return a
	}
	here := visitTrace{net: where.net, at: now, asn: v.Place.ASN, country: countryOf(v.Place.Country), six: v.Place.Addr.Is6()}
	a.Seen = p.compare(here, device)
	a.Devices30d = p.devicesSince(device, now)
	if t.nets.travels(&v.Place) {
		a.Travel = travel(p.here, waypointAt(v.Place.Point, v.At))
	}
	a.Activity = policy.Activity{Known: true, LongestBreak48h: ring * bucketLen}
	if p.active != nil {
		a.Activity = p.active.activity(bucketOf(now))
	}
	a.Activity.UsualHours = p.hours.usual(v.At, zoneOf(v.Clock))
	a.Concurrent = concurrent(p.sessions, session, now)
	return a
}

// compare is policy.Seen.
func (p *person) compare(here visitTrace, device uint64) policy.Seen {
	s := policy.Seen{Known: true}
	count(p.recent, here, &s)
	s.AbandonedStepUps24h = p.prompts.abandoned(here.at)
	s.NewCountry = here.country != 0 && !holds(p.countries, here.country)
	s.NewASN = here.asn != 0 && !holds(p.asns, here.asn)
	s.NewDevice = device == 0 || !holds(p.devices, device)
	if p.first != 0 && here.at > p.first {
		s.FirstDays = int64(here.at-p.first) / int64(day/time.Second)
	}
	return s
}

// Record remembers a visit that was judged. Only an allowed visit makes a place or a
// device normal for the person; other visits are counted all the same. It never blocks.
func (t *Tracker) Record(v Visit, action policy.Action) {
	if v.Subject.IsZero() {
		return
	}
	v.Place.Addr = ipv4in6.Canonical(v.Place.Addr)
	s := Sighting{
		Subject: v.Subject, First: v.At, At: v.At, Country: v.Place.Country, ASN: v.Place.ASN, Six: v.Place.Addr.Is6(),
		Flagged: v.Place.Flagged, Allowed: action == policy.Allow, Device: v.Device, Session: v.Session,
	}
	where := t.nets.places(&v.Place)
	s.Host, s.Site, s.Network = where.host, where.site, where.net
	if t.nets.travels(&v.Place) {
		s.Point = waypointAt(v.Place.Point, v.At).point()
	}
	if t.cfg.RawAddresses > 0 {
		s.Addr = v.Place.Addr
	}
	if fresh := t.remember(&s, momentOf(t.cfg.Now()), t.row(&s, v.Place.Addr)); fresh && t.cfg.Store != nil {
		t.queue.add(s)
	}
}

// row is what a row is about besides person and time, as a number.
func (t *Tracker) row(s *Sighting, a netip.Addr) uint64 {
	var h maphash.Hash
	h.SetSeed(t.people.seed)
	b := a.As16()
	_, _ = h.Write(b[:]) // never fails
	flags := byte(0)
	if s.Allowed {
		flags = 1
	}
	_ = h.WriteByte(flags)
	_, _ = h.Write(binary.BigEndian.AppendUint64(b[:0], uint64(len(s.Device))))
	_, _ = h.WriteString(s.Device)
	_, _ = h.WriteString(s.Session)
	return h.Sum64() | 1
}

// remember takes a sighting up, and reports whether a row like it was not queued in these
// five minutes. row is 0 for one that comes from the store.
func (t *Tracker) remember(s *Sighting, now moment, row uint64) (fresh bool) {
	if t.nets.shared[s.ASN] { // a row from before the network was known as shared
		s.Point = Point{}
	}
	me, device, at := t.people.ref(s.Subject), t.people.text(s.Device), momentOf(s.At)
	part := t.people.part(me)
	part.Lock()
	p := t.people.personOf(part, s.Subject)
	p.see(s, device, t.people.text(s.Session), now)
	fresh = row != 0 && !p.queued(row, at)
	part.Unlock()
	if !s.Allowed || !at.within(month, now) {
		return fresh
	}
	if s.Host != 0 {
		t.at.add(s.Host, me, at)
	}
	if s.Site != 0 {
		t.at.add(s.Site, me, at)
	}
	if device != 0 {
		t.on.add(device, me, at)
	}
	return fresh
}

// Active notes that a person did something themselves. In five minutes in which they
// already did, it takes a shared lock and nothing else.
func (t *Tracker) Active(s authn.Subject, at time.Time) {
	if s.IsZero() {
		return
	}
	part, n := t.people.part(t.people.ref(s)), bucketOf(momentOf(at))
	part.RLock()
	p := part.people[s]
	there := p != nil && p.active != nil && p.active.has(n)
	part.RUnlock()
	if !there {
		t.active(part, s, n, true)
	}
}

// active sets a bucket; own are those that the store has to be told of.
func (t *Tracker) active(part *part, s authn.Subject, n bucket, own bool) {
	part.Lock()
	defer part.Unlock()
	now := momentOf(t.cfg.Now())
	p := t.people.personOf(part, s)
	p.last = max(p.last, moment(n)*moment(bucketLen/time.Second))
	if p.active == nil {
		p.active = &buckets{last: n, unsaved: n}
	}
	p.active.set(n, bucketOf(now))
	p.hour(hourOfBucket(n), now)
	if !own || t.cfg.Store == nil {
		return
	}
	if !p.dirty || n < p.active.unsaved {
		p.active.unsaved = n
	}
	p.dirty = true
	part.dirty[s] = struct{}{}
}

// hour notes an hour of activity.
func (p *person) hour(n uint32, now moment) {
	if p.hours == nil {
		p.hours = &hours{last: n}
	}
	p.hours.set(n, hourOfBucket(bucketOf(now)))
}

// want asks Run to read a person; if it has too much to do, their next request asks
// again.
func (t *Tracker) want(s authn.Subject) {
	if t.cfg.Store == nil {
		return
	}
	select {
	case t.wanted <- s:
	default:
	}
}

// Stats are figures for metrics. All but the first four only grow.
type Stats struct {
	People, Addresses, Devices int    // in memory
	Waiting                    int    // sightings and events to be written
	Merged, Lost               uint64 // those for which the queue had no room
	ReadErrors, WriteErrors    uint64
}

// Stats returns them as of now.
func (t *Tracker) Stats() Stats {
	s := Stats{People: int(t.people.count.Load()), Addresses: t.at.len(), Devices: t.on.len(), ReadErrors: t.reads.Load(), WriteErrors: t.writes.Load()}
	s.Waiting, s.Merged, s.Lost = t.waiting()
	return s
}

// waiting says what is to be written, and what there was no room for.
func (t *Tracker) waiting() (waiting int, merged, lost uint64) {
	waiting, merged, lost = t.queue.stats()
	events, gone := t.events.stats()
	return waiting + events, merged, lost + gone
}
