package edge_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/authn/clocktest"
	"sallyport/proxy/edge"
	"sallyport/proxy/proxytest"
)

// TestMain is also the program of the processes that TestHandover starts: a
// service as systemd would start it.
func TestMain(m *testing.M) {
	if os.Getenv("EDGE_TEST_SERVICE") == "" {
		os.Exit(m.Run())
	}
	if err := service(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func service() error {
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())) // what systemd sets between fork and exec
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	notify, err := edge.NewNotifier()
	if err != nil {
		return err
	}
	in, err := edge.InheritListeners()
	if err != nil {
		return err
	}
	ln, err := edge.Listen(ctx, edge.ListenConfig{Inherited: in, Name: "data", Address: "127.0.0.1:1"})
	if err != nil {
		return err
	}
	if err := in.Unused(); err != nil {
		return err
	}
	c := edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			time.Sleep(5 * time.Millisecond)
			fmt.Fprintf(w, "%s %s", os.Getenv("EDGE_TEST_SERVICE"), body)
		}
	})}
	if file := os.Getenv("EDGE_TEST_CERT"); file != "" {
		certs, err := edge.NewCertificates(edge.CertConfig{Pairs: []edge.CertPair{{CertFile: file, KeyFile: os.Getenv("EDGE_TEST_KEY")}}})
		if err != nil {
			return err
		}
		if c.TLS, err = edge.NewTLS(edge.TLSConfig{Certificates: certs}); err != nil {
			return err
		}
	}
	s, err := proxytest.NewServer(c)
	if err != nil {
		return err
	}
	go s.Serve(ln)
	if err := notify.Ready(os.Getenv("EDGE_TEST_SERVICE")); err != nil {
		return err
	}
	<-ctx.Done()
	notify.Stopping()
	end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return s.Drain(end)
}

// manager plays the service manager: it owns the socket and hears what services say.
type manager struct {
	t      *testing.T
	socket *os.File
	notify *net.UnixConn
	path   string
	env    []string
}

func newManager(t *testing.T, env ...string) (*manager, string) {
	t.Helper()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	m := &manager{t: t, path: filepath.Join(t.TempDir(), "notify"), env: env}
	m.socket = must(ln.(*net.TCPListener).File())
	addr := ln.Addr().String()
	ln.Close() // the file is the socket now
	m.notify = must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"}))
	m.notify.SetReadDeadline(time.Now().Add(60 * time.Second))
	t.Cleanup(func() { m.socket.Close(); m.notify.Close() })
	return m, addr
}

func (m *manager) hear(want string) {
	m.t.Helper()
	buf := make([]byte, 1000)
	for {
		n, err := m.notify.Read(buf)
		if err != nil {
			m.t.Fatalf("waiting for %q: %v", want, err)
		}
		if strings.Contains(string(buf[:n]), want) {
			return
		}
	}
}

func (m *manager) start(name string) (*exec.Cmd, *bytes.Buffer) {
	m.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), m.env...), "EDGE_TEST_SERVICE="+name, "LISTEN_FDS=1", "LISTEN_FDNAMES=data", "NOTIFY_SOCKET="+m.path)
	cmd.ExtraFiles = []*os.File{m.socket}
	out := &bytes.Buffer{}
	cmd.Stderr = out
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if m.t.Failed() && out.Len() > 0 {
			m.t.Logf("service %s: %s", name, out)
		}
	})
	m.hear("READY=1")
	return cmd, out
}

// Under continuous load, one service after another is replaced on the same
// socket. No request fails, also none that may not be repeated.
func TestHandover(t *testing.T) {
	p := newPKI(t)
	cert, key := p.files(p.leaf("app.example"))
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			m, addr := newManager(t, "EDGE_TEST_CERT="+cert, "EDGE_TEST_KEY="+key)
			old, out := m.start("0")
			ctx, cancel := context.WithCancel(t.Context())
			var served [4]atomic.Int64
			var load sync.WaitGroup
			for worker := range 16 {
				load.Go(func() {
					g := &harness{t: t, addr: addr, pki: p}
					client := g.client(proto)
					tr := client.Transport.(*http.Transport)
					tr.TLSClientConfig = &tls.Config{RootCAs: p.pool}
					tr.DisableKeepAlives = worker%4 == 3 // and some with a connection for each request
					for n := 0; ctx.Err() == nil; n++ {
						by, err := post(client, fmt.Sprint(worker, n))
						if err != nil {
							t.Errorf("worker %d: %v", worker, err)
							return
						}
						served[by].Add(1)
					}
				})
			}
			for next := 1; next < 4; next++ {
				cmd, nextOut := m.start(strconv.Itoa(next))
				old.Process.Signal(syscall.SIGTERM)
				m.hear("STOPPING=1")
				if err := old.Wait(); err != nil {
					t.Errorf("the old service: %v: %s", err, out)
				}
				clocktest.Eventually(t, "the new one serves", func() bool { return served[next].Load() > 300 })
				old, out = cmd, nextOut
			}
			cancel()
			load.Wait()
			total := int64(0)
			for i := range served {
				total += served[i].Load()
			}
			t.Logf("%d requests, none lost", total)
		})
	}
}

// post makes a request that no client library repeats, and returns who answered.
func post(client *http.Client, text string) (int, error) {
	res, err := client.Post("https://app.example/", "text/plain", io.NopCloser(strings.NewReader(text)))
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	by, echo, _ := strings.Cut(string(body), " ")
	if echo != text {
		return 0, fmt.Errorf("got %q for %q", body, text)
	}
	return strconv.Atoi(by)
}
