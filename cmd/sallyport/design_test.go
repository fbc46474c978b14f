package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// writeDatabase writes a MaxMind DB with one network.
func writeDatabase(t *testing.T, file, kind, network string, record mmdbtype.Map) {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, BuildEpoch: time.Now().Unix(), Description: map[string]string{"en": "test"}, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	_, n, err := net.ParseCIDR(network)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Insert(n, record); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := tree.WriteTo(out); err != nil {
		t.Fatal(err)
	}
}

// TestPromisedFiles: the two files that the operator's interface promises, as it writes
// them, are accepted and do what they say.
func TestPromisedFiles(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"sallyport.yaml": promisedConfig, "policy.yaml": promisedPolicy, "secrets/oidc": "secret", "people.csv": "email,countries,timezone\na@example.com,US,America/New_York\n",
		"lists/vpn.txt":  "203.0.112.0/24 # a comment\n203.0.113.9\n",
		"lists/aws.json": `{"syncToken": "1", "createDate": "2026-11-01-00-00-00", "prefixes": [{"ip_prefix": "192.0.2.0/24", "region": "x", "service": "EC2", "network_border_group": "x"}], "ipv6_prefixes": []}`,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeDatabase(t, filepath.Join(dir, "country.mmdb"), "GeoLite2-Country", "198.51.100.0/24", mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String("US")}})
	writeDatabase(t, filepath.Join(dir, "asn.mmdb"), "GeoLite2-ASN", "198.51.100.0/24", mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(64496), "autonomous_system_organization": mmdbtype.String("Example")})
	writeDatabase(t, filepath.Join(dir, "anonymous-ip.mmdb"), "GeoIP2-Anonymous-IP", "198.51.100.128/25", mmdbtype.Map{"is_anonymous": mmdbtype.Bool(true), "is_anonymous_vpn": mmdbtype.Bool(true)})

	file := filepath.Join(dir, "sallyport.yaml")
	if status, stdout, stderr := command(t, "check", "--config", file); status != 0 {
		t.Fatalf("%s%s", stdout, stderr)
	}
	if status, stdout, _ := command(t, "policy", "test", "--config", file); status != 0 || !strings.Contains(stdout, "1 passed, 0 failed") {
		t.Error(stdout)
	}
	for ip, want := range map[string]string{
		"198.51.100.1":   "allow",
		"198.51.100.200": "step_up", // a VPN exit, by the database
		"203.0.112.1":    "step_up", // by the list
		"203.0.113.9":    "allow",   // an office, regardless of the list
	} {
		status, stdout, stderr := command(t, "policy", "explain", "--config", file, "--user", "a@example.com", "--groups", "treasury", "--route", "treasury", "--ip", ip, "--verified-age", "10m")
		if first, _, _ := strings.Cut(stdout, "\n"); status != 0 || !strings.HasPrefix(first, want) {
			t.Errorf("%s: %s, want %s\n%s", ip, first, want, stderr)
		}
	}
	// What is explained is what the gate judges: of this person no day of starting is known.
	if status, stdout, _ := command(t, "policy", "explain", "--config", file, "--user", "a@example.com", "--route", "treasury", "--ip", "198.51.100.1"); status != 0 || !strings.Contains(strings.Join(strings.Fields(stdout), " "), "user.started_days -1 ") {
		t.Errorf("%d, and user.started_days is not -1", status)
	}
	status, stdout, _ := command(t, "data", "lookup", "--config", file, "--json", "198.51.100.200")
	if want := `{"ip":"198.51.100.200","country":"US","asn":64496,"org":"Example","signals":["vpn"],"lists":[]}` + "\n"; status != 0 || stdout != want {
		t.Errorf("%s, want %s", stdout, want)
	}
}

const promisedConfig = `# sallyport.yaml
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
`

const promisedPolicy = `# policy.yaml
version: 1
lists: {embargoed: [KP, IR, CU], offices: [203.0.113.0/24]}
rules:
  - name: embargoed-country
    when: ip.country in lists.embargoed
    then: block
  - name: anonymised-network
    when: ip.vpn || ip.proxy || ip.tor
    unless: ip.within(lists.offices)   # ` + "`in`" + ` is a reserved word in CEL
    then: step_up
    max_age: 5m
  - name: third-country
    when: ip.country != "ZZ" && size(user.countries) > 0 && !(ip.country in user.countries)
    then: block
tests:
  - name: a VPN exit must prove itself again
    given: {ip: {vpn: true, country: US}, user: {email: a@example.com}}
    expect: {action: step_up, rules: [anonymised-network]}
`
