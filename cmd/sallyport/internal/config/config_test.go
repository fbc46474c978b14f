package config_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/cmd/sallyport/internal/certtest"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/proxy/clientip"
)

// folder makes a folder with the files that configurations of these tests name.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"secret": "s3cret\n", "blank": " \n", "lines": "one\ntwo\n", "policy.yaml": "version: 1\n", "people.csv": "email\na@example.com\n",
		"bad.csv": "email,countries\na@example.com,UK\n", "vpn.txt": "192.0.2.0/24\n", "db.mmdb": "x", "folder/inside": "",
	} {
		write(t, filepath.Join(dir, name), content)
	}
	keyPair(t, dir, "one")
	keyPair(t, dir, "two")
	return dir
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func keyPair(t testing.TB, dir, name string) {
	t.Helper()
	cert, key := certtest.Pair(t, 1, "access.example.com")
	write(t, filepath.Join(dir, name+".crt"), cert)
	write(t, filepath.Join(dir, name+".key"), key)
}

// good is a small configuration with nothing wrong. Tests change one line of it.
const good = `external_url: http://localhost:8080
trusted_proxies: [127.0.0.1]
oidc:
  issuer: https://idp.example.com
  client_id: sallyport
  client_secret_file: secret
session: {max_age: 8h}
routes:
  - name: tool
    from: http://tool.localhost:8080
    to: http://127.0.0.1:3000
    allow: {everyone: true}
`

func TestGoodConfiguration(t *testing.T) {
	dir := folder(t)
	c, err := config.Parse("sallyport.yaml", dir, []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if c.Session.IdleTimeout != time.Hour || c.Listen != "127.0.0.1:8080" || c.OIDC.ClientSecret != "s3cret" {
		t.Errorf("defaults: %+v", c)
	}
	for _, path := range []string{strings.TrimPrefix(c.Store, "sqlite:"), c.AuditFile, c.PolicyFile} {
		if filepath.Dir(strings.Replace(path, "/state/", "/", 1)) != dir {
			t.Errorf("%s is not relative to the file", path)
		}
	}
	c, err = config.Parse("sallyport.yaml", dir, []byte(strings.Replace(good, "max_age: 8h", "max_age: 30m", 1)))
	if err != nil || c.Session.IdleTimeout != 30*time.Minute {
		t.Errorf("an idle timeout that nobody gave is shortened to max_age: %v", err)
	}
}

func TestBehavior(t *testing.T) {
	dir := folder(t)
	days := func(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
	for text, want := range map[string]config.Behavior{
		"behavior: {}":                                         {Household: 56, Retention: days(400), RawAddresses: days(30)},
		"behavior: {raw_addresses: 0s}":                        {Household: 56, Retention: days(400)},
		"behavior: {retention: 720h}":                          {Household: 56, Retention: days(30), RawAddresses: days(30)},
		"behavior: {offices: ['::ffff:203.0.113.0/120']}":      {Household: 56, Retention: days(400), RawAddresses: days(30), Offices: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}},
		"behavior: {offices: [203.0.113.9/28, '2001:db8::1']}": {Household: 56, Retention: days(400), RawAddresses: days(30), Offices: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28"), netip.MustParsePrefix("2001:db8::1/128")}},
		"behavior: {mobile_asns: [64500, as64501]}":            {Household: 56, Retention: days(400), RawAddresses: days(30), MobileASNs: []uint32{64500, 64501}},
		"behavior: {household: 64}":                            {Household: 64, Retention: days(400), RawAddresses: days(30)},
		"behavior: {satellite_asns: AS4200000000}":             {Household: 56, Retention: days(400), RawAddresses: days(30), SatelliteASNs: []uint32{4_200_000_000}},
	} {
		c, err := config.Parse("sallyport.yaml", dir, []byte(good+text+"\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if d := cmp.Diff(want, c.Behavior, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
}

// design is the example of the design, with a second route, and without its tls line:
// plain http on localhost has none.
const design = `# sallyport.yaml
listen: 127.0.0.1:8080                 # data port
ops_listen: 127.0.0.1:9090             # /metrics /healthz /readyz, never on the data port
external_url: http://localhost:8080    # the sign-in host; https is required unless it is localhost or *.localhost
trusted_proxies: [127.0.0.0/8]         # default: none. XFF is read right to left, only from these peers
oidc:
  issuer: http://127.0.0.1:9100        # plain http only for a loopback issuer
  client_id: sallyport
  client_secret_file: secrets/oidc
  scopes: [openid, email, profile, groups]
  groups_claim: groups
  countries_claim: country             # declared work countries; or a roster file, below
webauthn: {rp_id: localhost}           # default: host of external_url
session: {max_age: 10h, idle_timeout: 1h}
store: sqlite:state/sallyport.db       # or postgres://...
audit: {file: state/audit.jsonl}
policy: policy.yaml
roster: people.csv                     # optional: email,countries,timezone
ip_data:
  databases: [country.mmdb, asn.mmdb, anonymous-ip.mmdb]   # type is read from the mmdb metadata
  lists:
    - {name: vpn-exits, signal: vpn, file: lists/vpn.txt}              # one address or CIDR a line, # comments
    - {name: aws, signal: hosting, file: lists/aws.json, format: aws}  # aws | gcp | azure | cidr | csv
routes:
  - name: treasury
    from: http://treasury.localhost:8080   # host, optionally with a path prefix; never on external_url's own origin
    to: http://127.0.0.1:3000              # one or several
    allow: {groups: [treasury], emails: [], domains: [], everyone: false}   # required: no allow, no route
  - name: signer
    from: http://signer.localhost:8080/api
    to: [http://127.0.0.1:3001, http://127.0.0.1:3002]
    allow: {everyone: true}
`

func TestTheDesignsExampleIsAccepted(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"secrets/oidc": "secret", "policy.yaml": "version: 1", "people.csv": "email,countries,timezone\nalice@example.com,US;DE,Europe/Berlin\n",
		"country.mmdb": "", "asn.mmdb": "", "anonymous-ip.mmdb": "", "lists/vpn.txt": "", "lists/aws.json": "", "sallyport.yaml": design,
	} {
		write(t, filepath.Join(dir, name), content)
	}
	c, err := config.Load(filepath.Join(dir, "sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	want := ipintel.Config{
		Databases: []string{in("country.mmdb"), in("asn.mmdb"), in("anonymous-ip.mmdb")},
		Lists: []ipintel.List{
			{Name: "vpn-exits", Signal: "vpn", File: in("lists/vpn.txt")},
			{Name: "aws", Signal: "hosting", File: in("lists/aws.json"), Format: "aws"},
		},
	}
	if d := cmp.Diff(want, c.IPData); d != "" {
		t.Error("ip_data:", d)
	}
	if d := cmp.Diff(map[string]policy.Grant{"treasury": {Groups: []string{"treasury"}}, "signer": {Everyone: true}}, c.Grants()); d != "" {
		t.Error("grants:", d)
	}
	if d := cmp.Diff([]string{"http://localhost:8080", "http://treasury.localhost:8080", "http://signer.localhost:8080"}, c.Origins()); d != "" {
		t.Error("origins:", d)
	}
	if d := cmp.Diff(config.Roster{"alice@example.com": {Countries: []string{"US", "DE"}, TimeZone: "Europe/Berlin"}}, c.Roster); d != "" {
		t.Error("roster:", d)
	}
	if c.Store != "sqlite:"+in("state/sallyport.db") || c.AuditFile != in("state/audit.jsonl") || c.WebAuthn.RPID != "localhost" ||
		c.OIDC.CountriesClaim != "country" || len(c.TrustedProxies) != 1 || c.Forwarding != clientip.XForwardedFor || len(c.Routes[1].To) != 2 {
		t.Errorf("%+v", c)
	}
}

func TestFilesAreNotTouched(t *testing.T) {
	dir := folder(t)
	before, _ := filepath.Glob(filepath.Join(dir, "*"))
	if _, err := config.Parse("sallyport.yaml", dir, []byte(good)); err != nil {
		t.Fatal(err)
	}
	after, _ := filepath.Glob(filepath.Join(dir, "*"))
	if d := cmp.Diff(before, after); d != "" {
		t.Error(d)
	}
}

func TestEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"SP_LISTEN": "127.0.0.1:8081", "SP_HOST": "localhost", "SP_PROXY": "10.0.0.7", "SP_ID": "id", "SP_DB": "elsewhere.db", "SP_TOOL": "127.0.0.1:4000", "SP_OPS": "9191", "SP_IDP": "idp.example.net",
	} {
		t.Setenv(name, value)
	}
	dir := folder(t)
	text := strings.NewReplacer(external, "external_url: http://${SP_HOST}:8080\nlisten: ${SP_LISTEN}\nops_listen: 127.0.0.1:${SP_OPS}\nstore: sqlite:${SP_DB}",
		proxies, `trusted_proxies: ["${SP_PROXY}"]`, "client_id: sallyport", "client_id: ${SP_ID}", to, "to: http://${SP_TOOL}", issuer, "issuer: https://${SP_IDP}").Replace(good)
	c, err := config.Parse("sallyport.yaml", dir, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.ExternalURL.String(), c.Listen, c.OpsListen, c.Store, c.OIDC.ClientID, c.OIDC.Issuer, c.Routes[0].To[0].String(), c.TrustedProxies[0].String()}
	want := []string{"http://localhost:8080", "127.0.0.1:8081", "127.0.0.1:9191", "sqlite:" + filepath.Join(dir, "elsewhere.db"), "id", "https://idp.example.net", "http://127.0.0.1:4000", "10.0.0.7/32"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := folder(t)
	write(t, filepath.Join(dir, "sallyport.yaml"), good)
	t.Chdir(filepath.Join(dir, "folder"))
	c, err := config.Load("../sallyport.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if c.PolicyFile != filepath.Join(dir, "policy.yaml") {
		t.Error(c.PolicyFile)
	}
	if _, err := config.Load("sallyport.yaml"); err == nil || !strings.Contains(err.Error(), "sallyport init") {
		t.Errorf("a missing configuration: %v", err)
	}
	if _, err := config.Load("/dev/zero"); err == nil {
		t.Error("read an endless file")
	}
}

func TestRosterMistakesComeWithTheConfiguration(t *testing.T) {
	dir := folder(t)
	_, err := config.Parse("sallyport.yaml", dir, []byte(strings.Replace(good, session, "roster: bad.csv\nlisten: x", 1)))
	if err == nil || !strings.Contains(err.Error(), "sallyport.yaml:8:9: ") || !strings.Contains(err.Error(), filepath.Join(dir, "bad.csv")+":2:15: ") {
		t.Error(err)
	}
}

func TestMistakeOfOthers(t *testing.T) {
	c, err := config.Parse("sallyport.yaml", folder(t), []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Mistake("routes[0].to", "no", "yes"); !strings.HasPrefix(err.Error(), "sallyport.yaml:11:9: routes[0].to: no\n") {
		t.Error(err)
	}
	if err := c.Mistake("store", "no", "yes"); !strings.HasPrefix(err.Error(), "sallyport.yaml:1:1: store: no\n") {
		t.Error(err)
	}
}

func TestTrustedPrefixesAreMasked(t *testing.T) {
	c, err := config.Parse("sallyport.yaml", folder(t), []byte(strings.Replace(good, proxies, "trusted_proxies: [10.1.2.3/8, '::1', 127.0.0.1]", 1)))
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.1/32")}
	for i, p := range want {
		if c.TrustedProxies[i].Masked() != p {
			t.Errorf("%v, want %v", c.TrustedProxies[i], p)
		}
	}
}

// The defaults of a route that are not one value for all: who gets the client's Host, and
// which groups are sent.
func TestRouteDefaults(t *testing.T) {
	for line, want := range map[string]string{
		"to: http://127.0.0.1:3000":                                 "host true, groups [ops dev] all false",
		"to: unix:/run/tool.sock":                                   "host true, groups [ops dev] all false",
		"to: https://tool.internal":                                 "host false, groups [ops dev] all false",
		"to: https://tool.internal, preserve_host: true":            "host true, groups [ops dev] all false",
		"to: http://127.0.0.1:3000, preserve_host: false":           "host false, groups [ops dev] all false",
		"to: http://127.0.0.1:3000, groups: named":                  "host true, groups [ops dev] all false",
		"to: http://127.0.0.1:3000, groups: all":                    "host true, groups [] all true",
		"to: http://127.0.0.1:3000, groups: none":                   "host true, groups [] all false",
		"to: http://127.0.0.1:3000, groups: [Grafana Admins, view]": "host true, groups [ops dev Grafana Admins view] all false",
	} {
		lines := "    " + strings.ReplaceAll(line, ", preserve", "\n    preserve")
		lines = strings.ReplaceAll(lines, ", groups", "\n    groups")
		text := strings.Replace(strings.Replace(good, allow, "allow: {groups: [ops, dev]}", 1), "    "+to, lines, 1)
		c, err := config.Parse("sallyport.yaml", folder(t), []byte(text))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		r := c.Routes[0]
		if got := fmt.Sprintf("host %v, groups %v all %v", r.PreserveHost, r.Groups.Named, r.Groups.All); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}
