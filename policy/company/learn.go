package company

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
)

// Learner makes a model of what a roster and the requests of an audit log say. It is for
// one goroutine.
type Learner struct {
	// Unreadable lines of the log, and records that are no requests of a person: neither
	// is learned from. The caller counts them.
	Unreadable, Other int64

	routes   []string
	people   map[string]*known
	roster   int
	requests int64
	first    time.Time
	last     time.Time
	byRoute  map[string]int64
	byKind   map[[2]string]int64 // method and path
	homes    map[string]map[string]bool
}

// known is what is known of a person.
type known struct {
	Named
	started  time.Time
	logged   bool
	class    string
	requests int64
	flags    [4]int64              // requests through a VPN, a relay, a host, and others
	country  map[string]int64      // that they came from
	networks map[netKey]int64      // by kind
	hours    map[int]map[int]int64 // by day since 1970: by local minute
}

type netKey struct {
	asn     uint32
	org     string
	country string
	kind    string
}

// NewLearner returns a learner for a configuration with these routes; records of others
// are not learned as routes.
func NewLearner(routes []string) *Learner {
	return &Learner{routes: routes, people: map[string]*known{}, byRoute: map[string]int64{}, byKind: map[[2]string]int64{}, homes: map[string]map[string]bool{}}
}

func (l *Learner) of(email string) *known {
	k := l.people[email]
	if k == nil && len(l.people) < MaxPeople {
		k = &known{Named: Named{Email: email}, country: map[string]int64{}, networks: map[netKey]int64{}, hours: map[int]map[int]int64{}}
		l.people[email] = k
	}
	return k
}

// Person is a line of the roster.
func (l *Learner) Person(email string, countries []string, zone string, started time.Time) {
	k := l.of(email)
	if k == nil {
		return
	}
	l.roster++
	k.TimeZone, k.started = zone, started
	if len(countries) > 0 {
		k.Country = countries[0]
	}
}

// maxPaths bounds what is kept of paths: there are as many as clients like.
const maxPaths = 10_000

// Request is a request of the log, which stands for n.
func (l *Learner) Request(email string, at time.Time, n int64, f *policy.Facts) {
	k := l.of(email)
	if k == nil {
		return
	}
	if l.requests += n; l.first.IsZero() || at.Before(l.first) {
		l.first = at
	}
	if at.After(l.last) {
		l.last = at
	}
	if slices.Contains(l.routes, f.Request.Route) {
		l.byRoute[f.Request.Route] += n
	}
	if q := [2]string{f.Request.Method, f.Request.Path}; q[0] != "" && q[1] != "" && (l.byKind[q] > 0 || len(l.byKind) < maxPaths) {
		l.byKind[q] += n
	}
	k.logged, k.requests = true, k.requests+n
	if len(f.User.Groups) > 0 {
		k.Groups = slices.Clone(f.User.Groups)
	}
	if k.Country == "" && len(f.User.Countries) > 0 {
		k.Country = f.User.Countries[0]
	}
	if k.TimeZone == "" {
		k.TimeZone = f.User.TimeZone
	}
	if slices.Contains(passkeyClasses, f.Credential.Class) {
		k.class = f.Credential.Class
	}
	l.network(k, f, n)
	k.day(at, n)
}

func (l *Learner) network(k *known, f *policy.Facts, n int64) {
	kind, flag := "home", 3
	switch {
	case f.IP.Relay:
		kind, flag = "", 1
	case f.IP.VPN:
		kind, flag = "vpn", 0
	case f.IP.Hosting:
		kind, flag = "hosting", 2
	case f.IP.Tor || f.IP.Proxy || f.IP.ResidentialProxy || f.IP.Private:
		kind = ""
	case !f.Address.Known:
		kind = "" // shared by many: an office, a mobile carrier
	}
	k.flags[flag] += n
	if c := f.IP.Country; len(c) == 2 && c != "ZZ" {
		k.country[c] += n
		if f.IP.ASN > 0 && f.IP.ASN <= math.MaxUint32 && kind != "" {
			k.networks[netKey{uint32(f.IP.ASN), f.IP.Org, c, kind}] += n
		}
	}
	if kind == "home" && f.IP.Address != "" {
		if l.homes[f.IP.Address] == nil {
			l.homes[f.IP.Address] = map[string]bool{}
		}
		l.homes[f.IP.Address][k.Email] = true
	}
}

// day notes the local hour of a request, by their time zone or UTC.
func (k *known) day(at time.Time, n int64) {
	if zone, err := time.LoadLocation(k.TimeZone); err == nil {
		at = at.In(zone)
	}
	day := int(at.Unix() / (24 * 60 * 60))
	if k.hours[day] == nil {
		if len(k.hours) >= 400 {
			return
		}
		k.hours[day] = map[int]int64{}
	}
	k.hours[day][at.Hour()*60+at.Minute()] += n
}

// Learned says what a model was made of, and what of it is made up still.
type Learned struct {
	Roster     int       `json:"roster,omitempty"` // people of the roster
	People     int       `json:"people"`           // with those that only the log names
	Requests   int64     `json:"requests,omitempty"`
	First      time.Time `json:"first,omitzero"` // of the requests
	Last       time.Time `json:"last,omitzero"`
	Unreadable int64     `json:"unreadable,omitempty"` // lines of the log
	Other      int64     `json:"other,omitempty"`      // records that are no requests of a person
	Facts      []string  `json:"learned"`              // what, and how much of it
	Not        []string  `json:"not_learned"`          // and why, where something can be done
}

// Text is for the person who waits for the figures.
func (l *Learned) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "learned: %s\n", strings.Join(l.Facts, ", "))
	if l.Requests > 0 {
		fmt.Fprintf(&b, "  from %d requests, %s to %s; the log was not verified (`audit verify` does that)\n", l.Requests, l.First.UTC().Format(time.DateOnly), l.Last.UTC().Format(time.DateOnly))
	}
	if l.Unreadable > 0 {
		fmt.Fprintf(&b, "  %d lines of the log could not be read\n", l.Unreadable)
	}
	fmt.Fprintf(&b, "not learned, and as in the model: %s\n", strings.Join(l.Not, ", "))
	return b.String()
}

// Model is base with what was learned, and what that was.
func (l *Learner) Model(base Model) (Model, Learned) {
	m := base
	out := Learned{Roster: l.roster, Requests: l.requests, First: l.first, Last: l.last, Unreadable: l.Unreadable, Other: l.Other}
	add := func(n int, format string, otherwise string) {
		if n > 0 {
			out.Facts = append(out.Facts, fmt.Sprintf(format, n))
		} else {
			out.Not = append(out.Not, otherwise)
		}
	}
	m.Named = nil
	countries, zones, groups := map[string]bool{}, 0, map[string]bool{}
	for _, email := range slices.Sorted(maps.Keys(l.people)) {
		k := l.people[email]
		if k.Country == "" {
			k.Country = most(k.country)
		}
		if k.Country != "" {
			countries[k.Country] = true
		}
		if k.TimeZone != "" {
			zones++
		}
		for _, g := range k.Groups {
			groups[g] = true
		}
		m.Named = append(m.Named, k.Named)
	}
	if len(m.Named) == 0 {
		m.Named = base.Named
	} else {
		m.People = len(m.Named)
	}
	out.People = len(l.people)
	add(len(l.people), "people (%d)", "people")
	add(len(countries), "the countries they live in (%d)", "countries")
	add(zones, "time zones (of %d people)", "time zones")
	add(len(groups), "groups (%d)", "groups (only a log has them)")
	l.started(&m, add)
	l.traffic(&m, add)
	l.kinds(&m, add)
	l.networksOf(&m, add)
	l.hoursOf(&m, add)
	add(0, "", "trips, on-call duty, offices, devices, wrong IP data and attackers")
	return m, out
}

type adder func(n int, format, otherwise string)

func (l *Learner) started(m *Model, add adder) {
	dated, late := 0, 0
	newest := time.Time{}
	for _, k := range l.people {
		if k.started.After(newest) {
			newest = k.started
		}
	}
	for _, k := range l.people {
		if k.started.IsZero() {
			continue
		}
		dated++
		if newest.Sub(k.started) < 365*24*time.Hour {
			late++
		}
	}
	add(dated, "how many start in a year (from %d starts)", "how many start")
	if dated > 0 {
		m.Joining = round(float64(late) / float64(dated))
	}
}

func (l *Learner) traffic(m *Model, add adder) {
	add(len(l.byRoute), "how often each route is asked for (%d)", "routes")
	if len(l.byRoute) > 0 {
		m.Routes = map[string]float64{}
		for r, n := range l.byRoute {
			m.Routes[r] = float64(n)
		}
	}
	total := int64(0)
	kinds := slices.Collect(maps.Keys(l.byKind))
	for _, n := range l.byKind {
		total += n
	}
	slices.SortFunc(kinds, func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(l.byKind[b], l.byKind[a]), cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	kinds = kinds[:min(len(kinds), 50)]
	add(len(kinds), "methods and paths (the %d most frequent)", "methods and paths")
	if len(kinds) > 0 {
		m.Requests = nil
		for _, q := range kinds {
			if s := floor(float64(l.byKind[q]) / float64(total)); s > 0 {
				m.Requests = append(m.Requests, Request{q[0], q[1], s})
			}
		}
	}
}

// kinds learns the shares of people: what most of a person's requests come through, the
// couples, and the passkeys.
func (l *Learner) kinds(m *Model, add adder) {
	logged, of, classes := 0, [4]int{}, map[string]int{}
	for _, k := range l.people {
		if !k.logged {
			continue
		}
		logged++
		classes[k.class]++
		for i, n := range k.flags {
			if 2*n > k.requests {
				of[i]++
			}
		}
	}
	pairs := map[string]bool{}
	for _, who := range l.homes {
		if len(who) == 2 {
			for email := range who {
				pairs[email] = true
			}
		}
	}
	add(logged, "who works through a VPN, a relay or a host, couples, and kinds of passkeys (of %d people)", "who works through a VPN, a relay or a host, couples, and kinds of passkeys (only a log has them)")
	if logged == 0 {
		return
	}
	share := func(n int) float64 { return floor(float64(n) / float64(logged)) }
	m.Contractors, m.Relay, m.Cloud, m.Couples = share(of[0]), share(of[1]), share(of[2]), share(len(pairs))
	m.Passkeys = map[string]float64{}
	for _, class := range passkeyClasses {
		if n := classes[class]; n > 0 && class != "unattested" {
			m.Passkeys[class] = share(n)
		}
	}
	// What is made up still has to fit beside what is known.
	for _, left := range []*float64{&m.Travelers, &m.OnCall, &m.CoWorking, &m.Mobile} {
		room := 1 - m.Contractors - m.Relay - m.Cloud - m.Couples
		*left = min(*left, floor(max(0, room)/4))
	}
}

func (l *Learner) networksOf(m *Model, add adder) {
	totals, by := map[string]int{}, map[netKey]int{} // people, by the network of most of their requests of a kind
	for _, k := range l.people {
		for _, kind := range networkKinds {
			of := map[netKey]int64{}
			for n, count := range k.networks {
				if n.kind == kind {
					of[n] += count
				}
			}
			if len(of) == 0 {
				continue
			}
			keys := slices.SortedFunc(maps.Keys(of), func(a, b netKey) int {
				return cmp.Or(cmp.Compare(of[b], of[a]), cmp.Compare(a.asn, b.asn), cmp.Compare(a.country, b.country), cmp.Compare(a.org, b.org))
			})
			by[keys[0]]++
			totals[keys[0].country+kind]++
		}
	}
	keys := slices.SortedFunc(maps.Keys(by), func(a, b netKey) int {
		return cmp.Or(cmp.Compare(a.country, b.country), cmp.Compare(a.kind, b.kind), cmp.Compare(by[b], by[a]), cmp.Compare(a.asn, b.asn), cmp.Compare(a.org, b.org))
	})
	keys = keys[:min(len(keys), maxEntries)]
	add(len(keys), "networks (%d)", "networks (only a log has them)")
	if len(keys) == 0 {
		return
	}
	m.Networks = nil
	for _, n := range keys {
		m.Networks = append(m.Networks, Network{ASN: n.asn, Org: n.org, Country: n.country, Kind: n.kind, Share: floor(float64(by[n]) / float64(totals[n.country+n.kind]))})
	}
}

// hoursOf learns when working days begin and end: the medians of the first and the last
// request of a day with several.
func (l *Learner) hoursOf(m *Model, add adder) {
	var begins, ends []int
	for _, k := range l.people {
		for _, minutes := range k.hours {
			if len(minutes) < 3 {
				continue
			}
			begins, ends = append(begins, slices.Min(slices.Collect(maps.Keys(minutes)))), append(ends, slices.Max(slices.Collect(maps.Keys(minutes))))
		}
	}
	const few = 5
	if len(begins) < few {
		add(0, "", fmt.Sprintf("hours of work (a log with %d days of three requests or more has them)", few))
		return
	}
	begin, end := round(float64(median(begins))/60), round(float64(median(ends))/60)
	if end <= begin {
		add(0, "", "hours of work (days end before they begin)")
		return
	}
	add(len(begins), "hours of work (from %d days)", "")
	m.WorkBegins, m.WorkEnds = begin, end
}

// most is the name with the largest count; "" for none.
func most(of map[string]int64) (name string) {
	for _, n := range slices.Sorted(maps.Keys(of)) {
		if name == "" || of[n] > of[name] {
			name = n
		}
	}
	return name
}

func round(x float64) float64 { return math.Round(x*1e4) / 1e4 }

// floor rounds a share down, so that shares never add up to more than all.
func floor(x float64) float64 { return math.Floor(x*1e4) / 1e4 }
