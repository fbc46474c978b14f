package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"sallyport/proxy/clientip"
)

// ListenConfig says what to listen on.
type ListenConfig struct {
	// Inherited is searched for a socket of this Name first. Nil: there is none.
	Inherited *Inherited
	Name      string
	// Address is opened if there is no such socket: host:port, or unix:PATH.
	Address string
	// ProxyProtocol requires it from peers in Trusted; see clientip.ListenProxyProtocol.
	ProxyProtocol bool
	Trusted       []netip.Prefix
}

// peerTimeout is how long a peer may leave data unacknowledged, or its window closed,
// before the kernel drops the connection. It is the only bound on a hijacked connection
// whose peer reads nothing.
const peerTimeout = 2 * time.Minute

// Listen opens a socket, or takes the inherited one.
//
// It does not support restarts with a second socket of SO_REUSEPORT: when the predecessor
// closes its socket, the kernel resets the connections in that socket's queue.
func Listen(ctx context.Context, c ListenConfig) (net.Listener, error) {
	l := c.Inherited.claim(c.Name)
	if l == nil {
		network, address := "tcp", c.Address
		if path, ok := strings.CutPrefix(c.Address, "unix:"); ok {
			network, address = "unix", path
		}
		var lc net.ListenConfig
		lc.SetMultipathTCP(false) // the kernel has no peer timeout for it
		var err error
		if l, err = lc.Listen(ctx, network, address); err != nil {
			return nil, fmt.Errorf("edge: %w", whyNot(err))
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

// whyNot adds what the operator can do to an error of listen, if the system's text does
// not say it.
func whyNot(err error) error {
	var op *net.OpError
	var addr netip.Addr
	if errors.As(err, &op) {
		if t, ok := op.Addr.(*net.TCPAddr); ok {
			addr = t.AddrPort().Addr().Unmap()
		}
	}
	switch {
	case errors.Is(err, syscall.EAFNOSUPPORT) && addr.Is6():
		return fmt.Errorf("%w: this system, or the sandbox of the process (RestrictAddressFamilies= of the unit), has no IPv6: "+
			"listen on an IPv4 address, such as 0.0.0.0 for all of them", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL) && addr.Is6():
		return fmt.Errorf("%w: no interface has this address: set it up, switch IPv6 on, or listen on an IPv4 address", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: no interface has this address: set it up, or listen on another one", err)
	}
	return err
}
