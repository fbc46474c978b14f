package app

import (
	"net/http"
	"sync/atomic"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/proxy"
	"sallyport/proxy/portal"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

// front is what people meet: the sign-in pages, and the gate to the tools.
type front struct {
	gate     *proxy.Gate
	upstream *upstream.Forwarder
	tickets  *enroll.Issuer
	tools    *tools
	limits   limitLog
}

func (a *App) newFront(s *proxy.Snapshot) (*front, error) {
	c := a.config
	passkeys, err := passkey.New(passkey.Config{
		RPID: c.WebAuthn.RPID, RPName: c.WebAuthn.RPName, Origins: []string{c.ExternalURL.String()},
		Store: a.store, Ceremonies: a.store, Logger: a.options.Logger,
	})
	if err != nil {
		return nil, err
	}
	pages, err := portal.NewPages(c.Contact, time.Now, a.options.Logger)
	if err != nil {
		return nil, err
	}
	ceremonies, err := newCeremonyLimits(c.Limits.CeremoniesPerMinute, c.IPData.NAT64)
	if err != nil {
		return nil, err
	}
	sessions, observer := a.identity.sessions, a.traffic.observer
	f := &front{tickets: enroll.New(enroll.Config{Store: a.store}), tools: newTools(c.Routes), limits: a.traffic.limits}
	pt, err := portal.New(portal.Config{
		SignIn: c.ExternalURL, HandoffByPost: c.Session.HandoffByPost, Sessions: sessions, Provider: a.identity.provider, Passkeys: passkeys,
		Tickets: f.tickets, Pages: pages, Tools: f.tools.of,
		Stopped:  func(phase, name string) { observer.Stopped.WithLabelValues(phase, name).Inc() },
		TooLarge: func() { f.limits.exceeded("form_bytes") },
		Now:      time.Now, Logger: a.options.Logger,
	})
	if err != nil {
		return nil, err
	}
	f.upstream, err = upstream.NewForwarder(upstream.Config{
		Cookies:          []string{sessions.CookieName(), sessions.HandoffCookiePrefix() + "*", sessions.DeviceCookieName(), pt.TicketCookieName(), pt.FlowCookiePrefix() + "*"},
		MaxRequestHeader: c.Limits.Header, OnError: proxy.UpstreamError(pages), OnLimit: f.limits.ofRoute, Logger: a.options.Logger,
		OnResponse: func(_ *upstream.ForwardRequest, res *http.Response) error { return streams.Attach(res) },
	})
	if err != nil {
		return nil, err
	}
	f.upstream.Use(s.Routes)
	f.gate, err = proxy.New(proxy.Config{
		Snapshot: s, Sessions: sessions, Audit: a.audit, Portal: pt, Pages: pages, Forwarder: f.upstream,
		SignIn: c.ExternalURL.String(), Now: time.Now, Logger: a.options.Logger,
		Assertions: a.traffic.signer, Streams: a.traffic.streams, SessionStreams: c.Limits.StreamsPerSession, Observe: observer, Limit: ceremonies,
		Behavior: a.behavior, Trace: a.traffic.tracer, IdleTimeout: c.Session.IdleTimeout,
	})
	if err != nil {
		f.upstream.Close()
		return nil, err
	}
	sessions.OnEnd(f.gate.SessionChanged)
	return f, nil
}

// tools are the routes, for people's account pages. A reload replaces them.
type tools struct {
	routes atomic.Pointer[[]config.Route]
}

func newTools(routes []config.Route) *tools {
	t := &tools{}
	t.use(routes)
	return t
}

func (t *tools) use(routes []config.Route) { t.routes.Store(&routes) }

// of lists what a person may open.
func (t *tools) of(p authn.Person) []portal.Link {
	user := proxy.UserFacts(p, time.Now())
	var links []portal.Link
	for _, r := range *t.routes.Load() {
		if r.Allow.Permits(user) && !r.Wildcard() { // which of the hosts there are, the tool knows
			links = append(links, portal.Link{URL: r.From.String(), Text: r.Name})
		}
	}
	return links
}
