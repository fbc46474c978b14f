package edge

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// A peer that shuts its window for ever loses its connection, hijacked or not.
// The kernel does it; what is tested is that accepted sockets were told.
func TestAttackPeerTimeout(t *testing.T) {
	l, err := Listen(t.Context(), ListenConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if ms, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, 18); err != nil || ms != int(peerTimeout/time.Millisecond) {
			t.Errorf("%d ms, %v", ms, err)
		}
	})
}
