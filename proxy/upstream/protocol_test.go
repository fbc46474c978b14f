package upstream_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"crypto/ecdsa"
	"crypto/elliptic"

	"sallyport/proxy/upstream"
)

// serveOn runs an upstream on ln with the protocols named.
func serveOn(t testing.TB, ln net.Listener, h http.Handler, set func(*http.Protocols), c *tls.Config) {
	t.Helper()
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols), TLSConfig: c, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	set(srv.Protocols)
	go func() {
		if c != nil {
			srv.ServeTLS(ln, "", "")
		} else {
			srv.Serve(ln)
		}
	}()
	t.Cleanup(func() { srv.Close() })
}

func listen(t testing.TB, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func onlyH1(p *http.Protocols)  { p.SetHTTP1(true) }
func onlyH2C(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }
func h1AndH2(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) }

// Each protocol towards upstreams, against a real server that speaks nothing else.
func TestProtocols(t *testing.T) {
	pki := newPKI(t)
	dir := t.TempDir()
	for name, c := range map[string]struct {
		listen  func() (net.Listener, string)
		set     func(*http.Protocols)
		tls     bool
		want    string
		upgrade bool
	}{
		"http": {func() (net.Listener, string) {
			ln := listen(t, "tcp", "127.0.0.1:0")
			return ln, "http://" + ln.Addr().String()
		}, onlyH1, false, "HTTP/1.1", true},
		"h2c": {func() (net.Listener, string) {
			ln := listen(t, "tcp", "127.0.0.1:0")
			return ln, "h2c://" + ln.Addr().String()
		}, onlyH2C, false, "HTTP/2.0", false},
		"unix": {func() (net.Listener, string) {
			p := filepath.Join(dir, "a.sock")
			return listen(t, "unix", p), "unix:" + p
		}, onlyH1, false, "HTTP/1.1", true},
		"unix+h2c": {func() (net.Listener, string) {
			p := filepath.Join(dir, "b.sock")
			return listen(t, "unix", p), "unix+h2c:" + p
		}, onlyH2C, false, "HTTP/2.0", false},
		"https": {func() (net.Listener, string) {
			ln := listen(t, "tcp", "127.0.0.1:0")
			return ln, "https://" + ln.Addr().String()
		}, h1AndH2, true, "HTTP/2.0", true},
		"https/1.1": {func() (net.Listener, string) {
			ln := listen(t, "tcp", "127.0.0.1:0")
			return ln, "https://" + ln.Addr().String()
		}, onlyH1, true, "HTTP/1.1", true},
		"no slash two": {func() (net.Listener, string) {
			p := filepath.Join(dir, "c.sock")
			return listen(t, "unix", p), "unix://" + p
		}, onlyH1, false, "HTTP/1.1", true},
	} {
		t.Run(name, func(t *testing.T) {
			ln, to := c.listen()
			o := options{route: upstream.RouteConfig{To: []string{to}}}
			var conf *tls.Config
			if c.tls {
				conf = &tls.Config{Certificates: []tls.Certificate{pki.pair("127.0.0.1")}}
				o.route.TLS.CAFile = pki.caFile
			}
			for _, front := range []bool{false, true} {
				o.tls = front
				g := newRig(t, o)
				var proto string
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					proto = r.Proto
					if r.Header.Get("Upgrade") != "" {
						echoUpgrade(w, r)
						return
					}
					http.NewResponseController(w).EnableFullDuplex()
					w.Header().Set("Trailer", "X-Sum")
					n, _ := io.Copy(w, r.Body)
					w.Header().Set("X-Sum", fmt.Sprint(n))
				})
				if !front {
					serveOn(t, ln, swap(&h), c.set, conf)
				}
				current.Store(&h)
				for _, size := range []int{0, 10, 100 << 10, 3 << 20} {
					body := bytes.Repeat([]byte("b"), size)
					res := g.do("PUT", "/x?y=z", bytes.NewReader(body), http.Header{"Te": {"trailers"}})
					if got := text(t, res); res.StatusCode != 200 || got != string(body) || proto != c.want {
						t.Errorf("%d bytes: %s with %d bytes, over %s", size, res.Status, len(got), proto)
					}
					if got := res.Trailer.Get("X-Sum"); got != fmt.Sprint(size) {
						t.Errorf("trailer %q", got)
					}
				}
				if front {
					continue
				}
				_, br := g.raw(webSocketHandshake)
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Fatal(err)
				}
				if want := map[bool]int{true: 101, false: 200}[c.upgrade]; res.StatusCode != want {
					t.Errorf("WebSocket handshake: %s", res.Status)
				}
			}
		})
	}
}

// A large upload streams: memory does not grow with it, in either direction.
func TestLargeUploadInConstantMemory(t *testing.T) {
	const size = 128 << 20
	for _, to := range []string{"http", "h2c"} {
		ln := listen(t, "tcp", "127.0.0.1:0")
		serveOn(t, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
		}), map[string]func(*http.Protocols){"http": onlyH1, "h2c": onlyH2C}[to], nil)
		g := newRig(t, options{route: upstream.RouteConfig{To: []string{to + "://" + ln.Addr().String()}, MaxBody: -1}})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		res := g.do("POST", "/", io.LimitReader(zeros{}, size), nil)
		if got := text(t, res); got != fmt.Sprint(size) {
			t.Errorf("%s: the upstream got %s of %d bytes", to, got, size)
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > size/2 {
			t.Errorf("%s: %d MiB were allocated for an upload of %d", to, grown>>20, size>>20)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Whoever reads slowly slows the sender down: nothing piles up in between.
func TestBackPressure(t *testing.T) {
	const much = 64 << 20
	written := make(chan int64, 1)
	g := newRig(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(w, io.LimitReader(zeros{}, much)) // fails when the client leaves
		written <- n
	})})
	conn, br := g.raw("GET / HTTP/1.1\r\nHost: app.example\r\n\r\n")
	if _, err := http.ReadResponse(br, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-written:
		t.Errorf("%d bytes were written to a client that does not read", n)
	case <-time.After(300 * time.Millisecond):
	}
	conn.Close()
	if n := <-written; n >= much {
		t.Errorf("all of %d bytes went somewhere", n)
	}
}

// An answer may begin and end before the request does, and the connection is
// then not used for another. (Left alone, net/http may crash the process here.)
func TestAnswerBeforeTheEndOfTheRequest(t *testing.T) {
	dead := closedPort(t)
	for name, o := range map[string]options{
		"early answer": {route: to(answerEarly(t))},
		"no upstream":  {route: to(dead)},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, o)
			for range 30 {
				conn, br := g.raw("POST / HTTP/1.1\r\nHost: app.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
				res, err := http.ReadResponse(br, nil)
				if err != nil || !res.Close {
					t.Fatal("the connection stays open:", res, err)
				}
				io.WriteString(conn, "0\r\n\r\nGET / HTTP/1.1\r\nHost: app.example\r\n\r\n")
				io.Copy(io.Discard, br)
			}
		})
	}
}

// answerEarly is an upstream that answers as soon as it has seen a header.
func answerEarly(t *testing.T) string {
	ln := listen(t, "tcp", "127.0.0.1:0")
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := http.ReadRequest(newReader(conn)); err == nil {
					io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
					io.Copy(io.Discard, conn)
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

// HTTP/1.1 in, full duplex: each side speaks before the other has finished.
func TestDuplexOverHTTP1(t *testing.T) {
	g := newRig(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		rc.Flush()
		br := newReader(r.Body)
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, "echo "+line)
			rc.Flush()
		}
	})})
	conn, br := g.raw("POST / HTTP/1.1\r\nHost: app.example\r\nTransfer-Encoding: chunked\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := newReader(res.Body)
	for _, s := range []string{"one\n", "two\n"} {
		fmt.Fprintf(conn, "%x\r\n%s\r\n", len(s), s)
		if got, err := lines.ReadString('\n'); got != "echo "+s {
			t.Fatalf("%q %v", got, err)
		}
	}
	io.WriteString(conn, "0\r\n\r\n")
	if _, err := lines.ReadByte(); err != io.EOF {
		t.Error(err)
	}
}

// 100-continue is between client and upstream: the upstream can turn a body down
// before it is sent.
func TestExpectContinue(t *testing.T) {
	g := newRig(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			w.WriteHeader(417)
			return
		}
		io.Copy(w, r.Body)
	})})
	ask := func(path string) (*http.Response, func() *http.Response) {
		conn, br := g.raw("POST " + path + " HTTP/1.1\r\nHost: app.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		return res, func() *http.Response {
			io.WriteString(conn, "body")
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
	}
	if res, _ := ask("/refuse"); res.StatusCode != 417 {
		t.Error(res.Status)
	}
	res, send := ask("/accept")
	if res.StatusCode != 100 {
		t.Fatal(res.Status)
	}
	if res := send(); res.StatusCode != 200 || text(t, res) != "body" {
		t.Error(res.Status)
	}
}

// Early hints pass, without cookies of ours, and cost the answer none of the
// headers that are set for it already.
func TestInformationalAnswers(t *testing.T) {
	for _, long := range []bool{false, true} {
		o := options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.Header().Set("Set-Cookie", "__Host-sallyport=evil")
			w.WriteHeader(103)
			w.Header().Del("Link")
			w.Header().Del("Set-Cookie")
			io.WriteString(w, "ok")
		})}
		if long {
			o.config.Transport = func(*upstream.Route) http.RoundTripper { return new(http.Transport) }
		}
		g := newRig(t, o)
		inner := g.front.Config.Handler
		g.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Edge", "1")
			inner.ServeHTTP(w, r)
		})
		_, br := g.raw("GET / HTTP/1.1\r\nHost: app.example\r\n\r\n")
		hint, err := http.ReadResponse(br, nil)
		if err != nil || hint.StatusCode != 103 || hint.Header.Get("Link") == "" || hint.Header["Set-Cookie"] != nil {
			t.Fatal(hint, err)
		}
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != 200 || res.Header["Link"] != nil || text(t, res) != "ok" {
			t.Error(res, err)
		}
		if !long && res.Header.Get("X-Edge") != "1" {
			t.Error("a header was lost:", res.Header)
		}
	}
}

func TestTotalTimeout(t *testing.T) {
	route := upstream.RouteConfig{Timeouts: upstream.Timeouts{Total: 100 * time.Millisecond}}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			echoUpgrade(w, r)
			return
		}
		if r.URL.Path == "/half" {
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	for _, long := range []bool{false, true} {
		o := options{route: route, upstream: h}
		if long {
			o.config.Transport = func(*upstream.Route) http.RoundTripper { return new(http.Transport) }
		}
		g := newRig(t, o)
		if res := g.do("GET", "/", nil, nil); res.StatusCode != 504 {
			t.Error(res.Status)
		}
		if _, err := io.ReadAll(g.do("GET", "/half", nil, nil).Body); err == nil {
			t.Error("half an answer looks whole")
		}
		conn, br := g.raw(webSocketHandshake)
		if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
			t.Fatal(res, err)
		}
		for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
			io.WriteString(conn, "x\n")
			if _, err := br.ReadString('\n'); err != nil {
				t.Fatal("a WebSocket was cut:", err)
			}
		}
	}
}

// O2: an upstream's header without end fills no memory.
func TestAttackO2ResponseHeaderLimit(t *testing.T) {
	for _, long := range []bool{false, true} {
		for _, size := range []int{1 << 10, 64 << 10} {
			ln := listen(t, "tcp", "127.0.0.1:0")
			proto, scheme := onlyH1, "http://"
			if long {
				proto, scheme = onlyH2C, "h2c://"
			}
			serveOn(t, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Big", strings.Repeat("x", size))
			}), proto, nil)
			g := newRig(t, options{route: upstream.RouteConfig{To: []string{scheme + ln.Addr().String()}, MaxResponseHeader: 16 << 10}})
			want := 200
			if size > 16<<10 {
				want = 502
			}
			if res := g.do("GET", "/", nil, nil); res.StatusCode != want {
				t.Errorf("long way %v, %d bytes: %s", long, size, res.Status)
			}
		}
	}
}

// pki is a certificate authority of this test's own.
type pki struct {
	t      testing.TB
	dir    string
	caFile string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newPKI(t testing.TB) *pki {
	p := &pki{t: t, dir: t.TempDir()}
	p.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &p.key.PublicKey, p.key)
	if err != nil {
		t.Fatal(err)
	}
	p.cert, _ = x509.ParseCertificate(der)
	p.caFile = p.write("ca.pem", "CERTIFICATE", der)
	return p
}

func (p *pki) write(name, kind string, der []byte) string {
	file := filepath.Join(p.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return file
}

// pair issues a certificate for a name or address.
func (p *pki) pair(name string) tls.Certificate {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ip := net.ParseIP(name); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, p.cert, &key.PublicKey, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files writes a pair and returns where.
func (p *pki) files(name string) (cert, key string) {
	pair := p.pair(name)
	der, err := x509.MarshalECPrivateKey(pair.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		p.t.Fatal(err)
	}
	return p.write(name+".pem", "CERTIFICATE", pair.Certificate[0]), p.write(name+".key", "EC PRIVATE KEY", der)
}

func newTLSUpstream(t testing.TB, c *tls.Config) string {
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].DNSNames[0]
		}
		io.WriteString(w, name)
	}))
	up.TLS = c
	up.EnableHTTP2 = true
	up.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	up.StartTLS()
	t.Cleanup(up.Close)
	return up.URL
}

func TestUpstreamTLS(t *testing.T) {
	ours, theirs := newPKI(t), newPKI(t)
	cert, key := ours.files("client.example")
	server := func(name string) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{ours.pair(name)}} }
	wants := server("127.0.0.1")
	wants.ClientAuth, wants.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	wants.ClientCAs.AddCert(ours.cert)
	old := server("127.0.0.1")
	old.MaxVersion = tls.VersionTLS12
	oldest := server("127.0.0.1")
	oldest.MaxVersion = tls.VersionTLS11
	oldest.MinVersion = tls.VersionTLS10

	for name, c := range map[string]struct {
		server *tls.Config
		tls    upstream.TLSConfig
		want   string // "" is 502
	}{
		"its own authority":            {server("127.0.0.1"), upstream.TLSConfig{CAFile: ours.caFile}, "nobody"},
		"the system's authorities":     {server("127.0.0.1"), upstream.TLSConfig{}, ""},
		"another authority":            {server("127.0.0.1"), upstream.TLSConfig{CAFile: theirs.caFile}, ""},
		"another name":                 {server("tool.inner"), upstream.TLSConfig{CAFile: ours.caFile}, ""},
		"the name that was configured": {server("tool.inner"), upstream.TLSConfig{CAFile: ours.caFile, ServerName: "tool.inner"}, "nobody"},
		"a client certificate":         {wants, upstream.TLSConfig{CAFile: ours.caFile, CertFile: cert, KeyFile: key}, "client.example"},
		"no client certificate":        {wants, upstream.TLSConfig{CAFile: ours.caFile}, ""},
		"TLS 1.2":                      {old, upstream.TLSConfig{CAFile: ours.caFile}, "nobody"},
		"TLS 1.2 when 1.3 is wanted":   {old, upstream.TLSConfig{CAFile: ours.caFile, MinVersion: "1.3"}, ""},
		"TLS 1.1":                      {oldest, upstream.TLSConfig{CAFile: ours.caFile}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, options{route: upstream.RouteConfig{To: []string{newTLSUpstream(t, c.server)}, TLS: c.tls}})
			res := g.do("GET", "/", nil, nil)
			got := text(t, res)
			if res.StatusCode != 200 {
				got = ""
			}
			if got != c.want {
				t.Errorf("%s %q, want %q; %s", res.Status, got, c.want, g.logged())
			}
		})
	}
}

// Files that change are used by the next connection; files that cannot be read
// leave the old ones in force.
func TestUpstreamTLSReload(t *testing.T) {
	first, second := newPKI(t), newPKI(t)
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	install := func(content []byte) {
		if err := os.WriteFile(caFile+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		os.Rename(caFile+".new", caFile)
	}
	read := func(p *pki) []byte { b, _ := os.ReadFile(p.caFile); return b }
	install(read(first))
	now := time.Now()
	a := newTLSUpstream(t, &tls.Config{Certificates: []tls.Certificate{first.pair("127.0.0.1")}})
	b := newTLSUpstream(t, &tls.Config{Certificates: []tls.Certificate{second.pair("127.0.0.1")}})
	ask := func(tb *upstream.Table, f *upstream.Forwarder) int {
		target, _ := upstream.Canonicalise(asked("GET", "app.example", "/"), "http")
		w := newRecorder()
		f.Forward(w, httptest.NewRequest("GET", "http://app.example/", nil), &upstream.ForwardRequest{Route: tb.Routes()[0], Target: target})
		f.Close() // the next request makes a connection
		now = now.Add(time.Minute)
		return w.Code
	}
	f := upstream.NewForwarder(upstream.Config{Now: func() time.Time { return now }})
	one := func(to string) *upstream.Table {
		return table(t, []upstream.RouteConfig{{Name: "a", From: "http://app.example", To: []string{to}, TLS: upstream.TLSConfig{CAFile: caFile}}})
	}
	ta, tb := one(a), one(b)
	check := func(what string, wantA, wantB int) {
		t.Helper()
		if gotA, gotB := ask(ta, f), ask(tb, f); gotA != wantA || gotB != wantB {
			t.Errorf("%s: %d, %d", what, gotA, gotB)
		}
	}
	check("at first", 200, 502)
	install([]byte("half a fi"))
	check("unreadable", 200, 502)
	install(append(read(second), '\n'))
	check("replaced", 502, 200)
}
