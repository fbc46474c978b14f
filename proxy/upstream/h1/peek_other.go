//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package h1

// Supported reports whether this package works here. It does not where the operating
// system cannot say whether a connection is still silent.
const Supported = false

func peekSilent(uintptr) bool { return false }
