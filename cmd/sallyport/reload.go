package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/proxy"
	"sallyport/proxy/clientip"
	"sallyport/proxy/edge"
	"sallyport/proxy/rollout"
	"sallyport/proxy/upstream"
)

// requestReaders are what finds a request's route and its client.
func requestReaders(c *config.Config) (*upstream.Table, *clientip.Resolver, error) {
	table, err := c.RouteTable()
	if err != nil {
		return nil, nil, err
	}
	clients, err := clientip.New(c.Clients())
	return table, clients, err
}

// policies is what the configuration says of policies.
func policies(c *config.Config) rollout.Policies {
	return rollout.Policies{
		Enforced:   policy.Config{Pinned: c.PolicyInvariants, Name: c.PolicyFile, Source: c.PolicySource, Routes: c.RouteNames(), Grants: c.Grants(), NoAttestation: true},
		ShadowName: c.ShadowFile, ShadowSource: c.ShadowSource,
	}
}

// policyConfig is what the configured policy is compiled from.
func policyConfig(c *config.Config, intel *ipintel.Snapshot) policy.Config {
	return policies(c).Config(intel)
}

// loadIntel reads the IP data once. The errors are the sources that are not loaded.
func loadIntel(c *config.Config) (*ipintel.Snapshot, []error, error) {
	snapshot, failed := ipintel.Load(c.IPData)
	if snapshot == nil {
		return nil, nil, errors.Join(failed...)
	}
	return snapshot, failed, nil
}

// configured is the configuration and the IP data that it names, for commands that only look.
func configured(g *globals, std stdio) (*config.Config, *ipintel.Snapshot, error) {
	c, err := config.Load(g.Config)
	if err != nil {
		return nil, nil, err
	}
	intel, err := loadIntelAnyway(c, std)
	return c, intel, err
}

// loadIntelAnyway is loadIntel for commands that go on without what is not loaded, and
// say so.
func loadIntelAnyway(c *config.Config, std stdio) (*ipintel.Snapshot, error) {
	snapshot, failed, err := loadIntel(c)
	for _, f := range failed {
		fmt.Fprintln(std.err, "warning:", f)
	}
	return snapshot, err
}

// reloads counts, for the operator's metrics.
type reloads struct {
	applied, refused atomic.Int64
	lastRefused      atomic.Bool
}

// hangup is what SIGHUP asks for.
func (a *app) hangup(ctx context.Context) {
	err := a.reload(ctx)
	a.reloads.lastRefused.Store(err != nil)
	if err != nil {
		a.reloads.refused.Add(1)
		a.logger.Error("reload refused; what ran goes on", "error", err)
		return
	}
	a.reloads.applied.Add(1)
}

// reload reads the configuration again. Policy, routes with their grants, trusted
// proxies, roster and certificate change together or not at all: grants of one file
// on the routes of another could open a tool to the wrong people. Everything else
// (listeners, provider, stores, which IP sources there are) waits for a restart,
// and the log says so.
//
// IP data is no part of that: a source that is right comes into use, one that is not
// keeps what it had, here as when its file changes. It comes first, as each change of it
// waits for the manager by itself.
func (a *app) reload(ctx context.Context) error {
	if err := a.audit.Reopen(); err != nil {
		a.logger.Error("the audit log was not reopened", "error", err)
	}
	if err := a.intel.Reload(ctx); err != nil {
		a.logger.Error("IP data keeps what it had", "error", err)
	}
	_, err := a.policies.Apply(ctx, a.configured, rollout.Origin{Kind: "signal"})
	return err
}

// configured is the candidate that the configuration file describes now.
func (a *app) configured(rollout.Configuration) (next rollout.Configuration, err error) {
	c, err := config.Load(a.config.File)
	if err != nil {
		return next, err
	}
	table, clients, err := requestReaders(c)
	if err != nil {
		return next, err
	}
	return rollout.Configuration{
		Policies: policies(c), Guard: c.PolicyGuard,
		Prepare: a.reloadCertificates,
		Change: func(s *proxy.Snapshot) {
			s.Routes, s.Clients, s.Options = table, clients, routeOptions(c)
		},
		Done: func(ctx context.Context) {
			a.upstream.Use(table)
			a.useRoster(ctx, c.Roster)
			a.routes.Store(&c.Routes)
			if waiting := needRestart(a.config, c); len(waiting) > 0 {
				a.logger.Warn("changed in the configuration, but not in force before a restart", "keys", waiting)
			}
			a.logger.Info("reloaded", "policy", a.gate.Current().Policy.Hash(), "routes", len(c.Routes), "roster", len(c.Roster))
		},
	}, nil
}

// requestsEvery is how often the store is asked what commands want.
const requestsEvery = time.Second

// answerRequests answers what commands ask the running proxy for, until ctx ends.
func (a *app) answerRequests(ctx context.Context) {
	tick := time.NewTicker(requestsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := a.policies.AnswerRequest(ctx); err != nil && !errors.Is(err, authn.ErrNotFound) && ctx.Err() == nil {
				a.logger.Error("a request for another policy could not be answered", "error", err)
			}
			if err := a.data.AnswerRequests(ctx); err != nil && ctx.Err() == nil {
				a.logger.Error("a request about IP data could not be answered", "error", err)
			}
		}
	}
}

// policyFiles are the policy and the one in shadow, for edge.Watch.
type policyFiles struct {
	*rollout.Manager
	ctx context.Context
}

var _ edge.Reloader = policyFiles{}

func (f policyFiles) Reload() error { return f.ReloadFiles(f.ctx) }

func (a *app) watchPolicy(ctx context.Context) {
	edge.Watch(ctx, edge.WatchConfig{What: "policy", Logger: a.logger}, policyFiles{a.policies, ctx})
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
		{"acme", was.ACME != nil, is.ACME != nil},
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
	var hosts []string
	for _, o := range is.Origins() {
		if !slices.Contains(was.Origins(), o) {
			hosts = append(hosts, o)
		}
	}
	if hosts != nil {
		keys = append(keys, fmt.Sprintf("routes (nobody is sent back to %s after signing in)", strings.Join(hosts, ", ")))
	}
	return keys
}
