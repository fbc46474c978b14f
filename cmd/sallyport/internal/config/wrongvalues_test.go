package config_test

import (
	"errors"
	"strings"
	"testing"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
)

// wrong are values that people type. All of one setting are answered with its line, its name,
// what is expected and, where one thing alone can be meant, that thing: "" otherwise.
var wrong = []struct {
	before, key string // what stands before the value; the setting as it is called in messages
	values      map[string]string
}{
	{"session: {handoff: ", "session.handoff", map[string]string{"POST": "post", "Auto": "auto", "fetch": "", "[post]": "", "true": "", "''": ""}},
	{"session: {max_per_person: ", "session.max_per_person", map[string]string{"0": "", "-1": "", "20000": "", "1.5": "", "unlimited": "", "[5]": ""}},
	{"route: root_service_worker: ", "routes[0].root_service_worker", map[string]string{"yes": "", "1": "", "/sw.js": "", "[true]": "", "on": ""}},
	{"route: embeddable: ", "routes[0].embeddable", map[string]string{"yes": "", "1": "", "SAMEORIGIN": "", "http://a.corp.test": "", "[true]": ""}},
	{"route: exact_paths: ", "routes[0].exact_paths", map[string]string{"yes": "", "1": "", "/Admin": "", "[/a]": "", "0": ""}},
	{"route: strip_prefix: ", "routes[0].strip_prefix", map[string]string{"yes": "", "1": "", "/app": "", "[/app]": "", "true": ""}}, // from has no path
	{"route: paths: {allow: ", "routes[0].paths.allow[0]", map[string]string{
		"[encoded-slash]": "encoded_slash", "[semi_colon]": "semicolon", "['%2F']": "", "[all]": "", "[true]": "", "[/a]": "", "['']": "", "['//']": "", "[dot_segments]": "",
	}},
	{"route: paths: ", "routes[0].paths", map[string]string{"encoded_slash": "", "[encoded_slash]": "", "true": "", "/a": ""}},
	{"route: rpc: jsonrpc, paths: ", "routes[0].paths.allow", map[string]string{"{allow: [encoded_slash]}": ""}},
	{"route: rpc_uri: ", "routes[0].rpc_uri", map[string]string{"true": "", "yes": "", "1": "", "/abci": "", "[true]": ""}},
	{"route: rpc: ", "routes[0].rpc", map[string]string{"JSONRPC": "jsonrpc", "json-rpc": "jsonrpc", "json-rpc1": "json-rpc-1", "true": "", "[jsonrpc]": "", "''": ""}},
	{"route: rpc_paths: ", "routes[0].rpc_paths", map[string]string{"/a": ""}}, // without rpc
	{"route: rpc: jsonrpc, rpc_paths: ", "routes[0].rpc_paths[0]", map[string]string{
		"rpc": "/rpc", "/ext/*": "", "https://node.corp.test/rpc": "/rpc", "/a?x": "/a", "''": "", "0": "", "//a": "/a", "/a/../b": "/b", "/a b": "", "/.sallyport/x": "",
	}},
	{"route: allowed_origins: ", "routes[0].allowed_origins[0]", map[string]string{
		"a.corp.test": "https://a.corp.test", "https://a.corp.test/x": "https://a.corp.test", "'*'": "", "'https://*.corp.test'": "", "'null'": "",
		"https://a.corp.test:0": "", "10": "", "self": "", "''": "", "https://u@a.corp.test": "https://a.corp.test", "[[https://a.corp.test]]": "",
	}},
	{"route: cookie_domain: ", "routes[0].cookie_domain", map[string]string{
		"'*.tool.localhost'": "tool.localhost", "http://tool.localhost": "tool.localhost", "tool.localhost:8080": "tool.localhost", "tool.localhost/": "tool.localhost",
		"localhost": "", "other.test": "", "[tool.localhost]": "", "true": "", "''": "",
	}},
	{"internal_networks: ", "internal_networks[0]", map[string]string{
		"10.20.0.0": "", "'10.20.*.*'": "", "203.0.113.0/24": "", "10.20.0.0/33": "", "10.20.0.5/16": "10.20.0.0/16", "0.0.0.0/0": "", "10.20.0.1-10.20.0.9": "",
		"https://10.20.0.1": "", "private": "", "true": "", "'fd00::'": "",
	}},
	{"ip_data: {translators: ", "ip_data.translators[0]", map[string]string{
		"'2001:db8:64::/95'": "", "'2001:db8:64::'": "2001:db8:64::/96", "'2001:db8:64::1/96'": "2001:db8:64::/96", "10.0.0.0/8": "", "nat64.corp.test": "", "0": "",
	}},
	{"ip_data: {lists: [{name: a, file: vpn.txt, format: csv, stated: ", "ip_data.lists[0].stated", map[string]string{"yes": "", "1": "", "csv": "", "[true]": "", "'TRUE'": ""}},
	{"ip_data: {lists: [{name: a, file: vpn.txt, stated: ", "ip_data.lists[0].stated", map[string]string{"true": ""}},
	{"ip_data: {lists: [{name: a, file: vpn.txt, max_share: ", "ip_data.lists[0].max_share", map[string]string{
		"15": "15%", "0.15": "", "1": "", "0": "", "0%": "", "-5%": "", "101%": "", "15 %": "15%", "15 percent": "15%", "1e1%": "", "0x1p1%": "", "NaN%": "", "[15%]": "", "'%'": "", "''": "",
	}},
	{"policy_invariants: ", "policy_invariants", map[string]string{"none.yaml": "", "policy.yaml": "", "[policy.yaml]": "", "true": "", "''": "", "folder": ""}},
	{"policy_guard: {max_newly_allowed: ", "policy_guard.max_newly_allowed", map[string]string{
		"20": "20%", "0.2": "", "120%": "", "-1%": "", "20 %": "20%", "20percent": "20%", "5 people": "", "[20%]": "", "''": "", "+5%": "",
	}},
	{"ops_hosts: ", "ops_hosts[0]", map[string]string{
		"http://m.svc/": "m.svc", "m.svc:9090": "m.svc", "'*.svc'": "svc", "m.svc/": "m.svc", "10.0.0.1": "", "0": "", "-1": "", "0x7f": "", "m..svc": "", "''": "", "m svc": "", "true": "", "'[::1]'": "",
	}},
	{"limits: {inspected_bytes: ", "limits.inspected_bytes", map[string]string{
		"64MiB": "67108864", "64 MB": "67108864", "8k": "8192", "0": "", "-1": "", "[67108864]": "", "1e9": "1000000000", "6.7108864e+07": "67108864", "1.5": "", "1e99": "", "1e-3": "", "99999999999999999999": "", "60s": "", "50%": "",
	}},
	{"limits: {inspected_bytes_per_session: ", "limits.inspected_bytes_per_session", map[string]string{"8MiB": "8388608", "0": "", "-1": "", "1048576": "", "1GiB": "1073741824", "100000000": ""}},
	{"limits: {message_time: ", "limits.message_time", map[string]string{"60": "", "1 minute": "1m", "2d": "48h", "0": "", "-1s": "", "2h": "", "[1m]": "", "100%": "", "1MiB": ""}},
	{"limits: {url_bytes: ", "limits.url_bytes", map[string]string{"20kB": "20480", "16 KiB": "16384", "0": "", "-1": "", "40000": "", "[8192]": "", "none": ""}},
	{"limits: {header_lines: ", "limits.header_lines", map[string]string{"0": "", "-1": "", "5000": "", "many": "", "[128]": ""}},
	{"limits: {message_bytes: ", "limits.message_bytes", map[string]string{"2MiB": "2097152", "0": "", "-1": "", "1024": "", "1000000000": "", "[1]": ""}},
	{"limits: {batch_calls: ", "limits.batch_calls", map[string]string{"0": "", "-1": "", "10001": "", "all": "", "[100]": "", "1.5": "", "1e+03": "1000", "1000.0": "1000"}},
	{"limits: {changes_per_minute: ", "limits.changes_per_minute", map[string]string{"0": "", "-1": "", "300/min": "", "1.5": "", "none": "", "[300]": "", "5m": "", "99999999": ""}},
	{"behavior: {household: ", "behavior.household", map[string]string{"/56": "", "0": "", "-1": "", "24": "", "128": "", "56 bits": "", "[56]": "", "56%": ""}},
	{"limits: {body_bytes: ", "limits.body_bytes", map[string]string{"0": "", "-1": "", "0100": "100", "0x10": "", "1_000": "", "+5": "", "1GiB": "1073741824"}},
	{"route: body_bytes: ", "routes[0].body_bytes", map[string]string{"0": "", "-1": "", "010": "10", "none": ""}},
	{"route: connect_timeout: ", "routes[0].connect_timeout", map[string]string{"0s": "", "0": "", "never": "", "2562047h": ""}},
	{"route: response_timeout: ", "routes[0].response_timeout", map[string]string{"0s": "", "-1s": "", "2562047h": ""}},
	{"route: idle_timeout: ", "routes[0].idle_timeout", map[string]string{"0s": "", "0ms": ""}},
	{"route: total_timeout: ", "routes[0].total_timeout", map[string]string{"0s": "", "none": ""}},
	{"route: wait_timeout: ", "routes[0].wait_timeout", map[string]string{"0s": ""}},
	{"route: max_connections: ", "routes[0].max_connections", map[string]string{"0": "", "-1": "", "0b11": ""}},
	{"route: response_header_bytes: ", "routes[0].response_header_bytes", map[string]string{"0": "", "1": "", "1023": ""}},
	{"route: health: {path: /,interval: ", "routes[0].health.interval", map[string]string{"0s": "", "1ms": ""}},
	{"route: health: {path: /,timeout: ", "routes[0].health.timeout", map[string]string{"0s": "", "11s": ""}},
	{"route: health: {path: /,status: ", "routes[0].health.status", map[string]string{"0": "", "99": "", "0200": "200", "600": ""}},
	{"route: health: {path: ", "routes[0].health.path", map[string]string{"x": "", "/../a": "", "/%2e": ""}},
	{"route: upgrades: ", "routes[0].upgrades[0]", map[string]string{"[h2c]": "", "['web socket']": "", "['HTTP/2']": "", "['websocket,h2c']": "", "['']": ""}},
	{"route: tls: {min_version: ", "routes[0].tls", map[string]string{"'1.4'": ""}}, // to is http
	{"tracing: {endpoint: 'http://127.0.0.1:4318', sample: ", "tracing.sample", map[string]string{"0x1p-2": "", "01": "", "inf": "", "0_1": ""}},
	{"policy_guard: {max_newly_blocked: ", "policy_guard.max_newly_blocked", map[string]string{"010%": ""}},

	// The key itself.
	{"session: {hand_off: ", `"hand_off" in session`, map[string]string{"post": "handoff"}},
	{"session: {max_per_persons: ", `"max_per_persons" in session`, map[string]string{"5": "max_per_person"}},
	{"route: allowed_origin: ", `"allowed_origin" in routes[0]`, map[string]string{"https://a.corp.test": "allowed_origins"}},
	{"route: embedable: ", `"embedable" in routes[0]`, map[string]string{"true": "embeddable"}},
	{"route: cookie_domains: ", `"cookie_domains" in routes[0]`, map[string]string{"a.test": "cookie_domain"}},
	{"route: exact_path: ", `"exact_path" in routes[0]`, map[string]string{"true": "exact_paths"}},
	{"route: rpc_url: ", `"rpc_url" in routes[0]`, map[string]string{"true": "rpc_uri"}},
	{"route: root_service_workers: ", `"root_service_workers" in routes[0]`, map[string]string{"true": "root_service_worker"}},
	{"internal_network: ", `"internal_network" in the file`, map[string]string{"10.0.0.0/8": "internal_networks"}},
	{"ip_data: {translator: ", `"translator" in ip_data`, map[string]string{"'2001:db8::/96'": "translators"}},
	{"ip_data: {lists: [{name: a, file: vpn.txt, maxshare: ", `"maxshare" in ip_data.lists[0]`, map[string]string{"5%": "max_share"}},
	{"policy_invariant: ", `"policy_invariant" in the file`, map[string]string{"i.yaml": "policy_invariants"}},
	{"policy_guard: {max_newly_allow: ", `"max_newly_allow" in policy_guard`, map[string]string{"5%": "max_newly_allowed"}},
	{"ops_host: ", `"ops_host" in the file`, map[string]string{"m.svc": "ops_hosts"}},
	{"limits: {url_byte: ", `"url_byte" in limits`, map[string]string{"1": "url_bytes"}},
	{"limits: {message_byte: ", `"message_byte" in limits`, map[string]string{"1": "message_bytes"}},
	{"limits: {inspected_byte: ", `"inspected_byte" in limits`, map[string]string{"1": "inspected_bytes"}},
	{"limits: {message_timeout: ", `"message_timeout" in limits`, map[string]string{"1m": "message_time"}},
	{"behavior: {house_hold: ", `"house_hold" in behavior`, map[string]string{"56": "household"}},
}

// shut closes what a line of YAML opens.
func shut(line string) string {
	var open string
	for _, c := range line {
		switch c {
		case '{':
			open = "}" + open
		case '[':
			open = "]" + open
		case '}', ']':
			open = open[1:]
		}
	}
	return line + open
}

func TestWrongValuesNameTheFieldAndTheFix(t *testing.T) {
	dir := folder(t)
	for _, w := range wrong {
		for value, meant := range w.values {
			setting, inRoute := strings.CutPrefix(w.before, "route: ")
			text, line := strings.Replace(good, session, shut(setting+value), 1), 7
			if inRoute {
				line = 12 + strings.Count(setting, ", ") + 1
				text = strings.Replace(good, allow, allow+"\n    "+shut(strings.ReplaceAll(setting, ", ", "\n    ")+value), 1)
			}
			t.Run(setting+value, func(t *testing.T) {
				_, err := config.Parse("sallyport.yaml", dir, []byte(text))
				found, ok := errors.AsType[policy.Diagnostics](err)
				if !ok || len(found) != 1 {
					t.Fatalf("accepted, or several mistakes: %v", err)
				}
				name := strings.TrimSuffix(w.key, "[0]") // of an item or, where the value is a list too many, of the list
				last := w.key[strings.LastIndex(w.key, ".")+1:]
				d := found[0]
				if d.Line != line || !strings.Contains(d.Message, name) && !strings.Contains(d.Message, `"`+last+`"`) {
					t.Errorf("want line %d and %s:\n%v", line, name, err)
				}
				if d.Expected == "" || d.Suggestion != meant {
					t.Errorf("want the fix, and the suggestion %q:\n%v", meant, err)
				}
			})
		}
	}
}

// A limit for all that is less than the default for one session lowers that.
func TestInspectedBytesForAllBoundThoseOfASession(t *testing.T) {
	c, err := config.Parse("sallyport.yaml", folder(t), []byte(strings.Replace(good, session, "limits: {inspected_bytes: 4194304}", 1)))
	if err != nil || c.Limits.InspectedPerSession != 4194304 {
		t.Errorf("%v, %v", c, err)
	}
}
