package behavior

import (
	"time"

	"sallyport/policy"
)

// trace is one network that a person connected from, and when they last did.
type trace struct {
	net     uint64 // hash of the prefix; 0: none that counts
	at      moment
	asn     uint32
	country country
	six     bool // IPv6
}

// maxTraces bounds the networks of one person that a day is counted over.
const maxTraces = 64

// note adds a trace to those of the last day; the oldest makes room.
func note(list []trace, t trace) []trace {
	oldest := 0
	for i := range list {
		l := &list[i]
		if l.net == t.net && l.asn == t.asn && l.country == t.country && l.six == t.six {
			l.at = max(l.at, t.at)
			return list
		}
		if l.at < list[oldest].at {
			oldest = i
		}
	}
	if len(list) < maxTraces {
		return append(list, t)
	}
	if list[oldest].at < t.at {
		list[oldest] = t
	}
	return list
}

// count fills in the numbers of policy.Seen, over the traces of the last day and the
// one that is being made.
func count(recent []trace, here trace, s *policy.Seen) {
	s.Countries1h = countries(recent, here, hour)
	s.Countries24h = countries(recent, here, day)
	s.ASNs24h = distinct(recent, here, func(t trace) uint64 { return uint64(t.asn) })
	s.Prefixes24h = distinct(recent, here, func(t trace) uint64 { return t.net })
}

// distinct counts the values, other than zero, of the last day.
func distinct(recent []trace, here trace, value func(trace) uint64) (n int64) {
	if value(here) != 0 {
		n++
	}
	for i := range recent {
		v := value(recent[i])
		if v == 0 || v == value(here) || !recent[i].at.within(day, here.at) || before(recent[:i], here.at, day, func(t trace) bool { return value(t) == v }) {
			continue
		}
		n++
	}
	return n
}

// countries counts the countries of a window. Databases often put the IPv6 network of a
// provider into another country than its IPv4 network, and browsers use both at once:
// in an autonomous system that was used by IPv4 too, IPv6 adds none.
func countries(recent []trace, here trace, window time.Duration) (n int64) {
	counts := func(t trace) bool {
		return t.country != 0 && !(t.six && t.asn != 0 && (!here.six && here.asn == t.asn && here.country != 0 ||
			before(recent, here.at, window, func(o trace) bool { return !o.six && o.asn == t.asn && o.country != 0 })))
	}
	counted := counts(here)
	if counted {
		n++
	}
	for i := range recent {
		t := recent[i]
		if !t.at.within(window, here.at) || counted && t.country == here.country || !counts(t) ||
			before(recent[:i], here.at, window, func(o trace) bool { return o.country == t.country && counts(o) }) {
			continue
		}
		n++
	}
	return n
}

// before reports whether one of the traces in the window is like that.
func before(list []trace, now moment, window time.Duration, like func(trace) bool) bool {
	for i := range list {
		if like(list[i]) && list[i].at.within(window, now) {
			return true
		}
	}
	return false
}
