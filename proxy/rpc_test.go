package proxy_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/proxy"
	"sallyport/proxy/observe"
	"sallyport/proxy/proxytest"
)

const rpcPolicy = `
version: 1
rules:
  - name: money
    when: request.rpc_methods.exists(m, m == "eth_sendRawTransaction")
    then: step_up
    max_age: 2m
  - name: no-admin
    when: request.rpc_methods.exists(m, m.startsWith("admin_"))
    then: block
  - name: debug-for-operators
    when: '"operators" in user.groups == false && request.rpc_methods.exists(m, m == "debug_trace")'
    then: block
`

const (
	number  = `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}`
	money   = `{"jsonrpc":"2.0","id":7,"method":"eth_sendRawTransaction","params":["0xf86c"]}`
	isAdmin = `{"jsonrpc":"2.0","id":9,"method":"admin_peers"}`
)

func newNode(t *testing.T, changes ...func(*setup)) (*live, *browser) {
	t.Helper()
	l := newLive(t, append(changes, func(p *setup) {
		p.policy = rpcPolicy
		p.options = map[string]proxy.RouteOptions{"treasury": takesCalls(proxy.RouteOptions{})}
	})...)
	alice := l.enrolled("alice", home)
	l.forwarded()
	return l, alice
}

// The body reaches the node byte for byte, spaces and all, if it is let through at all.
func TestRPCOverHTTP(t *testing.T) {
	spaced := " { \"jsonrpc\" :\t\"2.0\", \"id\":\"a\\u00e9\",\"method\":\"eth_blockNumber\" }\r\n"
	for _, c := range []struct {
		name, body string
		fresh, old int
	}{
		{"a call that needs nothing", number, 200, 200},
		{"with odd spaces", spaced, 200, 200},
		{"a call that needs a fresh proof", money, 200, 401},
		{"a batch of harmless calls", "[" + number + "," + number + "]", 200, 200},
		{"a batch with one strict call", "[" + number + "," + money + "," + number + "]", 200, 401},
		{"a blocked call", isAdmin, 403, 403},
		{"a batch with a blocked call", "[" + money + "," + isAdmin + "]", 403, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, alice := newNode(t)
			for _, want := range []int{c.fresh, c.old} {
				l.audit.reset()
				a := l.post(alice, c.body)
				calls := l.forwarded()
				if a.StatusCode != want {
					t.Fatalf("%d %s, want %d", a.StatusCode, a.body, want)
				}
				if want == 200 {
					if len(calls) != 1 || calls[0].body != c.body {
						t.Errorf("the node got %+v", calls)
					}
				} else if len(calls) != 0 {
					t.Errorf("the node got %q", calls[0].body)
				}
				if got := a.Header.Get("WWW-Authenticate"); want == 401 && (!strings.Contains(got, `error="insufficient_user_authentication"`) || !strings.Contains(got, "max_age=120")) {
					t.Errorf("challenge %q", got)
				}
				recs := l.audit.take()
				if c.body != "" && (len(recs) != 1 || !strings.Contains(recs[0].Detail["rpc_methods"], "_")) {
					t.Errorf("recorded %s", jsonText(recs))
				}
				l.clock.Add(3 * time.Minute)
			}
		})
	}
}

// A message that two parsers read in two ways is refused, with an answer that an RPC client
// understands, and the node sees none of it.
func TestAttackRPCReadInTwoWays(t *testing.T) {
	l, alice := newNode(t)
	l.clock.Add(3 * time.Minute) // the proof is too old for money
	for name, body := range map[string]string{
		"the method twice":      `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","method":"eth_sendRawTransaction","params":[]}`,
		"in another case":       `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","Method":"eth_sendRawTransaction"}`,
		"only in another case":  `{"jsonrpc":"2.0","id":1,"METHOD":"eth_sendRawTransaction"}`,
		"an escaped key":        `{"jsonrpc":"2.0","id":1,"\u006dethod":"eth_sendRawTransaction"}`,
		"something behind it":   number + money,
		"a comma behind it":     number + ",",
		"a NUL behind it":       number + "\x00",
		"a batch with a broken": "[" + number + `,{"jsonrpc":"2.0","method":"eth_sendRawTransaction","method":"eth_blockNumber"}]`,
		"an empty batch":        "[]",
		"no JSON":               "method=eth_sendRawTransaction",
		"a byte order mark":     "\ufeff" + money,
		"too deep":              `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}",
		"too large":             `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":["` + strings.Repeat("x", 1<<20) + `"]}`,
	} {
		a := l.post(alice, body)
		var e struct {
			JSONRPC string
			Error   struct {
				Code int
				Data struct{ Error, Incident string }
			}
		}
		if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.StatusCode/100 != 4 || e.JSONRPC != "2.0" || e.Error.Code == 0 || e.Error.Data.Incident == "" {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
		if calls := l.forwarded(); len(calls) != 0 {
			t.Errorf("%s: it reached the node: %q", name, calls[0].body)
		}
	}
	// A coding that would have to be undone first.
	for _, line := range []string{"Content-Encoding: gzip", "Content-Type: application/json; charset=utf-16"} {
		c := l.send(alice, "POST /rpc", money, line)
		if calls := l.forwarded(); c.res.StatusCode/100 != 4 || len(calls) != 0 {
			t.Errorf("%s: %d, %d calls", line, c.res.StatusCode, len(calls))
		}
	}
}

// A node that also calls methods by GET, by the query or by its paths gets nothing that
// was not judged, and each refusal is a line of the log.
func TestAttackRPCWithoutAMessage(t *testing.T) {
	l, alice := newNode(t)
	for _, c := range []struct {
		name, first, body string
		lines             []string
		status            int
		code              string
	}{
		{"a call in the URI", "GET /broadcast_tx_commit?tx=0x01", "", nil, 400, "query"},
		{"a call by GET", "GET /status", "", nil, 405, "http_method"},
		{"HEAD, which runs what GET runs", "HEAD /unsafe_flush_mempool", "", nil, 405, "http_method"},
		{"a body under another method", "PUT /", money, nil, 405, "http_method"},
		{"a body under GET", "GET /", number, nil, 405, "http_method"},
		{"a POST of nothing", "POST /", "", nil, 400, "no_body"},
		{"a POST of nothing in chunks", "POST /", "", []string{"Transfer-Encoding: chunked"}, 400, "syntax"},
		{"parameters in the query of a harmless call", "POST /?method=admin_peers", number, nil, 400, "query"},
		{"a handshake with a query", "GET /ws?tx=0x01", "", wsHandshake, 400, "query"},
		{"a handshake in name only", "GET /ws", "", []string{"Upgrade: websocket"}, 405, "http_method"},
		{"a handshake without a key", "GET /ws", "", wsHandshake[:2], 405, "http_method"},
		{"OPTIONS with a message", "OPTIONS /", money, nil, 405, "http_method"},
		{"a form", "POST /", "method=admin_peers", []string{"Content-Type: application/x-www-form-urlencoded"}, 400, "encoding"},
		{"a form of parts", "POST /", number, []string{"Content-Type: multipart/form-data; boundary=x"}, 400, "encoding"},
		{"a compressed message", "POST /", number, []string{"Content-Encoding: gzip"}, 400, "encoding"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.audit.reset()
			body := c.body
			if len(c.lines) > 0 && strings.HasPrefix(c.lines[0], "Transfer") {
				body = "" // send() writes what ends it
				c.lines = append(c.lines, "", "0", "")
			}
			got := l.send(alice, c.first, body, c.lines...)
			if calls := l.forwarded(); got.res.StatusCode != c.status || len(calls) != 0 {
				t.Errorf("%d, and the node got %+v", got.res.StatusCode, calls)
			}
			if recs := l.audit.take(); len(recs) != 1 || recs[0].Event != "bad_request" || recs[0].Detail["reason"] != c.code {
				t.Errorf("recorded %s", jsonText(recs))
			}
		})
	}
	if c := l.send(alice, "OPTIONS /", "", "Origin: "+treasury, "Access-Control-Request-Method: POST"); c.res.StatusCode != 200 {
		t.Errorf("a preflight: %d", c.res.StatusCode)
	}
}

// CometBFT and Monero run what the path names, regardless of the body.
func TestAttackRPCMethodInThePath(t *testing.T) {
	l, alice := newNode(t)
	for _, path := range []string{"/admin_peers", "/admin_peers/", "/v1/admin_peers"} {
		if a := l.send(alice, "POST "+path, number); a.res.StatusCode != 403 {
			t.Errorf("%s: %d", path, a.res.StatusCode)
		}
		for _, lines := range [][]string{wsHandshake, nil} {
			method := "GET "
			if lines == nil {
				method = "OPTIONS "
			}
			if a := l.send(alice, method+path, "", lines...); a.res.StatusCode != 403 {
				t.Errorf("%s%s: %d", method, path, a.res.StatusCode)
			}
		}
		if calls := l.forwarded(); len(calls) != 0 {
			t.Errorf("%s: the node got %+v", path, calls)
		}
	}
	l.clock.Add(3 * time.Minute)
	if a := l.send(alice, "POST /eth_sendRawTransaction", number); a.res.StatusCode != 401 {
		t.Errorf("the method of the path needs no proof: %d", a.res.StatusCode)
	}
}

// rpc_uri lets requests without a message through, judged by what their path names; rpc_paths
// says which paths name nothing.
func TestRPCByURIWhereTheRouteSaysSo(t *testing.T) {
	l := newLive(t, func(p *setup) {
		p.policy = rpcPolicy
		p.options = map[string]proxy.RouteOptions{"treasury": takesCalls(proxy.RouteOptions{RPCURI: true, RPCPaths: []string{"/ext/admin_here"}})}
	})
	alice := l.enrolled("alice", home)
	for first, want := range map[string]int{
		"GET /status?height=7": 200, "GET /": 200, "GET /admin_peers?x=1": 403, "POST /ext/admin_here": 200, "POST /other/admin_here": 403,
	} {
		if a := l.send(alice, first, ""); a.res.StatusCode != want {
			t.Errorf("%s: %d, want %d", first, a.res.StatusCode, want)
		}
	}
	for _, method := range []string{"POST", "PUT", "GET"} {
		if a := l.send(alice, method+" /", isAdmin); a.res.StatusCode != 403 {
			t.Errorf("a body under %s is not judged: %d", method, a.res.StatusCode)
		}
	}
}

// A request that says it wants to become a WebSocket and has a body is a call all the
// same: a node that cannot upgrade answers the body.
func TestAttackRPCInAHandshake(t *testing.T) {
	l, alice := newNode(t)
	l.clock.Add(3 * time.Minute)
	for _, upgrade := range [][]string{{"Upgrade: websocket"}, wsHandshake, {"Upgrade: h2c", "Connection: upgrade"}} {
		for _, method := range []string{"POST", "GET"} {
			c := l.send(alice, method+" /rpc", money, append([]string{"Accept: application/json"}, upgrade...)...)
			if calls := l.forwarded(); len(calls) != 0 || c.res.StatusCode == 200 {
				t.Errorf("%s %q: %d, %d calls", method, upgrade, c.res.StatusCode, len(calls))
			}
		}
	}
}

// rpcError is what a client is told inside a WebSocket.
type rpcError struct {
	JSONRPC string
	ID      json.RawMessage
	Error   struct {
		Code int
		Data struct {
			Error, Incident string
			MaxAge          int `json:"max_age"`
		}
	}
}

// refused reads a JSON-RPC error with a reference.
func (c *client) refused() rpcError {
	c.Helper()
	e := c.refusedWith()
	if e.Error.Data.Incident == "" {
		c.Fatalf("no reference: %+v", e)
	}
	return e
}

// refusedWith reads a JSON-RPC error.
func (c *client) refusedWith() (e rpcError) {
	c.Helper()
	first, text := c.frame()
	if err := json.Unmarshal([]byte(text), &e); first != 0x81 || err != nil || e.JSONRPC != "2.0" || e.Error.Code == 0 {
		c.Fatalf("a frame %x %q, no JSON-RPC error", first, text)
	}
	return e
}

func TestRPCInsideAWebSocket(t *testing.T) {
	l, alice := newNode(t)
	s := l.open(alice, "ws")
	if got := s.peer.request.Header.Get("Sec-WebSocket-Extensions"); got != "" {
		t.Errorf("compression is negotiated: %q", got)
	}
	for _, m := range []string{number, " " + money + "\n", "[" + number + "," + money + "]"} {
		s.message(m)
		s.arrives(m)
	}
	l.clock.Add(3 * time.Minute)
	l.audit.reset()
	for _, c := range []struct {
		message, id, code string
		rpcCode, maxAge   int
	}{
		{money, "7", "insufficient_user_authentication", -32002, 120},
		{isAdmin, "9", "blocked", -32001, 0},
		{number + money, "null", "syntax", -32700, 0},
		{`{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","method":"eth_sendRawTransaction"}`, "null", "duplicate", -32600, 0},
	} {
		s.message(c.message)
		e := s.refused()
		if string(e.ID) != c.id || e.Error.Data.Error != c.code || e.Error.Code != c.rpcCode || e.Error.Data.MaxAge != c.maxAge {
			t.Errorf("%s: %+v", c.message, e)
		}
		recs := l.audit.take()
		if len(recs) != 1 || recs[0].Incident != e.Error.Data.Incident || recs[0].Event != "message" || recs[0].Session == "" {
			t.Errorf("%s: recorded %s", c.message, jsonText(recs))
		}
		// The connection goes on, and the next that the node gets is the next that is allowed.
		s.message(number)
		s.arrives(number)
		s.alive()
		l.audit.reset()
	}
}

// A batch with one call too many gets an answer for each of its calls.
func TestRPCBatchInsideAWebSocket(t *testing.T) {
	l, alice := newNode(t)
	s := l.open(alice, "ws")
	l.clock.Add(3 * time.Minute)
	s.message("[" + number + "," + money + "]")
	var list []rpcError
	if _, text := s.frame(); json.Unmarshal([]byte(text), &list) != nil || len(list) != 2 || string(list[0].ID) != "1" || string(list[1].ID) != "7" {
		t.Errorf("%s", text)
	}
}

// Messages are judged by the groups of now, on streams that stay open without them.
func TestRPCMessagesAndALostGroup(t *testing.T) {
	l, alice := newNode(t)
	set := func(groups ...string) {
		r := l.record("alice@example.test")
		r.Person.Groups = groups
		l.must(l.sessions.Refreshed(l.Context(), r.ID, r.Person, ""))
	}
	set("treasury", "operators")
	s := l.open(alice, "ws")
	const debug = `{"jsonrpc":"2.0","id":3,"method":"debug_trace"}`
	s.message(debug)
	s.arrives(debug)
	set("treasury")
	for began := time.Now(); ; { // the gate looks in the background
		s.message(debug)
		if err := s.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		first, text, err := readFrame(s.br)
		if err == nil {
			if first != 0x81 || !strings.Contains(text, `"blocked"`) {
				t.Fatalf("%x %q", first, text)
			}
			break
		}
		if time.Since(began) > patience {
			t.Fatal("messages still pass by a group that was lost")
		}
	}
}

// A node that turns on an extension that it was not offered would send and get what
// cannot be read.
func TestAttackRPCExtensionNobodyOffered(t *testing.T) {
	l, alice := newNode(t)
	c := l.send(alice, "GET /deaf", "", wsHandshake...)
	body, _ := io.ReadAll(c.res.Body)
	if c.res.StatusCode != 502 {
		t.Errorf("%d %s", c.res.StatusCode, body)
	}
}

// Calls that are refused are counted in the end, even if the caller makes names up.
func TestAttackRPCNamesFillTheLog(t *testing.T) {
	change, written := withLog(t)
	l, alice := newNode(t, change)
	s := l.open(alice, "ws")
	written()
	for i := range 100 {
		call := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"admin_%d"}`, i)
		if a := l.post(alice, call); a.StatusCode != 403 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		s.message(call)
		s.refused()
	}
	if n := len(written()); n < 60 || n > 63 {
		t.Errorf("200 refusals of one session are %d records", n)
	}
}

// Without a register of streams nothing inside a WebSocket can be judged: there is none.
func TestRPCWithoutStreams(t *testing.T) {
	l := newLive(t, func(p *setup) {
		p.policy = rpcPolicy
		p.options = map[string]proxy.RouteOptions{"treasury": takesCalls(proxy.RouteOptions{})}
		p.change = func(c *proxy.Config) { c.Streams = nil }
	})
	if c := l.send(l.enrolled("alice", home), "GET /rpc", "", wsHandshake...); c.res.StatusCode == 101 {
		t.Error("a WebSocket that nobody reads along with")
	}
}

// Each set of methods is a line of the log, and methods are what a client says.
func TestAttackRPCFillsTheLog(t *testing.T) {
	change, written := withLog(t, 20)
	l, alice := newNode(t, change)
	s := l.open(alice, "ws")
	call := func(method string) string { return `{"jsonrpc":"2.0","id":1,"method":"` + method + `"}` }
	written()
	refused := 0
	for i := range 300 {
		switch a := l.post(alice, call(fmt.Sprint("m", i))); a.StatusCode {
		case 200:
			l.forwarded()
		case 429:
			refused++
		default:
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	// The WebSocket that was opened is one of them.
	if recs := written(); refused != 201 || len(recs) != 99 {
		t.Errorf("of 300 different calls %d are in the log and %d were refused", len(recs), refused)
	}
	s.message(call("another"))
	if e := s.refusedWith(); e.Error.Code != -32005 || e.Error.Data.Error != "too_many_calls" {
		t.Errorf("inside a WebSocket: %+v", e)
	}
	if a := l.post(alice, call("m1")); a.StatusCode != 200 { // what was called before is counted
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	l.clock.Add(time.Minute)
	if a := l.post(alice, call("afterwards")); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// TestSizeOfAMessage: the route says how large a message may be, and the log which key says so.
func TestSizeOfAMessage(t *testing.T) {
	for _, c := range []struct{ limit, size, status int }{
		{proxytest.MessageBytes, 1 << 19, 200}, {proxytest.MessageBytes, 1600 << 10, 413}, // a blob transaction
		{2 << 20, 1600 << 10, 200}, {2 << 20, 3 << 20, 413},
		{64 << 10, 1 << 19, 413},
	} {
		l := newLive(t, func(p *setup) {
			p.policy = rpcPolicy
			p.options = map[string]proxy.RouteOptions{"treasury": takesCalls(proxy.RouteOptions{RPCBytes: c.limit})}
		})
		alice := l.enrolled("alice", home)
		l.forwarded()
		a := l.post(alice, `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":["`+strings.Repeat("x", c.size)+`"]}`)
		if got := len(l.forwarded()); a.StatusCode != c.status || (got == 1) != (c.status == 200) {
			t.Errorf("%+v: %d, %d calls: %.200s", c, a.StatusCode, got, a.body)
		}
		if named := strings.Contains(l.log.String(), "limits.message_bytes"); named != (c.status == 413) {
			t.Errorf("%+v: the key is in the log: %v", c, named)
		}
	}
}

// TestMessageThatIsTooLargeInsideAWebSocket: the call gets an error that names the limit, is on record, and ends no
// subscription. One client that does nothing else is sent away.
func TestMessageThatIsTooLargeInsideAWebSocket(t *testing.T) {
	registry := prometheus.NewRegistry()
	observer, err := observe.New(observe.Config{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	l := newLive(t, func(p *setup) {
		p.policy = rpcPolicy
		p.options = map[string]proxy.RouteOptions{"treasury": takesCalls(proxy.RouteOptions{RPCBytes: 1000, RPCBytesKey: "body_bytes of route treasury"})}
		p.change = func(c *proxy.Config) { c.Observe = observer }
	})
	s := l.open(l.enrolled("alice", home), "ws")
	params := `"params":["` + strings.Repeat("x", 2000) + `"]`
	front, back := `{"jsonrpc":"2.0","id":"a","method":"eth_call",`+params+`}`, `{"method":"eth_call",`+params+`,"id":7,"jsonrpc":"2.0"}`
	l.audit.reset()
	for _, c := range []struct {
		message, id string
		fragments   bool
	}{{front, `"a"`, false}, {back, "7", false}, {front, `"a"`, true}, {back, "7", true}, {"[" + front + "]", "null", false}, {`{"method":"eth_call",` + params, "null", true}} {
		if c.fragments {
			_, err := s.conn.Write(append(wsFrame(0x01, c.message[:600], true), wsFrame(0x80, c.message[600:], true)...))
			l.must(err)
		} else {
			s.message(c.message)
		}
		_, text := s.frame()
		var e rpcError
		if err := json.Unmarshal([]byte(text), &e); err != nil || string(e.ID) != c.id || e.Error.Data.Error != "too_large" || e.Error.Code != -32600 ||
			!strings.Contains(text, "1000 bytes, which is body_bytes of route treasury") {
			t.Errorf("%.60s: %s", c.message, text)
		}
		if recs := l.audit.take(); len(recs) != 1 || recs[0].Event != "message" || recs[0].Incident != e.Error.Data.Incident {
			t.Errorf("recorded %s", jsonText(recs))
		}
		s.message(number)
		s.arrives(number)
		s.alive()
		l.audit.reset()
	}
	if n := counted(t, registry, "sallyport_limit_exceeded_total", "message_bytes"); n != 6 {
		t.Errorf("counted %v", n)
	}
	for range 17 {
		s.message(front)
	}
	for range 16 {
		s.refused()
	}
	if first, text := s.frame(); first != 0x88 || binary.BigEndian.Uint16([]byte(text)) != 1009 {
		t.Errorf("a frame %x %q, not a close frame with 1009", first, text)
	}
}
