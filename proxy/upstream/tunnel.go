package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
)

// tunnel is two connections that have switched protocols and are passed on to each other.
// httputil.ReverseProxy could do that too, with its handler, three goroutines and
// net/http's buffers held for as long as it lasts: most of what ten thousand idle
// WebSockets weigh.
type tunnel struct {
	client   net.Conn
	upstream io.ReadWriteCloser
	early    []byte // what the client said before it was answered
	ctx      context.Context
	place    *backend // where one is held; nil: nowhere
	log      *slog.Logger
	once     sync.Once
}

var errProtocol = errors.New("upstream switched to a protocol that was not asked for")

// switchProtocols answers with the upstream's 101, cleaned and watched over, and sees to
// it that both directions are carried until they end.
func (c *call) switchProtocols(res *http.Response) error {
	upstream, ok := res.Body.(io.ReadWriteCloser)
	if !ok || !strings.EqualFold(protocolOf(res.Header), protocolOf(c.out.Header)) {
		return errProtocol
	}
	header := c.w.Header()
	client, rw, err := c.Hijack()
	if err != nil {
		return fmt.Errorf("switching protocols: %w", err)
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	t := &tunnel{client: client, upstream: upstream, early: bytes.Clone(early), ctx: c.r.Context(), place: c.b, log: c.f.log}
	c.b = nil
	copyHeader(header, res.Header)
	res.Header, res.Body = header, nil // ReverseProxy would close it
	if err = res.Write(rw); err == nil {
		err = rw.Flush()
	}
	res.Body = http.NoBody
	switch {
	case err != nil: // the client has gone
		t.end()
	case c.fr.Detach != nil:
		c.fr.Detach(t.carry)
	default:
		t.carry()
	}
	return errServed
}

// protocolOf is what a header says to switch to, "" if it does not.
func protocolOf(h http.Header) string {
	for _, line := range h["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(option), "upgrade") {
				return h.Get("Upgrade")
			}
		}
	}
	return ""
}

// carry returns when both directions have ended.
func (t *tunnel) carry() {
	defer t.end()
	defer context.AfterFunc(t.ctx, func() { t.upstream.Close() })()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if len(t.early) > 0 {
			if _, err := t.upstream.Write(t.early); err != nil {
				t.closeBoth()
				return
			}
			t.early = nil
		}
		t.pass(t.upstream, t.client)
	}()
	t.pass(t.client, t.upstream)
	<-sent
}

// pass carries one direction. It passes the end on, so that the other direction can
// finish; a failure, or an end that cannot be passed on, ends both.
func (t *tunnel) pass(to io.Writer, from io.Reader) {
	defer func() {
		// The inspection of messages runs here, and no caller recovers from a panic.
		if cause := recover(); cause != nil {
			t.log.Error("panic on an upgraded connection", "panic", cause, "stack", string(debug.Stack()))
			t.closeBoth()
		}
	}()
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); err != nil || !ok || half.CloseWrite() != nil {
		t.closeBoth()
	}
}

func (t *tunnel) closeBoth() {
	t.once.Do(func() {
		t.upstream.Close()
		t.client.Close()
	})
}

func (t *tunnel) end() {
	t.closeBoth()
	if t.place != nil {
		t.place.release()
	}
}
