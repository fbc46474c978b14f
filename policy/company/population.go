package company

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"sallyport/authn"
)

// kind is what sort of person it is.
type kind int

const (
	employee kind = iota
	traveller
	onCall
	couple
	coWorker
	relayUser
	contractor
	cloudUser
	mobileUser
	farmed      // an account of the laptop farm
	hopper      // behind changing VPN exits
	abroad      // in a third country, without hiding
	manyFaced   // one of several accounts on one computer
	shiftwork   // an account that is worked around the clock
	cookieTheft // not a person: a stolen session
	kinds
)

var kindNames = [kinds]string{"employee", "traveler", "on call", "couple", "co-working", "privacy relay", "VPN contractor", "cloud desktop", "mobile",
	"laptop farm", "VPN hopper", "third country", "many accounts, one device", "worked in shifts", "stolen session"}

func (k kind) String() string { return kindNames[k] }
func (k kind) hostile() bool  { return k >= farmed }

// person is an account and where its owner is found.
type person struct {
	kind    kind
	subject authn.Subject
	email   string
	rng     *rand.Rand // one for each person, so that one more person does not change the others' year
	city    city
	home    [2]network
	office  *network
	desk    network // co-working space, VPN or cloud desktop that is theirs
	first   int     // day of the year on which they start; negative: long ago
	laptop  *device // one for several accounts, if they are one person's
	phone   device
	week    int // on call every sixth week, from this one

	groups    []string
	countries []string // declared
	timeZone  string   // user.time_zone
	region    string   // user.region
	lives     authn.Home
	passkey   string // credential.class

	trip      city
	tripEnds  int // day; 0: at home
	announced bool
	hotel     network
}

// device is a browser.
type device struct {
	handle string
	family string
	zone   string
	count  int
}

func (d *device) renew(owner string, what string) {
	d.count++
	d.handle = fmt.Sprintf("%s-%s-%d", owner, what, d.count)
}

var families = []string{"Chrome on macOS", "Chrome on Windows", "Safari on macOS", "Firefox on Linux", "Edge on Windows"}

// populate makes the people. What they share (homes, desks, one computer) is made here.
func (w *world) populate(days int) []*person {
	m := w.model
	var all []*person
	add := func(k kind, at city) *person {
		i := len(all)
		p := &person{kind: k, city: at, rng: rand.New(rand.NewPCG(w.rng.Uint64(), uint64(i))), first: -1 - w.rng.IntN(1500)}
		p.subject = authn.Subject{Issuer: "https://idp.example.com", ID: fmt.Sprintf("u%04d", i)}
		p.email = fmt.Sprintf("u%04d@example.com", i)
		p.home = w.home(at)
		p.laptop = &device{family: families[w.rng.IntN(len(families))], zone: at.zone}
		p.phone = device{family: "Safari on iOS", zone: at.zone}
		p.laptop.renew(p.subject.ID, "laptop")
		p.phone.renew(p.subject.ID, "phone")
		p.week = w.rng.IntN(6)
		w.describe(p, i)
		if w.rng.Float64() < m.Joining || k.hostile() {
			p.first = w.rng.IntN(max(1, days*3/4))
		}
		all = append(all, p)
		return p
	}
	offices := map[string]*network{}
	parts := []struct {
		k     kind
		share float64
	}{{traveller, m.Travelers}, {onCall, m.OnCall}, {couple, m.Couples}, {coWorker, m.CoWorking}, {relayUser, m.Relay}, {contractor, m.Contractors}, {cloudUser, m.Cloud}, {mobileUser, m.Mobile}}
	desks := map[string]network{}
	for i := range m.People {
		k, share := employee, float64(i)/float64(m.People)
		for _, s := range parts {
			if share < s.share {
				k = s.k
				break
			}
			share -= s.share
		}
		p := add(k, w.settle(i, cities[w.rng.IntN(homeCities)]))
		if w.rng.Float64() >= m.Remote && k != contractor {
			if offices[p.city.name] == nil {
				n := w.network(p.city, 64496, "the company's office", 5)
				offices[p.city.name] = &n
			}
			p.office = offices[p.city.name]
		}
		switch k {
		case couple:
			if before := all[i-min(i, 1)]; i%2 == 1 && before.kind == couple && w.together(i, before) {
				p.city, p.home, p.office = before.city, before.home, nil
				if i >= len(m.Named) {
					p.countries, p.timeZone, p.region, p.lives = before.countries, before.timeZone, before.region, before.lives
				}
				p.laptop.zone, p.phone.zone = p.city.zone, p.city.zone
			}
		case coWorker:
			if _, ok := desks[p.city.country]; !ok {
				desks[p.city.country] = w.public(p.city)
			}
			p.desk = desks[p.city.country]
		case contractor:
			p.desk = w.vpn(p.city)
		case cloudUser:
			p.desk = w.hosted(p.city)
		}
	}
	w.populateHostile(add)
	return all
}

// settle is where the i-th person lives; anywhere is for a person of unknown country.
func (w *world) settle(i int, anywhere city) city {
	m := w.model
	if i < len(m.Named) && m.Named[i].Country != "" {
		return w.cityIn(m.Named[i].Country, m.Named[i].TimeZone)
	}
	if country := draw(w.extra, m.Countries); country != "" {
		return w.cityIn(country, "")
	}
	return anywhere
}

// together reports whether the i-th person can share a home with another: people who are
// named live in their own country.
func (w *world) together(i int, with *person) bool {
	return i >= len(w.model.Named) || w.model.Named[i].Country == "" || w.model.Named[i].Country == with.city.country
}

// describe gives the i-th person what the identity provider and the roster say of them.
func (w *world) describe(p *person, i int) {
	m := w.model
	p.countries, p.timeZone, p.passkey = []string{p.city.country}, p.city.zone, "unattested"
	p.region, p.lives = regions[p.city.name], homeOf(p.city)
	if class := draw(w.extra, m.Passkeys); class != "" {
		p.passkey = class
	}
	for _, name := range slices.Sorted(maps.Keys(m.Groups)) {
		if w.extra.Float64() < m.Groups[name] {
			p.groups = append(p.groups, name)
		}
	}
	if i >= len(m.Named) || p.kind.hostile() {
		return
	}
	n := m.Named[i]
	p.email, p.timeZone, p.region, p.lives = n.Email, n.TimeZone, "", authn.Home{}
	if n.Country == "" {
		p.countries = nil
	}
	if len(n.Groups) > 0 {
		p.groups = n.Groups
	}
}

// draw is one of the names, each as often as its share; "" for what is left of 1.
func draw(rng *rand.Rand, shares map[string]float64) string {
	if len(shares) == 0 {
		return ""
	}
	x := rng.Float64()
	for _, name := range slices.Sorted(maps.Keys(shares)) {
		if x < shares[name] {
			return name
		}
		x -= shares[name]
	}
	return ""
}

// populateHostile adds the accounts that should not be here. Each was hired under the
// identity of a person in the United States.
func (w *world) populateHostile(add func(kind, city) *person) {
	m := w.model
	var farm [2]network
	for i := range m.Farm { // one home, one laptop for each
		p := add(farmed, cities[3])
		if i == 0 {
			farm = p.home
		}
		p.home = farm
	}
	for i := range m.Hoppers { // their own machine; some have thought of the clock
		p := add(hopper, cities[i%5])
		if i%2 == 0 {
			p.laptop.zone = shenyang.zone
		}
	}
	for i := range m.Abroads {
		p := add(abroad, cities[i%5])
		p.home = w.home([]city{shenyang, vladivostok, pyongyang}[i%3])
		p.laptop.zone = []city{shenyang, vladivostok, pyongyang}[i%3].zone
	}
	var shared *person
	for range m.Accounts {
		p := add(manyFaced, cities[0])
		if shared == nil {
			shared = p
		}
		p.laptop, p.home = shared.laptop, shared.home
	}
	for range m.Shifts {
		add(shiftwork, cities[1])
	}
}
