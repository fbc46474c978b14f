package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/session"
	"sallyport/cmd/sallyport/internal/certtest"
	"sallyport/cmd/sallyport/internal/sitetest"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/policy/behavior"
)

func TestMain(m *testing.M) {
	testscript.Main(m, helpers)
}

// helpers are the programs that scripts execute.
var helpers = map[string]func(){"sallyport": main}

// TestScripts runs testdata/*.txtar against the real command. Beside the commands of
// testscript there are those of scriptCommands.
func TestScripts(t *testing.T) {
	cert, key := certtest.Pair(t, 1, "localhost", "*.localhost")
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			return errors.Join(setUp(env),
				os.WriteFile(filepath.Join(env.WorkDir, "cert.pem"), []byte(cert), 0o600), os.WriteFile(filepath.Join(env.WorkDir, "key.pem"), []byte(key), 0o600))
		},
		Cmds: scriptCommands,
	})
}

var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	"status":  cmdStatus,
	"answer":  cmdAnswer,
	"signal":  cmdSignal,
	"tree":    cmdTree,
	"idp":     cmdIdP,
	"occupy":  cmdOccupy,
	"session": cmdSession,
	"seen":    cmdSeen,
	"last":    cmdLast,
	"renamed": cmdRenamed,
	"edit":    cmdEdit,
	"listens": cmdListens,
}

// unusedPort finds a port for a process that is started later. It is none of those that the system gives to connections
// and to listeners on port 0, of which another test would have taken it by then.
func unusedPort() (string, error) {
	for range 100 {
		port := strconv.Itoa(15_000 + rand.IntN(15_000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return "", errors.New("no port is free")
}

// setUp gives a script ports of its own: $PORT, $OPS, and $IDP, where `idp` listens.
func setUp(env *testscript.Env) error {
	for _, name := range []string{"PORT", "OPS", "IDP"} {
		port, err := unusedPort()
		if err != nil {
			return err
		}
		env.Setenv(name, port)
	}
	env.Setenv("TZ", "UTC")
	env.Setenv("ESC", "\x1b")
	for name, content := range site {
		name = filepath.Join(env.WorkDir, "site", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// site is the deployment in the folder site of every script: names of files, and what they
// hold.
var site = sitetest.Files()

// status N ARGUMENT... runs sallyport and wants exit status N.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: status N argument...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if exit, failed := errors.AsType[*exec.ExitError](ts.Exec("sallyport", args[1:]...)); failed {
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("sallyport %s: exit status %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// answer [-browser] [-from ADDRESS] [-proto https] [-host NAME] URL STATUS [TEXT] waits until a GET of
// URL has that status (0: no one answers) and its body, or its Location, holds TEXT. It
// writes the body to standard output. ADDRESS is what a proxy in front would say.
func cmdAnswer(ts *testscript.TestScript, neg bool, args []string) {
	header := http.Header{}
	if len(args) > 0 && args[0] == "-browser" {
		header.Set("Accept", "text/html")
		args = args[1:]
	}
	for name, flag := range map[string]string{"X-Forwarded-For": "-from", "X-Forwarded-Proto": "-proto", "Host": "-host"} {
		if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
			header.Set(name, args[i+1])
			args = slices.Delete(args, i, i+2)
		}
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: answer [-browser] [-from ADDRESS] [-proto https] [-host NAME] URL STATUS [TEXT]")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	status, body := 0, ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		status, body = get(ts, args[0], header)
		if status == want && (len(args) < 3 || strings.Contains(body, args[2])) {
			fmt.Fprint(ts.Stdout(), body)
			return
		}
		<-time.After(20 * time.Millisecond) // another process: there is nothing to wait on
	}
	ts.Fatalf("%s answers %d, want %d\n%s", args[0], status, want, body)
}

func get(ts *testscript.TestScript, url string, header http.Header) (int, string) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	ts.Check(err)
	req.Host, req.Header = header.Get("Host"), header
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, res.Header.Get("Location") + "\n" + string(body)
}

// signal NAME sends SIGHUP or SIGTERM to the background commands.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	if neg || len(args) != 1 || signals[args[0]] == nil {
		ts.Fatalf("usage: signal HUP|TERM|KILL")
	}
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(signals[args[0]]))
	}
}

// tree save notes every file below the working directory; tree same wants nothing to
// have changed since.
func cmdTree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tree save|same")
	}
	now := treeOf(ts, ts.MkAbs("."))
	file := filepath.Join(ts.Getenv("WORK"), ".tmp", "tree")
	if args[0] == "save" {
		ts.Check(os.MkdirAll(filepath.Dir(file), 0o777))
		ts.Check(os.WriteFile(file, []byte(now), 0o666))
		return
	}
	before, err := os.ReadFile(file)
	ts.Check(err)
	if string(before) != now {
		ts.Fatalf("files changed: before\n%s\nnow\n%s", before, now)
	}
}

func treeOf(ts *testscript.TestScript, dir string) string {
	var b strings.Builder
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == ".tmp" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s", path, info.Mode())
		if !d.IsDir() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x %s", sha256.Sum256(content), info.ModTime())
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

// idp starts an OpenID provider at $IDP.
func cmdIdP(ts *testscript.TestScript, neg bool, _ []string) {
	addr := "127.0.0.1:" + ts.Getenv("IDP")
	p, err := authntest.NewIdP(authntest.IdPConfig{Issuer: "http://" + addr, Clients: []authntest.IdPClient{{
		ID: "sallyport", Secret: strings.TrimSpace(site["secret"]), RedirectURIs: []string{"http://localhost:" + ts.Getenv("PORT") + "/.sallyport/callback"}}}})
	ts.Check(err)
	l, err := net.Listen("tcp", addr)
	ts.Check(err)
	s := &http.Server{Handler: p}
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) })
	ts.Defer(func() { s.Close(); p.Close(); done.Wait() })
}

// occupy PORT listens there until the script ends.
func cmdOccupy(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:"+args[0])
	ts.Check(err)
	ts.Defer(func() { l.Close() })
}

// renamed DATABASE ID EMAIL SUBJECT gives the person of a session another address, as asking the provider would.
func cmdRenamed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: renamed DATABASE ID EMAIL SUBJECT")
	}
	ctx := context.Background()
	db, err := sqlstore.Open(ctx, "sqlite:"+ts.MkAbs(args[0]), sqlstore.Options{})
	ts.Check(err)
	person := authn.Person{Subject: authn.Subject{Issuer: "https://idp", ID: args[3]}, Email: authn.Email(args[2])}
	ts.Check(errors.Join(db.RefreshSession(ctx, args[1], person, nil, time.Now()), db.Close()))
}

// session DATABASE ID EMAIL [SUBJECT] stores a session, as signing in would.
func cmdSession(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 && len(args) != 4 {
		ts.Fatalf("usage: session DATABASE ID EMAIL [SUBJECT]")
	}
	subject := "sub-" + args[1]
	if len(args) == 4 {
		subject = args[3]
	}
	ctx := context.Background()
	db, err := sqlstore.Open(ctx, "sqlite:"+ts.MkAbs(args[0]), sqlstore.Options{})
	ts.Check(err)
	now := time.Now()
	err = db.CreateSession(ctx, session.Record{
		ID: args[1], CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour),
		Person: authn.Person{Subject: authn.Subject{Issuer: "https://idp", ID: subject}, Email: authn.Email(args[2])},
	}, session.Token{Digest: sha256.Sum256([]byte(args[1])), SessionID: args[1], Host: "localhost"})
	if neg && errors.Is(err, authn.ErrBlocked) {
		err = nil
	} else if neg {
		err = fmt.Errorf("a blocked person got a session: %v", err)
	}
	ts.Check(errors.Join(err, db.Close()))
}

// seen DATABASE SUBJECT ADDRESS DEVICE AGO stores that a person was let through, as the
// proxy does, in AS 64496. DEVICE may be -.
func cmdSeen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: seen DATABASE SUBJECT ADDRESS DEVICE AGO")
	}
	ago, err := time.ParseDuration(args[4])
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	db, err := sqlstore.Open(ctx, "sqlite:"+ts.MkAbs(args[0]), sqlstore.Options{})
	ts.Check(err)
	tracker, err := behavior.New(behavior.Config{Store: db, Key: make([]byte, 32), Household: 56, Retention: 400 * 24 * time.Hour, RawAddresses: 30 * 24 * time.Hour})
	ts.Check(err)
	visit := behavior.Visit{Subject: authn.Subject{Issuer: "https://idp", ID: args[1]}, At: time.Now().Add(-ago), Device: strings.Trim(args[3], "-"),
		Session: "s", Place: behavior.Place{Addr: netip.MustParseAddr(args[2]), Country: "CH", ASN: 64496}}
	tracker.Record(visit, policy.Allow)
	cancel()
	ts.Check(errors.Join(tracker.Run(ctx), db.Close()))
}

// last FILE sets $LAST to the last line of a file, or of stdout.
func cmdLast(ts *testscript.TestScript, neg bool, args []string) {
	lines := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	ts.Setenv("LAST", lines[len(lines)-1])
}

// edit FILE OLD NEW replaces OLD, which has to be there.
func cmdEdit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit FILE OLD NEW")
	}
	text := ts.ReadFile(args[0])
	old, with := strings.ReplaceAll(args[1], `\n`, "\n"), strings.ReplaceAll(args[2], `\n`, "\n")
	if !strings.Contains(text, old) {
		ts.Fatalf("%s does not hold %q", args[0], old)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, old, with, 1)), 0o666))
}

// listens wants the background command to listen, on loopback addresses only.
func cmdListens(ts *testscript.TestScript, neg bool, args []string) {
	found := 0
	for _, c := range ts.BackgroundCmds() {
		for _, addr := range listeners(ts, c.Process.Pid) {
			found++
			if !addr.IsLoopback() {
				ts.Fatalf("listens on %s", addr)
			}
		}
	}
	if found == 0 {
		ts.Fatalf("listens nowhere")
	}
}

// listeners reads from /proc which addresses a process listens on.
func listeners(ts *testscript.TestScript, pid int) (list []net.IP) {
	sockets := map[string]bool{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	ts.Check(err)
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil {
			sockets[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		ts.Check(err)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && sockets[f[9]] { // LISTEN
				list = append(list, procAddress(ts, f[1]))
			}
		}
	}
	return list
}

// procAddress reads "0100007F:1F90": words of four bytes, each in host order.
func procAddress(ts *testscript.TestScript, text string) net.IP {
	host, _, _ := strings.Cut(text, ":")
	var ip net.IP
	for ; host != ""; host = host[8:] {
		word, err := strconv.ParseUint(host[:8], 16, 32)
		ts.Check(err)
		b := []byte{byte(word), byte(word >> 8), byte(word >> 16), byte(word >> 24)}
		ip = append(ip, b...)
	}
	return ip
}

func TestProcAddress(t *testing.T) {
	for text, want := range map[string]string{"0100007F:1F90": "127.0.0.1", "00000000000000000000000001000000:0": "::1", "00000000:50": "0.0.0.0"} {
		if got := procAddress(nil, text); got.String() != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
