package proxy_test

import (
	"net/http"
	"testing"

	"sallyport/proxy"
	"sallyport/proxy/assertion"
	"sallyport/proxy/portal"
)

// A tool can verify what it is told with public keys, and only the gate can sign it.
func TestAssertionsReachTheTool(t *testing.T) {
	g := newHarness(t)
	signer, err := assertion.New(t.Context(), assertion.Config{Keys: g.mem, Issuer: login, Now: g.clock.Now, Logger: g.config.Logger})
	g.must(err)
	g.restart(func(c *proxy.Config, _ *portal.Config) { c.Assertions = signer })
	alice := g.enrolled("alice", home)
	for _, c := range [][2]string{{treasury + "/books", "treasury"}, {wiki + "/wiki/page", "wiki"}} {
		r := alice.request("GET", c[0], "")
		r.Header.Set("X-Sallyport-Assertion", "forged")
		r.Header["X-SALLYPORT-ASSERTION"] = []string{"forged in another case"}
		r.Header["X_sallyport_assertion"] = []string{"forged for a server that takes _ for -"}
		if a := alice.do(r); a.StatusCode != 200 {
			t.Fatalf("%s: %d %s", c[0], a.StatusCode, a.body)
		}
		got := g.tool.requests()[0].Header
		var tokens []string
		for name, values := range got {
			if http.CanonicalHeaderKey(name) == "X-Sallyport-Assertion" || name == "X_sallyport_assertion" {
				tokens = append(tokens, values...)
			}
		}
		if len(tokens) != 1 {
			t.Fatalf("%s got %q", c[0], tokens)
		}
		for _, host := range []string{login, treasury, wiki} {
			keys := g.browser(cafe).get(host + "/.sallyport/jwks.json")
			if keys.StatusCode != 200 {
				t.Fatalf("the key set of %s: %d %s", host, keys.StatusCode, keys.body)
			}
			claims, err := assertion.Verify(tokens[0], []byte(keys.body), assertion.Expected{Issuer: login, Audience: c[1], Now: g.clock.Now()})
			if err != nil || claims.Email != "alice@example.test" || claims.Audience != c[1] {
				t.Errorf("%s: %+v, %v", c[0], claims, err)
			}
			for _, other := range []string{"desk", "treasury", "wiki"} {
				if other != c[1] {
					if _, err := assertion.Verify(tokens[0], []byte(keys.body), assertion.Expected{Issuer: login, Audience: other, Now: g.clock.Now()}); err == nil {
						t.Errorf("what was said to %s is good for %s", c[1], other)
					}
				}
			}
		}
	}
}

// A gate that signs no assertions forwards none of the client's.
func TestAttackForgedAssertion(t *testing.T) {
	g := newHarness(t)
	alice := g.enrolled("alice", home)
	r := alice.request("GET", treasury+"/", "")
	r.Header.Set("X-Sallyport-Assertion", "forged")
	if a := alice.do(r); a.StatusCode != 200 {
		t.Fatal(a.StatusCode)
	}
	if got := g.tool.requests()[0].Header.Get("X-Sallyport-Assertion"); got != "" {
		t.Errorf("the tool is told %q", got)
	}
}
