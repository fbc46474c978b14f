package proxy

import (
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/policy/ipintel"
	"sallyport/proxy/edge"
	"sallyport/proxy/portal"
)

// Behavior is what the gate needs of policy/behavior. Its methods are called while
// requests wait: none does I/O, and none blocks.
type Behavior interface {
	// Assess compares a visit with what was seen before.
	Assess(v behavior.Visit) behavior.Assessment
	// Record remembers a visit and what was decided about it. Only a visit that was
	// allowed becomes part of the person's normal behaviour.
	Record(v behavior.Visit, action policy.Action)
	// Active notes that a person did something themselves.
	Active(s authn.Subject, at time.Time)
	// Begun and Answered note that a passkey is asked for in a session, and that it was
	// given; Enrolled that there is a new one.
	Begun(v behavior.Visit)
	Answered(v behavior.Visit)
	Enrolled(v behavior.Visit)
	// HistoryKnown reports whether the history can be read.
	HistoryKnown() bool
}

// history says whether what was seen before is known.
func (g *Gate) history() bool { return g.cfg.Behavior != nil && g.cfg.Behavior.HistoryKnown() }

// assess compares a visit with the history. If the history cannot be read, it is reported
// as unknown, which is a fact. What the browser said about itself, that this session
// exists, and how far it is from home need no history.
func (g *Gate) assess(v behavior.Visit) behavior.Assessment {
	if g.cfg.Behavior == nil {
		return behavior.Unread()
	}
	a := g.cfg.Behavior.Assess(v)
	if !g.cfg.Behavior.HistoryKnown() {
		unread := behavior.Unread()
		unread.Browser, unread.Concurrent, unread.HomeKM = a.Browser, a.Concurrent, a.HomeKM
		return unread
	}
	return a
}

// visitOf is a visit of a session as behaviour sees it.
func visitOf(s *authn.Session, n network, device string, now time.Time) behavior.Visit {
	b := &s.Verification.Browser
	return behavior.Visit{Subject: s.Person.Subject, At: now, Place: n.behaviorPlace(), Device: device, Session: s.ID, Zone: b.TimeZone, Clock: s.Person.TimeZone, Home: s.Person.Home}
}

// network is what is known of the address of a client, and whether it is ours.
type network struct {
	ipintel.Network
	internal bool
}

func (s *Snapshot) lookup(a netip.Addr) network {
	n := s.Intel.Lookup(a)
	return network{n, n.Private && s.Clients.Internal(a)}
}

func (n *network) facts(now time.Time) policy.IP {
	f := n.Facts(now)
	f.SetInternal(n.internal)
	return f
}

// behaviorPlace is the network in the terms of package behavior. A private address that
// is not ours is an ordinary place there, so that the history still reports changes to
// and from it.
func (n *network) behaviorPlace() behavior.Place {
	return behavior.Place{
		Addr: n.Addr, Country: n.Country, ASN: n.ASN, Org: n.Org, TimeZone: n.TimeZone,
		Point:   behavior.Point{Lat: n.Location.Lat, Lon: n.Location.Lon, RadiusKm: float64(n.Location.RadiusKm), Known: n.Location.Known},
		Flagged: n.Signals != 0, // every signal says that many places share the address
		Private: n.internal,
	}
}

// deviceOf is the device that a request comes from. Only the sign-in host has the
// device's cookie. Elsewhere, and on routes, where reading another cookie would cost too
// much, it is the device that the passkey was used on.
func (g *Gate) deviceOf(r *http.Request, v *Verdict, purpose string) string {
	if purpose != policy.PurposeAccess && v.Target.Scheme+"://"+v.Target.Host == g.cfg.SignIn {
		return g.cfg.Sessions.Device(r)
	}
	return v.Session.Verification.Browser.Device
}

// behaviorFacts is what history says.
func behaviorFacts(f *policy.Facts, a behavior.Assessment) {
	f.Seen, f.Travel, f.Address, f.Device, f.Activity, f.Browser = a.Seen, a.Travel, a.Address, a.Device, a.Activity, a.Browser
	f.Session.Concurrent = a.Concurrent
	if f.Session.Level != authn.None.String() {
		f.User.Devices30d, f.User.HomeKM = a.Devices30d, a.HomeKM
	}
}

// movedFacts compares where a session is with where it was proven. Both places are
// looked up in the data of now: other data must not look like a journey.
func movedFacts(f *policy.Facts, s *authn.Session, here ipintel.Network, intel *ipintel.Snapshot) {
	f.Session.CountryChanged, f.Session.ASNChanged = false, false
	if s.Level() != authn.Verified || !s.Verification.Addr.IsValid() {
		return
	}
	there := intel.Lookup(s.Verification.Addr)
	f.Session.CountryChanged = differ(there.Country, here.Country, ipintel.UnknownCountry)
	f.Session.ASNChanged = differ(there.ASN, here.ASN, 0)
	// The same browser asked for the proof from a second place. The way from there to
	// here is no journey either.
	if asked := s.Verification.Browser.AskedFrom; asked.IsValid() && (f.Session.CountryChanged || f.Session.ASNChanged) {
		there = intel.Lookup(asked)
		f.Session.CountryChanged = f.Session.CountryChanged && differ(there.Country, here.Country, ipintel.UnknownCountry)
		f.Session.ASNChanged = f.Session.ASNChanged && differ(there.ASN, here.ASN, 0)
	}
}

// browserFacts compares the browser with the one that the passkey was used with. Without
// such a browser the facts stay unknown.
func (g *Gate) browserFacts(f *policy.Facts, with *authn.Browser, m *memo, hello edge.Fingerprint) {
	if with.Family == "" && with.JA4 == "" {
		return
	}
	a := m.agent.Load()
	if a == nil || a.text != f.Request.UserAgent {
		a = &agent{f.Request.UserAgent, g.uaFamilies.of(f.Request.UserAgent)}
		m.agent.Store(a)
	}
	f.Session.UAChanged = differ(with.Family, a.family, "")
	f.Session.TLSChanged = differ(with.JA4, hello.Family, "")
}

// agent is a User-Agent and its family. A session has one, as a rule, so that looking at
// it again costs a comparison.
type agent struct{ text, family string }

// differ reports whether both values are known and differ.
func differ[T comparable](a, b, unknown T) bool { return a != unknown && b != unknown && a != b }

// recordEvery is how often one thing is remembered of one session at one address.
const recordEvery = time.Minute

// throttleKey is what is remembered once in a while.
type throttleKey struct {
	session string
	addr    netip.Addr
	action  policy.Action
}

// recordThrottle holds the time at which each key was last remembered. Losing an entry
// costs one extra sighting.
type recordThrottle struct {
	last *otter.Cache[throttleKey, *atomic.Int64]
}

func newRecordThrottle() (recordThrottle, error) {
	last, err := otter.New(&otter.Options[throttleKey, *atomic.Int64]{MaximumSize: memoEntries})
	return recordThrottle{last}, err
}

// allow reports whether k is to be remembered now. Of several callers at the same time,
// one gets true.
func (n recordThrottle) allow(k throttleKey, now time.Time) bool {
	last, _ := n.last.SetIfAbsent(k, new(atomic.Int64))
	return allowOnce(last, now)
}

// allowOnce lets one visit through in noteEvery, and the first after the clock was set
// back.
func allowOnce(last *atomic.Int64, now time.Time) bool {
	was := last.Load()
	if since := now.UnixNano() - was; was != 0 && since >= 0 && since < int64(recordEvery) {
		return false
	}
	return last.CompareAndSwap(was, now.UnixNano())
}

// recordVisit passes a judged request to behaviour after its verdict, at most once a
// minute for each session, address and action. A memo keeps that time, so that all other
// requests cost two loads.
//
// Sallyport's own pages forward nothing. An allow there means only that the proof was
// asked for, and is remembered as that. Otherwise a look at the passkey page would make a
// country normal for the person.
func (g *Gate) recordVisit(r *http.Request, v *Verdict, action policy.Action) {
	m := v.memo
	if g.cfg.Behavior == nil || m == nil || m.visit.Subject.IsZero() {
		return
	}
	now := v.Facts.Time.Now
	// Only a verified session counts as the person's activity. With the password alone,
	// an attacker could make the person look busy day and night, which rules take for
	// several people with one account.
	if v.Session.Level() == authn.Verified && human(r) && allowOnce(&m.active, now) {
		g.cfg.Behavior.Active(m.visit.Subject, now)
	}
	if action == policy.Allow && v.Route == nil {
		action = policy.StepUp
	}
	if int(action) >= len(m.recorded) || !allowOnce(&m.recorded[action], now) || !g.throttle.allow(throttleKey{m.visit.Session, m.visit.Place.Addr, action}, now) {
		return
	}
	visit := m.visit
	visit.At = now
	g.cfg.Behavior.Record(visit, action)
	if s := &m.facts.Seen; action == policy.Allow && (s.NewCountry || s.NewASN || s.NewDevice) {
		m.overtaken.Store(true) // it is not new any more
	}
}

// human reports whether a person caused the request: a navigation that they started, and
// not what a page loads, polls or reloads by itself.
func human(r *http.Request) bool {
	if portal.KindOf(r) < portal.Framed {
		return false
	}
	if r.Header.Get("Sec-Fetch-Mode") == "" || r.Header.Get("Sec-Fetch-User") == "?1" {
		return true
	}
	// WebKit never says what started a navigation (webkit.org/b/247697).
	agent := r.UserAgent()
	return strings.Contains(agent, "AppleWebKit/") && !strings.Contains(agent, "Chrome/")
}
