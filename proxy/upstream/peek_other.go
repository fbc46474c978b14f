//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package upstream

// Where a connection cannot be asked whether it is still there, all requests go
// through net/http.
const canPeek = false

func peekSilent(uintptr) bool { return false }
