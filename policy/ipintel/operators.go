package ipintel

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Operator is a network operator as rules see one, and how much of the Internet they see it
// in.
type Operator struct {
	ASN      uint32   `json:"asn"`
	Org      string   `json:"org"`
	Networks int      `json:"networks"`
	IPv4     uint64   `json:"ipv4_addresses"`
	IPv6     *big.Int `json:"ipv6_addresses"`
	Sources  []string `json:"sources"`
	Examples []string `json:"examples"` // networks, the first that were found
}

const (
	// maxOperators bounds what a question that is too wide takes of memory. There are
	// about 120 000 autonomous systems.
	maxOperators = 200_000
	// maxKnown bounds the records of a database that are remembered while it is walked.
	maxKnown = 1 << 20
	examples = 3
)

// ErrNoOperators: no loaded source names network operators.
var ErrNoOperators = errors.New("no loaded source names network operators")

// Operators finds the operators that are wanted, in all sources, and adds up their
// networks, those with most addresses first. A network counts for the source that is
// believed about its first address, and only if that is where it was found: what another
// source says more specifically inside of it is not taken off. Databases are read from
// their files again; one that has changed since it was loaded is an error.
func (s *Snapshot) Operators(wanted func(asn uint32, org string) bool) ([]Operator, error) {
	type key struct {
		asn uint32
		org string
	}
	found, asked := map[key]*Operator{}, false
	for _, i := range s.believed {
		m := s.members[i]
		if !m.data.provides.asn && !m.data.provides.org {
			continue
		}
		asked = true
		err := m.operators(wanted, func(p netip.Prefix, rec record) error {
			if s.believedOperator(p.Addr()) != i {
				return nil
			}
			o := found[key{rec.asn, rec.org}]
			if o == nil {
				if len(found) == maxOperators {
					return fmt.Errorf("more than %d operators are like that", maxOperators)
				}
				o = &Operator{ASN: rec.asn, Org: rec.org, IPv6: new(big.Int), Sources: []string{}, Examples: []string{}}
				found[key{rec.asn, rec.org}] = o
			}
			o.add(p, m.spec.name)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.spec.name, err)
		}
	}
	if !asked {
		return nil, ErrNoOperators
	}
	list := make([]Operator, 0, len(found))
	for _, o := range found {
		list = append(list, *o)
	}
	slices.SortFunc(list, func(a, b Operator) int {
		return cmp.Or(cmp.Compare(b.IPv4, a.IPv4), b.IPv6.Cmp(a.IPv6), cmp.Compare(a.ASN, b.ASN), cmp.Compare(a.Org, b.Org))
	})
	return list, nil
}

func (o *Operator) add(p netip.Prefix, source string) {
	o.Networks++
	if bits := uint(p.Addr().BitLen() - p.Bits()); p.Addr().Is4() {
		o.IPv4 += 1 << bits
	} else {
		o.IPv6.Add(o.IPv6, new(big.Int).Lsh(big.NewInt(1), bits))
	}
	if !slices.Contains(o.Sources, source) {
		o.Sources = append(o.Sources, source)
	}
	if len(o.Examples) < examples {
		o.Examples = append(o.Examples, p.String())
	}
}

// believedOperator is the source whose word on the operator of an address is taken; -1 if
// none has one.
func (s *Snapshot) believedOperator(a netip.Addr) int {
	for _, i := range s.believed {
		if rec, _, err := s.ask(s.members[i], a, nil); err == nil && (rec.asn != 0 || rec.org != "") {
			return i
		}
	}
	return -1
}

// operators gives the networks of one source whose operator is wanted.
func (m member) operators(wanted func(uint32, string) bool, take func(netip.Prefix, record) error) error {
	if !m.spec.database {
		return m.listed(wanted, take)
	}
	c, err := readFile(m.spec.file, maxDatabaseSize)
	if err != nil {
		return err
	}
	if c.sha256 != m.data.sha256 {
		return errors.New("the file has changed since it was loaded")
	}
	r, err := maxminddb.OpenBytes(c.data)
	if err != nil {
		return fmt.Errorf("%w: %w", errCorrupt, err)
	}
	known := map[uintptr]bool{} // networks share records
	for res := range r.Networks() {
		if err := res.Err(); err != nil {
			return fmt.Errorf("%w: %w", errCorrupt, err)
		}
		is, seen := known[res.Offset()]
		if seen && !is {
			continue
		}
		rec, _, err := guarded(m.data, res.Prefix().Addr())
		if err != nil {
			return err
		}
		if !seen {
			if len(known) == maxKnown {
				clear(known)
			}
			is = wanted(rec.asn, rec.org)
			known[res.Offset()] = is
		}
		if is {
			if err := take(res.Prefix(), rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed is operators of a list. A row inside one that was taken is in it already.
func (m member) listed(wanted func(uint32, string) bool, take func(netip.Prefix, record) error) error {
	var last netip.Prefix
	for p := range m.data.rows.AllSorted() { // a network before those inside it
		if last.IsValid() && last.Bits() <= p.Bits() && last.Contains(p.Addr()) {
			continue
		}
		rec, _, err := guarded(m.data, p.Addr())
		if err != nil {
			return err
		}
		if wanted(rec.asn, rec.org) {
			if err := take(p, rec); err != nil {
				return err
			}
			last = p
		}
	}
	return nil
}
