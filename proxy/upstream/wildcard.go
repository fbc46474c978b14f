package upstream

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"sallyport/proxy/hostname"
)

// A route whose host begins with "*." is for every host with exactly one label in that
// place, but for those that another route names. Each of these hosts is an origin by
// itself: it has cookies, hand-offs and sessions of its own, and neither [Table.Match]
// nor anything above it takes one for another.

const wildcard = hostname.Wildcard

// CanonicalFrom is [CanonicalHost] for a host that may begin with a wildcard.
func CanonicalFrom(scheme, raw string) (name, host string, err error) {
	parent, wild := strings.CutPrefix(raw, wildcard)
	if !wild {
		if strings.Contains(raw, "*") {
			return "", "", errors.New("a wildcard that is not one whole label at the beginning, such as *.apps.example.com")
		}
		return CanonicalHost(scheme, raw)
	}
	name, host, err = CanonicalHost(scheme, parent)
	switch _, address := netip.ParseAddr(name); {
	case err != nil && strings.Contains(parent, "*"):
		return "", "", errors.New("more than one wildcard: it stands for exactly one label, at the beginning")
	case err != nil:
		return "", "", err
	case address == nil:
		return "", "", errors.New("a wildcard before an address")
	case len(name) > 253-len("x."):
		return "", "", errors.New("no room for a label")
	}
	if public, icann := hostname.PublicSuffix(name); public && icann {
		return "", "", errors.New("a wildcard over a public suffix, whose hosts belong to others")
	}
	return wildcard + name, wildcard + host, nil
}

// Wildcard reports whether the route is for many hosts.
func (r *Route) Wildcard() bool { return strings.HasPrefix(r.Hostname, wildcard) }

// Covers reports whether the route is for a host, as a [Target] has it, unless a route
// names that host.
func (r *Route) Covers(name string) bool {
	return hostname.Covers(r.Hostname, name)
}

// At returns the routes of t's host, longest prefix first, for any path. Routes that name
// the host hide those of a wildcard, for all paths: a path that they do not serve is not
// served.
func (t *Table) At(target Target) []*Route { return t.on(target) }

// HasOrigin reports whether an origin is a route's.
func (t *Table) HasOrigin(origin string) bool {
	return slices.ContainsFunc(t.routes, func(r *Route) bool { return r.HasOrigin(origin) })
}

// HasOrigin reports whether an origin, as a [Target] has it, is the route's, or one of a
// wildcard's.
func (r *Route) HasOrigin(origin string) bool {
	if !r.Wildcard() {
		return r.Origin() == origin
	}
	scheme, host, _ := strings.Cut(origin, "://")
	parent, ok := hostname.Parent(host)
	return ok && scheme+"://"+wildcard+parent == r.Origin()
}
