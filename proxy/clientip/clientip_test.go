package clientip_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"sallyport/proxy/clientip"
)

// lb is a trusted load balancer in every test that has one.
const lb = "10.0.0.1:40000"

func resolver(t testing.TB, h clientip.Header, trusted ...string) *clientip.Resolver {
	t.Helper()
	c := clientip.Config{Header: h}
	for _, s := range trusted {
		if s == "unix" {
			c.TrustUnix = true
			continue
		}
		c.Trusted = append(c.Trusted, netip.MustParsePrefix(s))
	}
	r, err := clientip.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func request(peer string, header http.Header) *http.Request {
	if header == nil {
		header = http.Header{}
	}
	return &http.Request{RemoteAddr: peer, Header: header}
}

func xff(lines ...string) http.Header { return http.Header{"X-Forwarded-For": lines} }

func forwarded(lines ...string) http.Header { return http.Header{"Forwarded": lines} }

// check expects the address want, or an *Error when want is "".
func check(t *testing.T, r *clientip.Resolver, req *http.Request, want string) {
	t.Helper()
	got, err := r.Resolve(req)
	if want == "" {
		var typed *clientip.Error
		if !errors.As(err, &typed) || got.IsValid() {
			t.Errorf("got %v, %v; want an *Error and no address", got, err)
		}
		return
	}
	if err != nil || got.String() != want {
		t.Errorf("got %v, %v; want %s", got, err, want)
	}
}

// No peer is trusted by default, so nothing a client writes is read.
func TestAttackNobodyTrusted(t *testing.T) {
	for _, h := range []clientip.Header{clientip.XForwardedFor, clientip.Forwarded, clientip.None} {
		r := resolver(t, h)
		for _, header := range []http.Header{
			xff("1.2.3.4"), xff("garbage"), xff("203.0.113.7", "::1"), forwarded("for=1.2.3.4"), forwarded(`for="`),
			{"X-Real-Ip": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"}},
		} {
			req := request("203.0.113.7:999", header)
			check(t, r, req, "203.0.113.7")
			if r.TrustedPeer(req) || r.Scheme(req) != "http" {
				t.Errorf("%v was believed", header)
			}
		}
	}
}

// The same from a stranger when another peer is trusted.
func TestAttackStrangerBesideTrustedProxy(t *testing.T) {
	r := resolver(t, clientip.XForwardedFor, "10.0.0.0/8")
	check(t, r, request("203.0.113.7:999", xff("1.2.3.4")), "203.0.113.7")
	check(t, r, request("203.0.113.7:999", xff("10.0.0.9")), "203.0.113.7")
}

func TestAttackRightMostUntrustedHop(t *testing.T) {
	r := resolver(t, clientip.XForwardedFor, "10.0.0.0/8", "192.0.2.0/24", "2001:db8:1::/48")
	long := make([]string, 200)
	for i := range long {
		long[i] = "10.0.0.2"
	}
	for name, c := range map[string]struct {
		header http.Header
		want   string
	}{
		"one hop":                        {xff("1.2.3.4"), "1.2.3.4"},
		"forged hops to the left":        {xff("6.6.6.6, 1.2.3.4"), "1.2.3.4"},
		"garbage left of the client":     {xff("evil, 1.2.3.4, 10.0.0.2"), "1.2.3.4"},
		"unparsable hop from our proxy":  {xff("1.2.3.4, evil, 10.0.0.1"), ""},
		"unparsable last hop":            {xff("1.2.3.4, unknown"), ""},
		"several lines in order":         {xff("6.6.6.6", "1.2.3.4", "10.0.0.2, 192.0.2.1"), "1.2.3.4"},
		"all trusted: nobody is named":   {xff("10.0.0.7, 10.0.0.2"), ""},
		"the proxy names itself":         {xff("10.0.0.1"), ""},
		"no header: nobody is named":     {nil, ""},
		"lines without a hop":            {http.Header{"X-Forwarded-For": {}}, ""},
		"private hops that are nobody's": {xff("172.16.0.9, 10.0.0.2"), "172.16.0.9"},
		"empty header":                   {xff(""), ""},
		"empty hop":                      {xff("1.2.3.4, , 10.0.0.2"), ""},
		"trailing comma":                 {xff("1.2.3.4,"), ""},
		"port":                           {xff("1.2.3.4:5678"), "1.2.3.4"},
		"IPv6 with port":                 {xff("[2001:db8::1]:443"), "2001:db8::1"},
		"IPv6 in brackets":               {xff("[2001:db8::1]"), "2001:db8::1"},
		"IPv6 proxy in the chain":        {xff("2001:db8::1, 2001:db8:1::5"), "2001:db8::1"},
		"mapped proxy in the chain":      {xff("1.2.3.4, ::ffff:10.0.0.2"), "1.2.3.4"},
		"too many hops":                  {xff(strings.Join(long, ",")), ""},
		"too long":                       {xff(strings.Repeat(" ", 9000) + "1.2.3.4"), ""},
		"other spelling is not read":     {http.Header{"X_forwarded_for": {"1.2.3.4"}}, ""},
		"the other header is not read":   {forwarded("for=1.2.3.4"), ""},
	} {
		t.Run(name, func(t *testing.T) { check(t, r, request(lb, c.header), c.want) })
	}
}

// One address, one spelling; what is not plainly an address is none.
func TestAttackAddressSpellings(t *testing.T) {
	r := resolver(t, clientip.XForwardedFor, "10.0.0.0/8")
	for hop, want := range map[string]string{
		"::ffff:1.2.3.4":         "1.2.3.4",
		"[::ffff:1.2.3.4]:80":    "1.2.3.4",
		"2001:DB8:0:0:0:0:0:1":   "2001:db8::1",
		"[2001:db8::1%eth0]":     "",
		"[2001:db8::1%25eth0]:1": "",
		"2001:db8::1%eth0":       "",
		"fe80::1%1":              "",
		"0x7f.1":                 "",
		"0x7f.0.0.1":             "",
		"0177.0.0.1":             "",
		"010.1.1.1":              "",
		"1.2.3":                  "",
		"16909060":               "",
		"1.2.3.4:":               "",
		"1.2.3.4:99999":          "",
		"1.2.3.4:8a":             "",
		"1.2.3.4:+1":             "",
		"[1.2.3.4]":              "",
		"[2001:db8::1":           "",
		"2001:db8::1]":           "",
		"[2001:db8::1]443":       "",
		"\"1.2.3.4\"":            "",
		"1.2.3.4 5.6.7.8":        "",
		"localhost":              "",
		"_hidden":                "",
		"0.0.0.0":                "",
		"::":                     "",
		"224.0.0.1":              "",
		"1.2.3.4\x00":            "",
		"１.2.3.4":                "",
	} {
		t.Run(hop, func(t *testing.T) { check(t, r, request(lb, xff(hop)), want) })
	}
	// The same of the connection itself.
	none := resolver(t, clientip.XForwardedFor)
	check(t, none, request("[::ffff:1.2.3.4]:80", nil), "1.2.3.4")
	check(t, none, request("[fe80::1%eth0]:80", nil), "")
	check(t, none, request("1.2.3.4", nil), "")
	check(t, none, request("pipe", nil), "")
	check(t, resolver(t, clientip.XForwardedFor, "::ffff:10.0.0.0/104"), request(lb, xff("1.2.3.4")), "1.2.3.4")
	check(t, resolver(t, clientip.XForwardedFor, "10.0.0.0/8"), request("[::ffff:10.0.0.1]:80", xff("1.2.3.4")), "1.2.3.4")
}

// An address inside is an address like any other, not "no address".
func TestAttackPrivateClients(t *testing.T) {
	r := resolver(t, clientip.XForwardedFor, "10.0.0.1/32")
	for _, hop := range []string{"127.0.0.1", "192.168.1.5", "100.64.0.9", "10.0.0.2", "::1", "fd00::1"} {
		check(t, r, request(lb, xff(hop)), hop)
	}
}

func TestForwarded(t *testing.T) {
	r := resolver(t, clientip.Forwarded, "10.0.0.0/8")
	for line, want := range map[string]string{
		"for=1.2.3.4":                                     "1.2.3.4",
		"For=1.2.3.4;Proto=https;By=10.0.0.1":             "1.2.3.4",
		`for="[2001:db8::1]:4711"`:                        "2001:db8::1",
		`for="[2001:db8::1]:_x-1"`:                        "2001:db8::1",
		"for=6.6.6.6, for=1.2.3.4, for=10.0.0.2":          "1.2.3.4",
		`for=6.6.6.6;host="a,b;for=7.7.7.7", for=1.2.3.4`: "1.2.3.4",
		`for="\1.2.3.4"`:                                  "1.2.3.4",
		"for=1.2.3.4:80 ; proto=http":                     "1.2.3.4",
		"for=unknown":                                     "",
		"for=_hidden":                                     "",
		`for=""`:                                          "",
		"proto=https":                                     "",
		"for=1.2.3.4;for=5.6.7.8":                         "",
		"for=1.2.3.4;":                                    "",
		"for=1.2.3.4,":                                    "",
		"for = 1.2.3.4":                                   "",
		"1.2.3.4":                                         "",
		"":                                                "",
		`for=6.6.6.6;x=", for=1.2.3.4`:                    "", // a quote left open to swallow the proxy's word
		`for=6.6.6.6;x=", for="[2001:db8::1]:1"`:          "",
		`for=6.6.6.6;x="\", for=1.2.3.4;host="x"`:         "",
		strings.Repeat("for=10.0.0.2,", 100) + "for=10.0.0.2": "",
		strings.Repeat(`for="10.0.0.2";`, 2) + "for=1.1.1.1":  "",
		"for=2001:db8::1":   "2001:db8::1", // unquoted is common
		"for=[2001:db8::1]": "",
		`for="1.2.3.4";proto="https";host="a.example:8443"`:      "1.2.3.4",
		`for=6.6.6.6;secret="` + strings.Repeat("x", 9000) + `"`: "",
	} {
		t.Run(line, func(t *testing.T) { check(t, r, request(lb, forwarded(line)), want) })
	}
	// A quote left open in one line does not reach into the next.
	check(t, r, request(lb, forwarded(`for="6.6.6.6`, `";x="", for=1.2.3.4`)), "")
	check(t, r, request(lb, forwarded("for=6.6.6.6", "for=1.2.3.4")), "1.2.3.4")
	check(t, r, request(lb, xff("1.2.3.4")), "")
	check(t, r, request(lb, forwarded("for=10.0.0.7, for=10.0.0.2")), "")
}

// A trusted peer that names no client is no one's address, and the error says what to set. With
// forwarded_header: none the peer is the client: the PROXY protocol has named it.
func TestAttackTrustedProxyNamesNoClient(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		set    clientip.Header
		say    string
	}{
		"nothing":             {nil, clientip.XForwardedFor, "sends no X-Forwarded-For"},
		"nothing, RFC 7239":   {nil, clientip.Forwarded, "sends no Forwarded"},
		"another header":      {http.Header{"X-Real-Ip": {"1.2.3.4"}}, clientip.XForwardedFor, "forwarded_header: none"},
		"the other header":    {forwarded("for=1.2.3.4"), clientip.XForwardedFor, "set forwarded_header: forwarded"},
		"the other, RFC 7239": {xff("1.2.3.4"), clientip.Forwarded, "set forwarded_header: x-forwarded-for"},
		"a health check":      {http.Header{"User-Agent": {"ELB-HealthChecker/2.0"}}, clientip.XForwardedFor, "ops_listen"},
		"a chain from inside": {xff("10.0.0.8, 10.0.0.7"), clientip.XForwardedFor, "list the addresses of the proxies"},
		"the proxy's machine": {xff("10.0.0.1"), clientip.XForwardedFor, "connect from another machine"},
	} {
		t.Run(name, func(t *testing.T) {
			addr, err := resolver(t, c.set, "10.0.0.0/8").Resolve(request(lb, c.header))
			if addr.IsValid() || err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v, %v", addr, err)
			}
			check(t, resolver(t, clientip.None, "10.0.0.0/8"), request(lb, c.header), "10.0.0.1")
		})
	}
}

// An address is ours if the configuration says so, and never if it is that of a proxy.
func TestInternalIsSaidInTheConfiguration(t *testing.T) {
	r, err := clientip.New(clientip.Config{Trusted: []netip.Prefix{netip.MustParsePrefix("10.20.0.1/32")}, Header: clientip.None,
		Internal: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}})
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]bool{"10.20.3.4": true, "fd00:1::5": true, "10.20.0.1": false, "10.21.0.1": false, "127.0.0.1": false, "192.168.1.1": false} {
		if got := r.Internal(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	if r.Internal(netip.Addr{}) {
		t.Error("no address at all is ours")
	}
}

func TestUnixSocket(t *testing.T) {
	for _, peer := range []string{"@", ""} {
		check(t, resolver(t, clientip.XForwardedFor, "unix"), request(peer, xff("1.2.3.4")), "1.2.3.4")
		check(t, resolver(t, clientip.XForwardedFor, "unix"), request(peer, nil), "")
		check(t, resolver(t, clientip.XForwardedFor, "10.0.0.0/8"), request(peer, xff("1.2.3.4")), "")
	}
}

func TestHeaderNone(t *testing.T) {
	r := resolver(t, clientip.None, "10.0.0.0/8")
	check(t, r, request(lb, http.Header{"X-Forwarded-For": {"1.2.3.4"}, "Forwarded": {"for=1.2.3.4"}}), "10.0.0.1")
}

func TestScheme(t *testing.T) {
	proto := func(lines ...string) http.Header { return http.Header{"X-Forwarded-Proto": lines} }
	x, f, none := resolver(t, clientip.XForwardedFor, "10.0.0.0/8"), resolver(t, clientip.Forwarded, "10.0.0.0/8"), resolver(t, clientip.None, "10.0.0.0/8")
	for name, c := range map[string]struct {
		r    *clientip.Resolver
		req  *http.Request
		want string
	}{
		"plain":                          {x, request(lb, nil), "http"},
		"TLS here":                       {x, &http.Request{RemoteAddr: "1.2.3.4:5", TLS: &tls.ConnectionState{}}, "https"},
		"trusted says so":                {x, request(lb, proto("HTTPS")), "https"},
		"stranger says so":               {x, request("1.2.3.4:5", proto("https")), "http"},
		"right-most word counts":         {x, request(lb, proto("https, http")), "http"},
		"last line counts":               {x, request(lb, proto("http", "https")), "https"},
		"nonsense":                       {x, request(lb, proto("httpss")), "http"},
		"RFC 7239":                       {f, request(lb, forwarded("for=1.2.3.4;proto=https")), "https"},
		"RFC 7239, malformed":            {f, request(lb, forwarded("for=1.2.3.4;proto=https;")), "http"},
		"RFC 7239 reads no other header": {f, request(lb, proto("https")), "http"},
		"none reads no header":           {none, request(lb, proto("https")), "http"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.r.Scheme(c.req); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestNewRefusesToTrustEverybody(t *testing.T) {
	for _, s := range []string{"0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"} {
		if _, err := clientip.New(clientip.Config{Trusted: []netip.Prefix{netip.MustParsePrefix(s)}}); err == nil {
			t.Errorf("%s was accepted", s)
		}
	}
	if _, err := clientip.New(clientip.Config{Trusted: []netip.Prefix{{}}}); err == nil {
		t.Error("the zero prefix was accepted")
	}
	if _, err := clientip.New(clientip.Config{Header: 7}); err == nil {
		t.Error("an unknown header was accepted")
	}
}

func TestErrorsAreShort(t *testing.T) {
	r := resolver(t, clientip.XForwardedFor, "10.0.0.0/8")
	_, err := r.Resolve(request(lb, xff(strings.Repeat("\x1b[31mA", 500))))
	if err == nil || len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("%q", err)
	}
}

func BenchmarkResolve(b *testing.B) {
	for name, req := range map[string]*http.Request{"direct": request("203.0.113.7:999", nil), "proxied": request(lb, xff("203.0.113.7, 10.0.0.2"))} {
		b.Run(name, func(b *testing.B) {
			r := resolver(b, clientip.XForwardedFor, "10.0.0.0/8", "192.168.0.0/16")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Resolve(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
