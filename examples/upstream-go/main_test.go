package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

func request(headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestIdentify(t *testing.T) {
	for name, c := range map[string]struct {
		user, groups string
		want         Identity
	}{
		"plain":                    {"alice@example.com", "treasury,ops", Identity{"alice@example.com", []string{"treasury", "ops"}}},
		"no groups":                {"alice@example.com", "", Identity{User: "alice@example.com"}},
		"a comma inside a name":    {"alice@example.com", "staff%2Cadmin", Identity{"alice@example.com", []string{"staff,admin"}}},
		"outside ASCII":            {"alice@example.com", "B%C3%BCro,ops", Identity{"alice@example.com", []string{"Büro", "ops"}}},
		"a plus is a plus":         {"alice+x@example.com", "c++", Identity{"alice+x@example.com", []string{"c++"}}},
		"a per cent is a per cent": {"alice@example.com", "100%25", Identity{"alice@example.com", []string{"100%"}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := request("X-Sallyport-User", c.user)
			if c.groups != "" {
				r.Header.Set("X-Sallyport-Groups", c.groups)
			}
			got, err := identify(r)
			if err != nil || got.User != c.want.User || !slices.Equal(got.Groups, c.want.Groups) {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestIdentifyRefuses(t *testing.T) {
	for name, headers := range map[string][]string{
		"nobody":              {},
		"an empty user":       {"X-Sallyport-User", ""},
		"groups without user": {"X-Sallyport-Groups", "treasury"},
		"two users":           {"X-Sallyport-User", "alice@example.com", "X-Sallyport-User", "mallory@example.com"},
		"two lists of groups": {"X-Sallyport-User", "alice@example.com", "X-Sallyport-Groups", "ops", "X-Sallyport-Groups", "admin"},
		"a broken escape":     {"X-Sallyport-User", "alice@example.com", "X-Sallyport-Groups", "100%"},
		"an e-mail header":    {"X-Sallyport-Email", "alice@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			if id, err := identify(request(headers...)); err == nil {
				t.Errorf("accepted as %+v", id)
			}
		})
	}
}

func TestListensOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0", "localhost"} {
		if l, err := listenLoopback(addr); err == nil {
			l.Close()
			t.Errorf("listens on %s", addr)
		}
	}
	l, err := listenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// through sends a request to the tool through the product's own forwarder, so that this
// example cannot fall behind what Sallyport really sends.
func through(t *testing.T, id upstream.Identity, method, path string, header http.Header) (int, string) {
	t.Helper()
	tool := httptest.NewServer(handler())
	t.Cleanup(tool.Close)
	table, err := proxytest.NewTable([]upstream.RouteConfig{{Name: "tool", From: "http://tool.example.com", To: []string{tool.URL}}})
	if err != nil {
		t.Fatal(err)
	}
	forwarder := proxytest.NewForwarder(upstream.Config{})
	t.Cleanup(forwarder.Close)
	r := httptest.NewRequest(method, "http://tool.example.com"+path, nil)
	r.RequestURI = path
	for k, v := range header {
		r.Header[k] = v
	}
	target, err := upstream.Canonicalise(r, "http")
	if err != nil {
		t.Fatal(err)
	}
	route, ok := table.Match(target)
	if !ok {
		t.Fatal("no route")
	}
	w := httptest.NewRecorder()
	forwarder.Forward(w, r, &upstream.ForwardRequest{Route: route, Target: target, Identity: id, ClientAddr: netip.MustParseAddr("192.0.2.1")})
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestReadsWhatSallyportSends(t *testing.T) {
	id := upstream.Identity{User: "alice@example.com", Email: "alice@example.com", Groups: []string{"staff,treasury-approvers", "Büro", "100%"}}
	code, body := through(t, id, "GET", "/", nil)
	if code != 200 || !strings.Contains(body, `["staff,treasury-approvers" "Büro" "100%"]`) {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := through(t, id, "POST", "/payments", nil); code != 403 {
		t.Errorf("a comma in a group's name made an approver: %d", code)
	}
	id.Groups = []string{"treasury-approvers"}
	if code, body := through(t, id, "POST", "/payments", nil); code != 200 {
		t.Errorf("%d %s", code, body)
	}
}

func TestWhatTheClientSendsDoesNotArrive(t *testing.T) {
	forged := http.Header{"X-Sallyport-User": {"mallory@example.com"}, "X_sallyport_groups": {"treasury-approvers"}, "X-Sallyport-Groups": {"treasury-approvers"}}
	code, _ := through(t, upstream.Identity{User: "alice@example.com"}, "POST", "/payments", forged)
	if code != 403 {
		t.Errorf("a forged group was believed: %d", code)
	}
}
