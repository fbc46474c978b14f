package config

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/authn/signin"
	"sallyport/proxy/edge"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// Tests of the proxy must not have limits that no installation has.
func TestProxyIsTestedWithTheDefaults(t *testing.T) {
	l := DefaultLimits()
	server := proxytest.Edge(edge.Config{}).Limits
	shed := proxytest.Shed(edge.ShedConfig{})
	for name, n := range map[string]struct{ test, product int }{
		"header_bytes":           {server.HeaderBytes, l.Header},
		"header_lines":           {server.Headers, l.Lines},
		"url_bytes":              {server.URLBytes, l.URL},
		"connections":            {server.Connections, l.Connections},
		"connections_per_client": {server.ConnectionsPerClient, l.ConnectionsPerClient},
		"requests":               {shed.Requests, l.Requests},
		"message_bytes":          {proxytest.MessageBytes, l.Message},
		"batch_calls":            {proxytest.BatchCalls, l.BatchCalls},
		"streams_per_session":    {proxytest.StreamsPerSession, l.StreamsPerSession},
		"streams":                {shed.Streams, l.Streams},
	} {
		if n.test != n.product || n.test == 0 {
			t.Errorf("limits.%s is %d by default, and %d in tests", name, n.product, n.test)
		}
	}
	d := defaults()
	provider := proxytest.SignIn(signin.Config{})
	for name, same := range map[string]bool{
		"oidc.scopes":                        slices.Equal(d.OIDC.Scopes, provider.Scopes),
		"oidc.email_claim":                   d.OIDC.EmailClaim == provider.EmailClaim,
		"oidc.groups_claim":                  d.OIDC.GroupsClaim == provider.GroupsClaim,
		"session.max_per_person":             d.Session.MaxPerPerson == proxytest.SessionsPerPerson,
		"session.max_age":                    d.Session.MaxAge == proxytest.SessionMaxAge,
		"session.idle_timeout":               d.Session.IdleTimeout == proxytest.SessionIdleTimeout,
		"limits.message_time":                l.MessageTime == proxytest.MessageTime,
		"limits.inspected_bytes":             l.Inspected == proxytest.Inspected,
		"limits.inspected_bytes_per_session": l.InspectedPerSession == proxytest.InspectedPerSession,
		"limits.changes_per_minute":          d.Limits.ChangesPerMinute == proxytest.ChangesPerMinute,
		"behavior.retention":                 d.Behavior.Retention == proxytest.BehaviorRetention,
		"behavior.household":                 d.Behavior.Household == proxytest.BehaviorHousehold,
	} {
		if !same {
			t.Errorf("%s is not the same by default and in tests", name)
		}
	}
	f := fileRoute{Health: &fileHealth{Path: "/"}}.withDefaults()
	want := upstream.RouteConfig{
		Timeouts: upstream.Timeouts{Connect: f.ConnectTimeout, ResponseHeader: f.ResponseTimeout, Idle: f.IdleTimeout, Total: f.TotalTimeout, Wait: f.WaitTimeout},
		MaxBody:  l.Body, SharedMaxBody: true, MaxResponseHeader: f.MaxResponseHeader, Health: f.Health.check(),
	}
	if diff := cmp.Diff(want, proxytest.Route(upstream.RouteConfig{Health: upstream.HealthCheck{Path: "/"}})); diff != "" {
		t.Errorf("a route by default (-), and in tests (+):\n%s", diff)
	}
}
