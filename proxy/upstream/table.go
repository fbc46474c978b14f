package upstream

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/policy"
	"sallyport/proxy/hostname"
)

// Table finds the route of a request. It is immutable and safe for concurrent use.
type Table struct {
	hosts  map[hostKey][]*Route // longest prefix first
	wild   map[hostKey][]*Route // the same, by what follows the wildcard
	routes []*Route             // in the order of the configuration

	unfolded bool // some prefix is not folded: then paths that are may lead there too
}

type hostKey struct{ hostname, port string }

// NewTable checks all routes and reports every mistake, not only the first.
//
// Refused are two routes of one name, two routes for one place (or for places
// that only differ in how they are spelled), and a route that no request can reach.
func NewTable(configs []RouteConfig) (*Table, error) {
	t := &Table{hosts: make(map[hostKey][]*Route), wild: make(map[hostKey][]*Route)}
	var errs []error
	names := make(map[string]bool)
	for _, c := range configs {
		r, err := newRoute(c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if names[r.Name] {
			errs = append(errs, fmt.Errorf("%v: two routes have this name", r))
			continue
		}
		names[r.Name] = true
		t.routes = append(t.routes, r)
		if err := t.add(r); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, hosts := range []map[hostKey][]*Route{t.hosts, t.wild} {
		for _, list := range hosts {
			slices.SortFunc(list, func(a, b *Route) int { return cmp.Compare(len(b.Prefix), len(a.Prefix)) })
		}
	}
	return t, nil
}

func (t *Table) add(r *Route) error {
	hosts, key := t.hosts, hostKey{r.Hostname, r.Port}
	if r.Wildcard() {
		hosts, key.hostname = t.wild, r.Hostname[len(wildcard):]
	}
	for _, other := range hosts[key] {
		if other.folded == r.folded && other.Prefix != r.Prefix && !(other.exact && r.exact) {
			return fmt.Errorf("%v and %v serve %s and %s, which many tools take for one path: with `exact_paths: true` on both they are told apart", other, r, other.Prefix, r.Prefix)
		}
		if other.Prefix == r.Prefix {
			return fmt.Errorf("%v and %v both serve %s%s: one of them could never be reached", other, r, r.Origin(), r.Prefix)
		}
		// One origin has one scheme: on one port a client speaks TLS or it does not.
		if other.Scheme != r.Scheme {
			return fmt.Errorf("%v serves %s and %v serves %s: a port speaks either http or https", other, other.Origin(), r, r.Origin())
		}
	}
	if under := Reserved(r.Prefix); under {
		return fmt.Errorf("%v: %s is reserved for Sallyport's own pages: no request would reach the route", r, ReservedPrefix)
	}
	hosts[key] = append(hosts[key], r)
	t.unfolded = t.unfolded || r.folded != r.Prefix
	return nil
}

// ReservedPrefix is where our own pages are, on every host. It is never forwarded.
const ReservedPrefix = "/.sallyport/"

// Reserved reports whether a path is kept for Sallyport: no route reaches it, not even
// one for everything on its host.
func Reserved(path string) bool {
	return strings.HasPrefix(path, ReservedPrefix) || path == strings.TrimSuffix(ReservedPrefix, "/")
}

// Routes returns all routes in the order of the configuration.
func (t *Table) Routes() []*Route { return slices.Clone(t.routes) }

// Match returns the route with the longest prefix of t's path on t's host. A
// prefix ends at the end of a segment: "/app" serves "/app" and "/app/x" but
// not "/apple".
//
// The port the client wrote must be the route's. A client that wrote none means
// the default port of its scheme, and where nothing is served on port 80, that of
// https: a proxy in front that ends TLS and says nothing of it is no reason to
// answer 421. Whether such a request is good enough is the caller's to judge,
// by Route.Scheme and Target.Scheme.
func (t *Table) Match(target Target) (*Route, bool) {
	for _, r := range t.on(target) {
		if under(target.Path, r.Prefix) {
			return r, true
		}
	}
	return nil, false
}

// Folding is how a path has to be read to lead to another route.
type Folding int

const (
	Unfolded   Folding = iota // it leads nowhere else
	BySuffix                  // without what looks like a format: /admin.json
	BySpelling                // in another case, with dots at the end of a segment, decoded once more: /Admin
)

// Folded returns the route with a longer prefix than the matched one that t's path would
// lead to if it were folded (policy.FoldPath): a tool that does not care about case
// serves under /Admin what is protected as /admin. Routes that are Exact are left out.
//
// Nearly every path is folded already; then only those with a dot in their last segment
// cost more than a look at each byte.
func (t *Table) Folded(target Target, matched *Route) (*Route, Folding) {
	list := t.on(target)
	if len(list) < 2 {
		return nil, Unfolded
	}
	folded := policy.FoldPath(target.Path)
	bare := policy.DropSuffix(folded)
	if folded == target.Path && bare == folded && !t.unfolded {
		return nil, Unfolded
	}
	var found *Route
	how := Unfolded
	for _, r := range list {
		if r == matched || r.exact || len(r.folded) <= len(matched.folded) || found != nil && len(r.folded) <= len(found.folded) {
			continue
		}
		switch {
		case under(folded, r.folded):
			found, how = r, BySpelling
		case under(bare, r.folded):
			found, how = r, BySuffix
		}
	}
	return found, how
}

// under reports whether a path is a prefix, or below it.
func under(path, prefix string) bool {
	return prefix == "/" || strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// HasHost reports whether any route is on t's host, for any path: it decides between 404
// and 421.
func (t *Table) HasHost(target Target) bool { return len(t.on(target)) > 0 }

// on returns the routes of a host, longest prefix first.
func (t *Table) on(target Target) []*Route {
	either := !target.portGiven && target.Scheme == "http"
	list := t.hosts[hostKey{target.Hostname, target.Port}]
	if list == nil && either {
		list = t.hosts[hostKey{target.Hostname, "443"}]
	}
	if list != nil || len(t.wild) == 0 {
		return list
	}
	parent, ok := hostname.Parent(target.Hostname)
	if !ok {
		return nil
	}
	if list = t.wild[hostKey{parent, target.Port}]; list == nil && either {
		list = t.wild[hostKey{parent, "443"}]
	}
	return list
}
