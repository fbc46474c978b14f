package e2e

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eventually polls another process.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 seconds: %s", what)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// signedOut waits for the end of the session at the host of the page that is shown. The
// process that serves looks for revocations four times a second.
func (b *browser) signedOut() {
	b.t.Helper()
	eventually(b.t, "the session is over", func() bool {
		return eval[int](b, `fetch("/.sallyport/whoami").then((r) => r.status)`) == http.StatusUnauthorized
	})
}

// opsPage reads a page of the operator's port.
func (s *harness) opsPage(path string) (int, string) {
	s.t.Helper()
	res, err := http.Get(s.ops + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// metric returns the line of a metric, without its name.
func (s *harness) metric(name string) string {
	s.t.Helper()
	_, page := s.opsPage("/metrics")
	for line := range strings.Lines(page) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestListsAreReloadedAsTheyChange: a changed file changes verdicts without a restart,
// and a broken one changes nothing but is told of.
func TestListsAreReloadedAsTheyChange(t *testing.T) {
	t.Parallel()
	s := newHarness(t, unguarded) // the list blocks everyone there is
	c := newClient(t, s, home)
	c.getIn(alice)
	status := func() int { return c.api(s.treasury + "/").status }
	const failures = `sallyport_ip_source_failed_loads{source="servers"}`

	if status() != http.StatusOK || s.metric(failures) != "0" {
		t.Fatalf("before: %d, %q failures", status(), s.metric(failures))
	}
	s.write("servers.txt", "192.0.2.64/26\n198.51.100.0/24\n")
	eventually(t, "home is listed as a data centre", func() bool { return status() == http.StatusForbidden })

	// Garbage, nothing, and a file that is gone: what was known stays known.
	for name, breakIt := range map[string]func(){
		"garbage": func() { s.write("servers.txt", "<html><h1>502 Bad Gateway</h1></html>\n") },
		"empty":   func() { s.write("servers.txt", "") },
		"gone":    func() { s.remove("servers.txt") },
	} {
		before := s.metric(failures)
		breakIt()
		eventually(t, name+": the refused load is counted", func() bool { return s.metric(failures) != before })
		if status() != http.StatusForbidden {
			t.Errorf("%s: home gets %d", name, status())
		}
		if v := s.metric(`sallyport_ip_source_loaded{source="servers"}`); v != "1" {
			t.Errorf("%s: loaded: %q", name, v)
		}
		// Old data is still data: people get in, so the process is ready.
		if code, body := s.opsPage("/readyz"); code != http.StatusOK {
			t.Errorf("%s: readyz: %d %s", name, code, body)
		}
	}
	told := false
	for line := range strings.Lines(s.log.String()) {
		told = told || strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, `"source":"servers"`)
	}
	if !told {
		t.Error("the log does not say which list is broken")
	}
	s.write("servers.txt", "192.0.2.64/26\n")
	eventually(t, "a good file works again", func() bool { return status() == http.StatusOK })
	if v := s.metric(failures); v != "0" {
		t.Errorf("after a good load: %q failures", v)
	}
}

// TestAttackBrokenReload: a policy that is wrong in any way leaves the old one in force.
func TestAttackBrokenReload(t *testing.T) {
	t.Parallel()
	s := newHarness(t, unguarded) // the good policy blocks everyone there is
	c := newClient(t, s, home)
	c.getIn(alice)
	hangup := func(policy, want string) {
		t.Helper()
		s.write("policy.yaml", policy)
		before := strings.Count(s.log.String(), want)
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, want, func() bool { return strings.Count(s.log.String(), want) > before })
	}
	for name, policy := range map[string]string{
		"empty":          "",
		"a typing error": "version: 1\nrules:\n  - {name: x, when: ip.county == \"US\", then: block}\n",
		"an unknown key": "version: 1\nrule:\n  - {name: x, when: ip.vpn, then: block}\n",
		"a failing test": "version: 1\nrules:\n  - {name: x, when: ip.vpn, then: block}\ntests:\n  - {name: t, given: {ip: {vpn: true}}, expect: {action: allow}}\n",
	} {
		hangup(policy, "reload refused")
		if a := c.api(s.treasury + "/"); a.status != http.StatusOK {
			t.Errorf("%s: home gets %d", name, a.status)
		}
		c.from = pyongyang
		if a := c.api(s.treasury + "/"); a.status != http.StatusForbidden {
			t.Errorf("%s: the embargo is gone: %d", name, a.status)
		}
		c.from = home
	}
	hangup("version: 1\nrules:\n  - {name: nobody-from-here, when: ip.country == \"US\", then: block}\n...\n", `"msg":"reloaded"`)
	if a := c.api(s.treasury + "/"); a.status != http.StatusForbidden {
		t.Errorf("a good policy is not in force: %d", a.status)
	}
}
