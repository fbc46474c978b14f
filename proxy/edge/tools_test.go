package edge_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/authn/clocktest"
	"sallyport/proxy/edge"
)

// tool finds a program that is not part of the module. README.md says where they
// come from.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("SALLYPORT_TEST_REQUIRE") == "all" {
		t.Fatalf("%s is required, and is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// h2specKnown are the cases in which net/http refuses in another way than h2spec
// expects: with 400 on the stream, which RFC 9113 section 8.1.1 allows, and by
// ending a connection whose SETTINGS frame sets one thing twice.
var h2specKnown = []string{
	"1: Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE",
	"1: Sends a HEADERS frame that contains the connection-specific header field",
	`2: Sends a HEADERS frame that contains the TE header field with any value other than "trailers"`,
}

func TestH2spec(t *testing.T) {
	h2spec := tool(t, "h2spec")
	g := newTLSHarness(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "hello")
	})})
	_, port, _ := net.SplitHostPort(g.addr)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, _ := exec.CommandContext(ctx, h2spec, "-t", "-k", "-o", "2", "-h", "127.0.0.1", "-p", port).CombinedOutput()
	m := regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("h2spec said nothing:\n%s", out)
	}
	t.Log(m[0])
	for _, line := range strings.Split(string(out), "\n") {
		if _, what, ok := strings.Cut(line, "× "); ok && !slices.Contains(h2specKnown, strings.TrimSpace(what)) {
			t.Errorf("failed: %s", strings.TrimSpace(what))
		}
	}
	g.serves()
}

// raceDetector says that this is its build.
var raceDetector bool

// Debian's slowhttptest, in each of its four attacks, for a few seconds with
// patience to match: the service must stay available, and recover at once.
func TestSlowHTTPTest(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes a server several times as slow, and how soon it answers is what is measured here; the same attacks run without it")
	}
	slow := tool(t, "slowhttptest")
	for name, args := range map[string][]string{
		"slow headers":  {"-H", "-i", "1"},
		"slow body":     {"-B", "-i", "1", "-s", "8192"},
		"range headers": {"-R", "-a", "10", "-b", "3000"},
		"slow read":     {"-X", "-n", "1", "-w", "10", "-y", "20", "-z", "5", "-k", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			big := strings.Repeat("x", 4<<20)
			g := newHarness(t, edge.Config{Pace: edge.Pace{Patience: time.Second, MinRate: 1000},
				Limits: edge.Limits{HeaderTimeout: time.Second, Connections: 400, ConnectionsPerClient: 400},
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.Copy(io.Discard, r.Body); err == nil {
						io.WriteString(w, big)
					}
				})})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, _ := exec.CommandContext(ctx, slow, append(args, "-c", "300", "-r", "300", "-l", "6", "-x", "24", "-p", "5", "-u", "http://"+g.addr+"/")...).CombinedOutput()
			text := regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(string(out), "")
			all := regexp.MustCompile(`service available:\s+(\w+)`).FindAllStringSubmatch(text, -1)
			if len(all) == 0 {
				t.Fatalf("slowhttptest said nothing:\n%s", text)
			}
			yes := 0
			for _, m := range all {
				if m[1] == "YES" {
					yes++
				}
			}
			s := g.Stats()
			t.Log("available in " + strconv.Itoa(yes) + " of " + strconv.Itoa(len(all)) + " reports; most of the attack's connections were closed by us: " + strconv.FormatInt(s.OpenConnections, 10) + " of " + strconv.FormatUint(s.Accepted, 10) + " connections still open")
			if yes != len(all) {
				t.Errorf("the service was not available:\n%s", text)
			}
			clocktest.Eventually(t, "the attack is over", func() bool { return g.Stats().OpenConnections == 0 })
			if code, _ := g.statusOf("/"); code != 200 {
				t.Errorf("afterwards: %d", code)
			}
		})
	}
}
