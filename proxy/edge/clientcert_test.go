package edge_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/proxy/edge"
	"sallyport/proxy/hostname"
	"sallyport/proxy/upstream"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// mutual serves with client certificates and answers what it learned.
func mutual(t *testing.T, clients *pki, mode edge.ClientCertMode, allowed ...string) (*harness, *edge.ClientAuth, string) {
	t.Helper()
	ca := clients.caFile()
	auth, err := edge.NewClientAuth(edge.ClientAuthConfig{CAFile: ca, Mode: mode, AllowedSANs: allowed})
	if err != nil {
		t.Fatal(err)
	}
	p := newPKI(t)
	cert, key := p.files(p.leaf("app.example"))
	certs := must(edge.NewCertificates(edge.CertConfig{Pairs: []edge.CertPair{{CertFile: cert, KeyFile: key}}}))
	g := newHarness(t, edge.Config{TLS: must(edge.NewTLS(edge.TLSConfig{Certificates: certs, ClientAuth: auth})),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(edge.ClientCertOf(r)) })})
	g.pki = p
	return g, auth, ca
}

// ask makes one request over a connection of its own.
func (g *harness) ask(c *tls.Config) (edge.ClientCert, bool, error) {
	g.t.Helper()
	c.RootCAs, c.ServerName = g.pki.pool, "app.example"
	conn, err := tls.Dial("tcp", g.addr, c)
	if err != nil {
		return edge.ClientCert{}, false, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return edge.ClientCert{}, false, err
	}
	var got edge.ClientCert
	err = json.NewDecoder(res.Body).Decode(&got)
	io.Copy(io.Discard, conn) // session tickets come with the data
	return got, conn.ConnectionState().DidResume, err
}

func with(c ...tls.Certificate) *tls.Config { return &tls.Config{Certificates: c} }

func TestClientCertificates(t *testing.T) {
	clients, strangers := newPKI(t), newPKI(t)
	good := clients.leaf("agent.corp.example")
	good.URIs = []*url.URL{{Scheme: "spiffe", Host: "corp", Path: "/agent"}}
	server := clients.leaf("agent.corp.example")
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	expired := clients.leaf("agent.corp.example")
	expired.NotAfter = time.Now().Add(-time.Minute)
	for name, c := range map[string]struct {
		mode edge.ClientCertMode
		conf *tls.Config
		ok   bool
		want string // the first SAN
	}{
		"required and good":         {edge.RequireCert, with(clients.pair(good)), true, "dns:agent.corp.example"},
		"required and none":         {edge.RequireCert, with(), false, ""},
		"requested and good":        {edge.RequestCert, with(clients.pair(good)), true, "dns:agent.corp.example"},
		"requested and none":        {edge.RequestCert, with(), true, ""},
		"requested, of a stranger":  {edge.RequestCert, force(strangers.pair(strangers.leaf("agent.corp.example"))), false, ""},
		"of a stranger":             {edge.RequireCert, force(strangers.pair(strangers.leaf("agent.corp.example"))), false, ""},
		"name that is not allowed":  {edge.RequireCert, with(clients.pair(clients.leaf("other.corp.example"))), false, ""},
		"requested, wrong name":     {edge.RequestCert, with(clients.pair(clients.leaf("other.corp.example"))), false, ""},
		"no name at all":            {edge.RequireCert, with(clients.pair(clients.leaf())), false, ""},
		"for servers":               {edge.RequireCert, with(clients.pair(server)), false, ""},
		"expired":                   {edge.RequireCert, with(clients.pair(expired)), false, ""},
		"allowed name, TLS 1.2":     {edge.RequireCert, max12(with(clients.pair(good))), true, "dns:agent.corp.example"},
		"name not allowed, TLS 1.2": {edge.RequireCert, max12(with(clients.pair(clients.leaf("x.example")))), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g, _, _ := mutual(t, clients, c.mode, "dns:agent.corp.example")
			got, _, err := g.ask(c.conf)
			if (err == nil) != c.ok {
				t.Fatalf("got %+v, %v", got, err)
			}
			if c.want == "" && (got.Fingerprint != "" || len(got.SANs) > 0) || c.want != "" && (len(got.SANs) == 0 || got.SANs[0] != c.want || len(got.Fingerprint) != 64) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// force sends the certificate even if the server does not name its authority.
func force(c tls.Certificate) *tls.Config {
	return &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }}
}

func max12(c *tls.Config) *tls.Config { c.MaxVersion = tls.VersionTLS12; return c }

// An authority that is taken off the list is off it for resumed sessions too.
func TestResumedSessionsFollowTheAuthorities(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		clients, others := newPKI(t), newPKI(t)
		g, auth, ca := mutual(t, clients, edge.RequireCert)
		conf := with(clients.pair(clients.leaf("agent.corp.example")))
		conf.ClientSessionCache, conf.MaxVersion = tls.NewLRUClientSessionCache(8), version
		if _, resumed, err := g.ask(conf); err != nil || resumed {
			t.Fatal(resumed, err)
		}
		if got, resumed, err := g.ask(conf); err != nil || !resumed || len(got.SANs) != 1 {
			t.Fatalf("%+v, %v, %v: the test wants a resumed session", got, resumed, err)
		}
		write(t, ca, pemOf("CERTIFICATE", others.ca.Raw))
		if err := auth.Reload(); err != nil {
			t.Fatal(err)
		}
		if got, _, err := g.ask(conf); err == nil {
			t.Errorf("version %x: served %+v", version, got)
		}
		if _, _, err := g.ask(with(others.pair(others.leaf("agent.corp.example")))); err != nil {
			t.Errorf("the new authority: %v", err)
		}
		write(t, ca, []byte("nonsense"))
		if err := auth.Reload(); err == nil {
			t.Error("nonsense was accepted")
		}
		if _, _, err := g.ask(with(others.pair(others.leaf("agent.corp.example")))); err != nil {
			t.Errorf("after a reload that failed: %v", err)
		}
	}
}

func TestAllowedNames(t *testing.T) {
	for _, c := range []struct {
		pattern, san string
		want         bool
	}{
		{"dns:a.example", "dns:a.example", true},
		{"dns:A.example", "dns:a.example", true},
		{"dns:a.example", "uri:a.example", false},
		{"dns:a.example", "email:a.example", false},
		{"dns:*.example", "dns:a.example", true},
		{"dns:*.example", "dns:a.b.example", false},
		{"dns:*.example", "dns:example", false},
		{"dns:*.example", "dns:.example", false},
		{"dns:*.example", "dns:*.example", false},
		{"dns:*.example", "dns:-a.example", false},
		{"dns:*.example", "dns:the phone of a.example", false},
		{"dns:a.example", "dns:*.example", false},
		{"dns:*.example", "dns:aexample", false},
		{"uri:spiffe://corp/ns/*", "uri:spiffe://corp/ns/x", true},
		{"uri:spiffe://corp/ns/*", "uri:spiffe://corp/ns/x/y", true},
		{"uri:spiffe://corp/ns/*", "uri:spiffe://corp/ns/", false},
		{"uri:spiffe://corp/ns/*", "uri:spiffe://corp/nsx", false},
		{"uri:spiffe://corp/ns/*", "uri:spiffe://corp/ns/../admin", false},
		{"uri:spiffe://corp/ns/*", "uri:spiffe://corp/ns/x/..", false},
		{"uri:spiffe://corp/ns/*", "uri:spiffe://corpse/ns/x", false},
		{"email:a@b.example", "email:a@b.example", true},
		{"ip:192.0.2.1", "ip:192.0.2.1", true},
	} {
		if got := edge.MatchSAN(c.pattern, c.san); got != c.want {
			t.Errorf("%s, %s: %v", c.pattern, c.san, got)
		}
	}
	ca := newPKI(t).caFile()
	for _, bad := range []string{"", "a.example", "dns:", "dns:*", "dns:*.", "dns:a.*.example", "dns:**.example", "uri:*", "uri:/*", "uri:spiffe://*/x", "email:*@x", "ip:*", "cn:x"} {
		if _, err := edge.NewClientAuth(edge.ClientAuthConfig{CAFile: ca, AllowedSANs: []string{bad}}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// A certificate that no one verified, and a header that says there is one, are none.
func TestUnverifiedCertificateIsNone(t *testing.T) {
	p := newPKI(t)
	leaf := must(x509.ParseCertificate(p.pair(p.leaf("a.example")).Certificate[0]))
	r, _ := http.NewRequest("GET", "https://a.example/", nil)
	r.Header.Set("X-Client-Cert", "CN=admin")
	for _, state := range []*tls.ConnectionState{nil, {}, {PeerCertificates: []*x509.Certificate{leaf}}} {
		r.TLS = state
		if got := edge.ClientCertOf(r); got.Fingerprint != "" {
			t.Errorf("got %+v", got)
		}
	}
}

// A TLS connection made for one host is no key to another.
func TestAttackServerNameAndHost(t *testing.T) {
	g := newTLSHarness(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := upstream.Canonicalise(r, "https"); err != nil {
			w.WriteHeader(err.(*upstream.BadRequest).Status)
		}
	})})
	for host, want := range map[string]int{"app.example": 200, "APP.example": 200, "app.example.": 200, "app.example:443": 200, "other.example": 421, "app.example.evil": 421, "127.0.0.1": 421} {
		_, br := g.send("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
		if got := status(t, br); got != want {
			t.Errorf("%s: %d, want %d", host, got, want)
		}
		f := g.framer()
		f.WriteHeaders(headers(f.block(":method", "GET", ":scheme", "https", ":authority", host, ":path", "/")))
		if got := f.status(1); got != strconv.Itoa(want) {
			t.Errorf("%s, HTTP/2: %s, want %d", host, got, want)
		}
	}
}

// known knows hosts, and wildcards over domains.
func known(patterns ...string) func(host string) bool {
	return func(host string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return hostname.Covers(p, host) })
	}
}

func TestRedirect(t *testing.T) {
	h, err := edge.Redirect(edge.RedirectConfig{Known: known("app.example", "::1", "*.apps.example"), Port: 8443})
	if err != nil {
		t.Fatal(err)
	}
	g := newHarness(t, edge.Config{Handler: h})
	for line, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: app.example":                           "308 https://app.example:8443/",
		"HEAD /a?b=c%0d%0aX:y HTTP/1.1\r\nHost: APP.example:80":         "308 https://app.example:8443/a?b=c%0d%0aX:y",
		"GET / HTTP/1.1\r\nHost: [::1]:80":                              "308 https://[::1]:8443/",
		"GET //evil.example/ HTTP/1.1\r\nHost: app.example":             "308 https://app.example:8443//evil.example/",
		"GET /\\evil.example HTTP/1.1\r\nHost: app.example":             "308 https://app.example:8443/\\evil.example",
		"GET /@evil.example HTTP/1.1\r\nHost: app.example.":             "308 https://app.example:8443/@evil.example",
		"POST / HTTP/1.1\r\nHost: app.example\r\nContent-Length: 0":     "403 ",
		"GET / HTTP/1.1\r\nHost: evil.example":                          "421 ",
		"GET / HTTP/1.1\r\nHost: A-1.apps.example:80":                   "308 https://a-1.apps.example:8443/",
		"GET / HTTP/1.1\r\nHost: apps.example":                          "421 ",
		"GET / HTTP/1.1\r\nHost: *.apps.example":                        "421 ",
		"GET / HTTP/1.1\r\nHost: a.b.apps.example":                      "421 ",
		"GET / HTTP/1.1\r\nHost: evil$.apps.example":                    "421 ",
		"GET / HTTP/1.1\r\nHost: .apps.example":                         "421 ",
		"GET / HTTP/1.1\r\nHost: app.example.evil.example":              "421 ",
		"GET / HTTP/1.1\r\nHost: ":                                      "421 ",
		"GET / HTTP/1.0":                                                "421 ",
		"GET http://app.example/ HTTP/1.1\r\nHost: app.example":         "400 ",
		"GET http://evil.example/ HTTP/1.1\r\nHost: app.example":        "421 ",
		"OPTIONS * HTTP/1.1\r\nHost: app.example":                       "403 ",
		"GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: evil.test": "421 ",
	} {
		_, br := g.send(line + "\r\n\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if got := strconv.Itoa(res.StatusCode) + " " + res.Header.Get("Location"); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
	for _, bad := range []edge.RedirectConfig{{}, {Known: known("a"), Port: 70000}} {
		if _, err := edge.Redirect(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// FuzzRedirect: for every request, a client is sent to a host of ours or nowhere.
func FuzzRedirect(f *testing.F) {
	h := must(edge.Redirect(edge.RedirectConfig{Known: known("app.example")}))
	g := newHarness(f, edge.Config{Handler: h, Pace: quick})
	f.Add("app.example", "/")
	f.Add("app.example:80", "//evil.example")
	f.Add("app.example@evil.example", "/x")
	f.Fuzz(func(t *testing.T, host, target string) {
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(c, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		c.(*net.TCPConn).CloseWrite()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode/100 != 3 {
			return
		}
		location := res.Header.Get("Location")
		if u, err := url.Parse(location); !strings.HasPrefix(location, "https://app.example/") || err == nil && u.Hostname() != "app.example" {
			t.Errorf("sent to %q", location)
		}
	})
}

func TestHSTS(t *testing.T) {
	scheme := func(r *http.Request) string { return r.Header.Get("Said") }
	h := edge.HSTS(edge.HSTSConfig{MaxAge: 365 * 24 * time.Hour, IncludeSubdomains: true, Preload: true, Scheme: scheme}, http.NotFoundHandler())
	const want = "max-age=31536000; includeSubDomains; preload"
	tlsRig, plain := newTLSHarness(t, edge.Config{Handler: h}), newHarness(t, edge.Config{Handler: h})
	for i, c := range []struct {
		g    *harness
		said string
		want string
	}{{tlsRig, "", want}, {plain, "", ""}, {plain, "https", want}, {plain, "http", ""}} {
		_, br := c.g.send("GET / HTTP/1.1\r\nHost: app.example\r\nSaid: " + c.said + "\r\n\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("Strict-Transport-Security"); got != c.want {
			t.Errorf("%d: %q", i, got)
		}
	}
	off := newHarness(t, edge.Config{Handler: edge.HSTS(edge.HSTSConfig{Scheme: scheme}, http.NotFoundHandler())})
	_, br := off.send("GET / HTTP/1.1\r\nHost: app.example\r\nSaid: https\r\n\r\n")
	if res, err := http.ReadResponse(br, nil); err != nil || res.Header.Get("Strict-Transport-Security") != "" {
		t.Error(err, res)
	}
}
