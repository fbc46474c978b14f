package company

import (
	"fmt"
	"slices"
	"time"
)

// visit is one request by hand.
type visit struct {
	at     time.Time
	person *person
	device device
	net    network
	thief  bool // it shows another person's session
}

// calendar says what happens on each day of the simulated time.
type calendar struct {
	world  *world
	people []*person
	begin  time.Time // midnight UTC of the first day
	thefts []theft
	zones  map[string]*time.Location
}

type theft struct {
	day    int
	victim *person
}

func newCalendar(seed uint64, m Model, days int) (*calendar, error) {
	w := newWorld(seed, m)
	cal := &calendar{world: w, people: w.populate(days), begin: time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC), zones: map[string]*time.Location{}}
	places := append([]city{shenyang, vladivostok, pyongyang}, cities...)
	for _, p := range cal.people {
		places = append(places, p.city)
	}
	for _, c := range places {
		if cal.zones[c.zone] != nil {
			continue
		}
		l, err := time.LoadLocation(c.zone)
		if err != nil {
			return nil, fmt.Errorf("company: %w", err)
		}
		cal.zones[c.zone] = l
	}
	if m.People > 0 {
		for range m.Thefts {
			cal.thefts = append(cal.thefts, theft{w.rng.IntN(days), cal.people[w.rng.IntN(m.People)]})
		}
	}
	return cal, nil
}

// day returns the visits of a day in the order in which they happen.
func (cal *calendar) day(d int) []visit {
	var all []visit
	for _, p := range cal.people {
		if d < p.first {
			continue
		}
		before := len(all)
		all = cal.live(all, p, d)
		for _, t := range cal.thefts {
			if t.day == d && t.victim == p && len(all) > before {
				all = cal.useStolenSession(all, all[before+(len(all)-before)/2])
			}
		}
	}
	slices.SortStableFunc(all, func(a, b visit) int { return a.at.Compare(b.at) })
	return all
}

// span is work by hand between two times of the day, in a place.
type span struct {
	from, until float64 // hours after midnight, local
	device      *device
	net         func() network
	every       float64 // minutes, on average
}

func (cal *calendar) live(to []visit, p *person, d int) []visit {
	r, m := p.rng, cal.world.model
	where := cal.move(p, d)
	date := cal.begin.AddDate(0, 0, d)
	zone := cal.zones[where.zone]
	weekend := date.Weekday() == time.Saturday || date.Weekday() == time.Sunday
	if r.Float64() < m.LostCookies {
		p.laptop.renew(p.subject.ID, "laptop")
	}
	if r.Float64() < m.LeaseChange && p.kind != couple && !p.kind.hostile() {
		p.home[0] = cal.world.home(p.city)[0]
	}
	var spans []span
	switch p.kind {
	case farmed, hopper, abroad, manyFaced, shiftwork:
		spans = cal.hostileDay(p, weekend)
		zone = cal.zones[p.city.zone] // they keep the hours of the job
	default:
		spans = cal.honestDay(p, d, where, weekend)
	}
	midnight := time.Date(date.Year(), date.Month(), date.Day(), 0, 0, 0, 0, zone)
	for _, s := range spans {
		for h := s.from + r.Float64()*s.every/60; h < s.until; h += s.every / 60 * (0.4 + 1.2*r.Float64()) {
			to = append(to, visit{at: midnight.Add(time.Duration(h * float64(time.Hour))), person: p, device: *s.device, net: s.net()})
		}
	}
	return to
}

// move begins and ends trips and says where the person is.
func (cal *calendar) move(p *person, d int) city {
	r, m := p.rng, cal.world.model
	if p.tripEnds > d {
		return p.trip
	}
	p.tripEnds, p.announced = 0, false
	chance := m.Trip
	if p.kind == traveller {
		chance = m.TravelersTrip
	}
	if p.kind.hostile() || r.Float64() >= chance {
		if !p.kind.hostile() {
			p.laptop.zone, p.phone.zone = p.city.zone, p.city.zone
		}
		return p.city
	}
	for _, i := range r.Perm(len(cities)) {
		if c := cities[i]; c.name != p.city.name && (c.country != p.city.country) == (r.Float64() < m.Abroad) {
			p.trip = c
			break
		}
	}
	if p.trip.name == "" {
		return p.city
	}
	p.tripEnds, p.announced = d+2+r.IntN(6), r.Float64() < m.Announced
	p.hotel = cal.world.public(p.trip)
	p.phone.zone = p.trip.zone
	if r.Float64() >= m.StaleClock { // the laptop notices where it is
		p.laptop.zone = p.trip.zone
	}
	return p.trip
}

func (cal *calendar) honestDay(p *person, d int, where city, weekend bool) (spans []span) {
	r, m := p.rng, cal.world.model
	if duty := p.kind == onCall && (d/7)%6 == p.week; duty && r.Float64() < m.NightCall {
		from := m.NightBegins + r.Float64()*(m.NightEnds-m.NightBegins)
		spans = append(spans, span{from, from + 1 + 2*r.Float64(), p.laptop, cal.seat(p, where, &p.home), 12})
	}
	if r.Float64() < m.EveningPhone {
		from := 18.5 + 3*r.Float64()
		spans = append(spans, span{from, from + 0.4, &p.phone, fixed(cal.world.cellular(where)), 8})
	}
	if weekend && r.Float64() >= m.WeekendWork {
		return spans
	}
	from, until := m.WorkBegins+r.NormFloat64()*0.7, m.WorkEnds+r.NormFloat64()
	if weekend {
		from, until = 11, 13
	}
	noon := m.WorkBegins + 3.5 + r.Float64()
	net := cal.seat(p, where, &p.home)
	afternoon := net
	if p.tripEnds == 0 && r.Float64() < m.CafeDay {
		afternoon = fixed(cal.world.public(p.city))
	}
	laptop := p.laptop
	if r.Float64() < m.OtherBrowser { // a second browser, for an afternoon
		other := *p.laptop
		other.family, other.handle = families[r.IntN(len(families))], p.laptop.handle+"-other"
		laptop = &other
	}
	return append(spans, span{from, noon, p.laptop, net, 25}, span{noon + 0.6, until, laptop, afternoon, 25})
}

// seat is where a person works for half a day.
func (cal *calendar) seat(p *person, where city, home *[2]network) func() network {
	r, m := p.rng, cal.world.model
	switch {
	case p.kind == contractor, p.kind == cloudUser:
		return fixed(p.desk)
	case p.kind == mobileUser:
		return fixed(cal.world.cellular(where))
	case p.tripEnds > 0:
		return fixed(p.hotel)
	case p.office != nil && r.Float64() < m.OfficeDay:
		return fixed(*p.office)
	case p.kind == coWorker && r.Float64() < 0.6:
		return fixed(p.desk)
	case p.kind == relayUser:
		return fixed(cal.world.relay(p.city))
	}
	// Browsers prefer IPv6 and change their minds now and then (RFC 8305).
	return func() network {
		if r.Float64() < 0.04 {
			return home[0]
		}
		return home[1]
	}
}

func fixed(n network) func() network { return func() network { return n } }

func (cal *calendar) hostileDay(p *person, weekend bool) []span {
	r, w := p.rng, cal.world
	if weekend && r.Float64() < 0.6 {
		return nil
	}
	from, until := 7.5+r.Float64(), 19+3*r.Float64()
	one := func(net func() network) []span { return []span{{from, until, p.laptop, net, 25}} }
	switch p.kind {
	case hopper:
		var spans []span
		for h := from; h < until; {
			end := min(until, h+3+6*r.Float64())
			at := p.city
			if r.Float64() < 0.3 {
				at = cities[r.IntN(len(cities))]
			}
			exit := w.vpn(at)
			if r.Float64() < 0.03 { // forgot to switch it on
				exit = w.network(shenyang, 64499, "China access", 50)
			}
			spans = append(spans, span{h, end, p.laptop, fixed(exit), 25})
			h = end + 0.1
		}
		return spans
	case manyFaced:
		from = 9 + 4*r.Float64()
		until = from + 3
	case shiftwork:
		rest := r.Float64() * 21
		return []span{{0, rest, p.laptop, fixed(p.home[0]), 25}, {rest + 3, 24, p.laptop, fixed(p.home[0]), 25}}
	}
	return one(fixed(p.home[0]))
}

// useStolenSession shows the session of a visit somewhere else, for an hour.
func (cal *calendar) useStolenSession(to []visit, v visit) []visit {
	r, w, m := v.person.rng, cal.world, cal.world.model
	at := cities[r.IntN(len(cities))]
	var net network
	switch p := r.Float64(); {
	case p < m.StolenViaVPN:
		net = w.vpn(at)
	case p < m.StolenViaVPN+m.StolenViaHosting:
		net = w.hosted(at)
	default:
		net = w.public(at)
		net.residential()
		if r.Float64() < 0.5 { // a proxy that no source lists
			net = w.public(at)
		}
	}
	v.net, v.thief = net, true
	if r.Float64() >= m.StolenLooks {
		v.device.family = "Chrome on Linux"
	}
	for i := range 4 {
		v.at = v.at.Add(time.Duration(2+10*i) * time.Minute)
		to = append(to, v)
	}
	return to
}
