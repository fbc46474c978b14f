package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"sallyport/authn/enroll"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/ops"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy/behavior"
	"sallyport/policy/ipintel"
	"sallyport/proxy"
	"sallyport/proxy/audit"
	"sallyport/proxy/edge"
	"sallyport/proxy/observe"
	"sallyport/proxy/rollout"
)

// Options are what New is given beside the configuration.
type Options struct {
	Logger  *slog.Logger
	Version string
	Lines   *observe.Lines // where Logger writes; nil: to a reader that never stops
	Notify  *edge.Notifier // the service manager; nil: there is none to tell
	Strict  bool           // a policy file that is refused refuses the start, also where the last good one could run
}

// App is the product. Every request is answered by front; the other parts know, record
// or limit.
type App struct {
	options  Options
	config   *config.Config // as it was at the start
	store    *sqlstore.DB
	audit    *audit.Log
	intel    *ipintel.Watcher
	behavior *behavior.Tracker

	certificates *certificates
	identity     *identity
	traffic      *traffic
	front        *front
	reloader     *reloader

	drain    time.Duration
	stopping atomic.Bool // readiness is over, requests in flight go on
	teardown teardown
}

// teardown is the steps to undo at the end, in reverse order.
type teardown []step

type step struct {
	name string
	undo func(context.Context) error
}

func (t *teardown) add(name string, undo func(context.Context) error) {
	*t = append(*t, step{name, undo})
}

func (t teardown) run(ctx context.Context) error {
	var errs []error
	for i := len(t) - 1; i >= 0; i-- {
		if err := t[i].undo(ctx); err != nil {
			errs = append(errs, fmt.Errorf("closing %s: %w", t[i].name, err))
		}
	}
	return errors.Join(errs...)
}

// New builds the product. It listens on nothing. On an error, nothing is left open.
func New(ctx context.Context, c *config.Config, o Options) (*App, error) {
	a := &App{options: o, config: c, drain: drainFor}
	if err := a.assemble(ctx); err != nil {
		return nil, errors.Join(err, a.Close(context.WithoutCancel(ctx)))
	}
	return a, nil
}

// Close undoes what New did, in reverse order. Serve calls it at its end.
func (a *App) Close(ctx context.Context) error { return a.teardown.run(ctx) }

// Tickets mints and redeems the enrolment tickets of this installation.
func (a *App) Tickets() *enroll.Issuer { return a.front.tickets }

// PolicyHash returns the hash of the policy in force.
func (a *App) PolicyHash() string { return a.front.gate.Current().Policy.Hash() }

// AuditKey returns the public key of the audit log.
func (a *App) AuditKey() string { return a.audit.Key() }

// assemble goes top to bottom: knowledge, state, audit, identity, traffic, front,
// reloads. What can be wrong with the files comes first, so that a start that is refused
// for them leaves nothing behind.
func (a *App) assemble(ctx context.Context) (err error) {
	c := a.config
	c.IPData.Logger = a.options.Logger
	if a.intel, err = ipintel.Open(c.IPData); err != nil {
		return err
	}
	s := &proxy.Snapshot{Intel: a.intel.Current(), Options: c.RouteOptions()}
	// The last good policy may run in the place of a wrong one, where there is one.
	inFile := rollout.CompileStart(c.Policies(), s.Intel)
	if inFile.Wrong != nil && (a.options.Strict || !sqlstore.Exists(c.Store)) {
		return inFile.Wrong
	}
	if a.options.Strict && inFile.Exceptions != nil {
		return inFile.Exceptions
	}
	if s.Routes, s.Clients, err = c.RequestReaders(); err != nil {
		return err
	}
	if a.certificates, err = newCertificates(c, a.options.Logger); err != nil {
		return err
	}
	if a.store, err = sqlstore.Open(ctx, c.Store, sqlstore.Options{Logger: a.options.Logger}); err != nil {
		return err
	}
	a.teardown.add("store", func(context.Context) error { return a.store.Close() })
	drawKey, err := rollout.MakeDrawKey(ctx, a.store)
	if err != nil {
		return err
	}
	start, err := rollout.ChooseStart(ctx, rollout.StartConfig{
		History: a.store, AuditFile: c.AuditFile, Policies: c.Policies(), Compiled: inFile, Intel: s.Intel, Settle: c.PolicySettle, Strict: a.options.Strict,
	})
	if err != nil {
		return err
	}
	shadow, wrong := start.Policies.CompileShadow(s.Intel)
	if wrong != nil {
		start.Policies.LogShadow(a.options.Logger, wrong)
	}
	s.Policy, s.Shadow = rollout.Keyed(start.Policy, shadow, drawKey)
	if a.audit, err = OpenAudit(ctx, c, a.store, a.options.Logger); err != nil {
		return err
	}
	a.teardown.add("audit log", func(context.Context) error { return a.audit.Close() })
	if a.identity, err = newIdentity(ctx, c, a.store, a.options.Logger); err != nil {
		return err
	}
	a.teardown.add("sessions", a.identity.sessions.Close)
	if a.behavior, err = openBehavior(ctx, c, a.store, a.options.Logger); err != nil {
		return err
	}
	if a.traffic, err = a.newTraffic(ctx); err != nil {
		return err
	}
	if a.front, err = a.newFront(s); err != nil {
		return err
	}
	a.teardown.add("upstream connections", func(context.Context) error { a.front.upstream.Close(); return nil })
	a.reloader = a.newReloader(start.Policies, rollout.Config{
		Gate: a.front.gate, Audit: a.audit, AuditFile: c.AuditFile, Store: a.store, Intel: a.intel.Current, Key: drawKey, Logger: a.options.Logger,
	})
	if err := a.reloader.start(ctx, start); err != nil {
		return err
	}
	cancel := a.intel.OnSwap(func(*ipintel.Snapshot) {
		a.front.gate.Update(a.withIntel)
		go freeMemory()
	})
	a.teardown.add("IP data subscription", func(context.Context) error { cancel(); return nil })
	freeMemory()
	return nil
}

// freeMemory returns memory to the system. Reading the IP data takes several times what
// holding it does, and left alone, the runtime keeps it for the next load. Twice, because
// what lies in a sync.Pool (goose reads migrations through buffers of 4 MiB) survives the
// first time.
func freeMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}

// withIntel brings in the newest IP data. It asks the watcher inside the gate's update: a
// snapshot that was taken before could replace a newer one.
func (a *App) withIntel(now proxy.Snapshot) proxy.Snapshot {
	now.Intel = a.intel.Current()
	return now
}

// background starts what runs beside the requests, until ctx ends. The returned
// function waits for all of it.
func (a *App) background(ctx context.Context) (wait func()) {
	tasks := []func(context.Context){
		a.identity.sessions.Run,
		a.identity.provider.Run,
		a.intel.Run,
		func(ctx context.Context) { // writes the rest after ctx has ended
			if err := a.behavior.Run(ctx); err != nil {
				a.options.Logger.Error("the newest history is lost", "error", err)
			}
		},
		newRefresher(a.identity, a.audit, a.config.OIDC.RefreshInterval, a.options.Logger).run,
		newOutbox(a.store, a.audit, a.options.Logger).run,
		a.traffic.signer.Run,
		a.traffic.shed.Run,
		a.front.gate.Run,
		a.certificates.watch,
		a.reloader.watchPolicy,
		a.reloader.answerRequests,
		func(ctx context.Context) {
			if err := a.front.upstream.Run(ctx); err != nil && ctx.Err() == nil {
				a.options.Logger.Error("upstreams are not checked any more", "error", err)
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

// opsConfig is what the operators' port tells about.
func (a *App) opsConfig() ops.Config {
	return ops.Config{
		Hosts: a.config.OpsHosts, Pprof: a.config.Pprof, Traffic: a.traffic.registry,
		Stopping: a.stopping.Load, Lines: a.options.Lines,
		Store: a.store, Sessions: a.identity.sessions, Provider: a.identity.provider, Audit: a.audit,
		History: a.behavior, Intel: a.intel, Gate: a.front.gate, Upstreams: a.front.upstream,
		Streams: a.traffic.streams, Shed: a.traffic.shed,
		Policies: a.reloader.policies, Data: a.reloader.data, Reloads: &a.reloader.counts,
	}
}
