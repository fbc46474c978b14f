package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
	"sallyport/authn/signin"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/policy/ipintel"
	"sallyport/proxy"
	"sallyport/proxy/assertion"
	"sallyport/proxy/audit"
	"sallyport/proxy/edge"
	"sallyport/proxy/observe"
	"sallyport/proxy/portal"
	"sallyport/proxy/rollout"
	"sallyport/proxy/streams"
	"sallyport/proxy/trace"
	"sallyport/proxy/upstream"
)

// app is the product, put together: everything that serve and demo share.
type app struct {
	config   *config.Config
	logger   *slog.Logger
	store    *sqlstore.DB
	audit    *audit.Log
	intel    *ipintel.Watcher
	sessions *session.Manager
	behavior *behavior.Tracker
	provider *signin.Provider
	gate     *proxy.Gate
	upstream *upstream.Forwarder
	roster   *rosterHolder
	routes   atomic.Pointer[[]config.Route] // for the account page
	streams  *streams.Registry
	signer   *assertion.Signer
	observer *observe.Observer
	tracer   *trace.Tracer // nil: no traces
	registry *prometheus.Registry
	shed     *edge.Shedder
	certs    *edge.Certificates // nil: no certificate files
	clients  *edge.ClientAuth   // nil: no client certificates
	acme     *edge.ACME         // nil: no authority
	redirect net.Listener       // nil: nothing sends http to https
	notify   *edge.Notifier     // nil: nobody is told how we are
	lines    *observe.Lines     // nil: the log is not for a reader that may stop
	reloads  reloads

	policies *rollout.Manager
	data     *rollout.Data
	draws    policy.DrawKey // of this installation
	drain    time.Duration
	stopping atomic.Bool // readiness is over, requests in flight go on

	teardown []step // undone in reverse order
}

// step is one thing to undo at the end, with a name for the log.
type step struct {
	name string
	undo func(context.Context) error
}

// onClose pushes a teardown step.
func (a *app) onClose(name string, undo func(context.Context) error) {
	a.teardown = append(a.teardown, step{name, undo})
}

// close undoes what newApp did, in reverse order, and reports what went wrong.
func (a *app) close(ctx context.Context) error {
	var errs []error
	for i := len(a.teardown) - 1; i >= 0; i-- {
		if err := a.teardown[i].undo(ctx); err != nil {
			errs = append(errs, fmt.Errorf("closing %s: %w", a.teardown[i].name, err))
		}
	}
	return errors.Join(errs...)
}

// newApp builds the product from a configuration. It listens on nothing.
func newApp(ctx context.Context, c *config.Config, logger *slog.Logger) (*app, error) {
	a := &app{config: c, logger: logger, drain: drainFor}
	if err := a.assemble(ctx); err != nil {
		return nil, errors.Join(err, a.close(context.WithoutCancel(ctx)))
	}
	return a, nil
}

// assemble goes top to bottom: knowledge, state, audit, identity, pages, gate. What
// can be wrong with the files comes first, so that a start that is refused for them
// leaves nothing behind.
func (a *app) assemble(ctx context.Context) (err error) {
	c := a.config
	c.IPData.Logger = a.logger
	if a.intel, err = ipintel.Open(c.IPData); err != nil {
		return err
	}
	s := &proxy.Snapshot{Intel: a.intel.Current()}
	if s.Policy, s.Shadow, err = policies(c).Compile(s.Intel); err != nil {
		return err
	}
	if s.Routes, s.Clients, err = requestReaders(c); err != nil {
		return err
	}
	s.Options = routeOptions(c)
	if err := a.certificates(); err != nil {
		return err
	}
	a.routes.Store(&c.Routes)
	a.roster = newRosterHolder(c.Roster)
	if a.store, err = sqlstore.Open(ctx, c.Store, sqlstore.Options{Logger: a.logger}); err != nil {
		return err
	}
	a.onClose("store", func(context.Context) error { return a.store.Close() })
	if a.draws, err = makeDrawKey(ctx, a.store); err != nil {
		return err
	}
	s.Policy, s.Shadow = rollout.Keyed(s.Policy, s.Shadow, a.draws)
	if a.audit, err = openAudit(ctx, c, a.store, a.logger); err != nil {
		return err
	}
	a.onClose("audit log", func(context.Context) error { return a.audit.Close() })
	if err := a.identity(ctx); err != nil {
		return err
	}
	if a.behavior, err = openBehavior(ctx, c, a.store, a.logger); err != nil {
		return err
	}
	if err := a.carriage(ctx); err != nil {
		return err
	}
	if err := a.front(s); err != nil {
		return err
	}
	a.policies = rollout.New(rollout.Config{
		Gate: a.gate, Audit: a.audit, AuditFile: c.AuditFile, Store: a.store, Intel: a.intel.Current, Key: a.draws, Logger: a.logger,
	}, rollout.Configuration{Policies: policies(c), Guard: c.PolicyGuard})
	if err := a.policies.Start(ctx); err != nil {
		return err
	}
	a.data = rollout.NewData(a.policies, a.intel)
	if err := a.data.Start(ctx); err != nil {
		return err
	}
	cancel := a.intel.OnSwap(func(*ipintel.Snapshot) {
		a.gate.Update(a.withIntel)
		go giveBack()
	})
	giveBack()
	a.onClose("IP data subscription", func(context.Context) error { cancel(); return nil })
	return nil
}

// giveBack returns memory to the system. Reading the IP data takes several times what
// holding it does, and left alone, the runtime keeps it for the next load. Twice, because what
// lies in a sync.Pool (goose reads migrations through buffers of 4 MiB) survives the first time.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// withIntel brings in the newest IP data. It asks the watcher inside the gate's
// update: whoever brought along a snapshot from before could put an old one over a
// newer one.
func (a *app) withIntel(now proxy.Snapshot) proxy.Snapshot {
	now.Intel = a.intel.Current()
	return now
}

const (
	auditKeyUse = "audit"
	auditName   = audit.DefaultName
)

// openAudit opens the log with its own signing key, made on first start.
func openAudit(ctx context.Context, c *config.Config, store *sqlstore.DB, logger *slog.Logger) (*audit.Log, error) {
	seed, err := auditSeed(ctx, store)
	if err != nil {
		return nil, err
	}
	return audit.Open(audit.Config{File: c.AuditFile, Name: auditName, Key: seed, CallsPerMinute: c.Limits.ChangesPerMinute, Translators: c.IPData.NAT64, Anchor: store, Now: time.Now, Logger: logger})
}

func auditSeed(ctx context.Context, keys authn.KeyStore) ([]byte, error) {
	seed, err := audit.NewSeed()
	if err != nil {
		return nil, err
	}
	key, err := keys.AddFirstKey(ctx, authn.Key{ID: "audit-1", Use: auditKeyUse, Secret: seed, CreatedAt: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	return key.Secret, nil
}

// identity sets up who people are: the provider, and their sessions.
func (a *app) identity(ctx context.Context) (err error) {
	c := a.config
	a.sessions, err = session.New(ctx, session.Config{
		Store: a.store, Keys: a.store, Codes: a.store, MaxAge: c.Session.MaxAge, IdleTimeout: c.Session.IdleTimeout, MaxPerPerson: c.Session.MaxPerPerson,
		Secure: c.ExternalURL.Scheme == "https", Complete: a.roster.complete, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	a.onClose("sessions", a.sessions.Close)
	sc := signinConfig(c)
	sc.Flows, sc.Now, sc.Logger = a.store, time.Now, a.logger
	a.provider, err = signin.New(sc)
	return err
}

// signinConfig is what the configuration says of the provider.
func signinConfig(c *config.Config) signin.Config {
	return signin.Config{
		Issuer: c.OIDC.Issuer, ClientID: c.OIDC.ClientID, ClientSecret: c.OIDC.ClientSecret,
		RedirectURL: c.ExternalURL.String() + portal.Prefix + "callback", Scopes: c.OIDC.Scopes,
		EmailClaim: c.OIDC.EmailClaim, EmailsVerified: c.OIDC.EmailsVerified,
		GroupsClaim: c.OIDC.GroupsClaim, GroupsFormat: c.OIDC.GroupsFormat, GroupsEndpoint: c.OIDC.GroupsEndpoint, CountriesClaim: c.OIDC.CountriesClaim,
		AuthorizationParams: c.OIDC.AuthorizationParams, ClientAuth: c.OIDC.ClientAuth, ClientKey: c.OIDC.ClientKey,
	}
}

// carriage sets up what goes along with requests: metrics, signed assertions, the
// register of open streams, and the point at which there are too many.
func (a *app) carriage(ctx context.Context) (err error) {
	c := a.config
	a.registry = prometheus.NewRegistry()
	access := a.logger
	if !c.AccessLog {
		access = nil
	}
	if a.observer, err = observe.New(observe.Config{Registry: a.registry, Routes: c.RouteNames(), Access: access}); err != nil {
		return err
	}
	if t := c.Tracing; t != nil {
		if a.tracer, err = trace.New(ctx, trace.Config{Endpoint: t.Endpoint, Headers: t.Headers, Sample: t.Sample, Version: version(), Logger: a.logger}); err != nil {
			return fmt.Errorf("tracing: %w", err)
		}
		a.onClose("traces", a.tracer.Close)
	}
	a.streams = streams.New(streams.Config{Now: time.Now, Inspected: streams.NewBudget(c.Limits.InspectedPerSession, c.Limits.Inspected), MessageTime: c.Limits.MessageTime, Observe: a.streamCut})
	if a.signer, err = assertion.New(ctx, assertion.Config{Keys: a.store, Issuer: c.ExternalURL.String(), RotateEvery: 90 * 24 * time.Hour, Now: time.Now, Logger: a.logger}); err != nil {
		return err
	}
	a.shed, err = edge.NewShedder(edge.ShedConfig{
		Requests: c.Limits.Requests, Queued: c.Limits.Requests / 4, QueueFor: 500 * time.Millisecond, Streams: c.Limits.Streams, RetryAfter: 5 * time.Second,
		Memory: edge.LiveMemory(0), Known: func(r *http.Request) bool { return a.gate.Known(r) },
	})
	return err
}

// front sets up what people meet: the pages and the gate.
func (a *app) front(s *proxy.Snapshot) error {
	c := a.config
	passkeys, err := passkey.New(passkey.Config{
		RPID: c.WebAuthn.RPID, RPName: c.WebAuthn.RPName, Origins: []string{c.ExternalURL.String()},
		Store: a.store, Ceremonies: a.store, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	pages, err := portal.NewPages(c.Contact, a.logger)
	if err != nil {
		return err
	}
	limits, err := newCeremonyLimits(c.Limits.CeremoniesPerMinute, c.IPData.NAT64)
	if err != nil {
		return err
	}
	pt, err := portal.New(portal.Config{
		SignIn: c.ExternalURL, Origins: c.Origins(), HandoffByPost: c.Session.HandoffByPost, Sessions: a.sessions, Provider: a.provider, Passkeys: passkeys,
		Tickets: enroll.New(enroll.Config{Store: a.store}), Pages: pages, Tools: a.tools,
		Stopped: func(phase, name string) { a.observer.Stopped.WithLabelValues(phase, name).Inc() },
		Now:     time.Now, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	a.upstream = upstream.NewForwarder(upstream.Config{
		Cookies:        []string{a.sessions.CookieName(), a.sessions.HandoffCookiePrefix() + "*", a.sessions.DeviceCookieName(), pt.TicketCookieName(), pt.FlowCookiePrefix() + "*"},
		MaxHeaderBytes: c.Limits.Header, OnError: a.notForwarded(proxy.UpstreamError(pages)), Logger: a.logger,
		OnResponse: func(_ *upstream.ForwardRequest, res *http.Response) error { return streams.Attach(res) },
	})
	a.onClose("upstream connections", func(context.Context) error { a.upstream.Close(); return nil })
	a.upstream.Use(s.Routes)
	a.gate, err = proxy.New(proxy.Config{
		Snapshot: s, Sessions: a.sessions, Audit: a.audit, Portal: pt, Pages: pages, Forwarder: a.upstream,
		SignIn: c.ExternalURL.String(), Now: time.Now, Logger: a.logger,
		Assertions: a.signer, Streams: a.streams, SessionStreams: c.Limits.StreamsPerSession, Observe: a.observer, Limit: limits, Behavior: a.behavior, Trace: a.tracer, IdleTimeout: c.Session.IdleTimeout,
	})
	if err == nil {
		a.sessions.OnEnd(a.gate.SessionChanged)
	}
	return err
}

// messageBytes is the largest JSON-RPC message of a route, and the key that says so: what the route says of bodies holds too.
func messageBytes(c *config.Config, r config.Route) (n int, key string) {
	n, key = c.Limits.Message, "limits.message_bytes"
	switch body := cmp.Or(r.MaxBody, c.Limits.Body); {
	case body <= 0 || body >= int64(n):
	case r.MaxBody > 0:
		n, key = int(body), "body_bytes of route "+r.Name
	default:
		n, key = int(body), "limits.body_bytes"
	}
	return n, key
}

// routeOptions is what the gate does differently on some routes.
func routeOptions(c *config.Config) map[string]proxy.RouteOptions {
	m := map[string]proxy.RouteOptions{}
	for _, r := range c.Routes {
		size, key := messageBytes(c, r)
		m[r.Name] = proxy.RouteOptions{RPC: r.RPC, RPC1: r.RPC1, RPCBytes: size, RPCBytesKey: key, RPCURI: r.RPCURI, RPCPaths: r.RPCPaths, CutStale: r.CutStale, RootWorkers: r.RootWorkers, Groups: r.Groups, CrossSitePosts: r.CrossSitePosts}
	}
	return m
}

// tools lists what a person may open, for their account page.
func (a *app) tools(p authn.Person) []portal.Link {
	user := proxy.UserFacts(p, time.Now())
	var links []portal.Link
	for _, r := range *a.routes.Load() {
		if r.Allow.Permits(user) && !r.Wildcard() { // which of the hosts there are, the tool knows
			links = append(links, portal.Link{URL: r.From.String(), Text: r.Name})
		}
	}
	return links
}

// background starts what runs beside the requests, until ctx ends. The returned
// function waits for all of it.
func (a *app) background(ctx context.Context) (wait func()) {
	tasks := []func(context.Context){
		a.sessions.Run,
		a.provider.Run,
		func(ctx context.Context) {
			if err := a.intel.Run(ctx); err != nil && ctx.Err() == nil {
				a.logger.Error("IP data is not watched any more; it will age", "error", err)
			}
		},
		func(ctx context.Context) { // writes what is left after ctx has ended
			if err := a.behavior.Run(ctx); err != nil {
				a.logger.Error("some of what was seen last is lost", "error", err)
			}
		},
		newRefresher(a).run,
		newOutbox(a).run,
		a.signer.Run,
		a.shed.Run,
		a.gate.Run,
		a.watchCertificates,
		a.watchPolicy,
		a.answerRequests,
		func(ctx context.Context) {
			if err := a.upstream.Run(ctx); err != nil && ctx.Err() == nil {
				a.logger.Error("upstreams are not checked any more", "error", err)
			}
		},
	}
	done := make(chan struct{}, len(tasks))
	for _, task := range tasks {
		go func() {
			defer func() { done <- struct{}{} }()
			task(ctx)
		}()
	}
	return func() {
		for range tasks {
			<-done
		}
	}
}
