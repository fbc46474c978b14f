package upstream

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"sallyport/policy"
)

// RouteConfig is one route as it is written in the configuration.
type RouteConfig struct {
	// Name identifies the route in policy, logs and errors.
	Name string
	// From is "http(s)://host[:port][/prefix]": what clients ask for. A host that begins
	// with "*." is every host with one label in that place (wildcard.go). The prefix
	// matches on segment boundaries and is not cut off when forwarding, unless
	// StripPrefix says so.
	From        string
	StripPrefix bool // the tool sees paths without the prefix of From
	// To are the upstreams: "http(s)://host[:port]", "h2c://host:port",
	// "unix:/socket" or "unix+h2c:/socket". They have no path: the path that was
	// matched is the path that is forwarded.
	To []string
	// Host is the Host header upstream sees; "" is the one the client asked for.
	Host string

	// Exact says that the tools here distinguish /Admin from /admin, and /admin.json from
	// /admin: a path that would lead here only after folding is not refused. See
	// [Table.Folded].
	Exact bool
	// Forms are those that paths of this route may have; others are refused.
	Forms PathForms

	Timeouts Timeouts
	// MaxBody is the largest request body in bytes; more is 413, negative is unlimited.
	// Bodies are streamed, not held.
	MaxBody int64
	// SharedMaxBody says that MaxBody is the limit of all routes that have none of their
	// own: for the log.
	SharedMaxBody bool
	// Upgrades are the protocols that a connection may switch to, nil is
	// "websocket". Others are forwarded as plain requests, without the offer.
	// An h2c upstream has none.
	Upgrades []string

	// TLS is for https upstreams.
	TLS TLSConfig
	// Health is the active check of the upstreams.
	Health HealthCheck
	// MaxConns is how many exchanges may be under way at one upstream, upgraded
	// connections included; zero is unlimited. With HTTP/1.1 each has a connection
	// of its own. A request that finds all taken waits for Timeouts.Wait, then gets 503.
	MaxConns int
	// MaxResponseHeader is the size of an answer's header in bytes; more is 502.
	MaxResponseHeader int64

	// AllowedOrigins are origins other than From's whose pages may act on the tool as the
	// person who has them open: scheme://host[:port].
	AllowedOrigins []string
	// Embeddable: other origins of the same site may show the tool in a frame, and load
	// its images, scripts and media.
	Embeddable bool
	// CookieDomain is the Domain that the tool's cookies may have; "": cookies are for
	// From's host alone.
	CookieDomain string
}

// Timeouts of one route. All but Total are required.
type Timeouts struct {
	// Connect covers name resolution and TCP, and TLS again.
	Connect time.Duration
	// ResponseHeader runs from the end of the request to the first byte of the answer.
	ResponseHeader time.Duration
	// Idle is the longest silence in a request body, a response or an upgraded
	// connection.
	Idle time.Duration
	// Total bounds the whole exchange, from the request's arrival here to the end of the
	// answer. Zero is none: downloads and streams are long. It does not bound connections
	// that have changed protocols.
	Total time.Duration
	// Wait is how long a request may wait for one of MaxConns places.
	Wait time.Duration
}

// Route is one checked route. It is immutable.
type Route struct {
	Name string
	// Scheme, Hostname, Port and Prefix are From, canonical. Prefix ends in "/"
	// only if it is "/".
	Scheme, Hostname, Port, Prefix string
	// To are the upstreams, in the order of the configuration.
	To []*url.URL

	folded    string // Prefix, folded
	exact     bool
	strip     bool
	rawPrefix string // Prefix, as it is written in a request
	forms     PathForms
	host      string
	timeouts  Timeouts
	maxBody   int64
	// sharedBody: maxBody is not the route's own.
	sharedBody bool
	upgrades   []string

	endpoints         []endpoint // To
	tls               *tlsSource // nil: defaults
	health            HealthCheck
	maxConns          int
	maxResponseHeader int64

	allowedOrigins []string // canonical
	embeddable     bool
	cookieDomain   string // canonical

	pool atomic.Pointer[pool] // what a Forwarder made of To
}

// Origin returns the scheme and host that clients use, without path. That of a wildcard
// is a pattern, and no client's origin.
func (r *Route) Origin() string {
	host := bracket(r.Hostname)
	if r.Port != effectivePort(r.Scheme, "") {
		host += ":" + r.Port
	}
	return r.Scheme + "://" + host
}

// Idle is the longest silence on the route; zero: it has no end.
func (r *Route) Idle() time.Duration { return r.timeouts.Idle }

func (r *Route) String() string { return fmt.Sprintf("route %q", r.Name) }

// KeyError is a mistake in one key of a route, as the configuration spells it: "from",
// "to[1]", "health.timeout".
type KeyError struct {
	Key string
	Err error
}

func (e *KeyError) Error() string { return e.Err.Error() }

func (e *KeyError) Unwrap() error { return e.Err }

// inKey says where err is, unless it is nil or says so itself.
func inKey(key string, err error) error {
	if _, said := errors.AsType[*KeyError](err); said || err == nil {
		return err
	}
	return &KeyError{key, err}
}

// newRoute checks one route by itself.
func newRoute(c RouteConfig) (*Route, error) {
	if c.Name == "" {
		return nil, fmt.Errorf("route from %q: a route needs a name", c.From)
	}
	r := &Route{Name: c.Name, exact: c.Exact, strip: c.StripPrefix, forms: c.Forms, timeouts: c.Timeouts, maxBody: c.MaxBody, sharedBody: c.SharedMaxBody, upgrades: c.Upgrades}
	if r.upgrades == nil {
		r.upgrades = []string{"websocket"}
	}
	r.maxConns, r.maxResponseHeader = c.MaxConns, c.MaxResponseHeader
	errs := []error{checkLimits(c), inKey("from", r.setFrom(c.From)), r.setTo(c.To), inKey("tls", r.setTLS(c.TLS)), r.setOrigins(c)}
	r.health = c.Health
	errs = append(errs, c.Health.check())
	if c.Host != "" {
		t := Target{Scheme: "http"}
		if err := t.setHost(c.Host); err != nil {
			errs = append(errs, inKey("to", fmt.Errorf("host %q: %w", c.Host, err)))
		}
		r.host = c.Host
	}
	for i, u := range c.Upgrades {
		key, name := fmt.Sprintf("upgrades[%d]", i), strings.ToLower(u)
		// An h2c tunnel carries further requests past every check made here.
		if name == "h2c" || strings.HasPrefix(name, "http/") {
			errs = append(errs, inKey(key, fmt.Errorf("upgrades: %q would tunnel requests that are not judged", u)))
		} else if protocol, version, versioned := strings.Cut(u, "/"); !httpguts.ValidHeaderFieldName(protocol) || versioned && !httpguts.ValidHeaderFieldName(version) {
			errs = append(errs, inKey(key, fmt.Errorf("upgrades: %q is not the name of a protocol", u))) // RFC 9110 section 7.8
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%v: %w", r, err)
	}
	return r, nil
}

func (r *Route) setFrom(from string) error {
	u, err := plainURL(from, "http", "https")
	if err != nil {
		return fmt.Errorf("from %q: %w", from, err)
	}
	t := Target{Scheme: u.Scheme}
	hostname, host, err := CanonicalFrom(u.Scheme, u.Host)
	if err == nil {
		err = t.setHost(strings.TrimPrefix(host, wildcard))
	}
	if err != nil {
		return fmt.Errorf("from %q: %w", from, err)
	}
	r.Scheme, r.Hostname, r.Port = u.Scheme, hostname, t.Port
	r.Prefix = "/"
	if path := u.EscapedPath(); path != "" {
		if err := t.setPath(path); err != nil {
			return fmt.Errorf("from %q: %w", from, err)
		}
		if t.forms != 0 { // what paths.allow is for is below the prefix
			return fmt.Errorf("from %q: %w", from, refuseForms(t.forms))
		}
		if r.Prefix = strings.TrimSuffix(t.Path, "/"); r.Prefix == "" {
			r.Prefix = "/"
		}
	}
	r.folded = policy.FoldPath(r.Prefix)
	r.rawPrefix = strings.TrimSuffix((&url.URL{Path: r.Prefix}).EscapedPath(), "/")
	if r.strip && r.rawPrefix == "" {
		return fmt.Errorf("from %q: there is no prefix to cut off", from)
	}
	return nil
}

func (r *Route) setTo(to []string) error {
	if len(to) == 0 {
		return inKey("to", errors.New("to: at least one upstream is needed"))
	}
	for i, s := range to {
		key := fmt.Sprintf("to[%d]", i)
		e, err := parseEndpoint(s)
		if err != nil {
			return inKey(key, fmt.Errorf("to %q: %w", s, err))
		}
		if slices.ContainsFunc(r.To, func(o *url.URL) bool { return *o == *e.url }) {
			return inKey(key, fmt.Errorf("to %q: the same upstream twice", s))
		}
		r.To = append(r.To, e.url)
		r.endpoints = append(r.endpoints, e)
		if e.h2c {
			r.upgrades = nil // HTTP/2 has no Upgrade
		}
	}
	return nil
}

// setTLS reads the files, so that a mistake is found before anything depends on them.
func (r *Route) setTLS(c TLSConfig) error {
	if c == (TLSConfig{}) {
		return nil
	}
	if !slices.ContainsFunc(r.endpoints, func(e endpoint) bool { return e.scheme == "https" }) {
		return errors.New("tls: no upstream of the route is https")
	}
	var err error
	r.tls, err = newTLSSource(c)
	return err
}

// backendKey is what makes e one upstream with that of another route.
func (r *Route) backendKey(e endpoint) backendKey {
	key := backendKey{
		to: e.url.String(), connect: r.timeouts.Connect, responseHeader: r.timeouts.ResponseHeader,
		maxResponseHeader: r.maxResponseHeader, maxConns: r.maxConns, health: r.health,
	}
	if r.tls != nil {
		key.tls = r.tls.c
	}
	if key.health.Path != "" && key.health.Host == "" {
		key.health.Host = cmp.Or(r.host, e.host)
	}
	return key
}

// checkLimits refuses a limit that is missing: the defaults are those of the
// configuration, and a zero that means "none" is a limit that was forgotten.
func checkLimits(c RouteConfig) error {
	if c.MaxConns < 0 || c.Timeouts.Total < 0 {
		return errors.New("a limit is negative")
	}
	for _, l := range []struct {
		name string
		n    int64
	}{
		{"Timeouts.Connect", int64(c.Timeouts.Connect)}, {"Timeouts.ResponseHeader", int64(c.Timeouts.ResponseHeader)},
		{"Timeouts.Idle", int64(c.Timeouts.Idle)}, {"Timeouts.Wait", int64(c.Timeouts.Wait)}, {"MaxResponseHeader", c.MaxResponseHeader},
	} {
		if l.n <= 0 {
			return fmt.Errorf("%s is %d, and must be positive", l.name, l.n)
		}
	}
	if c.MaxBody == 0 {
		return errors.New("MaxBody is 0, and must be positive, or negative for no limit")
	}
	return nil
}
