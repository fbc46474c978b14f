package proxy_test

import (
	"errors"
	"net/http"
	"strconv"
	"testing"

	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// COPY and MOVE write to a path that is not in the request line: it is judged like the one that is, and
// leads to no other route.
func TestAttackDestinationPastARule(t *testing.T) {
	g, who := newCrowdHarness(t)
	who.by["alice"] = somebody("alice", home, "treasury")
	const tool = "http://10.0.0.1:3000"
	routes, err := proxytest.NewTable([]upstream.RouteConfig{
		{Name: "treasury", From: treasury, To: []string{tool}},
		{Name: "desk", From: treasury + "/desk", To: []string{tool}},
		{Name: "wiki", From: "https://wiki.example.test", To: []string{tool}},
	})
	g.must(err)
	everyone := policy.Grant{Everyone: true}
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot {
		s.Routes = routes
		s.Policy = g.compile(`version: 1
rules: [{name: keys, when: 'request.path.startsWith("/keys")', then: block}]
`, map[string]policy.Grant{"treasury": everyone, "desk": everyone, "wiki": everyone})
		return s
	})
	for _, c := range []struct {
		method, path string
		to           []string
		want         string
	}{
		{"MOVE", "/a", nil, "allow /a"},
		{"MOVE", "/a", []string{treasury + "/b"}, "allow /a"},
		{"COPY", "/a", []string{"/b"}, "allow /a"},
		{"COPY", "/a", []string{"HTTPS://TREASURY.example.test:443/b%20c"}, "allow /a"},
		{"COPY", "/a", []string{treasury}, "allow /a"},
		{"MOVE", "/keys/a", []string{treasury + "/b"}, "block /keys/a"},
		{"MOVE", "/a", []string{treasury + "/keys/b"}, "block /keys/b"},
		{"COPY", "/a", []string{"/keys"}, "block /keys"},
		{"COPY", "/a", []string{"/%6Beys"}, "block /keys"},
		{"COPY", "/a", []string{"/KEYS/b"}, "block /KEYS/b"},
		{"COPY", "/a", []string{"/b/../keys"}, "400"},
		{"COPY", "/a", []string{"//keys/b"}, "400"},
		{"COPY", "/a", []string{"/b%2F..%2Fkeys"}, "400"},
		{"COPY", "/a", []string{"keys"}, "400"},
		{"COPY", "/a", []string{""}, "400"},
		{"COPY", "/a", []string{"/b?c"}, "400"},
		{"COPY", "/a", []string{"/b", "/keys"}, "400"},
		{"COPY", "/a", []string{treasury + "/desk/b"}, "400"},
		{"COPY", "/a", []string{"/Desk/b"}, "400"},
		{"COPY", "/a", []string{"/.sallyport/b"}, "400"},
		{"COPY", "/a", []string{"https://wiki.example.test/b"}, "400"},
		{"COPY", "/a", []string{"http://treasury.example.test/b"}, "400"},
		{"COPY", "/a", []string{"https://x@treasury.example.test/b"}, "400"},
		{"PUT", "/a", []string{"/keys"}, "allow /a"}, // what the header means there is the tool's own
	} {
		r := g.ask("alice", home, c.method, treasury+c.path)
		r.Header["Destination"] = c.to
		var v proxy.Verdict
		var bad *upstream.BadRequest
		got := ""
		switch err := g.gate.Check(r, &v); {
		case errors.As(err, &bad):
			got = strconv.Itoa(bad.Status)
			if v.Decision.Action != policy.Block {
				t.Errorf("%s to %q is refused and %v", c.method, c.to, v.Decision.Action)
			}
		case err != nil:
			got = err.Error()
		default:
			got = v.Decision.Action.String() + " " + v.Target.Path
		}
		if got != c.want {
			t.Errorf("%s %s to %q: %s, want %s", c.method, c.path, c.to, got, c.want)
		}
	}
}

// The tool is told the path alone, and the log has where each copy went.
func TestDestinationOfACopy(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	b.get(treasury + "/")
	g.audit.take()
	var got []string
	for _, to := range []string{"/b%20c", "/d", "/d"} {
		r := b.request("COPY", treasury+"/a", "")
		r.Header.Set("Destination", treasury+to)
		if a := b.do(r); a.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		seen := g.tool.requests()
		if last := seen[len(seen)-1]; last.Header.Get("Destination") != to || len(last.Header["Destination"]) != 1 {
			t.Errorf("the tool was told %q, want %q", last.Header["Destination"], to)
		}
	}
	for _, r := range g.audit.take() {
		got = append(got, r.Path+" "+r.Detail["destination"])
	}
	if len(got) != 2 || got[0] != "/a /b%20c" || got[1] != "/a /d" {
		t.Errorf("recorded %q", got)
	}
}
