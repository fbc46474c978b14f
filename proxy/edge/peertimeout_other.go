//go:build !linux

package edge

import (
	"net"
	"time"
)

// setPeerTimeout does nothing here. Keep-alive probes find peers that are gone; a peer
// that is there and reads nothing keeps its connection.
func setPeerTimeout(*net.TCPListener, time.Duration) error { return nil }
