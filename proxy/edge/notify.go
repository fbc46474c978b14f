package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notifier talks to the service manager (sd_notify(3)). Without one it is silent.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// NewNotifier reads NOTIFY_SOCKET and WATCHDOG_USEC, and clears them so that no
// child speaks in our name. Beside an error, which says what cannot be used, the Notifier
// is silent, or is without the watchdog: a service that cannot say how it is can serve all the same.
func NewNotifier() (*Notifier, error) {
	n, err := newNotifier(os.Getenv, os.Getpid())
	for _, v := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(v)
	}
	return n, err
}

func newNotifier(env func(string) string, pid int) (*Notifier, error) {
	n := &Notifier{socket: env("NOTIFY_SOCKET")}
	switch {
	case n.socket == "":
		return n, nil
	case strings.HasPrefix(n.socket, "@"), strings.HasPrefix(n.socket, "/"):
	default:
		return &Notifier{}, fmt.Errorf("edge: NOTIFY_SOCKET %q is neither a path nor an abstract name", n.socket)
	}
	if of := env("WATCHDOG_PID"); of != "" && of != strconv.Itoa(pid) {
		return n, nil // somebody else is watched
	}
	if usec := env("WATCHDOG_USEC"); usec != "" {
		v, err := strconv.ParseInt(usec, 10, 64)
		if err != nil || v <= 0 || v > int64(24*time.Hour/time.Microsecond) {
			return n, fmt.Errorf("edge: WATCHDOG_USEC is %q", usec)
		}
		n.watchdog = time.Duration(v) * time.Microsecond
	}
	return n, nil
}

// Ready says that the service serves.
func (n *Notifier) Ready(status string) error { return n.send("READY=1\nSTATUS=" + oneLine(status)) }

// Stopping says that it is about to end.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Status is a line for `systemctl status`.
func (n *Notifier) Status(text string) error { return n.send("STATUS=" + oneLine(text)) }

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// Watch tells the service manager twice per interval that the service lives, as
// long as healthy says so, until ctx ends. If no watchdog was asked for, it
// returns at once.
func (n *Notifier) Watch(ctx context.Context, healthy func() bool) {
	if n.watchdog == 0 {
		return
	}
	tick := time.NewTicker(n.watchdog / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if healthy() {
				n.send("WATCHDOG=1") // if nobody hears it, we will be restarted
			}
		case <-ctx.Done():
			return
		}
	}
}

func (n *Notifier) send(state string) error {
	if n.socket == "" {
		return nil
	}
	// net takes a leading "@" for the abstract name space, as systemd does.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("edge: service manager: %w", err)
	}
	_, err = c.Write([]byte(state))
	return errors.Join(err, c.Close())
}
