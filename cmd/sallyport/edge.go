package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/policy/ipv4in6"
	"sallyport/proxy/edge"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

// certificates sets up what the data port shows: files, or an authority's.
func (a *app) certificates() (err error) {
	c := a.config
	switch {
	case c.TLS != nil:
		a.certs, err = edge.NewCertificates(edge.CertConfig{Pairs: c.TLS.Pairs(), Now: time.Now, Logger: a.logger})
		if err == nil && c.TLS.Client != nil {
			a.clients, err = edge.NewClientAuth(*c.TLS.Client)
		}
	case c.ACME != nil:
		acme := *c.ACME
		acme.Logger = a.logger
		a.acme, err = edge.NewACME(acme)
	}
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	return nil
}

// tlsFiles are the files of certificates and authorities that may change while serving.
func (a *app) tlsFiles() (list []edge.Reloader) {
	if a.certs != nil {
		list = append(list, a.certs)
	}
	if a.clients != nil {
		list = append(list, a.clients)
	}
	return list
}

// reloadCertificates reads the files again; what is wrong keeps what it had.
func (a *app) reloadCertificates() error {
	var errs []error
	for _, f := range a.tlsFiles() {
		errs = append(errs, f.Reload())
	}
	return errors.Join(errs...)
}

// watchCertificates follows the files, or obtains what an authority gives.
func (a *app) watchCertificates(ctx context.Context) {
	if a.acme != nil {
		a.acme.Run(ctx)
	} else if files := a.tlsFiles(); files != nil {
		edge.Watch(ctx, edge.WatchConfig{Logger: a.logger}, files...)
	}
}

// dataServer is the server people reach.
func (a *app) dataServer() (*edge.Server, error) {
	c := a.config
	cfg := edge.Config{
		Handler: upstream.WebSockets(a.gate), Shed: a.shed, Logger: a.logger,
		Limits: edge.Limits{
			HeaderBytes: c.Limits.Header, URLBytes: c.Limits.URL, Headers: c.Limits.Lines, Connections: c.Limits.Connections, ConnectionsPerClient: c.Limits.ConnectionsPerClient,
			Exempt:      c.TrustedProxies, // they carry everybody
			Translators: c.IPData.NAT64,
		},
		Refuse: func(w http.ResponseWriter, r *http.Request, status int, message string) {
			a.overLimit(w, r, status, message)
		},
		Exceeded: func(limit string) { a.exceeded(limit) },
		OnDrain:  func(ctx context.Context) { a.tellStreams(); go a.tellLateStreams(ctx) },
		Linger:   250 * time.Millisecond,
	}
	if c.ExternalURL.Scheme == "https" && c.HSTSMaxAge > 0 {
		cfg.Handler = edge.HSTS(edge.HSTSConfig{MaxAge: c.HSTSMaxAge, Scheme: func(r *http.Request) string { return a.gate.Current().Clients.Scheme(r) }}, cfg.Handler)
	}
	if a.certs != nil || a.acme != nil {
		tls, err := edge.NewTLS(edge.TLSConfig{Certificates: a.certs, ACME: a.acme, ClientAuth: a.clients})
		if err != nil {
			return nil, err
		}
		cfg.TLS = tls
	}
	return edge.New(cfg)
}

// tellStreams ends what goes on for as long as it likes, when the process stops. A request
// that is not answered yet and a download finish by themselves: that is what the drain time is for.
func (a *app) tellStreams() {
	a.streams.CutIf(func(i streams.Info) (streams.Reason, bool) {
		return streams.Shutdown, i.Kind != streams.Request && i.Kind != streams.Download
	})
}

// tellLateStreams is for requests that turn out to be streams while the drain goes on.
func (a *app) tellLateStreams(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.tellStreams()
		case <-ctx.Done():
			return
		}
	}
}

// redirectServer sends plain http to https, and answers the authority's challenges.
func (a *app) redirectServer() (*edge.Server, error) {
	var hosts []string
	for _, r := range a.config.Routes {
		hosts = append(hosts, r.From.Hostname())
	}
	port, _ := strconv.Atoi(a.config.ExternalURL.Port()) // none is 443
	handler, err := edge.Redirect(edge.RedirectConfig{Hosts: append(hosts, a.config.ExternalURL.Hostname()), Port: port, ACME: a.acme})
	if err != nil {
		return nil, err
	}
	return edge.New(edge.Config{
		Handler: handler, Logger: a.logger, Pace: edge.Pace{Patience: 10 * time.Second},
		Limits: edge.Limits{HeaderBytes: 16 << 10, HeaderTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second, Exempt: a.config.TrustedProxies},
	})
}

// ceremonyLimits bounds how often something may be tried at the sign-in pages. Each attempt is counted once, for the narrowest
// that is known of who makes it, so that nobody spends what belongs to others.
type ceremonyLimits struct {
	clients  *edge.AddressLimiter  // of requests without a session
	sessions *edge.Limiter[string] // of sessions without a passkey assertion
	accounts *edge.AccountLimiter  // of people with a verified session
	logouts  *edge.AddressLimiter  // messages of the OpenID provider
}

// logoutsFactor: at the end of a day, a provider signs a whole company out.
const logoutsFactor = 20

func newCeremonyLimits(perMinute int, translators ipv4in6.Translators) (l *ceremonyLimits, err error) {
	l = &ceremonyLimits{}
	each := edge.LimiterConfig{Every: time.Minute / time.Duration(perMinute), Burst: perMinute, Now: time.Now, Translators: translators}
	if l.accounts, err = edge.NewAccountLimiter(each); err != nil {
		return nil, err
	}
	if l.sessions, err = edge.NewLimiter[string](each); err != nil {
		return nil, err
	}
	if l.logouts, err = edge.NewAddressLimiter(edge.LimiterConfig{Every: max(each.Every/logoutsFactor, 1), Burst: each.Burst * logoutsFactor, Now: time.Now, Translators: translators}); err != nil {
		return nil, err
	}
	// An office shares one address.
	each.Every, each.Burst = max(each.Every/10, 1), each.Burst*10
	l.clients, err = edge.NewAddressLimiter(each)
	return l, err
}

// Allow implements proxy.Limiter.
func (l *ceremonyLimits) Allow(client netip.Addr, who *authn.Session) (bool, time.Duration) {
	switch who.Level() {
	case authn.Verified:
		return l.accounts.Allow(who.Person.Subject)
	case authn.SignedIn:
		return l.sessions.Allow(who.ID)
	default:
		return l.clients.Allow(client)
	}
}

// AllowLogout implements proxy.Limiter.
func (l *ceremonyLimits) AllowLogout(client netip.Addr) (bool, time.Duration) {
	return l.logouts.Allow(client)
}

// sockets opens what serve listens on, or takes over what the service manager holds
// open across restarts (names: data, ops, redirect).
type sockets struct {
	data, ops, redirect net.Listener
	inherited           *edge.Inherited
}

func (a *app) sockets(ctx context.Context, inherited *edge.Inherited) (s sockets, err error) {
	s.inherited = inherited
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	c := a.config
	open := func(name, key, address string, into *net.Listener) error {
		l, err := edge.Listen(ctx, edge.ListenConfig{
			Inherited: s.inherited, Name: name, Address: address,
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
			a.logger.Warn("this system has no IPv6: IPv4 alone is served", "key", key, "address", own.String())
		}
		*into = l
		return nil
	}
	if err = open("data", "listen", c.Listen, &s.data); err != nil {
		return s, err
	}
	if err = open("ops", "ops_listen", c.OpsListen, &s.ops); err != nil {
		return s, err
	}
	if c.RedirectListen != "" {
		if err = open("redirect", "redirect_listen", c.RedirectListen, &s.redirect); err != nil {
			return s, err
		}
	}
	return s, s.inherited.Unused()
}

func (s sockets) close() {
	for _, l := range []net.Listener{s.data, s.ops, s.redirect} {
		if l != nil {
			l.Close()
		}
	}
}
