package ipintel

import (
	"fmt"
	"net/netip"
	"slices"
)

// Lookup says what the sources know about an address. It has no error: an address
// that is not valid, or that nobody knows, is country "ZZ" without signals, and a source that
// cannot be read there is named in Missing. Answers are kept per address, since
// every request of a session asks again.
func (s *Snapshot) Lookup(a netip.Addr) Network {
	a = canonical(a)
	if n, ok := s.cache.GetIfPresent(a); ok {
		return *n
	}
	n := s.join(a)
	s.cache.Set(a, &n)
	return n
}

// join asks every source, and the lists also about an IPv4 address inside the address.
func (s *Snapshot) join(a netip.Addr) Network {
	n := Network{Addr: a, Country: UnknownCountry, Lists: noNames, DataFrom: s.oldest, Missing: s.missing}
	if !a.IsValid() {
		return n
	}
	n.text = a.String()
	inner, tunnelled := embedded(a)
	n.Private = isPrivate(a) || tunnelled && isPrivate(inner)
	var rec record
	holds := make([]bool, len(s.members))
	for _, i := range s.believed {
		m := s.members[i]
		if m.spec.database && n.Private {
			continue
		}
		said, found, err := s.ask(m, a, inner, tunnelled)
		if err != nil {
			s.faults.Add(1)
			n.Missing = append(slices.Clone(n.Missing), m.spec.name)
			continue
		}
		rec.under(said)
		holds[i] = found && !m.spec.database
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
	n.Location, n.TimeZone = rec.location, rec.timeZone
	return n
}

// ask asks one source about an address and about the one inside it.
func (s *Snapshot) ask(m member, a, inner netip.Addr, tunnelled bool) (record, bool, error) {
	rec, found, err := guarded(m.data, a)
	if err != nil || !tunnelled {
		return rec, found, err
	}
	more, alsoFound, err := guarded(m.data, inner)
	rec.under(more)
	return rec, found || alsoFound, err
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
	Signals      Signal   `json:"signals,omitzero"`
	Location     Location `json:"location,omitzero"`
	Err          string   `json:"error,omitempty"`
}

// Answers gives what each source says by itself, most believed first, without those that say nothing.
func (s *Snapshot) Answers(a netip.Addr) []Answer {
	a = canonical(a)
	if !a.IsValid() {
		return nil
	}
	inner, tunnelled := embedded(a)
	var all []Answer
	for _, i := range s.believed {
		m := s.members[i]
		rec, found, err := s.ask(m, a, inner, tunnelled)
		one := Answer{
			Source: m.spec.name, Country: rec.country, Subdivisions: rec.subdivisions,
			ASN: rec.asn, Org: rec.org, Signals: rec.signals, Location: rec.location,
		}
		said := rec.country != "" || rec.asn != 0 || rec.org != "" || rec.signals != 0 || rec.location.Known
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
