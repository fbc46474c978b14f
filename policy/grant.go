package policy

import "strings"

// Grant is the people that a route's `allow` names. The zero value names no one.
type Grant struct {
	Everyone bool     // every signed-in person
	Groups   []string // exact names
	Emails   []string // whole addresses
	Domains  []string // whole domains: "example.com" does not name "sub.example.com"
}

// Permits reports whether the grant names u.
//
// It is called for a signed-in person; only `everyone` names an empty user, and the
// baseline has refused requests without a person before.
func (g Grant) Permits(u User) bool {
	if g.Everyone {
		return true
	}
	for _, want := range g.Groups {
		for _, have := range u.Groups {
			if want != "" && want == have {
				return true
			}
		}
	}
	if u.Email == "" {
		return false
	}
	for _, e := range g.Emails {
		if equalASCII(e, u.Email) {
			return true
		}
	}
	// The last "@" decides: ParseEmail lets only one through, and if another source of
	// facts ever lets two, the domain must be the one that mail would be delivered to.
	domain := u.Email[strings.LastIndexByte(u.Email, '@')+1:]
	if len(domain) == len(u.Email) {
		return false
	}
	for _, d := range g.Domains {
		if d != "" && equalASCII(d, domain) {
			return true
		}
	}
	return false
}

// equalASCII compares without regard to case, in ASCII only: with Unicode folding
// the Kelvin sign is a "k", and two people become one.
func equalASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if 'A' <= y && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}
