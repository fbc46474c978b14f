package proxy_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

const (
	mine  = "https://mine.apps.example.test"
	other = "https://other.apps.example.test"
)

// audiences is an asserter that remembers which audiences it was asked for.
type audiences struct{ asked []string }

func (a *audiences) For(_ *authn.Session, audience string, _ *policy.Decision) (string, error) {
	a.asked = append(a.asked, audience)
	return "an assertion", nil
}

func (a *audiences) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// previews is a harness with a route for every host of a domain, and one for a host of it that others use.
func previews(t *testing.T) (*harness, *audiences) {
	told := &audiences{}
	g := newHarness(t, func(p *setup) {
		p.change = func(c *proxy.Config) {
			c.Assertions = told
		}
	})
	routes, err := proxytest.NewTable([]upstream.RouteConfig{
		{Name: "treasury", From: treasury, To: []string{"http://10.0.0.1:3000"}},
		{Name: "wiki", From: wiki + "/wiki", To: []string{"http://10.0.0.2:3000"}},
		{Name: "desk", From: desk + "/app", To: []string{"http://10.0.0.3:3000"}},
		{Name: "previews", From: "https://*.apps.example.test", To: []string{"http://10.0.0.4:3000"}},
		{Name: "admin", From: "https://admin.apps.example.test/admin", To: []string{"http://10.0.0.5:3000"}},
	})
	g.must(err)
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot {
		s.Routes = routes
		all := grants()
		all["previews"], all["admin"] = policy.Grant{Groups: []string{"treasury"}}, policy.Grant{Groups: []string{"admins"}}
		s.Policy = g.compile("version: 1\nrules: [{name: held, when: 'request.host == \"held.apps.example.test\"', then: block}]\n", all)
		return s
	})
	return g, told
}

// The author of one preview has nothing of another one: no session, no code, no page, no assertion.
func TestAttackHostsOfAWildcardAreApart(t *testing.T) {
	g, told := previews(t)
	alice := g.browser(home).enroll("alice")
	for _, to := range []string{mine + "/x", other + "/y"} {
		if a := alice.follow(to); a.StatusCode != 200 || a.body != "the tool" || a.at != to {
			t.Fatalf("%s: %s, %d %s", to, a.at, a.StatusCode, a.body)
		}
	}
	cookie := alice.cookies["mine.apps.example.test"][g.sessions.CookieName()]
	if cookie == "" || cookie == alice.cookies["other.apps.example.test"][g.sessions.CookieName()] {
		t.Fatal("two hosts have one cookie")
	}
	g.tool.requests()

	// The cookie that one host saw is worth nothing at another one.
	thief := g.browser(home)
	for _, host := range []string{"other.apps.example.test", "new.apps.example.test", "admin.apps.example.test", "treasury.example.test"} {
		thief.cookies[host] = map[string]string{g.sessions.CookieName(): cookie}
		if a := thief.do(thief.request("GET", "https://"+host+"/", "")); a.StatusCode != 401 && a.StatusCode != 404 {
			t.Errorf("%s with the cookie of another host: %d %s", host, a.StatusCode, a.body)
		}
	}
	// Nor is a code.
	code, _ := alice.code("https://third.apps.example.test/")
	for _, at := range []string{other, "https://fourth.apps.example.test"} {
		if a := alice.show(at+"/.sallyport/callback", code); a.StatusCode == 200 {
			t.Errorf("%s takes the code of another host: %s", at, a.body)
		}
	}
	// A page of one acts on no other.
	for _, r := range []sent{
		{"POST", other + "/", "same-site/cors/empty", mine, nil}, {"GET", other + "/", "same-site/cors/empty", mine, nil}, {"GET", other + "/", "same-site/no-cors/script", "", nil}, {"GET", other + "/", "same-site/navigate/iframe", "", nil},
	} {
		req := r.by(g, "")
		for name, value := range alice.cookies["other.apps.example.test"] {
			req.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		if a := g.browser(home).do(req); a.StatusCode != 403 || !strings.Contains(a.body, "cross_origin") && !strings.Contains(a.body, "Another page sent") {
			t.Errorf("%s %s from %s: %d %s", r.method, r.to, mine, a.StatusCode, a.body)
		}
	}
	if got := g.tool.requests(); len(got) != 0 {
		t.Errorf("%d reached the tool", len(got))
	}
	// Tools verify the audience of an assertion.
	slices.Sort(told.asked)
	if want := []string{"previews@mine.apps.example.test", "previews@other.apps.example.test"}; !slices.Equal(slices.Compact(told.asked), want) {
		t.Errorf("assertions for %q, want %q", told.asked, want)
	}
}

// What is judged of one host is not remembered for another.
func TestHostsOfAWildcardAreJudgedByThemselves(t *testing.T) {
	g, _ := previews(t)
	alice := g.browser(home).enroll("alice")
	for range 2 {
		for host, want := range map[string]int{"mine.apps.example.test/": 200, "held.apps.example.test/": 403, "admin.apps.example.test/": 404, "admin.apps.example.test/admin": 403, "apps.example.test/": 421, "a.b.apps.example.test/": 421} {
			if a := alice.follow("https://" + host); a.StatusCode != want {
				t.Errorf("%s: %d, want %d: %s", host, a.StatusCode, want, a.body)
			}
		}
	}
	hosts := map[string]bool{}
	for _, r := range g.audit.all() {
		if r.Event == "access" {
			if !strings.HasSuffix(r.Host, ".apps.example.test") || r.Route != "previews" && r.Route != "admin" {
				t.Errorf("record of %s on %s", r.Route, r.Host)
			}
			hosts[r.Host] = true
		}
	}
	if got := slices.Sorted(maps.Keys(hosts)); !slices.Contains(got, "mine.apps.example.test") || !slices.Contains(got, "held.apps.example.test") {
		t.Errorf("records of %q", got)
	}
}

// The sign-in leads to hosts of ours and to no others, and never to the pattern.
func TestAttackReturnToBesideAWildcard(t *testing.T) {
	g, _ := previews(t)
	alice := g.browser(home).enroll("alice")
	for to, ok := range map[string]bool{
		mine + "/x": true, "https://any.apps.example.test/": true,
		"https://apps.example.test/": false, "https://a.b.apps.example.test/": false, "https://*.apps.example.test/": false, "http://mine.apps.example.test/": false,
		"https://mine.apps.example.test:8443/": false, "https://mine.apps.example.test.evil.test/": false, "https://evil.test/.apps.example.test": false, "https://evil$.apps.example.test/": false,
	} {
		a := alice.get(login + "/.sallyport/sign-in?return_to=" + strings.NewReplacer(":", "%3A", "/", "%2F", "$", "%24").Replace(to))
		if (a.StatusCode == 400) == ok {
			t.Errorf("%s: %d %q", to, a.StatusCode, a.location())
		}
	}
}

// A wildcard over the sign-in host is refused, though the configuration refuses it first.
func TestAttackWildcardOverTheSignInHost(t *testing.T) {
	for from, fails := range map[string]bool{"https://*.example.test": true, "https://*.login.example.test": false, "https://*.apps.example.test": false} {
		routes, err := proxytest.NewTable([]upstream.RouteConfig{{Name: "all", From: from, To: []string{"http://10.0.0.1:3000"}}})
		if err != nil {
			t.Fatal(err)
		}
		g := newHarness(t)
		c := g.config
		s := *c.Snapshot
		s.Routes = routes
		c.Snapshot = &s
		if _, err := proxy.New(c); (err != nil) != fails || fails && !strings.Contains(err.Error(), "sign in at") {
			t.Errorf("%s: %v", from, err)
		}
	}
}
