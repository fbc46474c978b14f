package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// RouteConfig is one route as it is written in the configuration.
type RouteConfig struct {
	// Name identifies the route in policy, logs and errors.
	Name string
	// From is "http(s)://host[:port][/prefix]": what clients ask for. The prefix
	// matches on segment boundaries and is not cut off when forwarding.
	From string
	// To are the upstreams, "http(s)://host[:port]", without path: the path that
	// was matched is the path that is forwarded.
	To []string
	// Host is the Host header upstream sees; "" is the one the client asked for.
	Host string

	Timeouts Timeouts
	// MaxBody is the largest request body in bytes; more is 413. Zero is
	// [DefaultMaxBody], negative is unlimited. Bodies are streamed, not held.
	MaxBody int64
	// Upgrades are the protocols that a connection may switch to, nil is
	// "websocket". Others are forwarded as plain requests, without the offer.
	Upgrades []string
}

// Timeouts of one route. Zero is the default named, negative is none.
type Timeouts struct {
	// Connect covers name resolution and TCP (10 s), and TLS again.
	Connect time.Duration
	// ResponseHeader runs from the end of the request to the first byte of the
	// answer (60 s).
	ResponseHeader time.Duration
	// Idle is the longest silence in a response or an upgraded connection (10 min).
	Idle time.Duration
}

// DefaultMaxBody is the largest request body of a route that does not say.
const DefaultMaxBody = 1 << 30

// Route is one checked route. It is immutable.
type Route struct {
	Name string
	// Scheme, Hostname, Port and Prefix are From, canonical. Prefix ends in "/"
	// only if it is "/".
	Scheme, Hostname, Port, Prefix string
	// To are the upstreams, in the order of the configuration.
	To []*url.URL

	host     string
	timeouts Timeouts
	maxBody  int64
	upgrades []string
	next     atomic.Uint32
}

// Origin returns the scheme and host that clients use, without path.
func (r *Route) Origin() string {
	host := bracket(r.Hostname)
	if r.Port != effectivePort(r.Scheme, "") {
		host += ":" + r.Port
	}
	return r.Scheme + "://" + host
}

// Pick returns the upstream for the next request, in turn. Never nil.
func (r *Route) Pick() *url.URL {
	if len(r.To) == 1 {
		return r.To[0]
	}
	return r.To[int(r.next.Add(1)-1)%len(r.To)]
}

func (r *Route) String() string { return fmt.Sprintf("route %q", r.Name) }

// newRoute checks one route by itself.
func newRoute(c RouteConfig) (*Route, error) {
	if c.Name == "" {
		return nil, fmt.Errorf("route from %q: a route needs a name", c.From)
	}
	r := &Route{Name: c.Name, timeouts: c.Timeouts.withDefaults(), maxBody: c.MaxBody, upgrades: c.Upgrades}
	if r.maxBody == 0 {
		r.maxBody = DefaultMaxBody
	}
	if r.upgrades == nil {
		r.upgrades = []string{"websocket"}
	}
	errs := []error{r.setFrom(c.From), r.setTo(c.To)}
	if c.Host != "" {
		t := Target{Scheme: "http"}
		if err := t.setHost(c.Host); err != nil {
			errs = append(errs, fmt.Errorf("host %q: %w", c.Host, err))
		}
		r.host = c.Host
	}
	for _, u := range r.upgrades {
		// An h2c tunnel carries further requests past every check made here.
		if strings.EqualFold(u, "h2c") || strings.HasPrefix(strings.ToLower(u), "http/") {
			errs = append(errs, fmt.Errorf("upgrades: %q would tunnel requests that nobody judges", u))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%v: %w", r, err)
	}
	return r, nil
}

func (r *Route) setFrom(from string) error {
	u, err := plainURL(from)
	if err != nil {
		return fmt.Errorf("from %q: %w", from, err)
	}
	t := Target{Scheme: u.Scheme}
	if err := t.setHost(u.Host); err != nil {
		return fmt.Errorf("from %q: %w", from, err)
	}
	r.Scheme, r.Hostname, r.Port = u.Scheme, t.Hostname, t.Port
	r.Prefix = "/"
	if path := u.EscapedPath(); path != "" {
		if err := t.setPath(path); err != nil {
			return fmt.Errorf("from %q: %w", from, err)
		}
		if r.Prefix = strings.TrimSuffix(t.Path, "/"); r.Prefix == "" {
			r.Prefix = "/"
		}
	}
	return nil
}

func (r *Route) setTo(to []string) error {
	if len(to) == 0 {
		return errors.New("to: at least one upstream is needed")
	}
	for _, s := range to {
		u, err := plainURL(s)
		if err != nil {
			return fmt.Errorf("to %q: %w", s, err)
		}
		t := Target{Scheme: u.Scheme}
		if err := t.setHost(u.Host); err != nil {
			return fmt.Errorf("to %q: %w", s, err)
		}
		if u.Path != "" && u.Path != "/" {
			return fmt.Errorf("to %q: an upstream has no path: requests are forwarded with the path they came with", s)
		}
		u = &url.URL{Scheme: u.Scheme, Host: t.Host}
		if slices.ContainsFunc(r.To, func(o *url.URL) bool { return *o == *u }) {
			return fmt.Errorf("to %q: the same upstream twice", s)
		}
		r.To = append(r.To, u)
	}
	return nil
}

// plainURL accepts http and https URLs of host and path only.
func plainURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must begin with http:// or https://")
	case u.Opaque != "" || u.Host == "":
		return nil, errors.New("names no host")
	case u.User != nil:
		return nil, errors.New("must not hold a user name or password")
	case strings.ContainsAny(s, "?#"):
		return nil, errors.New("must not hold a query or fragment")
	}
	return u, nil
}

func (t Timeouts) withDefaults() Timeouts {
	def := func(d *time.Duration, v time.Duration) {
		switch {
		case *d == 0:
			*d = v
		case *d < 0:
			*d = 0 // none, as net/http spells it
		}
	}
	def(&t.Connect, 10*time.Second)
	def(&t.ResponseHeader, time.Minute)
	def(&t.Idle, 10*time.Minute)
	return t
}
