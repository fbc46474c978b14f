package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/ops"
	"sallyport/proxy/edge"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

// Listeners are the sockets that Serve accepts on.
type Listeners struct {
	Data, Ops net.Listener
	Redirect  net.Listener // nil: nothing sends http to https
}

// Close closes all of them.
func (s Listeners) Close() {
	for _, l := range []net.Listener{s.Data, s.Ops, s.Redirect} {
		if l != nil {
			l.Close()
		}
	}
}

// Listen opens the sockets of the configuration, or takes over those that the service
// manager holds open across restarts (names: data, ops, redirect).
func Listen(ctx context.Context, c *config.Config, inherited *edge.Inherited, logger *slog.Logger) (s Listeners, err error) {
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	open := func(name, key, address string, into *net.Listener) error {
		l, err := edge.Listen(ctx, edge.ListenConfig{
			Inherited: inherited, Name: name, Address: address,
			ProxyProtocol: c.ProxyProtocol && name == "data", Trusted: c.TrustedProxies,
		})
		if err != nil {
			if cause := errors.Unwrap(err); cause != nil {
				err = cause
			}
			return fmt.Errorf("%s: %w", key, err)
		}
		// net takes every IPv4 address then, where other programs fail.
		if own, err := netip.ParseAddrPort(l.Addr().String()); err == nil && own.Addr().Is4() && strings.HasPrefix(address, "[::]:") {
			logger.Warn("this system has no IPv6: IPv4 alone is served", "key", key, "address", own.String())
		}
		*into = l
		return nil
	}
	if err = open("data", "listen", c.Listen, &s.Data); err != nil {
		return s, err
	}
	if err = open("ops", "ops_listen", c.OpsListen, &s.Ops); err != nil {
		return s, err
	}
	if c.RedirectListen != "" {
		if err = open("redirect", "redirect_listen", c.RedirectListen, &s.Redirect); err != nil {
			return s, err
		}
	}
	return s, inherited.Unused()
}

// serverLimits are the limits of the configuration. They hold for each port by itself.
func serverLimits(c *config.Config) edge.Limits {
	return edge.Limits{
		HeaderBytes: c.Limits.Header, URLBytes: c.Limits.URL, Headers: c.Limits.Lines,
		Connections: c.Limits.Connections, ConnectionsPerClient: c.Limits.ConnectionsPerClient,
		Exempt:      c.TrustedProxies, // one address of theirs carries many clients
		Translators: c.IPData.NAT64,
	}
}

// dataServer is the server people reach.
func (a *App) dataServer() (*edge.Server, error) {
	c := a.config
	cfg := edge.Config{
		Handler: upstream.WebSockets(a.front.gate), Shed: a.traffic.shed, Logger: a.options.Logger,
		Limits:   serverLimits(c),
		Refuse:   a.front.overLimit,
		Exceeded: func(limit string) { a.front.limits.exceeded(limit) },
		OnDrain: func(ctx context.Context) {
			endStreams(a.traffic.streams)
			go endLateStreams(ctx, a.traffic.streams)
		},
		Linger: 250 * time.Millisecond,
	}
	if c.ExternalURL.Scheme == "https" && c.HSTSMaxAge > 0 {
		cfg.Handler = edge.HSTS(edge.HSTSConfig{MaxAge: c.HSTSMaxAge, Scheme: func(r *http.Request) string { return a.front.gate.Current().Clients.Scheme(r) }}, cfg.Handler)
	}
	var err error
	if cfg.TLS, err = a.certificates.tls(); err != nil {
		return nil, err
	}
	return edge.New(cfg)
}

// endStreams ends what goes on for as long as it likes, when the process stops. A request
// that is not answered yet and a download finish by themselves: that is what the drain
// time is for.
func endStreams(open *streams.Registry) {
	open.CutIf(func(i streams.Info) (streams.Reason, bool) {
		return streams.Shutdown, i.Kind != streams.Request && i.Kind != streams.Download
	})
}

// endLateStreams is for requests that turn out to be streams while the drain goes on.
func endLateStreams(ctx context.Context, open *streams.Registry) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			endStreams(open)
		case <-ctx.Done():
			return
		}
	}
}

// opsServer is the server of the operators' port.
func (a *App) opsServer() (*edge.Server, error) {
	limits := serverLimits(a.config)
	limits.HeaderTimeout, limits.IdleTimeout = 5*time.Second, time.Minute
	return edge.New(edge.Config{Handler: ops.New(a.opsConfig()), Logger: a.options.Logger, Limits: limits})
}

// redirectServer sends plain http to https, and answers the authority's challenges.
func redirectServer(c *config.Config, k *certificates, routes func() *upstream.Table) (*edge.Server, error) {
	port, _ := strconv.Atoi(c.ExternalURL.Port()) // none is 443
	handler, err := edge.Redirect(edge.RedirectConfig{Port: port, ACME: k.acme, Known: func(host string) bool {
		return host == c.ExternalURL.Hostname() || slices.ContainsFunc(routes().Routes(), func(r *upstream.Route) bool { return r.Covers(host) })
	}})
	if err != nil {
		return nil, err
	}
	limits := serverLimits(c)
	limits.IdleTimeout = 30 * time.Second
	return edge.New(edge.Config{Handler: handler, Logger: k.logger, Pace: edge.Pace{Patience: 10 * time.Second}, Limits: limits})
}
