package edge

import (
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
	return set
}
