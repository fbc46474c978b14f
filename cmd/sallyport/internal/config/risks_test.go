package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/cmd/sallyport/internal/config"
)

// What works and gives much away is said with its place, and what most deployments have is not.
func TestRisks(t *testing.T) {
	const base = `external_url: https://access.corp.test
trusted_proxies: [10.0.0.5]
oidc: {issuer: https://login.corp.test, client_id: c, client_secret_file: secret}
policy: policy.yaml
routes: [{name: app, from: https://app.corp.test, to: http://127.0.0.1:3000, allow: {everyone: true}}]
`
	for name, c := range map[string]struct {
		from, to string
		want     string // of the one warning; "": none
	}{
		"nothing":                      {},
		"one proxy of each kind":       {"10.0.0.5", "10.0.0.5, 10.1.0.0/24, 'fd00::/120', 127.0.0.0/8, '::1'", ""},
		"a wide IPv4 network":          {"10.0.0.5", "10.0.0.0/23", "x.yaml:2:19: trusted_proxies[0]: every machine in 10.0.0.0/23"},
		"a wide IPv6 network":          {"10.0.0.5", "'fd00::/119'", "x.yaml:2:19: trusted_proxies[0]: every machine in fd00::/119"},
		"a wide network, mapped":       {"10.0.0.5", "'::ffff:10.0.0.0/119'", "x.yaml:2:19: trusted_proxies[0]: every machine in 10.0.0.0/23"},
		"a network for its machine":    {"10.0.0.5", "10.0.0.5/24", "x.yaml:2:19: trusted_proxies[0]: every machine in 10.0.0.0/24"},
		"the ops port on loopback":     {"policy: p", "ops_listen: localhost:9090\npolicy: p", ""},
		"the ops port for everybody":   {"policy: p", "ops_listen: :9090\npolicy: p", "x.yaml:4:13: ops_listen: :9090 is reachable from other machines"},
		"the ops port on an address":   {"policy: p", "ops_listen: 10.0.0.9:9090\npolicy: p", "10.0.0.9:9090 is reachable"},
		"with profiles":                {"policy: p", "ops_listen: 0.0.0.0:9090\npprof: true\npolicy: p", "with pprof it also shows what is in memory"},
		"profiles on loopback":         {"policy: p", "pprof: true\npolicy: p", ""},
		"addresses taken on trust":     {"client_id: c", "client_id: c, email_verified: issuer", "oidc.email_verified: every address that"},
		"a parent as relying party":    {"policy: p", "webauthn: {rp_id: corp.test}\npolicy: p", "x.yaml:4:19: webauthn.rp_id: every host under corp.test"},
		"the host as relying party":    {"policy: p", "webauthn: {rp_id: access.corp.test}\npolicy: p", ""},
		"a day":                        {"policy: p", "session: {max_age: 24h}\npolicy: p", ""},
		"more than a day":              {"policy: p", "session: {max_age: 25h}\npolicy: p", "x.yaml:4:20: session.max_age: a stolen cookie may be of use for 25h"},
		"plain http elsewhere":         {"http://127.0.0.1:3000", "http://10.0.0.7:3000", "x.yaml:5:55: routes[0].to: requests to 10.0.0.7:3000"},
		"plain http/2 elsewhere":       {"http://127.0.0.1:3000", "h2c://10.0.0.7:3000", "requests to 10.0.0.7:3000"},
		"one of several elsewhere":     {"http://127.0.0.1:3000", "[http://127.0.0.1:3000, http://tool.internal:3000]", "requests to tool.internal:3000"},
		"TLS elsewhere":                {"http://127.0.0.1:3000", "https://10.0.0.7:3000", ""},
		"a socket":                     {"http://127.0.0.1:3000", "unix:/run/tool.sock", ""},
		"a name for this very machine": {"http://127.0.0.1:3000", "http://tool.localhost:3000", ""},

		"another host of the site as an origin":     {"allow:", "allowed_origins: https://dash.corp.test, allow:", ""},
		"an origin of another site":                 {"allow:", "allowed_origins: https://dash.other.test, allow:", "routes[0].allowed_origins[0]: dash.other.test is not of your company's site"},
		"an extension":                              {"allow:", "allowed_origins: 'chrome-extension://abc', allow:", "the publisher of chrome-extension://abc"},
		"its own origin":                            {"allow:", "allowed_origins: https://app.corp.test, allow:", "the route's own origin"},
		"a tool that may be framed":                 {"allow:", "embeddable: true, allow:", "routes[0].embeddable: every tool of this site may show app in a frame"},
		"a tool that may not":                       {"allow:", "embeddable: false, allow:", ""},
		"cookies for all":                           {"allow:", "cookie_domain: .Corp.test, allow:", "routes[0].cookie_domain: cookies that app sets for corp.test reach access.corp.test, and can evict theirs"},
		"cookies for the host and what is below it": {"allow:", "cookie_domain: app.corp.test, allow:", ""},

		"a prefix that is cut off": {"from: https://app.corp.test", "strip_prefix: true, from: https://app.corp.test/app", ""},
		"a prefix cut off before the tool of another route": {"[{name: app, from: https://app.corp.test,",
			"[{name: ops, from: https://ops.corp.test, to: http://127.0.0.1:3000, allow: {everyone: true}}, {name: app, strip_prefix: true, from: https://app.corp.test/app,",
			"routes[1].strip_prefix: app leads to the tool of route ops"},

		"another address of loopback's": {"http://127.0.0.1:3000", "'http://[::1]:3000'", ""},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := config.Parse("x.yaml", folder(t), []byte(strings.Replace(base, c.from, c.to, 1)))
			if err != nil {
				t.Fatal(err)
			}
			switch risks := parsed.Risks(); {
			case c.want == "" && len(risks) > 0:
				t.Errorf("warns: %v", risks)
			case c.want != "" && (len(risks) != 1 || !strings.Contains(risks.Error(), c.want)):
				t.Errorf("got %v, want %q", risks, c.want)
			}
		})
	}
}

// What init or an example wrote is told of by the name of its setting, and is no mistake.
func TestRisksOfUntouchedValues(t *testing.T) {
	const base = `external_url: https://access.corp.test
trusted_proxies: [10.0.0.5]
oidc: {issuer: https://login.corp.test, client_id: c, client_secret_file: secret}
policy: policy.yaml
roster: people.csv
routes: [{name: app, from: https://app.corp.test, to: http://127.0.0.1:3000, allow: {emails: [a@corp.test], domains: [corp.test]}}]
`
	dir := folder(t)
	for name, c := range map[string]struct{ from, to, want string }{
		"the sign-in host":       {"access.corp.test", "access.example.com", "x.yaml:1:15: external_url: access.example.com is a name reserved for documentation"},
		"the provider":           {"login.corp.test", "login.EXAMPLE.com", "x.yaml:3:16: oidc.issuer: login.EXAMPLE.com is a name"},
		"a provider of example":  {"login.corp.test", "idp.example", "oidc.issuer: idp.example is a name"},
		"the client":             {"client_id: c", "client_id: " + config.StarterClientID, "x.yaml:3:52: oidc.client_id: "},
		"a tool":                 {"app.corp.test", "app.example.org", "x.yaml:6:28: routes[0].from: app.example.org"},
		"addresses":              {"[a@corp.test]", "[a@corp.test, a@example.com]", "routes[0].allow.emails[1]: a@example.com"},
		"a domain":               {"domains: [corp.test]", "domains: example.com", "routes[0].allow.domains[0]: example.com"},
		"people":                 {"email\na@corp.test", "email\na@corp.test\nb@example.net", "x.yaml:5:9: roster: it has b@example.net"},
		"nothing":                {},
		"a name that begins so":  {"app.corp.test", "app.example.com.corp.test", ""},
		"a name that ends alike": {"app.corp.test", "app.myexample.com", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "people.csv"), []byte(strings.Replace("email\na@corp.test\n", c.from, c.to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			parsed, err := config.Parse("x.yaml", dir, []byte(strings.Replace(base, c.from, c.to, 1)))
			if err != nil {
				t.Fatal(err)
			}
			risks := parsed.Risks()
			if n := map[bool]int{false: 1}[c.want == ""]; len(risks) != n || n == 1 && !strings.Contains(risks.Error(), c.want) {
				t.Errorf("got %v, want %q", risks, c.want)
			}
		})
	}

	// A trial on one machine.
	parsed, err := config.Parse("x.yaml", dir, []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if risks := parsed.Risks().Error(); !strings.Contains(risks, "external_url: localhost:8080 is this machine") || !strings.Contains(risks, "routes[0].from: tool.localhost:8080 is this machine") {
		t.Error(risks)
	}
}

func TestOpsHosts(t *testing.T) {
	const base = `external_url: http://localhost:8080
ops_listen: monitor.internal:9090
ops_hosts: [%]
oidc: {issuer: https://login.example.com, client_id: c, client_secret_file: secret}
policy: policy.yaml
routes: [{name: app, from: http://app.localhost:8080, to: http://127.0.0.1:3000, allow: {everyone: true}}]
`
	c, err := config.Parse("x.yaml", folder(t), []byte(strings.Replace(base, "%", "Sallyport.monitoring.svc.", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.OpsHosts, " "); got != "sallyport.monitoring.svc monitor.internal" {
		t.Errorf("hosts are %q", got)
	}
	for _, bad := range []string{"''", "a:9090", "http://a", "'*.example.com'", "10.0.0.1", "'::1'"} {
		if _, err := config.Parse("x.yaml", folder(t), []byte(strings.Replace(base, "%", bad, 1))); err == nil || !strings.Contains(err.Error(), "x.yaml:3:13: ops_hosts[0]: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
