package audit

import (
	"cmp"
	"net/netip"
	"sync"
	"time"

	"sallyport/policy"
	"sallyport/policy/ipv4in6"
)

// class is who caused a record, and so how much of the log the record may fill.
type class string

const (
	// trusted records are always a line: allowed requests, and events that grant or
	// remove a credential, a session or a policy.
	trusted class = ""
	// verified people are named, so that one of them can fill no more than a fixed part.
	verified class = "verified"
	// signedIn sessions have a password, which may be stolen, and no passkey.
	signedIn class = "signed_in"
	// The class of requests without a session.
	nobody class = "nobody"
	// highRisk has a reserve for each person: an attacker must not be able to spend the
	// budget first, so that the log only counts what matters most. Only a verified
	// session of the person, or a genuine hand-off code of theirs, spends it.
	highRisk class = "high_risk"
	// unverifiedRisk is high risk that a session without a passkey causes. An attacker
	// with the person's password can cause any amount of it, so it never uses the
	// person's reserve.
	unverifiedRisk class = "high_risk_unverified"
)

// always are the events that are a line each, in any class: those that grant or remove a
// credential, a session or a policy. All of them need more than a request: a sign-in at
// the provider, a ticket, a hand-off code, an assertion, a signed token, or access to the
// machine. Any other event has a budget, so that a new event cannot fill the disk by
// default.
var always = map[string]bool{
	"sign_in": true, "handoff": true, "step_up": true, "sign_out": true, "session_ended": true, "backchannel_logout": true,
	"enroll_verified": true, "enroll": true, "passkey_remove": true, "passkey_removed": true,
	"exceptions_applied": true, "exceptions_forced": true, "exceptions_refused": true, "exceptions_rolled_back": true,
	"pins_removed": true, "pins_kept": true, "grants_applied": true, "grants_refused": true,
	"policy_applied": true, "policy_forced": true, "policy_rolled_back": true, "policy_refused": true,
	"data_applied": true, "data_forced": true, "data_refused": true,
	EventRepaired: true, EventRecovered: true, EventData: true,
}

// operatorPrefix begins the events of commands, which need the store's file.
const operatorPrefix = "operator."

func classOf(r *Record) class {
	letThrough := (r.Event == "access" || r.Event == "message") && r.Action == policy.Allow.String()
	switch {
	case always[r.Event], letThrough, len(r.Event) > len(operatorPrefix) && r.Event[:len(operatorPrefix)] == operatorPrefix:
		return trusted
	case r.Detail["risk"] == "high" && r.Session != "" && !r.Verified && r.Detail["owner"] == "":
		return unverifiedRisk
	case r.Detail["risk"] == "high":
		return highRisk
	case r.Session == "":
		return nobody
	case !r.Verified:
		return signedIn
	}
	return verified
}

// scope is what a bucket of the budget is kept for.
type scope string

const (
	byCode    scope = "handoff" // a hand-off code that leaked
	byRoute   scope = "route"   // what a session does on one route
	bySession scope = "session"
	byPerson  scope = "person"
	byClient  scope = "address" // an IPv4 address, an IPv6 /64
	byNetwork scope = "network" // an IPv4 /24, an IPv6 /48
	inAll     scope = "all"
)

// rate is how many lines a bucket pays for.
type rate struct {
	scope   scope
	burst   float64 // at once
	perHour float64
}

// rates are the budgets, from narrow to wide. README.md has what they come to in bytes.
var rates = map[class][]rate{
	nobody:   {{byClient, 20, 60}, {byNetwork, 200, 300}, {inAll, 2000, 1800}},
	signedIn: {{bySession, 30, 60}, {byClient, 60, 120}, {byNetwork, 300, 600}, {inAll, 2000, 1800}},
	verified: {{bySession, 60, 360}, {byPerson, 240, 1440}},
	// One code, presented from many addresses, must not use up what other codes of its
	// owner need.
	highRisk:       {{byCode, 5, 10}, {byPerson, 20, 60}, {byClient, 20, 60}, {byNetwork, 100, 120}, {inAll, 500, 600}},
	unverifiedRisk: {{bySession, 10, 30}, {byClient, 20, 60}, {byNetwork, 100, 120}, {inAll, 500, 600}},
}

// bucket pays for lines. It goes below zero for counts, which are always written.
type bucket struct {
	rate *rate
	left float64
	at   time.Time
}

func (b *bucket) fill(now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.left, b.at = min(b.rate.burst, b.left+d.Hours()*b.rate.perHour), now
	}
}

// bucketKey is one bucket. Text is a handle, an address or a network.
type bucketKey struct {
	class class
	scope scope
	text  string
}

// maxBuckets bounds the memory: 200 bytes each. A bucket that is dropped starts again
// full. An attacker with so many addresses or sessions is bounded by the wider buckets,
// of which there are few.
const maxBuckets = 16384

type budget struct {
	mu      sync.Mutex
	buckets map[scope]map[bucketKey]*bucket
	calls   []rate // of verified sessions: new calls and changes
	visits  []rate // of verified sessions: new addresses, routes and rules

	translators ipv4in6.Translators
}

func newBudget(callsPerMinute int, t ipv4in6.Translators) *budget {
	n := float64(callsPerMinute)
	return &budget{
		buckets: map[scope]map[bucketKey]*bucket{}, translators: t,
		// A tool can make its visitor's browser post to it: that must not use up the
		// lines for changes on other tools.
		calls:  []rate{{byRoute, 5 * n, 60 * n}, {byPerson, 20 * n, 240 * n}},
		visits: []rate{{bySession, 600, 3600}, {byPerson, 2400, 14400}},
	}
}

// pay pays for one line from every bucket of rs, or from none. over is the
// narrowest bucket that is empty.
func (b *budget) pay(c class, rs []rate, r *Record, now time.Time) (paid []*bucket, over *bucketKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range rs {
		key, ok := bucketKeyOf(c, rs[i].scope, r, b.translators)
		if !ok {
			continue
		}
		k := b.get(key, &rs[i], now)
		if k.fill(now); k.left < 1 {
			return nil, &key
		}
		paid = append(paid, k)
		if c == highRisk && rs[i].scope == byPerson {
			// Strangers must not suppress a record that concerns a known person.
			break
		}
	}
	for _, k := range paid {
		k.left--
	}
	return paid, nil
}

// charge takes a count from the buckets that paid for the first line.
func (b *budget) charge(paid []*bucket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range paid {
		k.left = max(k.left-1, -k.rate.burst)
	}
}

func (b *budget) get(key bucketKey, r *rate, now time.Time) *bucket {
	m := b.buckets[key.scope]
	if m == nil {
		m = map[bucketKey]*bucket{}
		b.buckets[key.scope] = m
	}
	k := m[key]
	if k == nil {
		if len(m) >= maxBuckets {
			for other := range m { // in random order, so that an attacker cannot choose
				delete(m, other)
				break
			}
		}
		k = &bucket{rate: r, left: r.burst, at: now}
		m[key] = k
	}
	return k
}

// bucketKeyOf is the bucket of a scope that a record is paid from; false if there is
// none.
func bucketKeyOf(c class, s scope, r *Record, t ipv4in6.Translators) (bucketKey, bool) {
	key := bucketKey{class: c, scope: s}
	switch s {
	case byCode:
		key.text = r.Detail["handoff"]
	case byRoute:
		key.text = r.Session + " " + r.Route
	case bySession:
		key.text = r.Session
	case byPerson:
		key.text = personOf(r)
	case byClient:
		key.text = networkOf(r, t, 32, 64)
	case byNetwork:
		key.text = networkOf(r, t, 24, 48)
	default:
		return key, true
	}
	return key, key.text != ""
}

// personOf is the person that a record concerns: the owner of a hand-off code, or the
// person of the session.
func personOf(r *Record) string { return cmp.Or(r.Detail["owner"], r.User) }

// networkOf is the network of a record's client. Clients whose address is unknown share
// the network of their peer: behind a proxy that names no clients, that is all of them.
func networkOf(r *Record, t ipv4in6.Translators, bits4, bits6 int) string {
	addr, err := netip.ParseAddr(r.IP)
	if err != nil {
		if addr = r.Peer; !addr.IsValid() {
			return "unknown"
		}
	}
	// 6to4 and Teredo give no extra budget beyond that of their IPv4 address, and below a
	// translator's prefix an address counts as one client.
	addr = t.Client(addr)
	bits := bits6
	if addr.Is4() {
		bits = bits4
	} else if bits == 64 {
		bits = t.Key(addr).Bits()
	}
	if bits == addr.BitLen() {
		return addr.String()
	}
	network, _ := addr.Prefix(bits) // an error is for other lengths
	return network.String()
}
