//go:build unix

package edge

import "syscall"

// closeOnExec keeps an inherited socket from our own child processes.
func closeOnExec(fd int) { syscall.CloseOnExec(fd) }

// accepts reports whether a descriptor is a listening stream socket. Otherwise accept(2)
// would fail, after the service has reported that it is ready.
func accepts(fd int) bool {
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err != nil || kind != syscall.SOCK_STREAM {
		return false
	}
	on, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	return err == nil && on != 0
}
