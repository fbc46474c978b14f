package upstream

import (
	"errors"
	"net"
)

// DiedNew reports whether err is a new connection that ended before an answer began.
// What was sent on it is not sent again: the upstream may have seen it.
func DiedNew(err error) bool {
	var stale errStale
	if errors.As(err, &stale) {
		return false
	}
	var silent errSilent
	var op *net.OpError
	return errors.As(err, &silent) || errors.As(err, &op) && op.Op == "write"
}
