package clientip

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyHeaderTimeout bounds how long a connection may take to send its PROXY
// header. Load balancers send it with the first packet.
const proxyHeaderTimeout = 5 * time.Second

// ListenProxyProtocol wraps ln for load balancers that speak the PROXY protocol, version
// 1 or 2. It never guesses:
//
//   - a peer in trusted must open with a header, or its connection fails. The client it
//     names becomes the RemoteAddr of the connection;
//   - any other peer must not: a header from it fails the connection, and without one it
//     is served under its own address;
//   - a header that names no client (LOCAL in version 2, UNKNOWN in version 1: health
//     checks) is served under an address that does not resolve. Falling back to the load
//     balancer's own address would trust clients that it could not name;
//   - a header that names anything but a TCP client fails the connection.
//
// If trusted holds a network that [New] refuses, no peer is trusted.
func ListenProxyProtocol(ln net.Listener, trusted []netip.Prefix) net.Listener {
	ps, err := newPrefixes(trusted)
	return &proxyListener{
		Listener: proxyproto.Listener{
			Listener:          ln,
			ReadHeaderTimeout: proxyHeaderTimeout,
			ValidateHeader:    namesTCPClient,
			ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
				peer, isUnix, perr := parsePeer(o.Upstream.String())
				if err == nil && perr == nil && !isUnix && ps.contain(peer) {
					return proxyproto.REQUIRE, nil
				}
				return proxyproto.REJECT, nil
			},
		},
	}
}

// namesTCPClient refuses headers whose source is not a TCP address: the path of
// a Unix socket in a version 2 header could otherwise spell the name that a
// trusted local socket goes by.
func namesTCPClient(h *proxyproto.Header) error {
	if h.Command.IsLocal() {
		return nil
	}
	if _, ok := h.SourceAddr.(*net.TCPAddr); !ok {
		return fmt.Errorf("clientip: PROXY header names a client of transport %#x, not TCP", byte(h.TransportProtocol))
	}
	return nil
}

type proxyListener struct{ proxyproto.Listener }

func (l *proxyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if pc, ok := conn.(*proxyproto.Conn); ok && err == nil {
		return &proxyConn{pc}, nil
	}
	return conn, err
}

type proxyConn struct{ *proxyproto.Conn }

// RemoteAddr waits for the PROXY header.
func (c *proxyConn) RemoteAddr() net.Addr {
	if h := c.ProxyHeader(); h != nil && h.Command.IsLocal() {
		return unnamed{}
	}
	return c.Conn.RemoteAddr()
}

// unnamed is the address of a client that the load balancer does not name. It
// does not parse, and so blocks.
type unnamed struct{}

func (unnamed) Network() string { return "tcp" }
func (unnamed) String() string  { return "unnamed by the load balancer" }
