package proxy_test

import (
	"errors"
	"strconv"
	"testing"

	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// One tool behind two routes, of which one is for few: a spelling that the tool does not care about
// does not lead past the allow of that one.
func TestAttackRouteSpelledPastItsAllow(t *testing.T) {
	g, who := newCrowdHarness(t)
	who.by["alice"], who.by["root"] = somebody("alice", home, "treasury"), somebody("root", home, "treasury", "admins")
	const tool = "http://10.0.0.1:3000"
	set := func(exact, rpc bool) {
		routes, err := proxytest.NewTable([]upstream.RouteConfig{
			{Name: "treasury", From: treasury, To: []string{tool}},
			{Name: "desk", From: treasury + "/admin", To: []string{tool}, Exact: exact},
		})
		g.must(err)
		options := takesCalls(proxy.RouteOptions{})
		options.RPC = rpc
		g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot {
			s.Routes, s.Options = routes, map[string]proxy.RouteOptions{"desk": options}
			s.Policy = g.compile("version: 1\nrules: [{name: tor, when: ip.tor, then: block}]\n", map[string]policy.Grant{"treasury": {Groups: []string{"treasury"}}, "desk": {Groups: []string{"admins"}}})
			return s
		})
	}
	// do says what happens to a request: 400, or the verdict and the route.
	do := func(name, method, path string, upgrade bool) string {
		r := g.ask(name, home, method, treasury+path)
		if upgrade {
			r.Header.Set("Upgrade", "websocket")
			r.Header.Set("Connection", "Upgrade")
		}
		var v proxy.Verdict
		var bad *upstream.BadRequest
		switch err := g.gate.Check(r, &v); {
		case errors.As(err, &bad):
			if v.Decision.Action != policy.Block {
				t.Errorf("%s is refused and %v", path, v.Decision.Action)
			}
			return strconv.Itoa(bad.Status)
		case err != nil:
			return err.Error()
		}
		return v.Decision.Action.String() + " " + v.Route.Name
	}
	set(false, false)
	for _, path := range []string{"/Admin", "/ADMIN/", "/admin.", "/adm%C4%B1n", "/Admin/x", "/%41dmin.", "/admin%20/x"} {
		for _, name := range []string{"alice", "root"} {
			if got := do(name, "GET", path, false); got != "400" {
				t.Errorf("%s asks for %s: %s", name, path, got)
			}
		}
	}
	for _, c := range []struct {
		name, method, path string
		upgrade            bool
		want               string
	}{
		{"alice", "GET", "/admin", false, "block desk"},
		{"alice", "GET", "/admin.json", false, "block desk"},
		{"alice", "GET", "/Admin.JSON", false, "block desk"},
		{"root", "GET", "/admin.json", false, "allow treasury"},
		{"root", "POST", "/admin.json", false, "400"},
		{"root", "GET", "/admin.json", true, "400"},
		{"alice", "GET", "/administrator", false, "allow treasury"},
		{"alice", "GET", "/Reports/Q3.pdf", false, "allow treasury"},
	} {
		if got := do(c.name, c.method, c.path, c.upgrade); got != c.want {
			t.Errorf("%s %s %s: %s, want %s", c.name, c.method, c.path, got, c.want)
		}
	}
	set(false, true)
	if got := do("root", "GET", "/admin.json", false); got != "400" {
		t.Errorf("beside a JSON-RPC route: %s", got)
	}
	set(true, false)
	if got := do("alice", "GET", "/Admin", false); got != "allow treasury" {
		t.Errorf("a tool that tells them apart: %s", got)
	}
}

// What only has a suffix more passes on both routes, or not at all: pages that may use the tool of the host's root
// may not read the one of a folder by another spelling.
func TestAttackForeignPageByTheSpellingOfAnotherRoute(t *testing.T) {
	g := neighbours(t)
	const tool = "http://10.0.0.1:3000"
	routes, err := proxytest.NewTable([]upstream.RouteConfig{
		{Name: "treasury", From: treasury, To: []string{tool}, AllowedOrigins: []string{partner}},
		{Name: "desk", From: treasury + "/keys", To: []string{tool}},
	})
	g.must(err)
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Routes = routes; return s })
	for path, status := range map[string]int{"/": 200, "/app.json": 200, "/keys": 403, "/keys.json": 403} {
		r := sent{"GET", treasury + path, "same-site/cors/empty", partner, nil}.by(g, "alice")
		if a := g.browser(home).do(r); a.StatusCode != status {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	for _, path := range []string{"/keys", "/keys.json"} {
		r := sent{"GET", treasury + path, "same-origin/cors/empty", "", nil}.by(g, "alice")
		if a := g.browser(home).do(r); a.StatusCode != 200 {
			t.Errorf("the tool's own page, %s: %d %s", path, a.StatusCode, a.body)
		}
	}
}
