package upstream_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// folded is how a gateway that turns headers into variables reads a name.
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
}

// assertIdentity checks that exactly our values arrive under every reading.
func assertIdentity(t *testing.T, h http.Header) {
	t.Helper()
	want := map[string]string{
		"X_SALLYPORT_USER": "u-17", "X_SALLYPORT_EMAIL": "alice@example.com", "X_SALLYPORT_GROUPS": "treasury,ops",
		"X_FORWARDED_FOR": "203.0.113.7", "X_FORWARDED_HOST": "app.example", "X_FORWARDED_PROTO": "http",
	}
	for name, values := range h {
		w, ours := want[folded(name)]
		switch {
		case ours && (len(values) != 1 || values[0] != w || name != http.CanonicalHeaderKey(name)):
			t.Errorf("%q: %q arrived, want %q", name, values, w)
		case ours:
			delete(want, folded(name))
		case slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "evil") }):
			t.Errorf("%q: %q arrived", name, values)
		}
	}
	for name, w := range want {
		t.Errorf("%s: %s did not arrive; got %v", name, w, h)
	}
}

// Every spelling of an identity header, sent as a client library would not.
func TestAttackIdentityHeaderSpellings(t *testing.T) {
	g := newHarness(t, options{config: upstream.Config{StripHeaders: []string{"X-Legacy-User"}}})
	for _, name := range []string{
		"X-Sallyport-User", "x-sallyport-user", "X-SALLYPORT-USER", "x-SaLLyPort-eMail", "X_Sallyport_User", "x_sallyport-groups",
		"X.Sallyport.User", "X-Sallyport_Email", "X~Sallyport~User", "X-Sallyport-Assertion", "x_sallyport_assertion", "X-Sallyport-Anything",
		"X-Auth-User", "X_Auth_User", "x-auth_user", "X-Auth-Request-Email", "Remote-User", "REMOTE_USER", "X-Remote-Group", "X-WebAuth-User",
		"X-Forwarded-User", "X_Forwarded_Email", "X-Goog-Authenticated-User-Email", "X-Ms-Client-Principal", "X-Amzn-Oidc-Identity",
		"Cf-Access-Jwt-Assertion", "Tailscale-User-Login", "X-Legacy-User", "x_legacy.user", "HTTP_X_SALLYPORT_USER", "Ssl-Client-S-Dn",
	} {
		status := g.rawStatus("GET / HTTP/1.1\r\nHost: app.example\r\n" + name + ": evil\r\n" + name + ": evil2\r\nX-Harmless: 1\r\nConnection: close\r\n\r\n")
		if status != 200 {
			t.Errorf("%s: %d", name, status)
			continue
		}
		h := g.last().Header
		assertIdentity(t, h)
		if h.Get("X-Harmless") != "1" {
			t.Error("a harmless header was lost")
		}
	}
	// A space before the colon does not make another header: it is no header.
	for _, line := range []string{"X-Sallyport-User : evil", "X-Sallyport-User\t: evil", " X-Sallyport-User: evil", "X Sallyport-User: evil", "X-Sallyport-User\x00: evil", ": evil"} {
		if status := g.rawStatus("GET /x HTTP/1.1\r\nHost: app.example\r\n" + line + "\r\n\r\n"); status != 400 {
			t.Errorf("%q: %d", line, status)
		}
	}
	// A folded line continues the harmless header it follows, or nothing.
	if g.rawStatus("GET /x HTTP/1.1\r\nHost: app.example\r\nA: b\r\n X-Sallyport-User: evil2\r\nConnection: close\r\n\r\n") == 200 {
		if h := g.last().Header; len(h["X-Sallyport-User"]) != 1 || h.Get("X-Sallyport-User") != "u-17" {
			t.Errorf("folded: %v", h)
		}
	}
	if slices.ContainsFunc(g.requests(), func(s seen) bool { return s.URI == "/x" && s.Header.Get("X-Sallyport-User") != "u-17" }) {
		t.Error("a malformed header line reached the upstream")
	}
}

// A handler in front of us may have put a name into the map as it came.
func TestAttackNonCanonicalKeys(t *testing.T) {
	var got http.Header
	f := proxytest.NewForwarder(upstream.Config{Transport: func(*upstream.Route) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			got = r.Header
			return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}}, nil
		})
	}})
	target, err := upstream.Canonicalise(asked("GET", "app.example", "/"), "http")
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{"x-sallyport-user": {"evil"}, "X-SALLYPORT-GROUPS": {"evil"}, "x-forwarded-for": {"evil"}, "": {"x"}}
	f.Forward(httptest.NewRecorder(), r, &upstream.ForwardRequest{Route: table(t, routes("a", "http://app.example")).Routes()[0],
		Target: target, Identity: alice, ClientAddr: netip.MustParseAddr("203.0.113.7")})
	assertIdentity(t, got)
}

// Credentials for the upstream itself are not ours to take.
func TestUpstreamCredentialsPass(t *testing.T) {
	g := newHarness(t, options{})
	want := http.Header{"Authorization": {"Bearer x"}, "X-Auth-Token": {"t"}, "X-User-Id": {"7"}, "X-Api-Key": {"k"}, "X-Csrf-Token": {"c"}, "X-Requested-With": {"XMLHttpRequest"}, "Origin": {"http://app.example"}}
	g.do("POST", "/", nil, want)
	for name := range want {
		if got := g.last().Header.Get(name); got != want.Get(name) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A client cannot have our headers removed by calling them hop-by-hop.
func TestAttackIdentityHeaderCalledHopByHop(t *testing.T) {
	g := newHarness(t, options{})
	all := "X-Sallyport-User, X-Sallyport-Email, X-Sallyport-Groups, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Real-Ip, Host, Cookie"
	for _, lines := range []string{
		"Connection: " + all,
		"connection: " + strings.ToLower(all),
		"Connection: close\r\nConnection: " + all,
		"Connection: keep-alive,\r\nConnection:" + strings.ReplaceAll(all, ", ", ","),
		"Connection: " + strings.ReplaceAll(all, ", ", "\r\nConnection: "),
		"Keep-Alive: x\r\nProxy-Connection: " + all + "\r\nConnection: " + all,
	} {
		if status := g.rawStatus("GET / HTTP/1.1\r\nHost: app.example\r\nX-Sallyport-User: evil\r\n" + lines + "\r\n\r\n"); status != 200 {
			t.Fatalf("%q: %d", lines, status)
		}
		last := g.last()
		assertIdentity(t, last.Header)
		if last.Host != "app.example" {
			t.Errorf("%q: host %q", lines, last.Host)
		}
		for _, hop := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Transfer-Encoding", "Upgrade"} {
			if v := last.Header[hop]; v != nil {
				t.Errorf("%q: %s: %q went upstream", lines, hop, v)
			}
		}
	}
}

// What the request is about is said by the request line, and upstream
// hears nothing else.
func TestAttackForwardingHeaders(t *testing.T) {
	g := newHarness(t, options{})
	var lines strings.Builder
	names := []string{
		"X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Method", "X-Forwarded-For",
		"X-Forwarded-Server", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Forwarded-Client-Cert", "x_forwarded_for", "X-Forwarded", "Forwarded", "Forwarded-For",
		"X-Original-URL", "X-Original-Uri", "X_Original_Url", "X-Original-Method", "X-Rewrite-URL", "X-Real-IP", "X_Real_IP", "X-Client-IP", "True-Client-IP",
		"CF-Connecting-IP", "X-Cluster-Client-Ip", "X-Envoy-External-Address", "X-Host", "X-Http-Host-Override", "Front-End-Https", "X-Url-Scheme", "Proxy",
	}
	for _, n := range names {
		lines.WriteString(n + ": evil\r\n" + n + ": evil2\r\n")
	}
	if status := g.rawStatus("GET /a?b=c HTTP/1.1\r\nHost: app.example\r\n" + lines.String() + "Connection: close\r\n\r\n"); status != 200 {
		t.Fatal(status)
	}
	last := g.last()
	assertIdentity(t, last.Header)
	if last.URI != "/a?b=c" || last.Host != "app.example" || last.Method != "GET" {
		t.Errorf("%+v", last)
	}
	for name := range last.Header {
		switch name {
		case "X-Sallyport-User", "X-Sallyport-Email", "X-Sallyport-Groups", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto":
		default:
			t.Errorf("%s went upstream", name)
		}
	}
}

// A method that no one judged is not executed upstream.
func TestAttackMethodOverride(t *testing.T) {
	g := newHarness(t, options{})
	g.do("POST", "/", nil, http.Header{"X-Http-Method-Override": {"DELETE"}, "X-HTTP-Method": {"DELETE"}, "X-Method-Override": {"DELETE"}, "X_http_method_override": {"DELETE"}})
	last := g.last()
	for name, v := range last.Header {
		if v[0] == "DELETE" {
			t.Errorf("%s: %s went upstream", name, v)
		}
	}
	if last.Method != "POST" {
		t.Error(last.Method)
	}
	if g.do("HEAD", "/", nil, nil); g.last().Method != "HEAD" {
		t.Error("HEAD became", g.last().Method)
	}
	for _, m := range []string{"TRACE", "CONNECT", "get"} {
		before := len(g.requests())
		if status := g.rawStatus(m + " / HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n"); status < 400 || len(g.requests()) != before {
			t.Errorf("%s: %d", m, status)
		}
	}
}

// What a person or a group is called cannot become another header, another
// group or another person.
func TestAttackHostileIdentityValues(t *testing.T) {
	id := upstream.Identity{User: "a\r\nX-Sallyport-Groups: admin", Email: "é@x",
		Groups: []string{"staff,admin", "", " ops ", "50%", "Domain Admins", "\x00", "пул", "a%2Cb"}}
	g := newHarness(t, options{identity: &id})
	if res := g.do("GET", "/", nil, nil); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	h := g.last().Header
	if got, want := h.Get("X-Sallyport-User"), "a%0D%0AX-Sallyport-Groups: admin"; got != want {
		t.Errorf("user %q", got)
	}
	if got := h.Get("X-Sallyport-Email"); got != "%C3%A9@x" {
		t.Errorf("email %q", got)
	}
	var back []string
	for _, s := range strings.Split(h.Get("X-Sallyport-Groups"), ",") {
		name, err := url.PathUnescape(strings.TrimSpace(s))
		if err != nil {
			t.Error(err)
		}
		back = append(back, name)
	}
	if want := []string{"staff,admin", " ops ", "50%", "Domain Admins", "\x00", "пул", "a%2Cb"}; !slices.Equal(back, want) {
		t.Errorf("groups came back as %q", back)
	}
	none := newHarness(t, options{identity: &upstream.Identity{}})
	none.do("GET", "/", nil, http.Header{"X-Sallyport-User": {"evil"}})
	for name := range none.last().Header {
		if strings.HasPrefix(name, "X-Sallyport-") {
			t.Errorf("%s without identity", name)
		}
	}
}

func TestAssertionIsForwarded(t *testing.T) {
	g := newHarness(t, options{identity: &upstream.Identity{User: "u", Assertion: "e30.e30.x"}})
	g.do("GET", "/", nil, http.Header{"X-Sallyport-Assertion": {"evil"}})
	if got := g.last().Header["X-Sallyport-Assertion"]; !slices.Equal(got, []string{"e30.e30.x"}) {
		t.Error(got)
	}
}

func TestOwnCookiesStayHere(t *testing.T) {
	g := newHarness(t, options{})
	for in, want := range map[string][]string{
		"a=1":                                            {"a=1"},
		`a="x,y"; b=;c; ;d=e=f;  g`:                      {`a="x,y"; b=;c; ;d=e=f;  g`},
		"__Host-sallyport=secret":                        nil,
		"a=1; __Host-sallyport=secret; b=2":              {"a=1; b=2"},
		"__Host-sallyport=secret; b=2":                   {"b=2"},
		"a=1;__Host-sallyport=secret":                    {"a=1"},
		"a=1;b=2 ;  __host-SALLYPORT = secret;c= 3 ":     {"a=1;b=2 ;c= 3"},
		"sallyport=secret; sallyport2=x":                 {"sallyport2=x"},
		"__Secure-sallyport=secret; x__Host-sallyport=y": {"x__Host-sallyport=y"},
		"__Host-Http-sallyport=secret; __http-sallyport=secret; Http-sallyport=its":       {"Http-sallyport=its"},
		"__Host-sallyport-handoff=secret;__Host-sallyport=secret;__Host-sallyport=secret": nil,
		"__Host-sallyport":                     nil,
		"\t__Host-sallyport\t=secret\t; a=\t1": {"a=\t1"},
	} {
		if status := g.rawStatus("GET / HTTP/1.1\r\nHost: app.example\r\nCookie: " + in + "\r\nConnection: close\r\n\r\n"); status != 200 {
			t.Fatal(status)
		}
		if got := g.last().Header["Cookie"]; !slices.Equal(got, want) {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	// Lines are kept apart, and only those that hold one of ours change.
	g.rawStatus("GET / HTTP/1.1\r\nHost: app.example\r\nCookie: a=1;  b\r\nCookie: sallyport=secret\r\nCookie: c=3; __Host-sallyport=secret\r\nConnection: close\r\n\r\n")
	if got := g.last().Header["Cookie"]; !slices.Equal(got, []string{"a=1;  b", "c=3"}) {
		t.Errorf("%q", got)
	}
}

// An upstream that could set our cookie would choose its users' session.
func TestAttackUpstreamSetsOurCookie(t *testing.T) {
	set := []string{
		"a=1; Path=/", "__Host-sallyport=evil; Path=/; Secure", "__host-Sallyport=evil", " sallyport = evil; Domain=example",
		"=__Host-sallyport=evil", "sallyport", "__Host-sallyport-handoff=evil", "__Host-Http-sallyport=evil", "__Http-sallyport=evil", "=plain", "b=__Host-sallyport=x",
	}
	g := newHarness(t, options{upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Set-Cookie"] = set
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Alt-Svc", `h3="evil.example:443"`)
		w.WriteHeader(http.StatusOK)
	})})
	_, br := g.raw("GET / HTTP/1.1\r\nHost: app.example\r\n\r\n")
	early, err := http.ReadResponse(br, nil)
	if err != nil || early.StatusCode != http.StatusEarlyHints || early.Header["Set-Cookie"] != nil || early.Header.Get("Link") == "" {
		t.Errorf("%v %v %v", early.Status, early.Header, err)
	}
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	if got := res.Header["Set-Cookie"]; !slices.Equal(got, []string{"a=1; Path=/", "=plain", "b=__Host-sallyport=x"}) {
		t.Errorf("%q", got)
	}
	if res.Header.Get("Alt-Svc") != "" {
		t.Error("Alt-Svc leads around the proxy")
	}
}
