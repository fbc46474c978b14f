package app

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/certtest"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/proxy/rollout"
)

const lockoutPolicy = "version: 1\nrules:\n  - {name: all, when: ip.country == \"US\", then: block}\n...\n"

// reloaded are changes of every part of the configuration: the file's text before the
// start, and after. Each is named as waiting for a restart, or works at once.
var reloaded = []struct {
	name    string
	atStart []string // old, new, old, new
	edit    []string // the same
	files   map[string]string
	waits   string                // how the log names it; "": it is taken up
	works   func(d *harness) bool // false before the reload
}{
	{name: "listen", edit: []string{"127.0.0.1:${PORT}", "127.0.0.1:8081"}, waits: "listen"},
	{name: "ops_listen", edit: []string{"127.0.0.1:${OPS}", "127.0.0.1:9091"}, waits: "ops_listen"},
	{name: "ops_hosts", edit: added("ops_hosts: [ops.example]"), waits: "ops_hosts"},
	{name: "external_url", edit: []string{"http://localhost:${PORT}", "http://access.localhost:8080"}, waits: "external_url"},
	{name: "contact", edit: added("contact: us"), waits: "contact"},
	{name: "proxy_protocol", edit: added("proxy_protocol: true"), waits: "proxy_protocol"},
	{name: "tls", atStart: overTLS, edit: []string{"tls: {", "tls: {client_ca_file: CERT, "}, waits: "tls"},
	{name: "tls, client_sans", atStart: append(overTLS, "tls: {", "tls: {client_ca_file: CERT, "), edit: []string{"tls: {", "tls: {client_sans: [\"dns:a.example\"], "}, waits: "tls"},
	{name: "acme", atStart: overACME, edit: []string{"email: a@", "email: b@"}, waits: "acme"},
	{name: "acme, its hosts", atStart: overACME, edit: []string{"https://wiki", "https://docs"}, waits: "acme"},
	{name: "redirect_listen", atStart: overTLS, edit: added("redirect_listen: 127.0.0.1:8082"), waits: "redirect_listen"},
	{name: "hsts_max_age", atStart: overTLS, edit: added("hsts_max_age: 1h"), waits: "hsts_max_age"},
	{name: "access_log", edit: added("access_log: false"), waits: "access_log"},
	{name: "pprof", edit: added("pprof: true"), waits: "pprof"},
	{name: "tracing", edit: added(`tracing: {endpoint: "http://127.0.0.1:4318"}`), waits: "tracing"},
	{name: "oidc", edit: []string{"client_id: sallyport", "client_id: another"}, waits: "oidc"},
	{name: "oidc, the secret", files: map[string]string{"secret": "another\n"}, waits: "oidc"},
	{name: "webauthn", edit: added("webauthn: {rp_name: Us}"), waits: "webauthn"},
	{name: "session", edit: added("session: {max_age: 1h}"), waits: "session"},
	{name: "store", edit: added("store: sqlite:other.db"), waits: "store"},
	{name: "audit", edit: added("audit: {file: other.jsonl}"), waits: "audit.file"},
	{name: "behavior", edit: added("behavior: {household: 60}"), waits: "behavior"},
	{name: "ip_data", edit: []string{"    - {name: places", "    - {name: more, file: vpn.txt}\n    - {name: places"}, waits: "ip_data.lists"},
	{name: "limits", edit: added("limits: {batch_calls: 5, message_bytes: 16777216, inspected_bytes_per_session: 50000000}"), waits: "limits"},
	{name: "limits.body_bytes", edit: added("limits: {body_bytes: 70000}"), works: func(d *harness) bool { return d.front.gate.Current().Options["wiki"].RPCBytes == 70000 }},
	{name: "trusted_proxies", edit: []string{"[127.0.0.1]", "[127.0.0.1, 192.0.2.1]"}, waits: "trusted_proxies (for", works: func(d *harness) bool {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "192.0.2.1:1234"
		return d.front.gate.Current().Clients.TrustedPeer(r)
	}},
	{name: "forwarded_header", edit: added("forwarded_header: forwarded"), works: func(d *harness) bool {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "127.0.0.1:1234"
		r.Header.Set("Forwarded", "for=203.0.113.7")
		addr, err := d.front.gate.Current().Clients.Resolve(r)
		return err == nil && addr.String() == "203.0.113.7"
	}},
	{name: "internal_networks", edit: added("internal_networks: [10.0.0.0/8]"), works: func(d *harness) bool {
		return d.front.gate.Current().Clients.Internal(netip.MustParseAddr("10.1.2.3"))
	}},
	{name: "policy", edit: []string{"policy: policy.yaml", "policy: other.yaml"}, files: map[string]string{"other.yaml": site["policy.yaml"] + "#\n"}, works: func(d *harness) bool {
		return slices.Contains(d.reloader.policies.Files(), filepath.Join(d.dir, "other.yaml"))
	}},
	{name: "policy_shadow", edit: added("policy_shadow: other.yaml"), files: map[string]string{"other.yaml": site["policy.yaml"]}, works: func(d *harness) bool {
		return d.front.gate.Current().Shadow != nil
	}},
	{name: "policy_guard", edit: added(`policy_guard: {max_newly_blocked: "100%"}`), files: map[string]string{"policy.yaml": lockoutPolicy}, works: func(d *harness) bool {
		return slices.ContainsFunc(d.versions(), func(v rollout.Version) bool { return v.Outcome == "applied" && v.Origin == "signal" })
	}},
	{name: "policy_settle", edit: []string{"policy_settle: 0s", "policy_settle: 10m"}, works: func(d *harness) bool {
		d.edit("policy.yaml", "rules:", "# One more.\nrules:")
		return d.reloader.policies.ReloadFiles(d.t.Context()) == nil && d.reloader.policies.Again() > 0
	}},
	{name: "policy_invariants", edit: added("policy_invariants: pinned.yaml"), files: map[string]string{"pinned.yaml": "version: 1\ninvariants:\n  - {name: asks, always: step_up, when: ip.vpn}\n"},
		works: func(d *harness) bool {
			defer d.write("policy.yaml", site["policy.yaml"])
			d.edit("policy.yaml", "when: ip.vpn", "when: ip.vpn && ip.country == \"US\"")
			return d.reloader.policies.ReloadFiles(d.t.Context()) != nil
		}},
	{name: "policy_exceptions", edit: added("policy_exceptions: exceptions.yaml"), files: map[string]string{"exceptions.yaml": "exceptions: []\n"}, works: func(d *harness) bool {
		return d.front.gate.Current().Policy.ExceptionsHash() != ""
	}},
	{name: "roster", edit: []string{"roster: people.csv", "roster: others.csv"}, files: map[string]string{"others.csv": "email,countries\nalice@example.com,DE\n"}, works: func(d *harness) bool {
		p := d.identity.roster.complete(authn.Person{Email: "alice@example.com"})
		return slices.Equal(p.Countries, []string{"DE"})
	}},
	{name: "routes", edit: []string{"http://wiki.localhost:8080", "http://docs.localhost:8080"}, works: func(d *harness) bool {
		return d.leadsBack("http://docs.localhost:8080/") && !d.leadsBack("http://wiki.localhost:8080/")
	}},
}

var (
	overTLS  = []string{"http://localhost:${PORT}", "https://localhost:8080\ntls: {cert_file: CERT, key_file: KEY}", "http://treasury", "https://treasury", "http://wiki", "https://wiki"}
	overACME = []string{"http://localhost:${PORT}", "https://access.localhost:8080\nacme: {email: a@example.com, accept_terms: true}", "http://treasury", "https://treasury", "http://wiki", "https://wiki"}
)

func added(line string) []string {
	return []string{"policy: policy.yaml", "policy: policy.yaml\n" + line}
}

// leadsBack reports whether a sign-in may lead to an address.
func (d *harness) leadsBack(to string) bool {
	r := httptest.NewRequest("GET", "/.sallyport/sign-in?return_to="+url.QueryEscape(to), nil)
	r.RemoteAddr, r.Host = "127.0.0.1:1234", "localhost:8080"
	r.Header.Set("X-Forwarded-For", "203.0.113.7")
	w := httptest.NewRecorder()
	d.front.gate.ServeHTTP(w, r)
	return w.Code != 400
}

// TestEveryKeyIsReloadedOrWaits: what is changed in the file works after SIGHUP, or the
// log says that it does not yet. The changes touch every part of the configuration.
func TestEveryKeyIsReloadedOrWaits(t *testing.T) {
	untouched := map[string]bool{}
	for f := range reflect.TypeFor[config.Config]().Fields() {
		untouched[f.Name] = f.IsExported() && f.Name != "File" && f.Type != reflect.TypeFor[error]()
	}
	cert, key := certtest.Pair(t, 1, "localhost", "*.localhost")
	certs := t.TempDir()
	for name, text := range map[string]string{"cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(certs, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fill := strings.NewReplacer("CERT", filepath.Join(certs, "cert.pem"), "KEY", filepath.Join(certs, "key.pem"))
	for _, c := range reloaded {
		t.Run(c.name, func(t *testing.T) {
			var edits [][3]string
			for pair := range slices.Chunk(c.atStart, 2) {
				edits = append(edits, [3]string{"sallyport.yaml", pair[0], fill.Replace(pair[1])})
			}
			d := newHarness(t, edits...)
			defer d.closeApp()
			if c.name == "policy_guard" {
				d.alive("alice@example.com", "203.0.113.7", "treasury")
			}
			if c.works != nil && c.works(d) {
				t.Error("works before the reload")
			}
			for name, text := range c.files {
				d.write(name, text)
			}
			for pair := range slices.Chunk(c.edit, 2) {
				d.edit("sallyport.yaml", pair[0], fill.Replace(pair[1]))
			}
			is, err := config.Load(d.config.File)
			if err != nil {
				t.Fatal(err)
			}
			before := d.front.gate.Current().Options
			d.reloader.onSIGHUP(t.Context())
			if d.reloader.counts.applied.Load() != 1 {
				t.Fatal("refused")
			}
			if c.works != nil && !c.works(d) {
				t.Error("does not work after the reload")
			}
			if c.works == nil && !reflect.DeepEqual(before, d.front.gate.Current().Options) {
				t.Error("a part of it works already")
			}
			switch said := d.log.String(); {
			case c.waits == "" && strings.Contains(said, "wait for a restart"):
				t.Error("claims that something waits for a restart")
			case c.waits != "" && !strings.Contains(said, `"`+c.waits):
				t.Errorf("%s is not named", c.waits)
			}
			for name := range untouched {
				was, now := reflect.ValueOf(d.config).Elem().FieldByName(name), reflect.ValueOf(is).Elem().FieldByName(name)
				if fmt.Sprintf("%+v", was) != fmt.Sprintf("%+v", now) {
					untouched[name] = false
				}
			}
		})
	}
	for name, missing := range untouched {
		if missing {
			t.Errorf("no change touches %s", name)
		}
	}
}

// The sign-in host stays until a restart, and so does what no tool may be on.
func TestReloadGivesNoToolTheSignInHost(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	d.edit("sallyport.yaml", "http://localhost:${PORT}", "http://access.localhost:8080")
	d.edit("sallyport.yaml", "http://wiki.localhost:8080", "http://localhost:8080")
	before := d.front.gate.Current().Routes
	d.reloader.onSIGHUP(t.Context())
	if d.front.gate.Current().Routes != before || !strings.Contains(d.log.String(), "where people sign in until a restart") {
		t.Error("a tool is on the host that people sign in at")
	}
}
