package upstream

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Table finds the route of a request. It is immutable and safe for concurrent use.
type Table struct {
	hosts  map[hostKey][]*Route // longest prefix first
	routes []*Route             // in the order of the configuration
}

type hostKey struct{ hostname, port string }

// NewTable checks all routes and reports every mistake, not only the first.
//
// Refused are two routes of one name, two routes for one place (or for places
// that only differ in how they are spelled), and a route that no request can reach.
func NewTable(configs []RouteConfig) (*Table, error) {
	t := &Table{hosts: make(map[hostKey][]*Route)}
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
	for _, list := range t.hosts {
		slices.SortFunc(list, func(a, b *Route) int { return cmp.Compare(len(b.Prefix), len(a.Prefix)) })
	}
	return t, nil
}

func (t *Table) add(r *Route) error {
	key := hostKey{r.Hostname, r.Port}
	for _, other := range t.hosts[key] {
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
	t.hosts[key] = append(t.hosts[key], r)
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
		if r.Prefix == "/" || strings.HasPrefix(target.Path, r.Prefix) &&
			(len(target.Path) == len(r.Prefix) || target.Path[len(r.Prefix)] == '/') {
			return r, true
		}
	}
	return nil, false
}

// HasHost reports whether any route is on t's host, whatever its path: the
// difference between 404 and 421.
func (t *Table) HasHost(target Target) bool { return len(t.on(target)) > 0 }

// on returns the routes of a host, longest prefix first.
func (t *Table) on(target Target) []*Route {
	list := t.hosts[hostKey{target.Hostname, target.Port}]
	if list == nil && !target.portGiven && target.Scheme == "http" {
		list = t.hosts[hostKey{target.Hostname, "443"}]
	}
	return list
}
