package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// chain is a real Ethereum node, and what reached it.
type chain struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
}

// startChain starts npm's ganache, whose accounts sign by themselves.
func startChain(t *testing.T) *chain {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "Node.js")
	}
	cli := filepath.Join("node", "node_modules", "ganache", "dist", "node", "cli.js")
	if _, err := os.Stat(cli); err != nil {
		missing(t, "ganache (npm ci --prefix node)")
	}
	port := freePort(t)
	cmd := exec.Command(node, cli, "--server.host", "127.0.0.1", "--server.port", port, "--wallet.seed", "sallyport", "--logging.quiet")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines, listens := bufio.NewScanner(out), false
	for !listens && lines.Scan() {
		listens = strings.Contains(lines.Text(), "RPC Listening")
	}
	if !listens {
		t.Fatal("the node did not start")
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()

	to, err := url.Parse("http://127.0.0.1:" + port)
	if err != nil {
		t.Fatal(err)
	}
	c := &chain{}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.URL.Path = "/" }}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		c.mu.Lock()
		c.bodies = append(c.bodies, string(body))
		c.mu.Unlock()
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// took returns the bodies since the last call.
func (c *chain) took() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.bodies
	c.bodies = nil
	return b
}

// reply is an answer in JSON-RPC.
type reply struct {
	ID     json.RawMessage `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int            `json:"code"`
		Message string         `json:"message"`
		Data    map[string]any `json:"data"`
	} `json:"error"`
}

func (r reply) text(t *testing.T) (s string) {
	t.Helper()
	if r.Error != nil || json.Unmarshal(r.Result, &s) != nil {
		t.Fatalf("%s %+v", r.Result, r.Error)
	}
	return s
}

const blockNumber = `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}`

// rpc sends a body to the node over HTTP.
func (c *client) rpc(body string) answer {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodPost, c.s.treasury+"/rpc", strings.NewReader(body))
	if err == nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return c.must(r, err)
}

// ask is rpc for what has to reach the node.
func (c *client) ask(body string) (r reply) {
	c.t.Helper()
	a := c.rpc(body)
	if err := json.Unmarshal([]byte(a.body), &r); err != nil || a.status != http.StatusOK {
		c.t.Fatalf("%s: %d %s", body, a.status, a.body)
	}
	return r
}

// prove gives the treasury a fresh proof.
func (c *client) prove() {
	c.t.Helper()
	u, err := url.Parse(c.navigate(c.s.treasury + "/.sallyport/step-up?return_to=" + url.QueryEscape(c.s.treasury+"/")).location)
	if err != nil {
		c.t.Fatal(err)
	}
	q := u.Query()
	if a := c.follow(c.verify(map[string]any{"return_to": q.Get("return_to"), "bind": q.Get("bind")})); a.status != http.StatusOK {
		c.t.Fatalf("%d %s", a.status, a.body)
	}
}

// TestRealNode: reading a chain needs no fresh proof, sending to it does; over HTTP and
// inside a WebSocket, alone and in a batch, and the node gets what was sent, byte for byte.
func TestRealNode(t *testing.T) {
	t.Parallel()
	node := startChain(t)
	s := newHarness(t, func(cfg string) string {
		_, from, _ := strings.Cut(cfg, "    from: ")
		from, _, _ = strings.Cut(from, "\n")
		return cfg + "  - name: node\n    from: " + from + "/rpc\n    to: " + node.URL + "\n    allow: {groups: [treasury]}\n    rpc: jsonrpc\n"
	})
	s.stop(syscall.SIGTERM)
	s.write("policy.yaml", `
version: 1
rules:
  - {name: sending, when: '"eth_sendRawTransaction" in request.rpc_methods', then: step_up, max_age: 4s}
...
`)
	s.start()
	c := newClient(t, s, home)
	c.getIn(alice)

	// A person who has just proved themselves may send.
	var accounts []string
	if err := json.Unmarshal(c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_accounts","params":[]}`).Result, &accounts); err != nil || len(accounts) < 2 {
		t.Fatal(accounts, err)
	}
	raw := c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_signTransaction","params":[{"from":"` + accounts[0] + `","to":"` + accounts[1] + `","value":"0x1","gas":"0x5208","gasPrice":"0x77359400","nonce":"0x0"}]}`).text(t)
	send := `{"jsonrpc":"2.0","id":7,"method":"eth_sendRawTransaction","params":["` + raw + `"]}`
	c.prove()
	if hash := c.ask(send).text(t); len(hash) != 66 {
		t.Fatalf("sent as %q", hash)
	}
	if n := c.ask(blockNumber).text(t); n != "0x1" {
		t.Fatalf("the chain is at %s", n)
	}

	// The proof grows old; the same transaction is then refused by us, not by the node.
	var a answer
	for deadline := time.Now().Add(time.Minute); a.status != http.StatusUnauthorized; {
		if time.Now().After(deadline) {
			t.Fatalf("an old proof is good enough: %d %s", a.status, a.body)
		}
		<-time.After(100 * time.Millisecond) // its age is by the clock of another process
		a = c.rpc(send)
	}
	if got := a.header.Get("WWW-Authenticate"); !strings.Contains(got, `error="insufficient_user_authentication"`) || !strings.HasSuffix(got, "max_age=4") {
		t.Errorf("challenge %q", got)
	}
	node.took()
	odd := " { \"params\" : [ ] ,\n\t\"method\":\"eth_blockNumber\", \"id\": \"\\u00e9\", \"jsonrpc\":\"2.0\" }\r\n"
	if a := c.rpc(odd); a.status != http.StatusOK || !strings.Contains(a.body, `"result":"0x`) {
		t.Errorf("reading with an old proof: %d %s", a.status, a.body)
	}
	batch := `[` + blockNumber + `,` + send + `]`
	if a := c.rpc(batch); a.status != http.StatusUnauthorized || !strings.Contains(a.body, "insufficient_user_authentication") {
		t.Errorf("a batch with a transaction: %d %s", a.status, a.body)
	}
	reads := `[` + blockNumber + `, {"jsonrpc":"2.0","id":2,"method":"eth_chainId","params":[]}]`
	if a := c.rpc(reads); a.status != http.StatusOK || strings.Count(a.body, `"result"`) != 2 {
		t.Errorf("a batch that reads: %d %s", a.status, a.body)
	}
	if got := node.took(); len(got) != 2 || got[0] != odd || got[1] != reads {
		t.Errorf("the node got %q", got)
	}

	// The same inside a WebSocket that was opened with the old proof.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, strings.Replace(s.treasury, "http", "ws", 1)+"/rpc", &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: http.Header{"Origin": {s.treasury}}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	say := func(message string, into any) {
		t.Helper()
		if err := ws.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		_, text, err := ws.Read(ctx)
		if err != nil || json.Unmarshal(text, into) != nil {
			t.Fatalf("%q %v", text, err)
		}
	}
	refused := func(r reply, id string) {
		t.Helper()
		if r.Error == nil || r.Error.Code != -32002 || string(r.ID) != id || r.Error.Data["error"] != "insufficient_user_authentication" || r.Error.Data["max_age"] != 4.0 || r.Error.Data["incident"] == "" {
			t.Errorf("%s %+v", r.ID, r.Error)
		}
	}
	var before, alone, after reply
	say(blockNumber, &before)
	say(send, &alone)
	refused(alone, "7")
	var together []reply
	if say(batch, &together); len(together) != 2 {
		t.Fatalf("%+v", together)
	}
	refused(together[0], "1")
	refused(together[1], "7")
	// Nothing was sent, and the connection goes on.
	if say(blockNumber, &after); after.text(t) != before.text(t) {
		t.Errorf("%+v, after %+v", after, before)
	}
	if !s.recorded("message", "step_up") {
		t.Error("what was refused inside the WebSocket is not recorded")
	}
}
