package edge

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestAnnounced(t *testing.T) {
	for name, c := range map[string]struct {
		env   func(string) string
		names string
		ok    bool
	}{
		"nothing":          {env(), "", true},
		"for our parent":   {env("LISTEN_PID", "8", "LISTEN_FDS", "2"), "", true},
		"no pid":           {env("LISTEN_FDS", "2"), "", true},
		"two without name": {env("LISTEN_PID", "7", "LISTEN_FDS", "2"), ",", true},
		"two with names":   {env("LISTEN_PID", "7", "LISTEN_FDS", "2", "LISTEN_FDNAMES", "data:ops"), "data,ops", true},
		"too few names":    {env("LISTEN_PID", "7", "LISTEN_FDS", "2", "LISTEN_FDNAMES", "data"), "", false},
		"too many names":   {env("LISTEN_PID", "7", "LISTEN_FDS", "1", "LISTEN_FDNAMES", "data:ops"), "", false},
		"nonsense":         {env("LISTEN_PID", "7", "LISTEN_FDS", "x"), "", false},
		"negative":         {env("LISTEN_PID", "7", "LISTEN_FDS", "-1"), "", false},
		"too many":         {env("LISTEN_PID", "7", "LISTEN_FDS", "100000"), "", false},
	} {
		n, names, err := announced(c.env, 7)
		if (err == nil) != c.ok || strings.Join(names, ",") != c.names || n != len(names) {
			t.Errorf("%s: %d %q %v", name, n, names, err)
		}
	}
}

func TestInheritedByName(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	a, b := listen(), listen()
	in := &Inherited{open: []inherited{{"ops", a}, {"data", b}}}
	if in.claim("data") != b || in.claim("data") != nil {
		t.Error("not by name, or twice")
	}
	if err := in.Unused(); err == nil || !strings.Contains(err.Error(), `"ops"`) {
		t.Errorf("got %v", err)
	}
	in.Close()
	if _, err := a.Accept(); err == nil || in.Unused() != nil {
		t.Error("not closed")
	}
	single := &Inherited{open: []inherited{{"", a}}}
	if single.claim("data") != a {
		t.Error("the only socket needs no name")
	}
	if (*Inherited)(nil).claim("data") != nil {
		t.Error("nothing was inherited")
	}
}

// A socket that connects, or one for datagrams, never accepts: accept(2) would say so when the service is ready.
func TestInheritedMustListen(t *testing.T) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	connected, err := net.DialTCP("tcp", nil, listener.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	datagrams, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	for name, c := range map[string]struct {
		socket interface{ File() (*os.File, error) }
		ok     bool
	}{"listens": {listener, true}, "connected": {connected, false}, "datagrams": {datagrams, false}} {
		f, err := c.socket.File()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := syscall.Dup(int(f.Fd())) // listening closes what it takes
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		l, err := listening(fd)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, errNotListening) {
			t.Errorf("%s: %v", name, err)
		}
		if l != nil {
			l.Close()
		} else {
			syscall.Close(fd)
		}
	}
}

func TestNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	heard := func() string {
		buf := make([]byte, 200)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	n, err := newNotifier(env("NOTIFY_SOCKET", path, "WATCHDOG_USEC", "20000", "WATCHDOG_PID", "7"), 7)
	if err != nil {
		t.Fatal(err)
	}
	n.Ready("serving\nSTOPPING=1")
	if got := heard(); got != "READY=1\nSTATUS=serving STOPPING=1" {
		t.Errorf("heard %q", got)
	}
	n.Stopping()
	if got := heard(); got != "STOPPING=1" {
		t.Errorf("heard %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	asked := 0
	go func() { n.Watch(ctx, func() bool { asked++; return asked > 3 }); close(done) }()
	if got := heard(); got != "WATCHDOG=1" {
		t.Errorf("heard %q", got)
	}
	cancel()
	<-done
	if asked < 4 {
		t.Error("spoke while unhealthy")
	}
	for name, bad := range map[string]func(string) string{
		"relative socket": env("NOTIFY_SOCKET", "notify"), "nonsense": env("NOTIFY_SOCKET", path, "WATCHDOG_USEC", "x"), "negative": env("NOTIFY_SOCKET", path, "WATCHDOG_USEC", "-1"),
	} {
		n, err := newNotifier(bad, 7)
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		if n == nil || n.watchdog != 0 {
			t.Fatalf("%s: nothing to go on with: %+v", name, n)
		}
		if name == "relative socket" && n.Ready("x") != nil {
			t.Errorf("%s: it is not silent", name)
		}
	}
	silent, err := newNotifier(env(), 7)
	if err != nil || silent.Ready("x") != nil {
		t.Error("without a service manager there is nothing to say and nothing wrong")
	}
	silent.Watch(t.Context(), nil)
	other, err := newNotifier(env("NOTIFY_SOCKET", path, "WATCHDOG_USEC", "1", "WATCHDOG_PID", "8"), 7)
	if err != nil || other.watchdog != 0 {
		t.Error("took another's watchdog")
	}
}
