//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package h1

import "syscall"

// Supported reports whether this package works here. It does not where the operating
// system cannot say whether a connection is still silent.
const Supported = true

// peekSilent reports whether there is nothing to read from fd, not even its end.
func peekSilent(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == syscall.EAGAIN
}
