package config_test

import (
	"strings"
	"testing"

	"sallyport/cmd/sallyport/internal/config"
)

// What works and gives much away is said with its place, and what most deployments have is not.
func TestRisks(t *testing.T) {
	const base = `external_url: https://access.example.com
trusted_proxies: [10.0.0.5]
oidc: {issuer: https://login.example.com, client_id: c, client_secret_file: secret}
policy: policy.yaml
routes: [{name: app, from: https://app.example.com, to: http://127.0.0.1:3000, allow: {everyone: true}}]
`
	for name, c := range map[string]struct {
		from, to string
		want     string // of the one warning; "": none
	}{
		"nothing":                       {},
		"one proxy of each kind":        {"10.0.0.5", "10.0.0.5, 10.1.0.0/24, 'fd00::/120', 127.0.0.0/8, '::1'", ""},
		"a wide IPv4 network":           {"10.0.0.5", "10.0.0.0/23", "x.yaml:2:19: every machine in 10.0.0.0/23"},
		"a wide IPv6 network":           {"10.0.0.5", "'fd00::/119'", "x.yaml:2:19: every machine in fd00::/119"},
		"the ops port on loopback":      {"policy: p", "ops_listen: localhost:9090\npolicy: p", ""},
		"the ops port for everybody":    {"policy: p", "ops_listen: :9090\npolicy: p", "x.yaml:4:13: :9090 is reachable from other machines"},
		"the ops port on an address":    {"policy: p", "ops_listen: 10.0.0.9:9090\npolicy: p", "10.0.0.9:9090 is reachable"},
		"with profiles":                 {"policy: p", "ops_listen: 0.0.0.0:9090\npprof: true\npolicy: p", "with pprof it also shows what is in memory"},
		"profiles on loopback":          {"policy: p", "pprof: true\npolicy: p", ""},
		"a parent as relying party":     {"policy: p", "webauthn: {rp_id: example.com}\npolicy: p", "x.yaml:4:19: every host under example.com"},
		"the host as relying party":     {"policy: p", "webauthn: {rp_id: access.example.com}\npolicy: p", ""},
		"a day":                         {"policy: p", "session: {max_age: 24h}\npolicy: p", ""},
		"more than a day":               {"policy: p", "session: {max_age: 25h}\npolicy: p", "x.yaml:4:20: a stolen cookie may be of use for 25h"},
		"plain http elsewhere":          {"http://127.0.0.1:3000", "http://10.0.0.7:3000", "x.yaml:5:57: requests to 10.0.0.7:3000"},
		"plain http/2 elsewhere":        {"http://127.0.0.1:3000", "h2c://10.0.0.7:3000", "requests to 10.0.0.7:3000"},
		"one of several elsewhere":      {"http://127.0.0.1:3000", "[http://127.0.0.1:3000, http://tool.internal:3000]", "requests to tool.internal:3000"},
		"TLS elsewhere":                 {"http://127.0.0.1:3000", "https://10.0.0.7:3000", ""},
		"a socket":                      {"http://127.0.0.1:3000", "unix:/run/tool.sock", ""},
		"a name for this very machine":  {"http://127.0.0.1:3000", "http://tool.localhost:3000", ""},
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
		if _, err := config.Parse("x.yaml", folder(t), []byte(strings.Replace(base, "%", bad, 1))); err == nil || !strings.Contains(err.Error(), "x.yaml:3:13: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
