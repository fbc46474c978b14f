package upstream_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/proxy/upstream"
)

// A call whose upstream fails gets a status of gRPC's, with HTTP status 200, before
// the answer has begun and after.
func TestCallsFailInTheirOwnTerms(t *testing.T) {
	reset := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	half := func(announced bool, then func(*http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			if announced {
				w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
			}
			io.WriteString(w, "\x00\x00\x00\x00\x01x")
			http.NewResponseController(w).Flush()
			then(r)
			panic(http.ErrAbortHandler)
		}
	}
	now := func(*http.Request) {}
	never := func(r *http.Request) { <-r.Context().Done() }
	const message = "\x00\x00\x00\x00\x01x"
	for name, c := range map[string]struct {
		h       http.HandlerFunc
		route   upstream.RouteConfig
		timeout string // of the call
		web     bool
		body    string
		status  string
		failed  bool // and the upstream is to blame
	}{
		"reset":                        {h: reset, status: "14", failed: true},
		"reset in time":                {h: reset, timeout: "1H", status: "14", failed: true},
		"reset at the deadline":        {h: reset, timeout: "1n", status: "4"},
		"deadline that cannot be read": {h: reset, timeout: "soon", status: "14", failed: true},
		"gRPC-Web":                     {h: reset, web: true, status: "14", failed: true},
		"gRPC-Web at the deadline":     {h: reset, web: true, timeout: "1n", status: "4"},
		"silent":                       {h: func(_ http.ResponseWriter, r *http.Request) { never(r) }, route: upstream.RouteConfig{Timeouts: upstream.Timeouts{ResponseHeader: 50 * time.Millisecond}}, status: "4", failed: true},
		"too slow in all":              {h: func(_ http.ResponseWriter, r *http.Request) { never(r) }, route: upstream.RouteConfig{Timeouts: upstream.Timeouts{Total: 50 * time.Millisecond}}, status: "4"},
		"too large":                    {h: reset, route: upstream.RouteConfig{MaxBody: 2}, status: "8"},
		"nobody there":                 {h: reset, route: to(closedPort(t)), status: "14", failed: true},
		"half":                         {h: half(false, now), body: message, status: "14"},
		"half, announced":              {h: half(true, now), body: message, status: "14"},
		"half at the deadline":         {h: half(false, now), timeout: "1n", body: message, status: "4"},
		"half, then silent":            {h: half(false, never), route: upstream.RouteConfig{Timeouts: upstream.Timeouts{Idle: 50 * time.Millisecond}}, body: message, status: "14"},
		"half, then too slow in all":   {h: half(false, never), route: upstream.RouteConfig{Timeouts: upstream.Timeouts{Total: 50 * time.Millisecond}}, body: message, status: "4"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.route.To == nil {
				ln := listen(t, "tcp", "127.0.0.1:0")
				serveOn(t, ln, c.h, onlyH2C, nil)
				c.route.To = []string{"h2c://" + ln.Addr().String()}
			}
			g := newHarness(t, options{route: c.route, tls: true, plain: true})
			header := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
			if c.web {
				header.Set("Content-Type", "application/grpc-web+proto")
			}
			if c.timeout != "" {
				header.Set("Grpc-Timeout", c.timeout)
			}
			res := g.do("POST", "/pkg.Service/Method", bytes.NewReader([]byte(message)), header)
			got := text(t, res)
			status := res.Trailer
			if c.body == "" {
				status = res.Header
			}
			if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/grpc") || got != c.body {
				t.Errorf("%s %v %q", res.Status, res.Header, got)
			}
			if status.Get("Grpc-Status") != c.status || status.Get("Grpc-Message") == "" || len(status["Grpc-Status"]) != 1 {
				t.Errorf("%v %v, want status %s", res.Header, res.Trailer, c.status)
			}
			if s := g.state(); (s.LastError != "") != c.failed || s.Outstanding != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A client that does not speak gRPC must not get a 200 for what failed, nor a whole answer for a half one.
func TestOthersFailAsBefore(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	serveOn(t, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			w.Header().Set("Content-Type", r.Header.Get("X-Answer"))
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	}), onlyH2C, nil)
	for _, front := range []bool{false, true} {
		g := newHarness(t, options{route: to("h2c://" + ln.Addr().String()), tls: front, plain: true})
		for _, c := range []struct {
			method string
			header http.Header
		}{
			{"GET", http.Header{"Content-Type": {"application/grpc"}, "Grpc-Timeout": {"1n"}}},
			{"POST", http.Header{"Content-Type": {"application/json"}, "Grpc-Timeout": {"1n"}}},
		} {
			if res := g.do(c.method, "/", nil, c.header); res.StatusCode != 502 || res.Header["Grpc-Status"] != nil {
				t.Error(res.Status, res.Header)
			}
		}
		for _, answer := range []string{"text/plain", "application/grpc-web", "application/grpc"} {
			if b, err := io.ReadAll(g.do("GET", "/half", nil, http.Header{"X-Answer": {answer}}).Body); err == nil {
				t.Errorf("half an answer of type %s looks whole: %q", answer, b)
			}
		}
	}
}

// An upstream that has answered is not kept waiting for by a client that has more to say and
// first wants to hear: the end of the answer, and its trailers, go out at once.
func TestAnswerEndsBeforeTheRequest(t *testing.T) {
	for _, to := range []string{"http", "h2c"} {
		ln := listen(t, "tcp", "127.0.0.1:0")
		serveOn(t, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Trailer", "X-Sum")
			io.ReadFull(r.Body, make([]byte, 4))
			io.WriteString(w, "enough")
			w.Header().Set("X-Sum", "1")
		}), map[string]func(*http.Protocols){"http": onlyH1, "h2c": onlyH2C}[to], nil)
		for _, front := range []bool{false, true} {
			g := newHarness(t, options{route: upstream.RouteConfig{To: []string{to + "://" + ln.Addr().String()}}, tls: front})
			more, say := io.Pipe()
			defer say.Close()
			go io.WriteString(say, "four")
			res := g.do("POST", "/", more, http.Header{"Te": {"trailers"}})
			if got := text(t, res); got != "enough" || res.Trailer.Get("X-Sum") != "1" {
				t.Errorf("%s, HTTP/2 in front %v: %q %v", to, front, got, res.Trailer)
			}
		}
	}
}
