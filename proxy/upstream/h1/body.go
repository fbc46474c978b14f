package h1

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

// body is the body of an answer. Its end gives the connection back; every other way to
// stop closes it. Close may be called at any time, on any goroutine.
type body struct {
	inner io.ReadCloser
	t     *Transport
	conn  *conn
	ctx   context.Context
	stop  func() bool // the watch over ctx
	idle  time.Duration
	keep  bool // the connection outlives the answer
	done  bool // read to the end: the connection may be another request's by now
	once  sync.Once
}

func (b *body) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if err := b.conn.allow(b.t.c.Now(), b.idle); err != nil {
		return 0, b.explain(err)
	}
	n, err := b.inner.Read(p)
	switch {
	case err == io.EOF:
		b.done = true
		b.once.Do(b.finish)
	case err != nil:
		err = b.explain(err)
		b.Close()
	}
	return n, err
}

func (b *body) explain(err error) error {
	switch {
	case b.ctx.Err() != nil:
		return context.Canceled
	case isTimeout(err):
		return ErrIdle
	}
	return err
}

// finish returns the connection, unless ctx has ended and may be closing it.
func (b *body) finish() {
	if !b.stop() || !b.keep || b.conn.br.Buffered() > 0 {
		b.conn.abort()
		return
	}
	b.t.idle.put(b.conn)
}

func (b *body) Close() error {
	b.once.Do(func() {
		b.stop()
		b.conn.abort()
	})
	return nil
}

// Arrived reports whether a chunked body of an answer of this package is in memory to its
// end, so that what is read of it next need not be flushed by itself. It guesses from the
// last bytes, and may be wrong both ways.
func Arrived(of io.Reader) bool {
	b, ok := of.(*body)
	if !ok {
		return false
	}
	unread, _ := b.conn.br.Peek(b.conn.br.Buffered())
	return bytes.HasSuffix(unread, []byte("\r\n0\r\n\r\n"))
}
