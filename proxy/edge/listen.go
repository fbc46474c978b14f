package edge

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"sallyport/proxy/clientip"
)

// ListenConfig says what to listen on.
type ListenConfig struct {
	// Inherited is asked for a socket of this Name first. Nil: never.
	Inherited *Inherited
	Name      string
	// Address is opened otherwise: host:port, or unix:PATH.
	Address string
	// ProxyProtocol demands it of peers in Trusted; see clientip.ListenProxyProtocol.
	ProxyProtocol bool
	Trusted       []netip.Prefix
}

// peerTimeout is how long a peer may leave what was sent to it unacknowledged,
// or its window shut, before the kernel gives the connection up. It is the only
// bound on a hijacked connection whose peer reads nothing.
const peerTimeout = 2 * time.Minute

// Listen opens a socket, or takes the inherited one.
//
// A socket of one's own with SO_REUSEPORT beside the predecessor's is not
// offered for restarts: when the predecessor closes its socket, connections in
// that socket's queue are reset.
func Listen(ctx context.Context, c ListenConfig) (net.Listener, error) {
	l := c.Inherited.take(c.Name)
	if l == nil {
		network, address := "tcp", c.Address
		if path, ok := strings.CutPrefix(c.Address, "unix:"); ok {
			network, address = "unix", path
		}
		var lc net.ListenConfig
		lc.SetMultipathTCP(false) // the kernel knows no peer timeout for it
		var err error
		if l, err = lc.Listen(ctx, network, address); err != nil {
			return nil, fmt.Errorf("edge: %w", err)
		}
	}
	if t, ok := l.(*net.TCPListener); ok {
		if err := setPeerTimeout(t, peerTimeout); err != nil {
			l.Close()
			return nil, fmt.Errorf("edge: %w", err)
		}
	}
	if c.ProxyProtocol {
		l = clientip.ListenProxyProtocol(l, c.Trusted)
	}
	return l, nil
}
