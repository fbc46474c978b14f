package ipintel

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"sallyport/policy/ipv4in6"
)

// Lookup returns what the sources know about an address. It has no error: an address that
// is invalid or unknown is country "ZZ" without signals, and an unreadable source is
// named in Missing. Answers are cached per address, since every request of a session asks
// again.
func (s *Snapshot) Lookup(a netip.Addr) Network {
	a = ipv4in6.Canonical(a)
	if n, ok := s.cache.GetIfPresent(a); ok {
		return *n
	}
	n := s.join(a)
	s.cache.Set(a, &n)
	return n
}

// join asks every source, also about the IPv4 addresses inside the address. All that any
// of them says of any of those holds together; and each by itself is another reading,
// since where two places differ neither may hide the other.
func (s *Snapshot) join(a netip.Addr) Network {
	if !a.IsValid() {
		return Network{Addr: a, Country: UnknownCountry, Lists: noNames, DataFrom: s.oldest, Missing: s.missing}
	}
	inner := s.inner(a)
	n := s.said(a, inner...)
	n.Private = ipv4in6.Private(a)
	if len(inner) == 0 {
		return n
	}
	outer := s.said(a)
	outer.Private = n.Private
	n.alone = append(n.alone, outer)
	for _, i := range inner {
		n.alone = append(n.alone, s.said(i)) // never private: being inside proves nothing about where it comes from
	}
	return n
}

// said is what the sources say about an address and those inside it.
func (s *Snapshot) said(a netip.Addr, inner ...netip.Addr) Network {
	n := Network{Addr: a, Country: UnknownCountry, Lists: noNames, DataFrom: s.oldest, Missing: s.missingAt(a), text: a.String()}
	var rec record
	holds, named := make([]bool, len(s.members)), ""
	for _, i := range s.believed {
		m := s.members[i]
		said, found, err := s.ask(m, a, inner)
		if err != nil {
			s.faults.Add(1)
			n.Missing = append(slices.Clone(n.Missing), m.spec.name)
			continue
		}
		rec.under(said)
		holds[i] = found && !m.spec.database
		if named == "" && holds[i] && m.spec.provider != "" {
			named = said.provider
		}
	}
	for i, m := range s.members { // in configured order
		if holds[i] {
			n.Lists = append(slices.Clip(n.Lists), m.spec.name)
		}
	}
	if rec.country != "" {
		n.Country = rec.country
	}
	n.Subdivisions, n.ASN, n.Org, n.Signals = rec.subdivisions, rec.asn, rec.org, rec.signals
	n.Provider = cmp.Or(named, rec.provider)
	n.Location, n.TimeZone = rec.location, rec.timeZone
	return n
}

// ask asks one source about an address and about those inside it. Databases are not asked
// about private ones.
func (s *Snapshot) ask(m member, a netip.Addr, inner []netip.Addr) (rec record, found bool, err error) {
	one := func(a netip.Addr) {
		if err != nil || m.spec.database && ipv4in6.Private(a) {
			return
		}
		var said record
		var ok bool
		said, ok, err = guarded(m.data, a)
		rec.under(said)
		found = found || ok
	}
	one(a)
	for _, i := range inner {
		one(i)
	}
	return rec, found, err
}

// guarded is the last resort against content that passed all gates and still
// makes a decoder panic: one answer is lost, not the process.
func guarded(l *loaded, a netip.Addr) (rec record, found bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			rec, found, err = record{}, false, fmt.Errorf("%w: reading it panics: %v", errCorrupt, p)
		}
	}()
	return l.ask(a)
}

// Answer is what one source says about an address, for people who ask why.
type Answer struct {
	Source       string   `json:"source"`
	Country      string   `json:"country,omitempty"`
	Subdivisions []string `json:"subdivisions,omitempty"`
	ASN          uint32   `json:"asn,omitempty"`
	Org          string   `json:"org,omitempty"`
	Provider     string   `json:"provider,omitempty"`
	Signals      Signal   `json:"signals,omitzero"`
	Location     Location `json:"location,omitzero"`
	Err          string   `json:"error,omitempty"`
}

// Answers gives what each source says by itself, most believed first, without those that
// say nothing.
func (s *Snapshot) Answers(a netip.Addr) []Answer {
	a = ipv4in6.Canonical(a)
	if !a.IsValid() {
		return nil
	}
	inner := s.inner(a)
	var all []Answer
	for _, i := range s.believed {
		m := s.members[i]
		rec, found, err := s.ask(m, a, inner)
		one := Answer{
			Source: m.spec.name, Country: rec.country, Subdivisions: rec.subdivisions,
			ASN: rec.asn, Org: rec.org, Provider: rec.provider, Signals: rec.signals, Location: rec.location,
		}
		said := rec.country != "" || rec.asn != 0 || rec.org != "" || rec.provider != "" || rec.signals != 0 || rec.location.Known
		switch {
		case err != nil:
			one.Err = err.Error()
		case m.spec.database && !said, !m.spec.database && !found:
			continue
		}
		all = append(all, one)
	}
	return all
}
