package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pires/go-proxyproto"
)

// balanced has the ports on which a product (or the front before it) is told the address
// of the client by the PROXY protocol, as behind a TCP load balancer.
var balanced sync.Map

// dialFrom connects to this machine as a client at another address would. It reaches
// every name of the tests, regardless of what the system's resolver thinks of them.
func dialFrom(ctx context.Context, from, addr string) (*net.TCPConn, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, err
	}
	if _, ok := balanced.Load(port); ok && from != "" {
		client, err := netip.ParseAddr(from)
		if err == nil {
			to := conn.RemoteAddr()
			if client.Is6() {
				to = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv6Loopback(), 443))
			}
			_, err = proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 50000)), to).WriteTo(conn)
		}
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn.(*net.TCPConn), nil
}

// dialer is the connections of a program: one set for each address that it calls from.
// They speak HTTP/1.1; HTTP/2 is what the browser speaks.
type dialer struct {
	from func() string

	mu  sync.Mutex
	all map[string]*http.Transport
}

func newDialer(t *testing.T, from func() string) *dialer {
	d := &dialer{from: from, all: map[string]*http.Transport{}}
	t.Cleanup(func() {
		for _, transport := range d.all {
			transport.CloseIdleConnections()
		}
	})
	return d
}

func (d *dialer) RoundTrip(r *http.Request) (*http.Response, error) {
	from := d.from()
	d.mu.Lock()
	transport := d.all[from]
	if transport == nil {
		transport = &http.Transport{TLSClientConfig: certificates.client(), DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return dialFrom(ctx, from, addr)
		}}
		d.all[from] = transport
	}
	d.mu.Unlock()
	return transport.RoundTrip(r)
}

// line connects a browser: a SOCKS5 proxy (RFC 1928) that leads to this machine only.
// Everything that the browser opens takes it, also what no setting of a tab reaches:
// workers, WebSockets, other tabs.
type line struct {
	addr string

	mu    sync.Mutex
	from  string
	conns map[net.Conn]bool // to products
}

func newLine(t *testing.T, from string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &line{addr: l.Addr().String(), from: from, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); p.move("nowhere") })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

// move goes to another address: no connection survives that.
func (p *line) move(from string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.from == from {
		return
	}
	p.from = from
	for conn := range p.conns {
		conn.Close()
	}
	clear(p.conns)
}

func (p *line) serve(browser net.Conn) {
	defer browser.Close()
	addr, err := socksRequest(browser)
	if err != nil {
		return
	}
	product, err := p.dial(addr)
	if err != nil {
		_, _ = browser.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0}) // connection refused
		return
	}
	defer func() {
		product.Close()
		p.mu.Lock()
		delete(p.conns, product)
		p.mu.Unlock()
	}()
	if _, err := browser.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return
	}
	go func() { _, _ = io.Copy(product, browser); _ = product.CloseWrite() }()
	_, _ = io.Copy(browser, product)
}

func (p *line) dial(addr string) (*net.TCPConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock() // dialling the same machine takes no time
	if host, _, err := net.SplitHostPort(addr); err != nil || !ofTests(host) {
		return nil, errors.New("part of no test") // browsers look for updates and the like
	}
	conn, err := dialFrom(context.Background(), p.from, addr)
	if err == nil {
		p.conns[conn] = true
	}
	return conn, err
}

// ofTests reports whether a host is one that tests use.
func ofTests(host string) bool {
	return host == "127.0.0.1" || host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, "."+company) || strings.HasSuffix(host, "."+privateCompany)
}

// socksRequest reads the handshake of SOCKS5, up to the answer to give: where to?
func socksRequest(conn net.Conn) (addr string, err error) {
	read := func(n byte) (b []byte) {
		if b = make([]byte, n); err == nil {
			_, err = io.ReadFull(conn, b)
		}
		return b
	}
	read(read(2)[1]) // version, and the ways to authenticate
	if err == nil {
		_, err = conn.Write([]byte{5, 0}) // none is needed
	}
	var host string
	switch read(4)[3] { // version, command, reserved, kind of address
	case 1:
		host = net.IP(read(4)).String()
	case 3:
		host = string(read(read(1)[0]))
	case 4:
		host = net.IP(read(16)).String()
	default:
		err = errors.Join(err, errors.New("an unknown kind of address"))
	}
	port := read(2)
	return net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1]))), err
}
