package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

var (
	demoTicket  = regexp.MustCompile(`http://localhost:\d+/\.sallyport/enroll\?ticket=\S+`)
	demoConsole = regexp.MustCompile(`(http://tool\.localhost:\d+)/\s`)
)

// TestDemo walks through what `sallyport demo` promises a newcomer.
func TestDemo(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	out := new(output)
	cmd := exec.Command(binary, "demo", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	eventually(t, "the demo says where to click", func() bool { return strings.Contains(out.String(), "Ctrl-C") })
	tickets := demoTicket.FindAllString(out.String(), -1)
	console := demoConsole.FindStringSubmatch(out.String())
	if len(tickets) != 2 || console == nil {
		t.Fatalf("it printed %s", out)
	}
	at := console[1]

	b := newBrowser(t, "")
	place := func(id, wantTitle string) {
		t.Helper()
		b.open(at + "/")
		b.press(`.demo-bar button[value="` + id + `"]`)
		b.until(`document.querySelector('.demo-bar button[value="` + id + `"][aria-pressed="true"]')`)
		b.shows(wantTitle)
	}
	b.enrol(tickets[0], "1001")
	b.screenshot("account")
	b.open(at + "/")
	b.shows("Treasury console")
	b.shows("You are alice@example.com")
	b.screenshot("console")

	b.press(`.demo-bar button[value="vpn"]`)
	b.shows("Verify it’s you")
	b.shows("different network")
	b.screenshot("step-up")
	b.act("verify")
	b.shows("Treasury console")
	b.shows("from 203.0.113.66")

	b.press(`a[href="/payments"]`)
	b.shows("New payment")
	b.press(`form[action="/payments"] button`)
	b.shows("25 ETH are on their way")
	b.screenshot("paid")

	for _, id := range []string{"kp", "aws", "tor"} {
		place(id, "You cannot get in from here")
		if text := b.text(); strings.Contains(text, "Treasury console") || strings.Contains(text, "embargo") && !strings.Contains(text, "expect: blocked: embargoed") {
			t.Errorf("%s: %s", id, text)
		}
	}
	b.screenshot("blocked")
	// Three countries within an hour: even at home.
	b.press(`.demo-bar button[value="home"]`)
	b.shows("Verify it’s you")
	b.shows("somewhere we have not seen you lately")
	b.act("verify")
	b.shows("Treasury console")

	// Bob may sign in, but not open the treasury.
	bobs := newBrowser(t, "")
	bobs.enrol(tickets[1], "1002")
	bobs.open(at + "/")
	bobs.shows("You do not have access to this tool")

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-exited; err != nil {
		t.Errorf("the demo ended with %v: %s", err, out)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("the demo left %v behind (%v)", left, err)
	}
}

// TestDemoIsForThisMachineOnly: no one else can reach a provider that believes everyone.
func TestDemoIsForThisMachineOnly(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:8080", "nonsense"} {
		cmd := exec.Command(binary, "demo", "--listen", listen)
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); err == nil || code != 2 || !strings.Contains(string(out), "loopback") {
			t.Errorf("--listen %s: status %d: %s", listen, code, out)
		}
	}
}

// TestServeHasNothingOfTheDemo: what the demo adds is nowhere in the product.
func TestServeHasNothingOfTheDemo(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	c := newClient(t, s, home)
	for _, path := range []string{"/demo/bar.css", "/demo/place", "/authorize", "/.well-known/openid-configuration", "/token"} {
		if a := c.api(s.base + path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := c.follow(s.base + "/.sallyport/sign-in"); strings.Contains(a.body, "demo") {
		t.Error("the sign-in page speaks of the demo")
	}
	s.stop(syscall.SIGTERM)
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with status %d", code)
	}
}
