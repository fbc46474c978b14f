package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy/filewatch"
	"sallyport/policy/ipintel"
	"sallyport/proxy"
	"sallyport/proxy/audit"
	"sallyport/proxy/hostname"
	"sallyport/proxy/rollout"
)

// reloader is what changes while the product serves: policies, IP data, and the part of
// the configuration that needs no restart.
type reloader struct {
	policies *rollout.Manager
	data     *rollout.Data
	counts   reloads

	started      *config.Config // the configuration that keys waiting for a restart are compared with
	inForce      *config.Config // what was reloaded last, or started with
	audit        *audit.Log
	intel        *ipintel.Watcher
	certificates *certificates
	roster       *roster
	front        *front
	logger       *slog.Logger
}

// reloads counts, for the operator's metrics.
type reloads struct {
	applied, refused atomic.Int64
	lastRefused      atomic.Bool
}

// Stats returns how many reloads were applied and refused, and whether the last one was
// refused.
func (r *reloads) Stats() (applied, refused int64, lastRefused bool) {
	return r.applied.Load(), r.refused.Load(), r.lastRefused.Load()
}

func (a *App) newReloader(now rollout.Policies, c rollout.Config) *reloader {
	r := &reloader{
		started: a.config, inForce: a.config, audit: a.audit, intel: a.intel, certificates: a.certificates, roster: a.identity.roster, front: a.front, logger: a.options.Logger,
		policies: rollout.New(c, rollout.Configuration{Policies: now, Guard: a.config.PolicyGuard, Settle: a.config.PolicySettle, Beside: a.config.Texts()}),
	}
	r.data = rollout.NewData(r.policies, a.intel)
	return r
}

// start records the policy in force at the start.
func (r *reloader) start(ctx context.Context, s rollout.Start) error {
	if err := r.policies.Start(ctx, s); err != nil {
		return err
	}
	return r.data.Start(ctx)
}

// onSIGHUP reloads, and tells the operator what came of it.
func (r *reloader) onSIGHUP(ctx context.Context) {
	err := r.reload(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		r.logger.Warn("reload given up for the order to stop")
		return
	}
	r.counts.lastRefused.Store(err != nil)
	if err != nil {
		r.counts.refused.Add(1)
		r.logger.Error("reload refused", "error", err)
		return
	}
	r.counts.applied.Add(1)
}

// Reload reads the configuration again. Policies with their guard, routes with their
// grants and limits.body_bytes, trusted proxies with what is believed of them, internal
// networks, roster and the content of certificate files change together or not at all:
// grants of one file on the routes of another could open a tool to the wrong people.
// Everything else (listeners, provider, stores, limits, which IP sources there are) waits
// for a restart, and the log says so.
//
// IP data is no part of that: a source that is right comes into use, one that is not
// keeps what it had, here as when its file changes. It comes first, as each change of it
// waits for the manager by itself.
func (a *App) Reload(ctx context.Context) error { return a.reloader.reload(ctx) }

func (r *reloader) reload(ctx context.Context) error {
	if err := r.audit.Reopen(); err != nil {
		r.logger.Error("the audit log was not reopened", "error", err)
	}
	if err := r.intel.Reload(ctx); err != nil {
		r.logger.Error("IP data keeps what it had", "error", err)
	}
	_, err := r.policies.Apply(ctx, r.candidate, rollout.Origin{Kind: "signal"})
	return err
}

// candidate is what the configuration file describes now.
func (r *reloader) candidate(rollout.Configuration) (next rollout.Configuration, err error) {
	c, err := config.Load(r.started.File)
	if err != nil {
		return next, err
	}
	if err := r.onSignInHost(c); err != nil {
		return next, err
	}
	waiting := needRestart(r.started, c)
	// Some limits go with the routes and some belong to the listeners or to what all routes
	// share, and they depend on each other: message_bytes on inspected_bytes. So all wait,
	// but for the one that is the default of a route's key.
	body := c.Limits.Body
	c.Limits = r.started.Limits
	c.Limits.Body = body
	table, clients, err := c.RequestReaders()
	if err != nil {
		return next, err
	}
	return rollout.Configuration{
		Policies: c.Policies(), Guard: c.PolicyGuard, Settle: c.PolicySettle, Beside: c.Texts(),
		Prepare: r.certificates.reload,
		Change: func(s *proxy.Snapshot) {
			s.Routes, s.Clients, s.Options = table, clients, c.RouteOptions()
		},
		Done: func(ctx context.Context) {
			r.front.upstream.Use(table)
			r.roster.use(ctx, c.Roster)
			r.front.tools.use(c.Routes)
			if len(waiting) > 0 {
				r.logger.Warn("configuration changes wait for a restart", "keys", waiting)
			}
			if gone := missing(r.inForce.RouteNames(), c.RouteNames()); len(gone) > 0 {
				r.logger.Warn("routes are gone with this reload", "routes", gone)
			}
			if gone := missing(slices.Sorted(maps.Keys(r.inForce.Roster)), slices.Sorted(maps.Keys(c.Roster))); len(gone) > 0 {
				r.logger.Warn("people are gone from the roster with this reload", "people", len(gone), "some", gone[:min(len(gone), 20)])
			}
			r.inForce = c
			r.logger.Info("reloaded", "policy", r.front.gate.Current().Policy.Hash(), "routes", len(c.Routes), "roster", len(c.Roster))
		},
	}, nil
}

// missing are the names that are gone.
func missing[T comparable](before, after []T) []T {
	return slices.DeleteFunc(slices.Clone(before), func(name T) bool { return slices.Contains(after, name) })
}

// requestsEvery is how often the store is asked what commands want.
const requestsEvery = time.Second

// answerRequests answers what commands ask the running proxy for, until ctx ends.
func (r *reloader) answerRequests(ctx context.Context) {
	tick := time.NewTicker(requestsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := r.policies.AnswerRequest(ctx); err != nil && !errors.Is(err, authn.ErrNotFound) && ctx.Err() == nil {
				r.logger.Error("a request for another policy could not be answered", "error", err)
			}
			if err := r.data.AnswerRequests(ctx); err != nil && ctx.Err() == nil {
				r.logger.Error("a request about IP data could not be answered", "error", err)
			}
		}
	}
}

// watchPolicy brings changed policy files into force, until ctx ends.
func (r *reloader) watchPolicy(ctx context.Context) {
	filewatch.Run(ctx, filewatch.Config{
		What: "policy", Logger: r.logger, Files: r.policies.Files,
		Changed: func() time.Duration {
			if err := r.policies.ReloadFiles(ctx); err != nil {
				r.logger.Error("reload refused", "error", err)
			}
			return r.policies.Again()
		},
	})
}

// onSignInHost refuses routes on the host that people sign in at, which stays the same
// until a restart: the file may give it to a tool, and move external_url away from it.
func (r *reloader) onSignInHost(c *config.Config) error {
	host := r.started.ExternalURL.Hostname()
	for _, route := range c.Routes {
		if hostname.Covers(route.From.Hostname(), host) {
			return fmt.Errorf("route %s is on %s, where people sign in until a restart takes up external_url: restart to take up both", route.Name, host)
		}
	}
	return nil
}

// needRestart names what differs and is not reloaded.
func needRestart(was, is *config.Config) (keys []string) {
	wasLimits, isLimits := was.Limits, is.Limits
	wasLimits.Body, isLimits.Body = 0, 0 // goes with the routes
	for _, k := range []struct {
		key     string
		was, is any
	}{
		{"listen", was.Listen, is.Listen},
		{"ops_listen", was.OpsListen, is.OpsListen},
		{"ops_hosts", was.OpsHosts, is.OpsHosts},
		{"external_url", was.ExternalURL.String(), is.ExternalURL.String()},
		{"contact", was.Contact, is.Contact},
		{"proxy_protocol", was.ProxyProtocol, is.ProxyProtocol},
		{"tls", was.TLS, is.TLS},
		{"acme", was.ACME, is.ACME},
		{"redirect_listen", was.RedirectListen, is.RedirectListen},
		{"hsts_max_age", was.HSTSMaxAge, is.HSTSMaxAge},
		{"access_log", was.AccessLog, is.AccessLog},
		{"pprof", was.Pprof, is.Pprof},
		{"tracing", was.Tracing, is.Tracing},
		{"oidc", was.OIDC, is.OIDC},
		{"webauthn", was.WebAuthn, is.WebAuthn},
		{"session", was.Session, is.Session},
		{"store", was.Store, is.Store},
		{"audit.file", was.AuditFile, is.AuditFile},
		{"behavior", was.Behavior, is.Behavior},
		{"ip_data.databases", was.IPData.Databases, is.IPData.Databases},
		{"ip_data.translators", was.IPData.NAT64, is.IPData.NAT64},
		{"ip_data.lists", was.IPData.Lists, is.IPData.Lists},
		{"limits", wasLimits, isLimits},
	} {
		if !reflect.DeepEqual(k.was, k.is) {
			keys = append(keys, k.key)
		}
	}
	if !slices.Equal(was.TrustedProxies, is.TrustedProxies) {
		keys = append(keys, "trusted_proxies (for proxy_protocol and limits.connections_per_client)")
	}
	return keys
}
