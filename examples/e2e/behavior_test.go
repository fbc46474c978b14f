package e2e

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

const (
	amsterdam  = "203.0.113.10" // NL, and no VPN
	losAngeles = "192.0.2.10"   // US, and no data centre
)

// withPolicy replaces the policy of a harness.
func withPolicy(t *testing.T, policy string) func(string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	writeFile(t, file, []byte(policy))
	return func(cfg string) string { return strings.Replace(cfg, "policy: policy.yaml", "policy: "+file, 1) }
}

// everyone opens the treasury to all who are signed in.
func everyone(cfg string) string {
	return strings.Replace(cfg, "allow: {groups: [treasury, staff]}", "allow: {everyone: true}", 1)
}

// unguarded lets policies come into force that block a person who is in: with two people, one is
// half of the company.
func unguarded(cfg string) string {
	return strings.Replace(cfg, "policy: policy.yaml", "policy: policy.yaml\npolicy_guard: {max_newly_blocked: 100%, max_newly_allowed: 100%}", 1)
}

// withCities adds a database that knows where the places of the harness are.
func withCities(t *testing.T) func(string) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoLite2-City", BuildEpoch: time.Now().Add(-time.Hour).Unix(),
		IncludeReservedNetworks: true, Description: map[string]string{"en": "made up"}})
	if err != nil {
		t.Fatal(err)
	}
	for network, city := range map[string]mmdbtype.Map{
		"198.51.100.0/24": place("US", 40.71, -74.01, "America/New_York"),
		"203.0.113.0/24":  place("NL", 52.37, 4.9, "Europe/Amsterdam"),
		"192.0.2.0/24":    place("US", 34.05, -118.24, "America/Los_Angeles"),
	} {
		_, n, err := net.ParseCIDR(network)
		if err == nil {
			err = tree.Insert(n, city)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "city.mmdb")
	writeFile(t, file, b.Bytes())
	return func(cfg string) string {
		return strings.Replace(cfg, "ip_data:", "ip_data:\n  databases: ["+file+"]", 1)
	}
}

func place(country string, lat, lon float64, zone string) mmdbtype.Map {
	return mmdbtype.Map{
		"country": mmdbtype.Map{"iso_code": mmdbtype.String(country)},
		"location": mmdbtype.Map{"latitude": mmdbtype.Float64(lat), "longitude": mmdbtype.Float64(lon), "accuracy_radius": mmdbtype.Uint16(20),
			"time_zone": mmdbtype.String(zone)},
	}
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// last returns the facts of the newest access record with an action and, if not "", a rule.
func (s *harness) last(action, rule string) map[string]map[string]any {
	s.t.Helper()
	for _, r := range slices.Backward(s.audit()) {
		rules, _ := r["rules"].([]any)
		if r["event"] != "access" || r["action"] != action || rule != "" && !slices.Contains(rules, any(rule)) {
			continue
		}
		groups := map[string]map[string]any{}
		for name, group := range r["facts"].(map[string]any) {
			groups[name], _ = group.(map[string]any)
		}
		return groups
	}
	s.t.Fatalf("no access record with %s by %q", action, rule)
	return nil
}

// use puts another policy in force.
func (s *harness) use(policy string) {
	s.t.Helper()
	const done = `"msg":"reloaded"`
	before := strings.Count(s.log.String(), done)
	s.write("policy.yaml", policy+"...\n")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the policy is in force", func() bool { return strings.Count(s.log.String(), done) > before })
}

// asks opens a page until the person has to prove themselves: the proof they gave has to
// grow too old first.
func (b *browser) asks(url string) {
	b.t.Helper()
	eventually(b.t, "the page asks for a proof", func() bool {
		b.open(url)
		return strings.Contains(b.text(), "Verify it’s you")
	})
}

// No person is in New York and, a few seconds later, in Amsterdam.
func TestImpossibleTravelStepsUp(t *testing.T) {
	t.Parallel()
	s := newHarness(t, withCities(t), withPolicy(t, `
version: 1
rules:
  - name: impossible-travel
    when: travel.known && travel.speed_kmh > 900.0 && travel.distance_km >= 500.0
    then: step_up
    max_age: 5m
`))
	b := newBrowser(t, home)
	b.enrol(s.ticket("alice@example.com"), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")

	b.from(amsterdam)
	b.open(s.treasury + "/")
	b.shows("Verify it’s you")
	b.shows("somewhere we have not seen you lately")
	if s.reached(amsterdam) > 0 {
		t.Error("a request from there reached the upstream without a proof")
	}
	b.act("verify")
	b.shows("Treasury of alice@example.com")
	if km, _ := s.last("step_up", "impossible-travel")["travel"]["distance_km"].(float64); km < 5700 || km > 5900 {
		t.Errorf("recorded as %v km", km)
	}

	b.from(home) // and back again as fast
	b.open(s.treasury + "/")
	b.shows("Verify it’s you")
	b.act("verify")
	b.shows("Treasury of alice@example.com")

	// What was seen is known after a restart as well.
	s.stop(syscall.SIGTERM)
	s.start()
	b.from(losAngeles)
	b.open(s.treasury + "/?after=restart")
	b.shows("Verify it’s you")
}

// Two people who use one browser: the second has to prove themselves again and again, or
// does not get in at all, as the policy says.
func TestSharedDeviceStepsUpAndBlocks(t *testing.T) {
	t.Parallel()
	const policy = `
version: 1
rules:
  - {name: shared-device, routes: [treasury], when: device.people_30d >= 2, then: step_up, max_age: 2s}
`
	s := newHarness(t, everyone, unguarded)
	s.use(policy)
	b := newBrowser(t, home)
	b.enrol(s.ticket("alice@example.com"), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")
	if device := s.last("allow", "")["device"]; device["known"] != true || device["people_30d"] != 1.0 {
		t.Errorf("alone: %v", device)
	}
	b.open(s.base + "/.sallyport/sign-out")
	b.act("sign-out")
	b.shows("You are signed out")

	b.enrol(s.ticket("bob@example.com"), bob.Sub)
	b.asks(s.treasury + "/")
	b.shows("browser or device is not the one we know you by")
	if device := s.last("step_up", "shared-device")["device"]; device["people_30d"] != 2.0 {
		t.Errorf("together: %v", device)
	}

	s.use(strings.Replace(policy, "then: step_up, max_age: 2s", "then: block", 1))
	b.open(s.treasury + "/")
	b.shows("You cannot get in with this browser")

	if cookies := eval[string](b, "document.cookie"); strings.Contains(cookies, "device") {
		t.Errorf("a page can read the device's cookie: %s", cookies)
	}
}

// A browser whose clock is that of another part of the world than its address.
func TestTimeZoneMismatchStepsUp(t *testing.T) {
	t.Parallel()
	const policy = `
version: 1
rules:
  - {name: other-clock, routes: [treasury], when: 'browser.timezone_offset_diff >= duration("3h")', then: step_up, max_age: 2s}
`
	s := newHarness(t, unguarded)
	s.use(policy)
	b := newBrowser(t, home)
	zone := func(name string) {
		call(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: name})
	}
	zone("Asia/Tokyo")
	b.enrol(s.ticket("alice@example.com"), alice.Sub)
	b.asks(s.treasury + "/")
	b.shows("browser or device is not the one we know you by")
	if f := s.last("step_up", "other-clock")["browser"]; f["timezone_known"] != true {
		t.Errorf("%v", f)
	}
	// With the clock of where they are, no one minds, for every zone of that country.
	zone("America/Denver")
	b.open(s.treasury + "/?denver")
	b.act("verify")
	b.shows("Treasury of alice@example.com")
	s.use(strings.Replace(policy, "then: step_up, max_age: 2s", "then: block", 1))
	b.open(s.treasury + "/?strict")
	b.shows("Treasury of alice@example.com")
	if f := s.last("allow", "")["browser"]; f["timezone_known"] != true || f["timezone_offset_diff"] != nil {
		t.Errorf("%v", f)
	}
}
