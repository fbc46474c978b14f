package edge

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// setPeerTimeout sets TCP_USER_TIMEOUT (tcp(7)); accepted sockets inherit it.
func setPeerTimeout(l *net.TCPListener, d time.Duration) error {
	const tcpUserTimeout = 18 // not in package syscall
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d/time.Millisecond))
	}); err != nil {
		return err
	}
	if errors.Is(set, syscall.ENOPROTOOPT) {
		return nil // an inherited Multipath TCP socket, which does not know it
	}
	return set
}
