package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"sallyport/policy/ipv4in6"
)

// Config says what a [Server] serves, and how much a client may use.
type Config struct {
	// Handler receives every request within the limits.
	Handler http.Handler
	// TLS is nil for plain HTTP. [NewTLS] makes one.
	TLS    *tls.Config
	Limits Limits
	// Pace has a default for what is zero.
	Pace Pace
	// Shed is nil if no load is shed. Servers may share one.
	Shed *Shedder
	// Refuse answers a request that never reaches Handler: 414, 431 or 503.
	// Headers that belong to the answer are set already. Nil: plain text.
	Refuse func(w http.ResponseWriter, r *http.Request, status int, message string)
	// Exceeded, if set, is called for limits that do not show in a call of Refuse:
	// "connections", "connections_per_client", "header_bytes" (net/http answers by
	// itself, or closes an HTTP/2 connection), "http2_streams" and "streams". It must not
	// block.
	Exceeded func(limit string)
	// OnDrain is called once when Drain has stopped accepting: the place to end streams.
	// It must return when ctx ends.
	OnDrain func(ctx context.Context)
	// Linger is how long connections may still bring a request after Drain has begun.
	// Each request is answered, and the answer says that it is the last on its
	// connection.
	Linger time.Duration
	Logger *slog.Logger
}

// Limits bound what clients can make the server hold. The five sizes and counts that
// an operator sets have no default here: New refuses a zero.
type Limits struct {
	HeaderBytes int // of one request; more is 431, and more than twice it ends an HTTP/2 connection
	Headers     int // header lines of one request; more is 431
	URLBytes    int // of the request target; more is 414

	Connections          int // in total; more are closed at once
	ConnectionsPerClient int // of one IPv4 address or IPv6 /64
	// Exempt are networks whose connections are not counted per client: proxies in front
	// that connect many clients from one address.
	Exempt []netip.Prefix
	// Translators are prefixes below which IPv4 clients appear. Each such IPv4 address
	// counts as one client, instead of its /64.
	Translators ipv4in6.Translators

	StreamsPerConnection int // concurrent HTTP/2 streams; 0 is 128

	HeaderTimeout time.Duration // for the TLS handshake, and for each request header; 0 is 10 s
	IdleTimeout   time.Duration // between two requests; 0 is 2 min
}

// Pace is the minimum speed of a client that sends a body or reads an answer. A client
// may keep the server waiting for Patience in total; each byte that moves refills
// 1/MinRate seconds. Time in which the server is slow, because its upstream is, does not
// count.
type Pace struct {
	Patience time.Duration
	MinRate  int // bytes per second
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c *Config) complete() error {
	orDefault(&c.Limits.StreamsPerConnection, 128)
	orDefault(&c.Limits.HeaderTimeout, 10*time.Second)
	orDefault(&c.Limits.IdleTimeout, 2*time.Minute)
	orDefault(&c.Pace.Patience, 30*time.Second)
	orDefault(&c.Pace.MinRate, 240)
	orDefault(&c.Linger, 2*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Refuse == nil {
		c.Refuse = func(w http.ResponseWriter, _ *http.Request, status int, message string) {
			http.Error(w, message, status)
		}
	}
	if c.Exceeded == nil {
		c.Exceeded = func(string) {}
	}
	if c.Handler == nil {
		return errors.New("edge: there is no handler")
	}
	l := c.Limits
	for name, n := range map[string]int{
		"HeaderBytes": l.HeaderBytes, "Headers": l.Headers, "URLBytes": l.URLBytes,
		"Connections": l.Connections, "ConnectionsPerClient": l.ConnectionsPerClient,
	} {
		if n <= 0 {
			return fmt.Errorf("edge: Limits.%s is %d, and must be positive", name, n)
		}
	}
	for name, n := range map[string]int64{
		"Limits.StreamsPerConnection": int64(l.StreamsPerConnection), "Limits.HeaderTimeout": int64(l.HeaderTimeout),
		"Limits.IdleTimeout": int64(l.IdleTimeout), "Pace.Patience": int64(c.Pace.Patience), "Pace.MinRate": int64(c.Pace.MinRate),
		"Linger": int64(c.Linger),
	} {
		if n < 0 {
			return fmt.Errorf("edge: %s is negative", name)
		}
	}
	for _, p := range l.Exempt {
		if !p.IsValid() {
			return fmt.Errorf("edge: %v is not a network", p)
		}
	}
	return nil
}
