package edge

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
)

// The protocol is read here, not by coreos/go-systemd: that library makes an *os.File of
// each number it was told, whose finalizer closes the descriptor, whether or not it is a
// socket, and takes names that do not match in number.

// Inherited are sockets that the service manager opened and passed to this process
// (sd_listen_fds(3)). They outlive this process, and so does their queue of connections:
// a successor continues where this process stops.
type Inherited struct {
	mu   sync.Mutex
	open []inherited
}

type inherited struct {
	name string
	net.Listener
}

const (
	firstFD      = 3
	maxInherited = 64
)

var errNotListening = errors.New("is not a stream socket that listens: " +
	"check Accept=no and ListenStream= of the socket unit")

// InheritListeners takes the sockets that are passed to this process, if any, and clears
// the variables that announce them, so that no child takes them too.
//
// It must run before the process opens files of its own. If an announced socket is
// missing, a file could have its number, and would be closed here.
func InheritListeners() (*Inherited, error) {
	n, names, err := announced(os.Getenv, os.Getpid())
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(v)
	}
	if err != nil {
		return nil, err
	}
	in := &Inherited{}
	for i := range n {
		fd := firstFD + i
		closeOnExec(fd)
		l, err := listening(fd)
		if err != nil {
			in.Close()
			return nil, fmt.Errorf("edge: inherited socket %q (descriptor %d of LISTEN_FDS): %w", names[i], fd, err)
		}
		in.open = append(in.open, inherited{names[i], l})
	}
	return in, nil
}

// listening makes a listener of a descriptor, and closes the descriptor.
func listening(fd int) (net.Listener, error) {
	if !accepts(fd) {
		return nil, errNotListening // not closed: it may be a file of this process
	}
	f := os.NewFile(uintptr(fd), "inherited")
	defer f.Close() // FileListener has its own
	return net.FileListener(f)
}

// announced reads the protocol of sd_listen_fds(3).
func announced(env func(string) string, pid int) (int, []string, error) {
	if env("LISTEN_PID") == "" || env("LISTEN_FDS") == "" {
		return 0, nil, nil
	}
	if env("LISTEN_PID") != strconv.Itoa(pid) {
		return 0, nil, nil // meant for our parent
	}
	n, err := strconv.Atoi(env("LISTEN_FDS"))
	if err != nil || n < 0 || n > maxInherited {
		return 0, nil, fmt.Errorf("edge: LISTEN_FDS is %q", env("LISTEN_FDS"))
	}
	names := make([]string, n)
	given := env("LISTEN_FDNAMES")
	if given != "" {
		copy(names, strings.Split(given, ":"))
		if strings.Count(given, ":")+1 != n {
			return 0, nil, fmt.Errorf("edge: LISTEN_FDNAMES %q does not name %d sockets", given, n)
		}
	}
	return n, names, nil
}

// claim removes and returns the socket of that name, or the only one if it has no name.
func (in *Inherited) claim(name string) net.Listener {
	if in == nil {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for i, l := range in.open {
		if l.name == name || len(in.open) == 1 && (l.name == "" || l.name == "unknown") {
			in.open = append(in.open[:i:i], in.open[i+1:]...)
			return l.Listener
		}
	}
	return nil
}

// Unused returns an error that names the sockets that have no listener. Clients can
// connect to them, and would wait forever.
func (in *Inherited) Unused() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	var errs []error
	for _, l := range in.open {
		errs = append(errs, fmt.Errorf("edge: inherited socket %q (%s) is for no listener", l.name, l.Addr()))
	}
	return errors.Join(errs...)
}

// Close closes the sockets that have no listener.
func (in *Inherited) Close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, l := range in.open {
		l.Close()
	}
	in.open = nil
}
