package clientip_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"sallyport/proxy/clientip"
)

// proxyServer answers each request with the client it resolved, or the error.
func proxyServer(t *testing.T, trustedSenders, trustedProxies []string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var prefixes []netip.Prefix
	for _, s := range trustedSenders {
		prefixes = append(prefixes, netip.MustParsePrefix(s))
	}
	r := resolver(t, clientip.XForwardedFor, trustedProxies...)
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		addr, err := r.Resolve(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		io.WriteString(w, addr.String())
	})}
	go srv.Serve(clientip.ListenProxyProtocol(ln, prefixes))
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// ask sends preamble and a request, and returns status and body, or 0 if the
// connection was dropped without an answer.
func ask(t *testing.T, addr, preamble, header string) (int, string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, preamble+"GET / HTTP/1.1\r\nHost: x\r\n"+header+"Connection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, ""
	}
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

func v2(t *testing.T, h *proxyproto.Header) string {
	t.Helper()
	h.Version = 2
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestProxyProtocolFromTrustedPeer(t *testing.T) {
	addr := proxyServer(t, []string{"127.0.0.0/8"}, []string{"127.0.0.0/8"})
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 5} }
	for name, c := range map[string]struct {
		preamble, header, want string
		status                 int
	}{
		"version 1":      {"PROXY TCP4 203.0.113.7 192.0.2.1 999 443\r\n", "", "203.0.113.7", 200},
		"version 1 IPv6": {"PROXY TCP6 2001:db8::7 2001:db8::1 999 443\r\n", "", "2001:db8::7", 200},
		"version 2": {v2(t, &proxyproto.Header{Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv4,
			SourceAddr: tcp("203.0.113.8"), DestinationAddr: tcp("192.0.2.1")}), "", "203.0.113.8", 200},
		"version 2 mapped": {v2(t, &proxyproto.Header{Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv6,
			SourceAddr: tcp("::ffff:203.0.113.8"), DestinationAddr: tcp("2001:db8::1")}), "", "203.0.113.8", 200},
		"the named client's headers are a stranger's": {"PROXY TCP4 203.0.113.7 192.0.2.1 999 443\r\n", "X-Forwarded-For: 1.2.3.4\r\n", "203.0.113.7", 200},
		"missing":     {"", "", "", 0},
		"malformed":   {"PROXY TCP4 evil 192.0.2.1 999 443\r\n", "", "", 0},
		"octal":       {"PROXY TCP4 010.1.1.1 192.0.2.1 999 443\r\n", "", "", 0},
		"twice":       {"PROXY TCP4 203.0.113.7 192.0.2.1 999 443\r\nPROXY TCP4 1.2.3.4 192.0.2.1 999 443\r\n", "", "400 Bad Request", 400},
		"unspecified": {"PROXY TCP4 0.0.0.0 192.0.2.1 999 443\r\n", "", "client address unknown", 403},
		"UNKNOWN":     {"PROXY UNKNOWN\r\n", "X-Forwarded-For: 1.2.3.4\r\n", "client address unknown", 403},
		"LOCAL":       {v2(t, &proxyproto.Header{Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}), "X-Forwarded-For: 1.2.3.4\r\n", "client address unknown", 403},
		"a datagram client": {v2(t, &proxyproto.Header{Command: proxyproto.PROXY, TransportProtocol: proxyproto.UDPv4,
			SourceAddr: &net.UDPAddr{IP: net.ParseIP("1.2.3.4"), Port: 5}, DestinationAddr: &net.UDPAddr{IP: net.ParseIP("1.2.3.4"), Port: 5}}), "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := ask(t, addr, c.preamble, c.header)
			if status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("got %d %q, want %d %q", status, body, c.status, c.want)
			}
		})
	}
}

// A version 2 header can carry the path of a Unix socket; "@" is what a trusted
// local socket looks like.
func TestAttackProxyProtocolUnixAddress(t *testing.T) {
	addr := proxyServer(t, []string{"127.0.0.0/8"}, []string{"unix"})
	h := v2(t, &proxyproto.Header{Command: proxyproto.PROXY, TransportProtocol: proxyproto.UnixStream,
		SourceAddr: &net.UnixAddr{Net: "unix", Name: "@"}, DestinationAddr: &net.UnixAddr{Net: "unix", Name: "@"}})
	if status, body := ask(t, addr, h, "X-Forwarded-For: 1.2.3.4\r\n"); status != 0 {
		t.Errorf("got %d %q", status, body)
	}
}

func TestAttackProxyProtocolFromStranger(t *testing.T) {
	addr := proxyServer(t, []string{"192.0.2.0/24"}, nil)
	if status, body := ask(t, addr, "", ""); status != 200 || body != "127.0.0.1" {
		t.Errorf("without header: %d %q", status, body)
	}
	if status, body := ask(t, addr, "PROXY TCP4 203.0.113.7 192.0.2.1 999 443\r\n", ""); status != 0 {
		t.Errorf("with header: %d %q", status, body)
	}
	everybody := proxyServer(t, []string{"0.0.0.0/0"}, nil)
	if status, body := ask(t, everybody, "PROXY TCP4 203.0.113.7 192.0.2.1 999 443\r\n", ""); status != 0 {
		t.Errorf("trusting everybody: %d %q", status, body)
	}
}
