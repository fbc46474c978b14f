package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/authn/authntest"
)

// binary is the product, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "sallyport-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "sallyport")
		if err := certificates.issue(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		build := exec.Command("go", "build", "-o", binary, "./cmd/sallyport")
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the product: %v\n%s", err, out)
			return 1
		}
		defer endEngines()
		return m.Run()
	}())
}

// missing skips the test for want of something, or fails it where everything is required.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SALLYPORT_TEST_REQUIRE") == "all" {
		t.Fatalf("%s is required", what)
	}
	t.Skipf("needs %s; set SALLYPORT_TEST_REQUIRE=all to make that a failure", what)
}

// Addresses the tests connect from, as a load balancer in front would say. Those of
// RFC 5737 are given a meaning by the lists of the harness.
const (
	home      = "198.51.100.23" // US
	vpnExit   = "203.0.113.66"
	dataRoom  = "192.0.2.80"
	pyongyang = "175.45.176.10"
)

// harness is one running product with everything around it.
type harness struct {
	*tool    // behind the route "treasury"
	t        *testing.T
	dir      string
	entry    entry
	port     string // that people use
	listen   string // port of the product itself
	base     string // sign-in host, "https://access.corp.example.com:PORT"
	treasury string // app host, "https://treasury.corp.example.com:PORT"
	ops      string
	idp      *authntest.IdP // nil with a foreign provider

	sockets []*os.File // data and ops, held open for the product; nil: it opens its own

	probe  string // the page of the operator's port that says when it has started
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	log    *output
}

// output collects what a process writes; it may be read while that goes on.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

const clientSecret = "an-e2e-client-secret-of-some-length"

// The people that the in-process provider knows.
var alice = authntest.IdPPerson{Sub: "1001", Email: "alice@example.com", Name: "Alice", Groups: []string{"treasury"}, Countries: []string{"US"}, Verified: true}
var bob = authntest.IdPPerson{Sub: "1002", Email: "bob@example.com", Name: "Bob", Groups: []string{"engineering"}, Countries: []string{"DE"}, Verified: true}

// newHarness starts the product with the in-process OpenID provider, reached over https.
func newHarness(t *testing.T, edit ...func(string) string) *harness {
	t.Helper()
	return newHarnessAt(t, overTLS, edit...)
}

// newHarnessAt is newStack for people who reach the product in another way.
func newHarnessAt(t *testing.T, e entry, edit ...func(string) string) *harness {
	t.Helper()
	port := freePort(t)
	base := e.origin("", port)
	idp := authntest.StartIdP(t, authntest.IdPConfig{
		Clients: []authntest.IdPClient{{ID: "sallyport", Secret: clientSecret, RedirectURIs: []string{base + "/.sallyport/callback"}, PostLogoutRedirectURIs: []string{base + "/.sallyport/sign-out"}}},
		People:  []authntest.IdPPerson{alice, bob},
	})
	s := startHarness(t, e, port, idp.Issuer(), edit...)
	s.idp = idp
	return s
}

// nowhere is where nothing listens: the issuer of a harness whose provider is down.
const nowhere = "http://127.0.0.1:1"

// startHarness writes a configuration for an issuer and starts the product on it.
func startHarness(t *testing.T, e entry, port, issuer string, edit ...func(string) string) *harness {
	t.Helper()
	s := &harness{t: t, probe: "/readyz", dir: t.TempDir(), entry: e, port: port, listen: port, base: e.origin("", port), treasury: e.origin("treasury", port), tool: newTool(t)}
	if issuer == nowhere {
		s.probe = "/healthz"
	}
	streams(s.tool.mux)
	data := "proxy_protocol: true"
	balanced.Store(port, true)
	switch {
	case e.ends:
		s.listen, data = freePort(t), ""
		startFront(t, e, port, s.listen, "")
	case e.tls:
		data += fmt.Sprintf("\ntls: {cert_file: %s, key_file: %s}", certificates.cert, certificates.key)
	}
	opsPort := freePort(t)
	s.ops = "http://127.0.0.1:" + opsPort
	cfg := fmt.Sprintf(`
listen: 127.0.0.1:%s
ops_listen: 127.0.0.1:%s
external_url: %s
trusted_proxies: [127.0.0.0/8]
%s
oidc:
  issuer: %s
  client_id: sallyport
  client_secret_file: secret
  scopes: [openid, email, profile, groups, offline_access]
  countries_claim: country
session: {max_age: 10h, idle_timeout: 1h}
store: sqlite:state/sallyport.db
audit: {file: state/audit.jsonl}
policy: policy.yaml
ip_data:
  lists:
    - {name: places, file: places.csv, format: csv, stated: true}
    - {name: vpn-exits, signal: vpn, file: vpn.txt}
    - {name: servers, signal: hosting, file: servers.txt}
routes:
  - name: treasury
    from: %s
    to: %s
    allow: {groups: [treasury, staff]}
`, s.listen, opsPort, s.base, data, issuer, s.treasury, s.tool.URL)
	for _, e := range edit {
		cfg = e(cfg)
	}
	s.write("sallyport.yaml", cfg)
	s.write("secret", clientSecret)
	s.write("places.csv", "network,country\n198.51.100.0/24,US\n203.0.113.0/24,NL\n192.0.2.0/24,US\n175.45.176.0/22,KP\n")
	s.write("vpn.txt", "203.0.113.64/27\n")
	s.write("servers.txt", "192.0.2.64/26\n")
	s.write("policy.yaml", `
version: 1
lists: {embargoed: [KP, IR, CU]}
rules:
  - {name: embargoed-country, when: ip.country in lists.embargoed, then: block}
  - {name: data-centre, when: ip.hosting, then: block}
  - {name: anonymised-network, when: ip.vpn, then: step_up, max_age: 5m}
tests:
  - {name: home, given: {ip: {country: US}, user: {email: alice@example.com}}, expect: {action: allow}}
`)
	s.start()
	t.Cleanup(func() {
		s.stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("log of the product:\n%s", s.log)
		}
	})
	return s
}

// origin is where another tool of the harness is reached.
func (s *harness) origin(tool string) string { return s.entry.origin(tool, s.port) }

// elsewhere is the sign-in host under another name.
func (s *harness) elsewhere(host string) string {
	scheme, _, _ := strings.Cut(s.base, ":")
	return scheme + "://" + host + ":" + s.port
}

// cookieName is what a cookie of ours is called: the name of the session's is "sallyport".
func (s *harness) cookieName(name string) string { return s.entry.cookiePrefix() + name }

func (s *harness) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *harness) remove(name string) {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *harness) start() {
	s.t.Helper()
	if s.log == nil {
		s.log = new(output)
	}
	s.cmd = exec.Command(binary, "serve")
	if s.sockets != nil {
		// The process has to find its own number: the shell becomes the product.
		s.cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=data:ops exec "$0" serve`, binary)
		s.cmd.ExtraFiles = s.sockets
	}
	s.cmd.Dir, s.cmd.Stderr = s.dir, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() { _ = cmd.Wait(); close(exited) }()
	deadline := time.Now().Add(30 * time.Second)
	for {
		select {
		case <-exited:
			s.t.Fatalf("the product ended by itself:\n%s", s.log)
		default:
		}
		res, err := http.Get(s.ops + s.probe)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not ready: %v\n%s", err, s.log)
		}
		<-time.After(20 * time.Millisecond) // polling another process
	}
}

// stop sends a signal and waits for the end.
func (s *harness) stop(sig os.Signal) {
	_ = s.cmd.Process.Signal(sig)
	<-s.exited
}

// run calls the product's command line, and returns what it printed.
func (s *harness) run(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("sallyport %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ticket mints an enrolment ticket and returns its URL.
func (s *harness) ticket(email string) string {
	s.t.Helper()
	lines := strings.Split(strings.TrimSpace(s.run("ticket", "create", "--user", email, "--note", "e2e")), "\n")
	return lines[len(lines)-1]
}

// audit returns the records of the audit log.
func (s *harness) audit() []map[string]any {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "state", "audit.jsonl"))
	if err != nil {
		s.t.Fatal(err)
	}
	var list []map[string]any
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		var r map[string]any
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			s.t.Fatal(err)
		}
		list = append(list, r)
	}
}

// recorded reports whether the audit log has an event with an action.
func (s *harness) recorded(event, action string) bool {
	s.t.Helper()
	for _, r := range s.audit() {
		if r["event"] == event && r["action"] == action {
			return true
		}
	}
	return false
}

// given has the ports that tests have got already.
var given sync.Map

// freePort is a port for a person who opens it later. It is below those that the system
// gives to outgoing connections, of which there are many here: one could take it meanwhile.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(15000 + rand.IntN(17000))
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}
