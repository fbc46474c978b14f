package upstream_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

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
				g := newHarness(t, o)
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
		g := newHarness(t, options{route: upstream.RouteConfig{To: []string{to + "://" + ln.Addr().String()}, MaxBody: -1}})
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

// A client that reads slowly slows the sender down: nothing piles up in between.
func TestBackPressure(t *testing.T) {
	const much = 64 << 20
	written := make(chan int64, 1)
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			g := newHarness(t, o)
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
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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

// The hints for one request are nothing that another one sees.
func TestAttackHintsOfAnotherRequest(t *testing.T) {
	waiting, release := make(chan struct{}), make(chan struct{})
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(waiting)
			<-release
			io.WriteString(w, "slow")
			return
		}
		w.Header().Set("Link", "</alice-only.css>; rel=preload")
		w.WriteHeader(103)
		io.WriteString(w, "ok")
	})})
	upload := " HTTP/1.1\r\nHost: app.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" // not the short way
	_, other := g.raw("POST /slow" + upload)
	<-waiting
	_, own := g.raw("POST /hints" + upload)
	if res, err := http.ReadResponse(own, nil); err != nil || res.StatusCode != 103 {
		t.Fatal(res, err)
	}
	if res, err := http.ReadResponse(own, nil); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	close(release)
	if res, err := http.ReadResponse(other, nil); err != nil || res.StatusCode != 200 || res.Header.Get("Link") != "" {
		t.Errorf("the other request got %v %v", res, err)
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
		g := newHarness(t, o)
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
		// HTTP/1.0 has no informational answers (RFC 9110 section 15.2): nginx without
		// proxy_http_version takes the first for the last.
		_, br = g.raw("GET / HTTP/1.0\r\nHost: app.example\r\n\r\n")
		if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 200 || res.Header["Link"] != nil || text(t, res) != "ok" {
			t.Error(res, err)
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
		g := newHarness(t, o)
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

// An upstream's header without end fills no memory.
func TestAttackResponseHeaderLimit(t *testing.T) {
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
			g := newHarness(t, options{route: upstream.RouteConfig{To: []string{scheme + ln.Addr().String()}, MaxResponseHeader: 16 << 10}})
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
