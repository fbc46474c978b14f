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

// Notifier reports to the service manager (sd_notify(3)). Without a service manager it
// does nothing.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// NewNotifier reads NOTIFY_SOCKET and WATCHDOG_USEC, and clears them so that no child
// process reports in our name. With an error, which names what is unusable, the Notifier
// does nothing, or has no watchdog: the service can run without it.
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
		return n, nil // another process is watched
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

// Ready reports that the service is ready.
func (n *Notifier) Ready(status string) error { return n.send("READY=1\nSTATUS=" + oneLine(status)) }

// Stopping reports that the service stops.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Status is a line for `systemctl status`.
func (n *Notifier) Status(text string) error { return n.send("STATUS=" + oneLine(text)) }

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// Watch reports to the service manager twice per interval, as long as healthy returns
// true, until ctx ends. If no watchdog is configured, it returns at once.
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
				n.send("WATCHDOG=1") // if this fails, the service manager restarts us
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
	// net reads a leading "@" as the abstract name space, as systemd does.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("edge: service manager: %w", err)
	}
	_, err = c.Write([]byte(state))
	return errors.Join(err, c.Close())
}
