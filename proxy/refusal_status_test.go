package proxy_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// No answer of ours to what was not let through is a success: a proxy in front that asks on behalf of another request
// takes every 2xx for a yes. Service workers are the one exception, for which see TestAttackStandInIsNoYes.
func TestAttackRefusalThatLooksLikeAYes(t *testing.T) {
	const html = "text/html,*/*;q=0.8"
	preflight := map[string]string{"Access-Control-Request-Method": "GET", "X-Original-Uri": "/"}
	for name, s := range map[string]sent{
		"a page":                          {"GET", treasury + "/", "none/navigate/document", "", nil},
		"a page in an old browser":        {"GET", treasury + "/", "", "", map[string]string{"Accept": html}},
		"a long address":                  {"GET", treasury + "/?" + strings.Repeat("x", 3000), "none/navigate/document", "", nil},
		"a script":                        {"GET", treasury + "/", "same-origin/cors/empty", "", nil},
		"a frame":                         {"GET", treasury + "/", "same-site/navigate/iframe", "", nil},
		"a page ahead":                    {"GET", treasury + "/", "none/navigate/document", "", map[string]string{"Sec-Purpose": "prefetch"}},
		"HEAD":                            {"HEAD", treasury + "/", "", "", nil},
		"OPTIONS":                         {"OPTIONS", treasury + "/", "", "", nil},
		"a preflight behind a proxy":      {"OPTIONS", treasury + "/", "same-site/cors/empty", partner, preflight},
		"a WebSocket":                     {"GET", treasury + "/", "same-origin/websocket/websocket", treasury, webSocket},
		"gRPC-Web":                        {"POST", treasury + "/x.Y/Z", "same-origin/cors/empty", treasury, map[string]string{"Content-Type": "application/grpc-web+proto"}},
		"its own form":                    {"POST", treasury + "/", "same-origin/navigate/document", treasury, nil},
		"its own form in a frame":         {"POST", treasury + "/", "same-origin/navigate/iframe", treasury, nil},
		"a form of another site":          {"POST", treasury + "/", "cross-site/navigate/document", "https://idp.example", nil},
		"one that is passed on":           {"POST", acs, "cross-site/navigate/document", "https://idp.example", nil},
		"one of an old browser":           {"POST", acs, "", "https://idp.example", map[string]string{"Accept": html}},
		"one that a proxy in front shows": {"POST", acs, "cross-site/navigate/document", "https://idp.example", map[string]string{"X-Original-Uri": "/saml/acs"}},
		"a path with two readings":        {"GET", treasury + "/a//b", "none/navigate/document", "", nil},
		"another host":                    {"GET", "https://nothing.example.test/", "none/navigate/document", "", nil},
	} {
		for _, who := range []string{"", "alice"} {
			g := federated(t)
			if who != "" {
				g.use("version: 1\nrules:\n  - {name: none, when: 'true', then: step_up, max_age: 1m}\n")
			}
			g.clock.Add(5 * time.Minute)
			r := s.by(g, who)
			if s.method == http.MethodPost && r.Header.Get("Content-Type") == "" {
				r = s.form(g, who, "a=1")
			}
			if a := g.browser(home).do(r); a.StatusCode/100 == 2 || len(g.tool.requests()) != 0 {
				t.Errorf("%s of %q: %d, the tool got %d", name, who, a.StatusCode, len(g.tool.requests()))
			}
		}
	}
}
