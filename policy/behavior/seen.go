package behavior

import (
	"cmp"

	"sallyport/policy"
)

// visitTrace is one network that a person connected from, and when they last did.
type visitTrace struct {
	net     uint64 // hash of the prefix; 0: none that counts
	at      moment
	asn     uint32
	country country
	six     bool // IPv6
}

// maxTraces bounds the networks of one person that a day is counted over.
const maxTraces = 64

// addVisitTrace adds a trace to those of the last day. At the bound one makes room that
// no count would miss: a person who is turned away is noted too, and must not get in by
// coming from so many networks that the country or the provider of the person whose
// session they have is forgotten.
func addVisitTrace(list []visitTrace, t visitTrace) []visitTrace {
	for i := range list {
		l := &list[i]
		if l.net == t.net && l.asn == t.asn && l.country == t.country && l.six == t.six {
			l.at = max(l.at, t.at)
			return list
		}
	}
	if len(list) < maxTraces {
		return append(list, t)
	}
	if i := spare(list, t); i < len(list) {
		list[i] = t
	}
	return list
}

// spare is the trace that says least, of the list and of t, which stands at its end: of
// the country that has most of them, one in an autonomous system that has another there,
// and the oldest of those.
func spare(list []visitTrace, t visitTrace) int {
	at := func(i int) *visitTrace {
		if i < len(list) {
			return &list[i]
		}
		return &t
	}
	type rank struct{ country, provider int }
	best, most := 0, rank{}
	for i := range len(list) + 1 {
		var r rank
		for j := range len(list) + 1 {
			if at(j).country != at(i).country {
				continue
			}
			r.country++
			if at(j).asn == at(i).asn {
				r.provider++
			}
		}
		r.provider = min(r.provider, 2)
		if c := cmp.Or(cmp.Compare(r.country, most.country), cmp.Compare(r.provider, most.provider)); c > 0 || c == 0 && at(i).at < at(best).at {
			best, most = i, r
		}
	}
	return best
}

// count fills in the numbers of policy.Seen, over the traces of the last day and the
// one that is being made.
func count(recent []visitTrace, here visitTrace, s *policy.Seen) {
	var c, lately, asns, nets set
	for i := -1; i < len(recent); i++ {
		t := here
		if i >= 0 {
			if t = recent[i]; !t.at.within(day, here.at) {
				continue
			}
		}
		where := uint64(placed(recent, here, t))
		c.add(where)
		if t.at.within(hour, here.at) {
			lately.add(where)
		}
		asns.add(uint64(t.asn))
		nets.add(t.net)
	}
	s.Countries1h, s.Countries24h, s.ASNs24h, s.Prefixes24h = int64(lately.n), int64(c.n), int64(asns.n), int64(nets.n)
}

// set is the different values of the traces of a day; 0, which is not known, is none.
type set struct {
	n      int
	values [maxTraces + 1]uint64
}

func (s *set) add(v uint64) {
	for _, w := range s.values[:s.n] {
		if v == w {
			return
		}
	}
	if v != 0 {
		s.values[s.n] = v
		s.n++
	}
}

// placed is the country that a trace counts for. Databases often put the IPv6 networks of
// a provider into another country than its IPv4 networks, and browsers use both at once:
// in an autonomous system that was used by IPv4 that day, IPv6 is where IPv4 was last.
func placed(recent []visitTrace, here, t visitTrace) country {
	if !t.six || t.asn == 0 || t.country == 0 {
		return t.country
	}
	found, latest := t.country, moment(0)
	for i := -1; i < len(recent); i++ {
		o := here
		if i >= 0 {
			o = recent[i]
		}
		switch {
		case o.six || o.asn != t.asn || o.country == 0 || !o.at.within(day, here.at):
		case o.country == t.country:
			return t.country
		case o.at > latest:
			found, latest = o.country, o.at
		}
	}
	return found
}
