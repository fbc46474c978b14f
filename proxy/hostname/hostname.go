// Package hostname says which hosts a wildcard such as *.apps.example.com stands for: those
// with exactly one label in place of the asterisk.
//
// It compares canonical names (lower case, no trailing dot), with or without a port, and
// does not check that they are. It does not fail: an odd label is covered by no wildcard.
// Which routes may have a wildcard at all is for package upstream and the configuration.
package hostname

import (
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Wildcard is how a pattern for many hosts begins.
const Wildcard = "*."

// Parent returns a host without its first label, ok if a wildcard over that domain covers
// the host. The parent of an address ends in a number, as the domain of no wildcard does.
func Parent(host string) (parent string, ok bool) {
	label, parent, found := strings.Cut(host, ".")
	return parent, found && isLabel(label)
}

// Covers reports whether a pattern, a host or a wildcard over a domain, is for a host. No
// wildcard covers another.
func Covers(pattern, host string) bool {
	domain, wild := strings.CutPrefix(pattern, Wildcard)
	if !wild {
		return pattern == host
	}
	parent, ok := Parent(host)
	return ok && parent == domain
}

// PublicSuffix reports whether the hosts of a domain belong to different owners: the
// domain is on the public suffix list (co.uk), or each name in it is (*.ck). icann tells a
// registry's from one that a company entered for its customers (github.io).
func PublicSuffix(domain string) (is, icann bool) {
	child := "x." + domain // no exception of the list
	suffix, icann := publicsuffix.PublicSuffix(child)
	return suffix == domain || suffix == child, icann
}

// isLabel reports whether a label is one of a host (RFC 1123 section 2.1), or has the
// underscores that some hosts have.
func isLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, c := range []byte(label) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
