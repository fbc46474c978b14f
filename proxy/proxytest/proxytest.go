// Package proxytest fills the limits that a test leaves out with the defaults of the
// product. The packages have none of their own: they refuse a zero, or admit nothing. A
// test beside package config holds the numbers here to those of an empty
// configuration. Nothing of the product may import this package.
package proxytest

import (
	"cmp"
	"time"

	"sallyport/authn/signin"
	"sallyport/proxy/edge"
	"sallyport/proxy/upstream"
)

// What an empty configuration has for packages that take no [edge.Config] and no
// [upstream.RouteConfig].
const (
	SessionMaxAge       = 10 * time.Hour
	SessionIdleTimeout  = time.Hour
	ChangesPerMinute    = 300
	BehaviorRetention   = 400 * 24 * time.Hour
	BehaviorHousehold   = 56
	MessageBytes        = 1 << 20
	MessageTime         = time.Minute
	BatchCalls          = 100
	Inspected           = 64 << 20
	InspectedPerSession = 8 << 20
	StreamsPerSession   = 512
	SessionsPerPerson   = 20
)

// SignIn returns c with what an empty configuration asks the provider for, where c does
// not say.
func SignIn(c signin.Config) signin.Config {
	if c.Scopes == nil {
		c.Scopes = []string{"openid", "email", "profile"}
	}
	c.EmailClaim = cmp.Or(c.EmailClaim, "email")
	c.GroupsClaim = cmp.Or(c.GroupsClaim, "groups")
	return c
}

// Edge returns c with the limits of an empty configuration where c has none.
func Edge(c edge.Config) edge.Config {
	l := &c.Limits
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 32<<10)
	l.Headers = cmp.Or(l.Headers, 128)
	l.URLBytes = cmp.Or(l.URLBytes, 8<<10)
	l.Connections = cmp.Or(l.Connections, 20_000)
	l.ConnectionsPerClient = cmp.Or(l.ConnectionsPerClient, 512)
	return c
}

// NewServer is [edge.New] with the limits of an empty configuration where c has none.
func NewServer(c edge.Config) (*edge.Server, error) { return edge.New(Edge(c)) }

// Shed returns c with the limits of an empty configuration where c has none.
func Shed(c edge.ShedConfig) edge.ShedConfig {
	c.Requests = cmp.Or(c.Requests, 4096)
	c.Streams = cmp.Or(c.Streams, 16_384)
	c.QueueFor = cmp.Or(c.QueueFor, 500*time.Millisecond)
	c.RetryAfter = cmp.Or(c.RetryAfter, 5*time.Second)
	return c
}

// NewShedder is [edge.NewShedder] with the limits of an empty configuration where c has
// none.
func NewShedder(c edge.ShedConfig) (*edge.Shedder, error) { return edge.NewShedder(Shed(c)) }

// Route returns c with the limits of an empty configuration where c has none.
func Route(c upstream.RouteConfig) upstream.RouteConfig {
	t := &c.Timeouts
	t.Connect = cmp.Or(t.Connect, 10*time.Second)
	t.ResponseHeader = cmp.Or(t.ResponseHeader, time.Minute)
	t.Idle = cmp.Or(t.Idle, 10*time.Minute)
	t.Wait = cmp.Or(t.Wait, time.Second)
	c.MaxResponseHeader = cmp.Or(c.MaxResponseHeader, 256<<10)
	if c.MaxBody == 0 {
		c.MaxBody, c.SharedMaxBody = 1<<30, true
	}
	if h := &c.Health; h.Path != "" {
		h.Interval = cmp.Or(h.Interval, 10*time.Second)
		h.Timeout = cmp.Or(h.Timeout, min(2*time.Second, h.Interval))
	}
	return c
}

// NewTable is [upstream.NewTable] with the limits of an empty configuration where a route
// has none.
func NewTable(routes []upstream.RouteConfig) (*upstream.Table, error) {
	filled := make([]upstream.RouteConfig, len(routes))
	for i, c := range routes {
		filled[i] = Route(c)
	}
	return upstream.NewTable(filled)
}

// NewForwarder is [upstream.NewForwarder] with the limit of an empty configuration where
// c has none.
func NewForwarder(c upstream.Config) *upstream.Forwarder {
	c.MaxRequestHeader = cmp.Or(c.MaxRequestHeader, 32<<10)
	f, err := upstream.NewForwarder(c)
	if err != nil {
		panic(err)
	}
	return f
}
