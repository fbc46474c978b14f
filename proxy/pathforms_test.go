package proxy_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

const (
	refusedPath = "400"
	blockedPath = "403"
)

// pathRules are rules as people write them: by the beginning, whole, by pattern, and with an exception.
const pathRules = `
version: 1
rules:
  - {name: admin, when: 'request.path.startsWith("/admin")', then: block}
  - {name: below, when: 'request.path == "/x/admin"', then: block}
  - {name: approvals, when: 'request.path.matches("^/tx/[^/]+/approve$")', then: block}
  - {name: internal, when: 'request.path.startsWith("/internal/")', unless: 'request.path.startsWith("/internal/help")', then: block}
`

// allowing asks for paths of a route that allows some forms, beside one for few that is not theirs. want is what the
// tool is sent; or that it was sent nothing.
func allowing(t *testing.T, forms upstream.PathForms, want map[string]string) {
	t.Helper()
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for _, exact := range []bool{false, true} {
		const tool = "http://10.0.0.1:3000"
		routes, err := proxytest.NewTable([]upstream.RouteConfig{
			{Name: "treasury", From: treasury, To: []string{tool}, Forms: forms},
			{Name: "desk", From: treasury + "/keys", To: []string{tool}, Exact: exact},
		})
		g.must(err)
		g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot {
			s.Routes = routes
			s.Policy = g.compile(pathRules, map[string]policy.Grant{"treasury": {Groups: []string{"treasury"}}, "desk": {Groups: []string{"admins"}}})
			return s
		})
		for target, forwarded := range want {
			g.audit.take()
			a := b.raw("GET " + target + " HTTP/1.1\r\nHost: treasury.example.test\r\n\r\n")
			got := g.tool.requests()
			recs := g.audit.take()
			switch {
			case forwarded == refusedPath && a.StatusCode == 400 && len(got) == 0, forwarded == blockedPath && a.StatusCode == 403 && len(got) == 0:
			case a.StatusCode == 200 && len(got) == 1 && got[0].URL.RequestURI() == forwarded:
				// What was judged decides what is sent: canonicalising it again changes neither.
				again, _ := upstream.Canonicalise(&http.Request{Method: "GET", Host: "treasury.example.test", RequestURI: forwarded, Header: http.Header{}}, "https")
				if path, _, _ := strings.Cut(forwarded, "?"); len(recs) == 1 && (recs[0].Facts.Request.Path != again.Path || again.RawPath != path) {
					t.Errorf("%q: judged %q, forwarded %q, which is %q", target, recs[0].Facts.Request.Path, forwarded, again.Path)
				}
			default:
				t.Errorf("exact %v, %q got %d, %d forwarded, want %q", exact, target, a.StatusCode, len(got), forwarded)
				for _, r := range got {
					t.Errorf("forwarded %q", r.URL.RequestURI())
				}
			}
		}
	}
}

// Tools decode %2F before they look, or after. A rule holds in both readings, and a path that is on another
// route in one of them is refused.
func TestAttackAllowedEncodedSlash(t *testing.T) {
	allowing(t, upstream.EncodedSlash, map[string]string{
		"/api/v4/projects/group%2Fproject": "/api/v4/projects/group%2Fproject", // GitLab
		"/@scope%2fpkg":                    "/@scope%2Fpkg",                    // npm
		"/v2/a%2Fb/manifests/1":            "/v2/a%2Fb/manifests/1",            // Harbor
		"/api/queues/%2F/jobs":             "/api/queues/%2F/jobs",             // RabbitMQ
		"/x%2Fy%20z?a=%2F..":               "/x%2Fy%20z?a=%2F..",

		"/admin%2Fusers": blockedPath, "/x%2Fadmin": blockedPath, "/x%2Fadmin%2F": blockedPath, "/%61dmin%2fusers": blockedPath, "/tx/1%2Fapprove": blockedPath, "/tx%2F1/approve": blockedPath,
		"/internal%2Fhelp": "/internal%2Fhelp", "/internal%2Fkeys": blockedPath, "/internal/%2Fhelp": blockedPath,
		"/keys%2Fx": refusedPath, "/keys%2F": refusedPath, "/keys/a%2Fb": refusedPath,
		"/x%2F..%2Fadmin": refusedPath, "/x%2F..": refusedPath, "/x/..%2Fadmin": refusedPath, "/%2Fadmin": refusedPath, "/%2F%2Fadmin": refusedPath, "/x%2F.%2Fadmin": refusedPath, "/x%2F%2e%2e%2Fadmin": refusedPath,
		"/x%252F..%252Fadmin": refusedPath, "/x%252Fadmin": refusedPath, "/x%5Cadmin": refusedPath, "/x%2Fa;b": refusedPath, "/a//b%2Fc": refusedPath,
		"/.sallyport%2Fwhoami": refusedPath, "/.sallyport/x%2Fy": refusedPath,
	})
}

// Jenkins has a%252Fb for the branch a/b: decoded once by its server, and again by itself.
func TestAttackAllowedTwiceEncodedSlash(t *testing.T) {
	allowing(t, upstream.TwiceEncodedSlash, map[string]string{
		"/job/app/job/feature%252Flogin/1/": "/job/app/job/feature%252Flogin/1/",
		"/job/app/%25%32%66x":               "/job/app/%252Fx", // one spelling, for the tool as for rules
		"/job/app/job/feature%252flogin/1/": "/job/app/job/feature%252Flogin/1/",

		"/x%252Fadmin": blockedPath, "/admin%252Fx": blockedPath, "/tx%252f1/approve": blockedPath, "/internal%252Fkeys": blockedPath,
		"/keys%252Fx": refusedPath, "/x%252F..%252Fadmin": refusedPath, "/x%252F%252e%252e/admin": refusedPath, "/%252Fadmin": refusedPath,
		"/x%25252Fadmin": refusedPath, "/x%25252525252Fadmin": refusedPath, "/x%2Fadmin": refusedPath, "/x%255Cadmin": refusedPath, "/.sallyport%252Fwhoami": refusedPath,
	})
}

func TestAttackAllowedEncodedBackslash(t *testing.T) {
	allowing(t, upstream.EncodedBackslash, map[string]string{
		"/users/CORP%5calice": "/users/CORP%5Calice",

		"/x%5Cadmin": blockedPath, "/admin%5Cusers": blockedPath, "/tx%5C1%5Capprove": blockedPath, "/internal%5Ckeys": blockedPath,
		"/keys%5Cx": refusedPath, "/x%5C..%5Cadmin": refusedPath, "/%5Cadmin": refusedPath, "/%5C%5Cevil.test": refusedPath, `/x\admin`: refusedPath, `/users/CORP\alice`: refusedPath,
		"/x%255Cadmin": refusedPath, "/x%2Fadmin": refusedPath, "/.sallyport%5Cwhoami": refusedPath,
	})
}

// Some readers cut the path at a number sign, even when it came encoded; in the middle, one that cuts a segment and one
// that cuts the rest would ask for two paths.
func TestAttackAllowedEncodedHash(t *testing.T) {
	allowing(t, upstream.EncodedHash, map[string]string{
		"/_matrix/client/v3/directory/room/%23ops:corp.test": "/_matrix/client/v3/directory/room/%23ops:corp.test",
		"/wiki/C%23": "/wiki/C%23",

		"/admin%23": blockedPath, "/admin%23x": blockedPath, "/x/admin%23x": blockedPath, "/tx/1/approve%23": blockedPath,
		"/keys%23": refusedPath, "/keys%23x": refusedPath, "/admin%23/x": refusedPath, "/wiki/C%23/edit": refusedPath, "/x/..%23": refusedPath, "/x/.%23/admin": refusedPath,
		"/wiki/C#": refusedPath, "/wiki/C%2523": refusedPath, "/.sallyport%23": refusedPath,
	})
}

// Java servers cut ;x of a segment before they compare paths, and then resolve dots.
func TestAttackAllowedSemicolon(t *testing.T) {
	allowing(t, upstream.Semicolon, map[string]string{
		"/app/login;jsessionid=ABC": "/app/login;jsessionid=ABC", // Tomcat
		"/;jsessionid=ABC":          "/;jsessionid=ABC",
		"/app/;jsessionid=ABC?a=b":  "/app/;jsessionid=ABC?a=b",
		"/app/a%3Bb":                "/app/a%3Bb",

		"/admin;x": blockedPath, "/admin%3bx": blockedPath, "/adm%69n;": blockedPath, "/x/admin;jsessionid=1": blockedPath, "/tx/1/approve;a=b": blockedPath, "/internal;/help": refusedPath,
		"/keys;x": refusedPath, "/keys;": refusedPath, "/;/admin": refusedPath, "/static/..;/admin": refusedPath, "/static/..;x": refusedPath, "/static/.;": refusedPath, "/a;b/admin": refusedPath, "/admin;x/y": refusedPath, "/..;": refusedPath,
		"/a;b%2Fc": refusedPath, "/a%253Bb": refusedPath, "/a;%2e%2e/admin": refusedPath, "/.sallyport;x": refusedPath, "/.sallyport/whoami;x": refusedPath,
	})
}

// Object stores keep two slashes apart, and most other programs join them.
func TestAttackAllowedDoubleSlash(t *testing.T) {
	allowing(t, upstream.DoubleSlash, map[string]string{
		"/bucket//key": "/bucket//key", "/bucket/a///b//": "/bucket/a///b//",

		"/admin//users": blockedPath, "/x//admin": blockedPath, "/tx//1/approve": blockedPath, "/tx/1//approve": blockedPath, "/internal//keys": blockedPath, "/internal//help": blockedPath,
		"//admin": refusedPath, "//public/admin": refusedPath, "///admin": refusedPath, "/keys//x": refusedPath, "//keys/x": refusedPath, "//evil.test/x": refusedPath, "/x/..//admin": refusedPath, "/x//../admin": refusedPath, "/x//./admin": refusedPath,
		"/x/%2Fadmin": refusedPath, "/.sallyport//whoami": refusedPath, "//.sallyport/whoami": refusedPath,
	})
}

// Together they are no more than each of them.
func TestAttackAllowedFormsTogether(t *testing.T) {
	all := upstream.EncodedSlash | upstream.TwiceEncodedSlash | upstream.EncodedBackslash | upstream.EncodedHash | upstream.Semicolon | upstream.DoubleSlash
	allowing(t, all, map[string]string{
		"/a%2Fb//c%252Fd/e%5Cf;g%23h": "/a%2Fb//c%252Fd/e%5Cf;g%23h",

		"/x%2F%5Cadmin": blockedPath, "/x//%2Fadmin;y": blockedPath, "/tx%5C1%252Fapprove%23": blockedPath,
		"/keys%2F;x": refusedPath, "/keys//;": refusedPath, "/x;%2F..%2Fadmin": refusedPath, "/x;%5C..%5Cadmin": refusedPath, "/x;%252Fadmin": refusedPath, "/x%2F..;/admin": refusedPath, "/x%5C..%252Fadmin": refusedPath,
		"/;%2Fadmin": refusedPath, "/;%23/admin": refusedPath, "/x%2f%2e%2e%5cadmin": refusedPath, "/%5c/admin": refusedPath, "/x%2500": refusedPath, "/x%253B": refusedPath,
	})
}

// A person learns that it is the address, and which part of it; a program gets the same as JSON. The setting that would
// allow it is for the operator, who finds it in the audit log by the reference.
func TestPathsThatAreRefusedSayWhy(t *testing.T) {
	g := newHarness(t)
	for target, want := range map[string][2]string{
		"/group%2Fproject":        {"an encoded slash (%2F)", "paths: {allow: [encoded_slash]}"},
		"/job/a%252Fb":            {"a doubly encoded slash (%252F)", "paths: {allow: [twice_encoded_slash]}"},
		"/login;jsessionid=x":     {"a semicolon", "paths: {allow: [semicolon]}"},
		"/bucket//key%2Fx":        {"an encoded slash (%2F), and two slashes in a row", "paths: {allow: [encoded_slash, double_slash]}"},
		"/a/../b":                 {"a dot segment", ""},
		"/a;b/c":                  {"a semicolon or a number sign before the last segment", ""},
		"/<script>alert(1)%00//x": {"a control character", ""},
	} {
		g.audit.reset()
		page := g.browser(home).get(treasury + target)
		r := g.browser(home).request("GET", treasury+target, "")
		program := g.browser(home).do(r)
		var p struct{ Error, Message, Incident string }
		if err := json.Unmarshal([]byte(program.body), &p); err != nil || program.StatusCode != 400 || p.Error != "ambiguous_path" || p.Incident == "" ||
			!strings.Contains(p.Message, want[0]) || strings.Contains(p.Message, "setting") || strings.Contains(p.Message, "allow") {
			t.Errorf("%s, for programs: %d %s", target, program.StatusCode, program.body)
		}
		if page.StatusCode != 400 || !strings.Contains(page.body, "address is not accepted") || !strings.Contains(page.body, want[0]) || strings.Contains(page.body, "setting") || strings.Contains(page.body, "allow") ||
			strings.Contains(page.body, "alert(1)") || page.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s, for people: %d %s", target, page.StatusCode, page.body)
		}
		for _, rec := range g.audit.take() {
			if rec.Event != "bad_request" || !strings.Contains(rec.Detail["reason"], want[0]) || rec.Detail["setting"] != want[1] || rec.Incident == "" {
				t.Errorf("%s, for the operator: %s", target, jsonText(rec))
			}
			if !strings.Contains(page.body+program.body, rec.Incident) {
				t.Errorf("%s: the reference %s is on no page", target, rec.Incident)
			}
		}
	}
}

// Signing in leads back to the very address that was asked for.
func TestSignInLeadsBackToAllowedForms(t *testing.T) {
	g := newHarness(t)
	routes, err := proxytest.NewTable([]upstream.RouteConfig{{Name: "treasury", From: treasury, To: []string{"http://10.0.0.1:3000"}, Forms: upstream.EncodedSlash | upstream.DoubleSlash | upstream.Semicolon}})
	g.must(err)
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot { s.Routes = routes; return s })
	for _, target := range []string{"/projects/a%2Fb?x=%2F", "/bucket//key", "/login;jsessionid=ABC"} {
		b := g.browser(home)
		b.key = g.enrolledKey("alice")
		g.tool.requests()
		a := b.pressAndGo(b.signIn(treasury+target, "alice"))
		got := g.tool.requests()
		if a.StatusCode != 200 || len(got) != 1 || got[0].URL.RequestURI() != target {
			t.Errorf("%s leads to %s: %d, %d forwarded", target, a.at, a.StatusCode, len(got))
		}
	}
}

// When memory is short, a person is no stranger because of the path.
func TestKnownWhateverTheFormOfThePath(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	for _, target := range []string{"/", "/a%2Fb", "/a//b"} {
		if !g.gate.Verified(b.request("GET", treasury+target, "")) {
			t.Errorf("%s: nobody", target)
		}
	}
}
