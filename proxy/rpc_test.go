package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"sallyport/proxy"
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

func newNode(t *testing.T) (*live, *browser) {
	t.Helper()
	l := newLive(t, func(p *plan) {
		p.policy = rpcPolicy
		p.options = map[string]proxy.RouteOptions{"treasury": {RPC: true}}
	})
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
		{"nothing at all", "", 200, 200},
		{"a call that needs a fresh proof", money, 200, 401},
		{"a batch of harmless calls", "[" + number + "," + number + "]", 200, 200},
		{"a batch with one strict call", "[" + number + "," + money + "," + number + "]", 200, 401},
		{"a blocked call", isAdmin, 403, 403},
		{"a batch with a blocked call", "[" + money + "," + isAdmin + "]", 403, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, alice := newNode(t)
			for _, want := range []int{c.fresh, c.old} {
				l.ledger.reset()
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
				recs := l.ledger.take()
				if c.body != "" && (len(recs) != 1 || !strings.Contains(recs[0].Detail["rpc_methods"], "_")) {
					t.Errorf("recorded %s", jsonText(recs))
				}
				l.clock.Add(3 * time.Minute)
			}
		})
	}
}

// Whatever two parsers read in two ways is refused, with an answer that an RPC client
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
	l.ledger.reset()
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
		recs := l.ledger.take()
		if len(recs) != 1 || recs[0].Incident != e.Error.Data.Incident || recs[0].Event != "message" || recs[0].Session == "" {
			t.Errorf("%s: recorded %s", c.message, jsonText(recs))
		}
		// The connection goes on, and the next that the node gets is the next that is allowed.
		s.message(number)
		s.arrives(number)
		s.alive()
		l.ledger.reset()
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

// Calls that are refused are counted in the end, whatever names the caller makes up.
func TestAttackRPCNamesFillTheLog(t *testing.T) {
	l, alice := newNode(t)
	s := l.open(alice, "ws")
	l.ledger.reset()
	for i := range 100 {
		call := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"admin_%d"}`, i)
		if a := l.post(alice, call); a.StatusCode != 403 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		s.message(call)
		s.refused()
	}
	if n := len(l.ledger.take()); n < 60 || n > 63 {
		t.Errorf("200 refusals of one session are %d records", n)
	}
}

// Without a register of streams nothing inside a WebSocket can be judged: there is none.
func TestRPCWithoutStreams(t *testing.T) {
	l := newLive(t, func(p *plan) {
		p.policy = rpcPolicy
		p.options = map[string]proxy.RouteOptions{"treasury": {RPC: true}}
		p.change = func(c *proxy.Config) { c.Streams = nil }
	})
	if c := l.send(l.enrolled("alice", home), "GET /rpc", "", wsHandshake...); c.res.StatusCode == 101 {
		t.Error("a WebSocket that nobody reads along with")
	}
}

// Each set of methods is a line of the log, and methods are whatever a client says.
func TestAttackRPCFillsTheLog(t *testing.T) {
	l, alice := newNode(t)
	s := l.open(alice, "ws")
	call := func(method string) string { return `{"jsonrpc":"2.0","id":1,"method":"` + method + `"}` }
	l.ledger.reset()
	refused := 0
	for i := range 700 {
		switch a := l.post(alice, call(fmt.Sprint("m", i))); a.StatusCode {
		case 200:
		case 429:
			refused++
		default:
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		l.forwarded()
	}
	if recs := l.ledger.take(); refused != 100 || len(recs) != 600 {
		t.Errorf("of 700 different calls %d are in the log and %d were refused", len(recs), refused)
	}
	s.message(call("another"))
	if e := s.refusedWith(); e.Error.Code != -32005 || e.Error.Data.Error != "too_many_calls" {
		t.Errorf("inside a WebSocket: %+v", e)
	}
	s.message(call("m1")) // what was called before is counted
	s.arrives(call("m1"))
	l.clock.Add(time.Minute)
	if a := l.post(alice, call("afterwards")); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}
