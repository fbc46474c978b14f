package main

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"sallyport/policy/ipintel"
)

// operatorsFound is the answer to `data lookup --asn` and `--org`. Its keys are an interface.
type operatorsFound struct {
	Networks  int                `json:"networks"`
	IPv4      uint64             `json:"ipv4_addresses"`
	IPv6      *big.Int           `json:"ipv6_addresses"`
	Operators []ipintel.Operator `json:"operators"` // the largest
	More      int                `json:"more"`      // operators that are left out; the sums have them
	Rules     []string           `json:"rules"`     // conditions that are true for the operators shown
	// Exact is, for --org, how many of all operators have the text as it is written, as
	// ip.org.contains asks.
	Exact *int `json:"exact,omitempty"`
}

// operators answers no (exit status 1) if there is none.
func (d dataLookupCmd) operators(g *globals, std stdio) error {
	_, snapshot, err := configured(g, std)
	if err != nil {
		return err
	}
	text := strings.ToLower(d.Org)
	all, err := snapshot.Operators(func(number uint32, org string) bool {
		if d.Org == "" {
			return asn(number) == d.ASN
		}
		return strings.Contains(strings.ToLower(org), text)
	})
	if err != nil {
		return err
	}
	found := operatorsFound{IPv6: new(big.Int), Operators: all[:min(len(all), max(1, d.Max))], Rules: []string{}}
	exact := 0
	for _, o := range all {
		found.Networks, found.IPv4 = found.Networks+o.Networks, found.IPv4+o.IPv4
		found.IPv6.Add(found.IPv6, o.IPv6)
		if strings.Contains(o.Org, d.Org) {
			exact++
		}
	}
	found.More = len(all) - len(found.Operators)
	if d.Org != "" {
		found.Exact = &exact
	}
	found.conditions()
	if d.JSON {
		if err := list(std.out, true, []operatorsFound{found}, "", nil); err != nil {
			return err
		}
	} else {
		found.print(std, d.Org)
	}
	if len(all) == 0 {
		return errNo
	}
	return nil
}

// conditions are for a rule over the operators shown, by number and by name.
func (f *operatorsFound) conditions() {
	var numbers, names []string
	for _, o := range f.Operators {
		if n := strconv.FormatUint(uint64(o.ASN), 10); o.ASN != 0 && !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
		if n := strconv.Quote(o.Org); o.Org != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for _, c := range []struct {
		fact   string
		values []string
	}{{"ip.asn", numbers}, {"ip.org", names}} {
		if len(c.values) > 0 {
			f.Rules = append(f.Rules, c.fact+" in ["+strings.Join(c.values, ", ")+"]")
		}
	}
}

func (f *operatorsFound) print(std stdio, org string) {
	for _, o := range f.Operators {
		fmt.Fprintf(std.out, "AS%d %s  %s  in %s: %s\n", o.ASN, plain(o.Org), extent(o.Networks, o.IPv4, o.IPv6), strings.Join(o.Sources, ", "), strings.Join(o.Examples, ", "))
	}
	if f.More > 0 {
		fmt.Fprintf(std.out, "and %d more (--max)\n", f.More)
	}
	fmt.Fprintf(std.out, "together: %s\n", extent(f.Networks, f.IPv4, f.IPv6))
	for _, r := range f.Rules {
		fmt.Fprintf(std.out, "rule: %s\n", plain(r))
	}
	if total := len(f.Operators) + f.More; f.Exact != nil && *f.Exact < total {
		fmt.Fprintf(std.err, "note: rules heed the case of letters: ip.org.contains(%s) is true for %d of these %d operators\n", strconv.Quote(org), *f.Exact, total)
	}
}

// extent is a number of networks and addresses, for people: IPv6 has too many to read.
func extent(networks int, v4 uint64, v6 *big.Int) string {
	n, _ := new(big.Float).SetInt(v6).Float64()
	return fmt.Sprintf("networks %d  IPv4 addresses %d  IPv6 addresses %.4g", networks, v4, n)
}
