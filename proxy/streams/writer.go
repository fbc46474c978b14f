package streams

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
)

// Writer returns the ResponseWriter to forward with in place of w. It is how the stream
// reaches a connection that is hijacked, and a client that does not read.
func (s *Stream) Writer(w http.ResponseWriter) http.ResponseWriter {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = writer{w, s}
	return &s.w
}

type writer struct {
	http.ResponseWriter
	s *Stream
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	if status >= 200 {
		w.s.wrote.Store(true)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.s.wrote.Store(true)
	return w.ResponseWriter.Write(p)
}

// Hijack returns a connection that the stream can end. The answer's head has to be
// written to it too, or to the bufio.Writer.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if c := w.s.order.Load(); c != nil {
		return nil, nil, c // while the client can still get an answer
	}
	raw, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.s.wrote.Store(true)
	// Data that the client sent ahead of the answer is the beginning of its stream.
	early, _ := brw.Reader.Peek(brw.Reader.Buffered())
	c := newConn(w.s, raw, bytes.Clone(early))
	if err := w.s.attach(c); err != nil {
		raw.Close()
		return nil, nil, fmt.Errorf("hijack: %w", err)
	}
	// net/http's ResponseWriter holds buffers, and this one may live for long. An order
	// looks at it too.
	header := hijacked(w.Header())
	w.s.mu.Lock()
	w.ResponseWriter = header
	w.s.mu.Unlock()
	return c, bufio.NewReadWriter(bufio.NewReaderSize(c, 16), bufio.NewWriterSize(c, 1024)), nil
}

// hijacked is the rest of a ResponseWriter: its header.
type hijacked http.Header

func (h hijacked) Header() http.Header       { return http.Header(h) }
func (h hijacked) WriteHeader(int)           {}
func (h hijacked) Write([]byte) (int, error) { return 0, http.ErrHijacked }
