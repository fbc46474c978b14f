//go:build unix

package edge

import "syscall"

// closeOnExec keeps an inherited socket from our own children.
func closeOnExec(fd int) { syscall.CloseOnExec(fd) }

// accepts reports whether a descriptor is a stream socket that listens. One that does not is
// found by accept(2) otherwise, when the service has said that it is ready.
func accepts(fd int) bool {
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err != nil || kind != syscall.SOCK_STREAM {
		return false
	}
	on, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	return err == nil && on != 0
}
