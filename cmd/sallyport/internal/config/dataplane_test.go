package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// dataPlane is a route with every way of carrying requests that can be configured.
const dataPlane = `
external_url: http://localhost:8080
oidc: {issuer: http://127.0.0.1:9100, client_id: sallyport, client_secret_file: secret}
policy: policy.yaml
limits: {connections: 10, requests: 5, streams: 7, streams_per_session: 6, ceremonies_per_minute: 3, changes_per_minute: 9, batch_calls: 250, inspected_bytes: 4194304, inspected_bytes_per_session: 2097152, message_time: 20s}
session: {max_per_person: 7}
access_log: false
tracing: {endpoint: "http://127.0.0.1:4318", sample: 0.25, headers_file: headers}
routes:
  - name: node
    from: http://node.localhost:8080
    to: [h2c://127.0.0.1:3000, "unix:/run/tool.sock", "http://127.0.0.1:3001"]
    allow: {everyone: true}
    rpc: jsonrpc
    rpc_uri: true
    rpc_paths: [/ext/bc/C/rpc]
    cut_stale_streams: true
    root_service_worker: true
    total_timeout: 1m
    wait_timeout: 2s
    max_connections: 9
    response_header_bytes: 4096
    upgrades: [websocket]
    health: {path: /healthz, interval: 5s, timeout: 1s, status: 204}
`

func dataPlaneDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"secret": "x", "policy.yaml": "version: 1\n", "ca.pem": "x", "headers": "Api-Key: a:b\n\nX-Tenant: 7\n", "broken": "Api-Key: x\nsecret value\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDataPlaneOfARoute(t *testing.T) {
	c, err := Parse("sallyport.yaml", dataPlaneDir(t), []byte(dataPlane))
	if err != nil {
		t.Fatal(err)
	}
	r := c.Routes[0]
	if !r.RPC || !r.RPCURI || len(r.RPCPaths) != 1 || !r.CutStale || !r.RootWorkers || r.TotalTimeout != time.Minute || r.WaitTimeout != 2*time.Second || r.MaxConnections != 9 || r.MaxResponseHeader != 4096 ||
		r.Health.Path != "/healthz" || r.Health.Status != 204 || len(r.Upgrades) != 1 {
		t.Errorf("%+v", r)
	}
	var to []string
	for _, u := range r.To {
		to = append(to, u.String())
	}
	if got := strings.Join(to, " "); got != "h2c://127.0.0.1:3000 unix:/run/tool.sock http://127.0.0.1:3001" {
		t.Errorf("to: %s", got)
	}
	if c.Limits.Connections != 10 || c.Limits.Requests != 5 || c.Limits.Streams != 7 || c.Limits.StreamsPerSession != 6 || c.Limits.CeremoniesPerMinute != 3 || c.Limits.ChangesPerMinute != 9 || c.Limits.BatchCalls != 250 || c.Limits.ConnectionsPerClient != 512 ||
		c.Limits.Inspected != 4<<20 || c.Limits.InspectedPerSession != 2<<20 || c.Limits.MessageTime != 20*time.Second || c.Session.MaxPerPerson != 7 || c.AccessLog {
		t.Errorf("%+v", c.Limits)
	}
	if x := c.Tracing; x == nil || x.Endpoint != "http://127.0.0.1:4318/v1/traces" || x.Sample != 0.25 || len(x.Headers) != 2 || x.Headers["Api-Key"] != "a:b" {
		t.Errorf("%+v", x)
	}
	if _, err := c.RouteTable(); err != nil {
		t.Error(err)
	}
}

func TestDataPlaneMistakes(t *testing.T) {
	for _, tc := range []struct{ name, old, new, want string }{
		{"protocol", "rpc: jsonrpc", "rpc: xmlrpc", `no RPC protocol "xmlrpc"`},
		{"ways of an RPC that there is none of", "    rpc: jsonrpc\n", "", "for JSON-RPC routes"},
		{"an RPC path that is none", "/ext/bc/C/rpc", "ext/*", "is not a path"},
		{"health without a path", "health: {path: /healthz,", "health: {", "health.path is missing"},
		{"limit", "requests: 5", "requests: 0", "0 is out of range"},
		{"less than two messages", "inspected_bytes_per_session: 2097152", "inspected_bytes_per_session: 1048576", "1048576 is out of range"},
		{"more for one than for all", "inspected_bytes_per_session: 2097152", "inspected_bytes_per_session: 8388608", "more than there is for all"},
		{"no time for a message", "message_time: 20s", "message_time: 0s", "0s is out of range"},
		{"nobody may sign in", "max_per_person: 7", "max_per_person: 0", "0 is out of range"},
		{"upgrade that tunnels", "upgrades: [websocket]", "upgrades: [h2c]", "h2c"},
		{"redirect to nowhere", "access_log: false", "redirect_listen: :80", "there is nothing to redirect to"},
		{"acme without consent", "access_log: false", "acme: {email: ops@example.com}", "the authority's terms have to be accepted"},
		{"acme on plain http", "access_log: false", "acme: {accept_terms: true}", "external_url is plain http"},
		{"traces to nowhere", "endpoint: \"http://127.0.0.1:4318\", ", "", "tracing.endpoint is missing"},
		{"a collector that is none", "http://127.0.0.1:4318", "grpc://127.0.0.1:4317", "not a collector's address"},
		{"a secret in an address", "http://127.0.0.1:4318", "http://u:p@127.0.0.1:4318", "not a collector's address"},
		{"more than all traces", "sample: 0.25", "sample: 25", "25 is not a share"},
		{"no number", "sample: 0.25", "sample: all", "a number"},
		{"not a number", "sample: 0.25", "sample: NaN", "a number"},
		{"no file of headers", "headers_file: headers", "headers_file: nothing", "there is no file"},
		{"a file of something else", "headers_file: headers", "headers_file: broken", "line 2 of"},
		{"an unknown key", "sample: 0.25", "rate: 0.25", "rate"},
		{"a socket and a host", "unix:/run/tool.sock", "unix://host/run/tool.sock", "unix"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			source := strings.Replace(dataPlane, tc.old, tc.new, 1)
			if source == dataPlane {
				t.Fatal("nothing was changed")
			}
			_, err := Parse("sallyport.yaml", dataPlaneDir(t), []byte(source))
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "sallyport.yaml:") {
				t.Errorf("got %v", err)
			}
		})
	}
}
