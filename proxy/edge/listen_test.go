package edge

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// What cannot be listened on says what to do, beside the system's words.
func TestWhyNot(t *testing.T) {
	fails := func(address string, errno syscall.Errno) error {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return &net.OpError{Op: "listen", Net: "tcp", Addr: a, Err: os.NewSyscallError("socket", errno)}
	}
	for name, c := range map[string]struct {
		err  error
		want string // "": nothing is added
	}{
		"no IPv6":               {fails("[::]:80", syscall.EAFNOSUPPORT), "listen on an IPv4 address"},
		"no IPv6 on loopback":   {fails("[::1]:80", syscall.EADDRNOTAVAIL), "switch IPv6 on"},
		"another machine's":     {fails("192.0.2.1:80", syscall.EADDRNOTAVAIL), "listen on another one"},
		"in use":                {fails("127.0.0.1:80", syscall.EADDRINUSE), ""},
		"an error of no socket": {context.Canceled, ""},
	} {
		got := whyNot(c.err).Error()
		if !strings.HasPrefix(got, c.err.Error()) || !strings.Contains(got, c.want) || (c.want == "") != (got == c.err.Error()) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
