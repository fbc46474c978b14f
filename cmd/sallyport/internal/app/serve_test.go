package app

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/cmd/sallyport/internal/certtest"
)

// running is a harness that serves.
type running struct {
	*harness
	data, opsURL string // address; URL
	hup          chan os.Signal
	stop         context.CancelFunc
	done         chan error
}

func (d *harness) run() *running {
	d.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	d.config.Listen = "127.0.0.1:0"
	data, err := net.Listen("tcp", d.config.Listen)
	if err != nil {
		d.t.Fatal(err)
	}
	ops, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	r := &running{harness: d, data: data.Addr().String(), opsURL: "http://" + ops.Addr().String(), hup: make(chan os.Signal), stop: stop, done: make(chan error, 1)}
	go func() { r.done <- r.Serve(ctx, Listeners{Data: data, Ops: ops}, r.hup) }()
	d.t.Cleanup(stop)
	return r
}

// end stops it and wants it to have ended in order.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
}

// half sends a request whose body does not end, and returns once it is being answered.
func (r *running) half() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.data)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	fmt.Fprint(c, "POST /.sallyport/backchannel-logout HTTP/1.1\r\nHost: localhost:8080\r\nX-Forwarded-For: 203.0.113.7\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 15\r\nExpect: 100-continue\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		r.t.Fatal(line, err)
	}
	return c
}

// TestStopDrains: the order to stop ends readiness at once, takes no more connections,
// and lets the request in flight finish.
func TestStopDrains(t *testing.T) {
	r := newHarness(t).run()
	c := r.half()
	r.stop()
	for deadline := time.Now().Add(10 * time.Second); !r.stopping.Load(); {
		if time.Now().After(deadline) {
			t.Fatal("not stopping")
		}
		<-time.After(time.Millisecond)
	}
	if got := strings.Join(r.failing(), " "); !strings.Contains(got, "serving") {
		t.Errorf("ready while stopping: fails for %q", got)
	}
	fmt.Fprint(c, "logout_token=xy")
	if answer, err := io.ReadAll(c); err != nil || !strings.Contains(string(answer), "HTTP/1.1 ") {
		t.Errorf("the request in flight was cut off: %q, %v", answer, err)
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", r.data); err == nil {
		t.Error("still listens")
	}
}

// TestStopDoesNotWaitForEver: a client that never finishes is cut off, and that is no
// reason to fail: what the stores hold is still written.
func TestStopDoesNotWaitForEver(t *testing.T) {
	d := newHarness(t)
	d.drain = 50 * time.Millisecond
	r := d.run()
	c := r.half()
	r.end()
	if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	if !strings.Contains(r.log.String(), "cut off at the end of the drain time") {
		t.Error("nobody was told")
	}
}

func TestFailingListenerEndsServing(t *testing.T) {
	d := newHarness(t)
	d.config.Listen = "127.0.0.1:0"
	data, err := net.Listen("tcp", d.config.Listen)
	if err != nil {
		t.Fatal(err)
	}
	ops, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ops.Close()
	if err := d.Serve(t.Context(), Listeners{Data: data, Ops: ops}, nil); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Error(err)
	}
}

func writePair(t *testing.T, write func(name, content string), serial int64, hosts ...string) {
	t.Helper()
	cert, key := certtest.Pair(t, serial, hosts...)
	write("tls.crt", cert)
	write("tls.key", key)
}

// https asks for the wiki over TLS, offering these protocols.
func (r *running) https(protocols *http.Protocols) *http.Response {
	r.t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "wiki.example.com"}, // its own certificate
		Protocols:       protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", r.data)
		},
	}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get("https://wiki.example.com/wiki")
	if err != nil {
		r.t.Fatal(err)
	}
	res.Body.Close()
	return res
}

// TestTLS: certificate files, HTTP/1.1 and HTTP/2, and a certificate that is renewed
// without a restart.
func TestTLS(t *testing.T) {
	writePairIn := func(dir string) func(string, string) {
		return func(name, content string) {
			if err := os.WriteFile(dir+"/"+name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	certs := t.TempDir()
	writePair(t, writePairIn(certs), 1, "access.example.com", "wiki.example.com")
	d := newHarness(t,
		[3]string{"sallyport.yaml", "external_url: http://localhost:${PORT}", "external_url: https://access.example.com\ntls: {cert_file: " + certs + "/tls.crt, key_file: " + certs + "/tls.key}"},
		[3]string{"sallyport.yaml", "http://treasury.localhost:8080", "https://treasury.example.com"},
		[3]string{"sallyport.yaml", "http://wiki.localhost:8080", "https://wiki.example.com"},
		[3]string{"sallyport.yaml", "trusted_proxies: [127.0.0.1]\n", ""},
	)
	r := d.run()
	one, two := new(http.Protocols), new(http.Protocols)
	one.SetHTTP1(true)
	two.SetHTTP2(true)
	for major, p := range map[int]*http.Protocols{1: one, 2: two} {
		res := r.https(p)
		if res.ProtoMajor != major || res.StatusCode != http.StatusUnauthorized || res.TLS.PeerCertificates[0].SerialNumber.Int64() != 1 {
			t.Errorf("HTTP/%d: %s %s, certificate %v", major, res.Proto, res.Status, res.TLS.PeerCertificates[0].SerialNumber)
		}
	}
	writePair(t, writePairIn(certs), 2, "access.example.com", "wiki.example.com")
	r.hup <- syscall.SIGHUP
	r.hup <- syscall.SIGHUP // taken when the first is done
	if got := r.https(two).TLS.PeerCertificates[0].SerialNumber.Int64(); got != 2 {
		t.Errorf("certificate %d after a renewal", got)
	}
	// Half of a renewal is refused, and the old pair goes on.
	if err := os.WriteFile(certs+"/tls.key", []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.hup <- syscall.SIGHUP
	r.hup <- syscall.SIGHUP
	if got := r.https(two).TLS.PeerCertificates[0].SerialNumber.Int64(); got != 2 || r.reloader.counts.refused.Load() == 0 {
		t.Errorf("certificate %d after half a renewal", got)
	}
	r.end()
}
