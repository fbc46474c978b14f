package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/proxy/streams"
)

// limited is a harness that serves a verified person, and a tool that holds what is asked of it.
type limited struct {
	*running
	held    chan struct{}           // one for each request that the tool holds
	cookies map[string]*http.Cookie // of the verified person, by host
}

// newLimited has limits as in YAML's flow style. The treasury takes JSON-RPC if rpc says so.
func newLimited(t *testing.T, limits string, rpc bool, edits ...[3]string) *limited {
	t.Helper()
	route := ""
	if rpc {
		route = "rpc: jsonrpc"
	}
	return newLimitedRoute(t, limits, route, edits...)
}

// newLimitedRoute has a further line in the treasury's route.
func newLimitedRoute(t *testing.T, limits, route string, edits ...[3]string) *limited {
	t.Helper()
	l := &limited{held: make(chan struct{}, 100)}
	ctx, release := context.WithCancel(context.Background())
	tool := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case r.URL.Path == "/half":
			_, _ = io.WriteString(w, "half of it")
			_ = http.NewResponseController(w).Flush()
		case r.URL.Path == "/header":
			w.Header().Set("X-Long", strings.Repeat("x", 9<<10))
			return
		case r.URL.Path == "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
		case r.URL.Path != "/hold" && !strings.HasPrefix(r.Header.Get("X-Hold"), "yes"):
			return
		default:
			l.held <- struct{}{}
		}
		select {
		case <-ctx.Done():
		case <-r.Context().Done():
		}
	}))
	if !strings.HasPrefix(route, "to: ") { // another tool than this one
		route = "to: " + tool.URL + "\n    " + route
	}
	if limits == "" {
		limits = "{}"
	}
	d := newHarness(t, append(edits, [3]string{"sallyport.yaml", "policy: policy.yaml", "policy: policy.yaml\nlimits: " + limits},
		[3]string{"sallyport.yaml", "to: http://127.0.0.1:3000", route})...)
	d.drain = 100 * time.Millisecond
	l.cookies = map[string]*http.Cookie{}
	for _, host := range []string{treasuryHost, "localhost:8080"} {
		l.cookies[host] = d.verified(host, "alice@example.com", "198.51.100.7", "treasury")
	}
	l.running = d.run()
	t.Cleanup(func() { release(); l.end(); tool.Close() })
	return l
}

// ask sends a request to the treasury.
func (l *limited) ask(method, path string, body io.Reader, headers ...string) (status int, text string) {
	res := l.begin(method, path, body, headers...)
	if res == nil {
		return 0, ""
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func (l *limited) begin(method, path string, body io.Reader, headers ...string) *http.Response {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, "http://"+l.data+path, body)
	if err != nil {
		l.t.Error(err)
		return nil
	}
	req.Host = treasuryHost
	if strings.HasPrefix(path, "/.sallyport/") {
		req.Host = "localhost:8080"
		req.Header.Set("Origin", "http://localhost:8080")
	}
	req.AddCookie(l.cookies[req.Host])
	req.Header.Set("X-Forwarded-For", "198.51.100.7")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil
	}
	return res
}

// hold has the tool hold a request.
func (l *limited) hold(method, path string, body io.Reader) {
	go l.ask(method, path, body, "X-Hold", "yes")
	select {
	case <-l.held:
	case <-time.After(10 * time.Second):
		l.t.Error("the request does not reach the tool")
	}
}

func rpcCall(size int) io.Reader {
	return strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"eth_call","params":["` + strings.Repeat("x", size) + `"]}`)
}

// closed has a second connection, beside one that is open, and says what comes of it.
func (l *limited) closed() (int, string) {
	for range 2 {
		c, err := net.Dial("tcp", l.data)
		if err != nil {
			l.t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: treasury.localhost:8080\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, ""
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
	return -1, "both are served"
}

// TestEveryLimit provokes each limit of the configuration on the product as it serves: what the sender gets and reads, the
// metric, and the key, which is in the log and not for strangers. The README's table is the list of them.
func TestEveryLimit(t *testing.T) {
	type limit struct {
		name, key, limits string
		rpc               bool
		route             string // a line of the route
		edit              [3]string
		provoke           func(*limited) (int, string)
		status            int
		text, label       string // label: of the metric, if it is not the key
		logged            string // if it is not the key
	}
	untrusted := [3]string{"sallyport.yaml", "trusted_proxies: [127.0.0.1]", "trusted_proxies: [127.0.0.99]"}
	held := func(l *limited) (int, string) {
		l.hold("POST", "/", rpcCall(850<<10)) // which is read to 1 MiB and a little more
		return l.ask("POST", "/", rpcCall(850<<10))
	}
	table := []limit{
		{name: "address", key: "url_bytes", limits: "{url_bytes: 20000}", status: 414, text: "by POST, in the body",
			provoke: func(l *limited) (int, string) { return l.ask("GET", "/?"+strings.Repeat("q", 20<<10), nil) }},
		{name: "header lines", key: "header_lines", limits: "{header_lines: 40}", status: 431, text: "Delete the cookies",
			provoke: func(l *limited) (int, string) {
				return l.ask("GET", "/", nil, strings.Split(strings.Repeat("X-Line,x,", 60), ",")[:120]...)
			}},
		{name: "header", key: "header_bytes", limits: "{header_bytes: 8192}", status: 431, text: "Delete the cookies",
			provoke: func(l *limited) (int, string) { return l.ask("GET", "/", nil, "X-Long", strings.Repeat("x", 9<<10)) }},
		{name: "header far beyond", key: "header_bytes", limits: "{header_bytes: 8192}", status: 431, text: "Request Header Fields Too Large",
			provoke: func(l *limited) (int, string) { return l.ask("GET", "/", nil, "X-Long", strings.Repeat("x", 20<<10)) }},
		{name: "body", key: "body_bytes", limits: "{body_bytes: 1000}", status: 413, text: "more data than is accepted",
			provoke: func(l *limited) (int, string) {
				return l.ask("POST", "/", strings.NewReader(strings.Repeat("x", 2000)))
			}},
		{name: "message", key: "message_bytes", limits: "{message_bytes: 65536}", rpc: true, status: 413, text: "larger than 65536 bytes, which is limits.message_bytes",
			provoke: func(l *limited) (int, string) { return l.ask("POST", "/", rpcCall(70000)) }},
		{name: "message, by the body's", key: "body_bytes", limits: "{body_bytes: 1000}", rpc: true, status: 413, text: "larger than 1000 bytes, which is limits.body_bytes", label: "message_bytes",
			provoke: func(l *limited) (int, string) { return l.ask("POST", "/", rpcCall(2000)) }},
		{name: "calls in a batch", key: "batch_calls", limits: "{batch_calls: 2}", rpc: true, status: 400, text: "the batch has more than 2 calls, which is limits.batch_calls",
			provoke: func(l *limited) (int, string) {
				const call = `{"jsonrpc":"2.0","id":1,"method":"eth_call"}`
				return l.ask("POST", "/", strings.NewReader("["+call+","+call+","+call+"]"))
			}},
		{name: "a method's length", key: "message_form", rpc: true, status: 400, text: `\"method\" is longer than 128 bytes`, logged: "longer than 128 bytes",
			provoke: func(l *limited) (int, string) {
				return l.ask("POST", "/", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"`+strings.Repeat("m", 129)+`"}`))
			}},
		{name: "an id's length", key: "message_form", rpc: true, status: 400, text: `\"id\" is longer than 256 bytes`, logged: "longer than 256 bytes",
			provoke: func(l *limited) (int, string) {
				return l.ask("POST", "/", strings.NewReader(`{"jsonrpc":"2.0","id":"`+strings.Repeat("i", 257)+`","method":"m"}`))
			}},
		{name: "depth", key: "message_form", rpc: true, status: 400, text: "nested deeper than 32", logged: "nested deeper than 32",
			provoke: func(l *limited) (int, string) {
				return l.ask("POST", "/", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"m","params":`+strings.Repeat("[", 33)+strings.Repeat("]", 33)+`}`))
			}},
		{name: "a form of ours", key: "form_bytes", status: 413, text: "More than 16 KB were sent", logged: "16 KB of a form",
			provoke: func(l *limited) (int, string) {
				return l.ask("POST", "/.sallyport/account", strings.NewReader("do="+strings.Repeat("x", 17<<10)), "Content-Type", "application/x-www-form-urlencoded")
			}},
		{name: "a passkey's answer", key: "form_bytes", status: 413, text: "More than 80 KB were sent", logged: "80 KB of the answer of a passkey",
			provoke: func(l *limited) (int, string) {
				return l.ask("POST", "/.sallyport/step-up/finish", strings.NewReader(`{"name":"`+strings.Repeat("x", 81<<10)+`"}`), "Content-Type", "application/json")
			}},
		{name: "messages of all", key: "inspected_bytes", limits: "{inspected_bytes: 2097152}", rpc: true, status: 429, text: "too many messages are under way", provoke: held},
		{name: "messages of a session", key: "inspected_bytes_per_session", limits: "{inspected_bytes_per_session: 2097152}", rpc: true, status: 429, text: "too many messages are under way", label: "inspected_bytes", provoke: held},
		{name: "a message's time", key: "message_time", limits: "{message_time: 1s}", rpc: true, status: 408, text: "did not come to its end in time",
			provoke: func(l *limited) (int, string) {
				r, w := io.Pipe()
				defer w.Close()
				go fmt.Fprint(w, `{"jsonrpc"`)
				return l.ask("POST", "/", r)
			}},
		{name: "connections", key: "connections", limits: "{connections: 1}", provoke: (*limited).closed},
		{name: "connections of a client", key: "connections_per_client", limits: "{connections_per_client: 1}", edit: untrusted, provoke: (*limited).closed},
		{name: "requests", key: "requests", limits: "{requests: 1}", status: 503, text: "more to do at once",
			provoke: func(l *limited) (int, string) {
				l.hold("GET", "/hold", nil)
				return l.ask("GET", "/", nil)
			}},
		{name: "streams", key: "streams", limits: "{streams: 1}", status: 200, // it takes the place of a request
			provoke: func(l *limited) (int, string) {
				for range 2 {
					res := l.begin("GET", "/events", nil)
					if res == nil {
						return 0, ""
					}
					defer res.Body.Close()
				}
				return 200, ""
			}},
		{name: "streams of a session", key: "streams_per_session", limits: "{streams_per_session: 1}", status: 429, text: "More is open at once",
			provoke: func(l *limited) (int, string) {
				l.hold("GET", "/hold", nil)
				return l.ask("GET", "/", nil)
			}},
		{name: "ceremonies", key: "ceremonies_per_minute", limits: "{ceremonies_per_minute: 1}", status: 429, text: "Too many attempts",
			provoke: func(l *limited) (int, string) {
				l.ask("POST", "/.sallyport/step-up/begin", nil)
				return l.ask("POST", "/.sallyport/step-up/begin", nil)
			}},
		{name: "changes", key: "changes_per_minute", limits: "{changes_per_minute: 1}", status: 429, text: "More different changes",
			provoke: func(l *limited) (status int, text string) {
				for i := range 6 {
					status, text = l.ask("POST", fmt.Sprint("/", i), nil)
				}
				return status, text
			}},
	}
	hold := func(path string) func(*limited) (int, string) {
		return func(l *limited) (int, string) {
			return l.ask("GET", path, nil)
		}
	}
	second := func(l *limited) (int, string) {
		l.hold("GET", "/hold", nil)
		return l.ask("GET", "/", nil)
	}
	// A route's limits name the key, and the route, in the log.
	for _, c := range []limit{
		{name: "a route's body", key: "body_bytes", route: "body_bytes: 1000", status: 413, text: "more data than is accepted",
			provoke: func(l *limited) (int, string) {
				return l.ask("POST", "/", strings.NewReader(strings.Repeat("x", 2000)))
			}},
		{name: "a connection to the tool", key: "connect_timeout", route: "to: " + silentTLS(t) + "\n    connect_timeout: 50ms", status: 504, text: "no connection to the tool", provoke: hold("/")},
		{name: "a tool that does not answer", key: "response_timeout", route: "response_timeout: 50ms", status: 504, text: "did not answer in time", provoke: hold("/hold")},
		{name: "a tool that stops in the middle", key: "idle_timeout", route: "idle_timeout: 50ms", status: 200, text: "half of it", provoke: hold("/half")},
		{name: "an exchange", key: "total_timeout", route: "total_timeout: 50ms", status: 504, text: "longer in all than is accepted", provoke: hold("/hold")},
		{name: "an exchange, in the middle", key: "total_timeout", route: "total_timeout: 2s", status: 200, text: "half of it", provoke: hold("/half")},
		{name: "exchanges at once", key: "max_connections", route: "max_connections: 1\n    wait_timeout: 50ms", status: 503, text: "as many requests as it may", provoke: second},
		{name: "an answer's header", key: "response_header_bytes", route: "response_header_bytes: 8192", status: 502, text: "headers of the tool", provoke: hold("/header")},
		{name: "the body of an upgrade", key: "upgrade_bytes", status: 413, text: "more data than is accepted", logged: "fixed: 32 KB of the body of a request that switches protocols",
			provoke: func(l *limited) (int, string) {
				return l.ask("POST", "/", strings.NewReader(strings.Repeat("x", 33<<10)), "Connection", "Upgrade", "Upgrade", "websocket")
			}},
	} {
		if c.logged == "" {
			c.logged = `"limit":"routes[].` + c.key + `","is":`
		}
		table = append(table, c)
	}
	missing := keysOfLimits(t)
	delete(missing, "http2_streams") // takes TLS: proxy/edge.TestStreamsOfAConnection
	delete(missing, "waiting")       // takes 1024 requests: proxy/upstream.TestLimitOfWaiting
	delete(missing, "wait_timeout")  // how long max_connections is waited for, which is what is exceeded
	for _, c := range table {
		delete(missing, c.key)
		t.Run(c.name, func(t *testing.T) {
			var edits [][3]string
			if c.edit[0] != "" {
				edits = append(edits, c.edit)
			}
			if c.rpc {
				c.route = "rpc: jsonrpc"
			}
			l := newLimitedRoute(t, c.limits, c.route, edits...)
			label := c.label
			if label == "" {
				label = c.key
			}
			if !strings.Contains(l.metrics(), `sallyport_limit_exceeded_total{limit="`+label+`"} 0`+"\n") {
				t.Errorf("no metric for %s from the start", label)
			}
			status, text := c.provoke(l)
			if status != c.status || !strings.Contains(text, c.text) {
				t.Errorf("%d %s", status, text)
			}
			if !c.rpc && (strings.Contains(text, "limits.") || strings.Contains(text, c.key)) {
				t.Errorf("the key is told to those who may be strangers: %s", text)
			}
			if !strings.Contains(l.metrics(), `sallyport_limit_exceeded_total{limit="`+label+`"} 1`+"\n") {
				t.Errorf("not counted under %s", label)
			}
			if c.logged == "" {
				c.logged = "limits." + c.key
			}
			if n := strings.Count(l.log.String(), `"msg":"limit exceeded"`); n != 1 || !strings.Contains(l.log.String(), c.logged) {
				t.Errorf("%d lines of the log", n)
			}
		})
	}
	for key := range missing {
		t.Errorf("limits.%s is in the README, and not in this table", key)
	}
}

// silentTLS is the address of a tool that takes connections, and never says a word.
func silentTLS(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return "https://" + ln.Addr().String()
}

// TestStreamsThatALimitEnds: those that are ended for a limit count as what is refused for it.
func TestStreamsThatALimitEnds(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	for why, label := range map[streams.Reason]string{streams.TooLarge: "message_bytes", streams.TooMuch: "inspected_bytes", streams.Slow: "message_time", streams.Revoked: ""} {
		d.traffic.limits.streamCut(streams.WebSocket, why, 0)
		if label != "" && !strings.Contains(d.metrics(), `sallyport_limit_exceeded_total{limit="`+label+`"} 1`+"\n") {
			t.Errorf("%s is not counted under %s", why, label)
		}
	}
	if n := strings.Count(d.log.String(), `"msg":"limit exceeded"`); n != 3 {
		t.Errorf("%d lines of the log", n)
	}
}

var ofRoute = regexp.MustCompile(`_(timeout|bytes)$|^max_`)

// keysOfLimits reads deploy/configure.md, which is held to the configuration by a test of
// its own.
func keysOfLimits(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../../../deploy/configure.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		names, _, _ := strings.Cut(line, " (")
		if strings.HasPrefix(line, "- **fixed `") {
			names, _, _ = strings.Cut(line, ":")
		} else if !strings.HasPrefix(line, "- `limits.") && !strings.HasPrefix(line, "- `routes[].") {
			continue
		}
		for _, m := range regexp.MustCompile("`(?:limits\\.|routes\\[\\]\\.)?(\\w+)`").FindAllStringSubmatch(names, -1) {
			if strings.HasPrefix(line, "- `routes") && !ofRoute.MatchString(m[1]) {
				continue // a setting that limits nothing
			}
			keys[m[1]] = true
		}
	}
	if len(keys) < 15 {
		t.Fatalf("deploy/configure.md lists %d limits", len(keys))
	}
	return keys
}

// TestQueryAsPrometheusSendsIt: an address of 18 KB is within a limit of 20,000 bytes.
func TestQueryAsPrometheusSendsIt(t *testing.T) {
	l := newLimited(t, "{url_bytes: 20000}", false)
	if status, text := l.ask("GET", "/?"+strings.Repeat("q", 18<<10), nil); status != 200 {
		t.Errorf("%d %s", status, text)
	}
}
