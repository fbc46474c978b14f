package proxy_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/clientip"
)

// Regardless of what a client says about itself, an upstream hears only us.
func TestAttackForgedHeaders(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	r := b.request("GET", treasury+"/", "")
	for name, values := range map[string][]string{
		"X-Sallyport-User": {"admin", "root"}, "x-sallyport-email": {"admin@example.test"}, "X_Sallyport_Groups": {"admins"}, "X-SALLYPORT_USER": {"admin"},
		"X.Sallyport.User": {"admin"}, "X-Sallyport-Assertion": {"eyJ"},
		"X-Auth-User": {"admin"}, "X_Auth_User": {"admin"}, "x-auth_user": {"admin"}, "Remote-User": {"admin"},
		"X-Forwarded-For": {"198.51.100.1"}, "X-Forwarded-Host": {"evil.test"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Uri": {"/"},
		"X-Forwarded-Prefix": {"/x"}, "X-Forwarded-Port": {"1"}, "X-Forwarded-Method": {"GET"}, "X-Real-Ip": {"198.51.100.1"},
		"X-Original-Url": {"/admin"}, "X-Rewrite-Url": {"/admin"}, "Forwarded": {"for=198.51.100.1"}, "X-Http-Method-Override": {"DELETE"},
		"Connection": {"X-Sallyport-User, x-forwarded-for", "X-Sallyport-Groups"},
	} {
		r.Header[name] = values
	}
	if a := b.do(r); a.StatusCode != 200 {
		t.Fatalf("got %d: %s", a.StatusCode, a.body)
	}
	got := g.tool.requests()[0].Header
	want := map[string]string{
		"X-Sallyport-User": "alice@example.test", "X-Sallyport-Email": "alice@example.test", "X-Sallyport-Groups": "treasury",
		"X-Forwarded-For": home, "X-Forwarded-Host": "treasury.example.test", "X-Forwarded-Proto": "https",
	}
	for name, values := range got {
		folded := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name))
		says := strings.HasPrefix(folded, "x-sallyport") || strings.HasPrefix(folded, "x-forwarded") || strings.HasPrefix(folded, "x-auth") ||
			strings.HasPrefix(folded, "remote-") || strings.HasPrefix(folded, "x-o") || strings.HasPrefix(folded, "x-r") || strings.Contains(folded, "method") || folded == "forwarded"
		if says && (len(values) != 1 || want[name] != values[0]) {
			t.Errorf("the tool got %s: %q", name, values)
		}
	}
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, got.Get(name), value)
		}
	}
	if rec := g.audit.take(); rec[len(rec)-1].IP != home {
		t.Errorf("judged as %s", rec[len(rec)-1].IP)
	}
}

// The session cookie is the person. It stays with us.
func TestOwnCookiesStayHere(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	b.cookies["treasury.example.test"]["theme"] = "dark"
	if a := b.get(treasury + "/"); a.StatusCode != 200 {
		t.Fatal(a.StatusCode)
	}
	if got := g.tool.requests()[0].Header.Get("Cookie"); got != "theme=dark" {
		t.Errorf("the tool got the cookies %q", got)
	}
}

// A health checker's name opens nothing.
func TestAttackUserAgentsAreNobody(t *testing.T) {
	g := newHarness(t)
	for _, agent := range []string{"kube-probe/1.33", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Consul Health Check", ""} {
		for _, path := range []string{"/", "/healthz", "/ping", "/ready", "/robots.txt", "/favicon.ico"} {
			r := g.browser(home).request("GET", treasury+path, "")
			r.Header.Set("User-Agent", agent)
			if a := g.browser(home).do(r); a.StatusCode != 401 || a.code() != "not_signed_in" {
				t.Errorf("%q got %d for %s", agent, a.StatusCode, path)
			}
		}
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached the tool", n)
	}
}

// No spelling of a cookie but the genuine one is a session.
func TestAttackMalformedCookies(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	name, good := g.sessions.CookieName(), b.session(treasury)
	flipped := []byte(good)
	flipped[len(flipped)/2] ^= 1
	for _, cookie := range []string{
		name, name + "=", name + "=x", name + "=" + good[:len(good)-1], name + "=" + good + "A", name + "=" + good + "=", name + "=\"" + good + "\"",
		name + "=" + string(flipped), name + "=" + strings.ToUpper(good), strings.ToLower(name) + "=" + good, strings.TrimPrefix(name, "__Host-Http-") + "=" + good,
		name + "=" + good + "; " + name + "=" + good, name + "=" + strings.Repeat("A", len(good)), name + "=" + strings.Repeat("A", 100_000),
		name + "=" + good[1:], name + "= " + good + "\x00", name + "=%" + good, "x" + name + "=" + good,
		name + "=" + b.session(login), name + "=" + b.session(wiki), // of this person, of another host
	} {
		for _, accept := range []string{"text/html", "application/json"} {
			r := g.browser(home).request("GET", treasury+"/", "")
			r.Header["Cookie"] = []string{cookie}
			r.Header.Set("Accept", accept)
			a := g.browser(home).do(r)
			if a.StatusCode != 302 && a.StatusCode != 401 {
				t.Errorf("%.60q (%d bytes) got %d", cookie, len(cookie), a.StatusCode)
			}
		}
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached the tool", n)
	}
	if a := b.get(treasury + "/"); a.StatusCode != 200 {
		t.Errorf("the genuine cookie got %d", a.StatusCode)
	}
}

// Without trusted proxies nothing that a header says moves the client.
func TestAttackNobodyIsTrusted(t *testing.T) {
	g, who := newCrowdHarness(t)
	who.by["alice"] = somebody("alice", home, "treasury")
	for _, h := range []http.Header{
		{"X-Forwarded-For": {hosting}}, {"X-Forwarded-For": {"10.0.0.1, " + hosting}}, {"X-Forwarded-For": {"unknown"}}, {"X-Forwarded-For": {strings.Repeat("1.1.1.1,", 10_000)}},
		{"Forwarded": {"for=" + hosting}}, {"X-Real-Ip": {hosting}}, {"True-Client-Ip": {hosting}}, {"Cf-Connecting-Ip": {hosting}},
	} {
		r := g.ask("alice", home, "GET", treasury+"/")
		for k, v := range h {
			r.Header[k] = v
		}
		var v proxy.Verdict
		g.must(g.gate.Check(r, &v))
		if v.Client != addr(home) || v.Decision.Action != policy.Allow {
			t.Errorf("with %.60v the client is %v: %v", h, v.Client, v.Decision.Action)
		}
	}
}

// An address that cannot be told is blocked, with a record, wherever it asks.
func TestAttackUnresolvableAddress(t *testing.T) {
	g := newHarness(t, func(p *setup) { p.clients = clientip.Config{Trusted: prefixes("10.0.0.0/8")} })
	for _, chain := range []string{"1.2.3.4, evil, 10.0.0.1", "unknown", "1.2.3.4, 10.0.0.300", "203.0.113.7, fe80::1%eth0", "203.0.113.7,"} {
		for _, to := range []string{treasury + "/", treasury + "/.sallyport/whoami", login + "/.sallyport/sign-in", login + "/.sallyport/sign-out", wiki + "/nothing"} {
			b := g.browser("10.0.0.1")
			r := b.request("GET", to, "")
			r.Header.Set("X-Forwarded-For", chain)
			r.Header.Set("X-Forwarded-Proto", "https")
			a := b.do(r)
			if a.StatusCode != 403 || a.code() != "blocked" {
				t.Errorf("%s by %q got %d %s", to, chain, a.StatusCode, a.body)
				continue
			}
			recs := g.audit.take()
			if len(recs) != 1 || recs[0].Action != "block" || recs[0].Rules[0] != "baseline.client-address" || !strings.Contains(a.body, recs[0].Incident) || recs[0].Detail["peer"] != "10.0.0.1:4711" {
				t.Errorf("%s by %q has the records %s", to, chain, jsonText(recs))
			}
		}
	}
	// The operator reads it in the log; the person is not sent after a VPN of theirs.
	r := g.browser("10.0.0.1").request("GET", treasury+"/", "")
	r.Header.Set("X-Forwarded-For", "unknown")
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	if a := g.browser("10.0.0.1").do(r); !strings.Contains(a.body, "cannot see where you are connecting from") || strings.Contains(a.body, "VPN") {
		t.Errorf("the page says %s", a.body)
	}
	if n := len(g.tool.requests()); n != 0 {
		t.Errorf("%d requests reached the tool", n)
	}
	// The same door, with a chain that can be read.
	b := g.browser("10.0.0.1")
	r = b.request("GET", treasury+"/", "")
	r.Header.Set("X-Forwarded-For", "1.2.3.4, 203.0.113.7, 10.0.0.9")
	if a := b.do(r); a.StatusCode != 401 || a.code() != "not_signed_in" {
		t.Errorf("got %d %s", a.StatusCode, a.body)
	}
}

// Private is a property to be judged, not a reason to skip the judgement.
func TestAttackPrivateAddressesAreJudged(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) {
		p.policy = "version: 1\nrules:\n  - {name: inside, when: ip.private, then: block}\n"
	})
	who.by["alice"] = somebody("alice", home, "treasury")
	for _, from := range []string{"10.1.2.3", "192.168.1.1", "172.16.0.1", "127.0.0.1", "169.254.1.1", "100.64.3.4", "::1", "fd00::1", "fe80::1"} {
		v := g.check("alice", from, "GET", treasury+"/")
		if !v.Facts.IP.Private || v.Decision.Action != policy.Block {
			t.Errorf("%s: private %v, %v", from, v.Facts.IP.Private, v.Decision.Action)
		}
		if v := g.check("", from, "GET", treasury+"/"); v.Decision.Action == policy.Allow {
			t.Errorf("a stranger gets in from %s", from)
		}
	}
	g.use(testPolicy)
	for _, from := range []string{"127.0.0.1", "10.1.2.3", "::1"} {
		if v := g.check("", from, "GET", treasury+"/"); v.Decision.Action != policy.StepUp {
			t.Errorf("a stranger from %s: %v", from, v.Decision.Action)
		}
	}
}

// Private is a kind of address; ours is what the configuration says is ours.
func TestAttackPrivateAddressThatIsNotOurs(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) {
		p.policy = "version: 1\nrules:\n  - {name: unknown, when: 'ip.country == \"ZZ\" && !ip.internal', then: block}\n"
		p.clients.Internal = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}
	})
	who.by["alice"] = somebody("alice", home, "treasury")
	for from, want := range map[string]policy.Action{"10.20.1.1": policy.Allow, "10.21.1.1": policy.Block, "192.168.1.1": policy.Block, "100.64.3.4": policy.Block, "fd00::1": policy.Block, "fec0::1": policy.Block} {
		v := g.check("alice", from, "GET", treasury+"/")
		if v.Decision.Action != want || !v.Facts.IP.Private || v.Facts.IP.Internal != (want == policy.Allow) {
			t.Errorf("%s: %v, internal %v", from, v.Decision.Action, v.Facts.IP.Internal)
		}
	}
}

// Several people at one private address are the sign of a proxy that names no one: it is said, once.
func TestSeveralPeopleAtOnePrivateAddressAreNoticed(t *testing.T) {
	g, who := newCrowdHarness(t)
	who.by["alice"], who.by["bob"] = somebody("alice", home, "treasury"), somebody("bob", home, "treasury")
	const warning = "several people come from one private address"
	for range 3 {
		g.check("alice", "10.1.2.3", "GET", treasury+"/")
		g.check("alice", home, "GET", treasury+"/")
		g.check("bob", home, "GET", treasury+"/")
	}
	if strings.Contains(g.log.String(), warning) {
		t.Fatalf("of one person, or a public address: %s", g.log.String())
	}
	for range 3 {
		g.check("bob", "10.1.2.3", "GET", treasury+"/")
		g.clock.Add(2 * time.Minute)
		g.check("alice", "10.1.2.3", "GET", treasury+"/")
	}
	if n := strings.Count(g.log.String(), warning); n != 1 {
		t.Errorf("said %d times: %s", n, g.log.String())
	}
}
