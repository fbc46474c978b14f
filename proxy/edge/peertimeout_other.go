//go:build !linux

package edge

import (
	"net"
	"time"
)

// setPeerTimeout has no equivalent here: keep-alive probes find peers that are
// gone, and one that is there and reads nothing keeps its connection.
func setPeerTimeout(*net.TCPListener, time.Duration) error { return nil }
