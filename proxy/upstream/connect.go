package upstream

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
)

// WebSockets turns a WebSocket over HTTP/2 (extended CONNECT, RFC 8441) into a GET with
// an Upgrade header for all handlers behind it, so that it is judged by the same rules
// and matched to the same routes. Put it in front of everything that reads the request;
// the request that it passes on must reach Forward with its context.
//
// Go's server speaks RFC 8441 only if the process was started with
// GODEBUG=http2xconnect=1 in its environment (a //go:debug line is not enough, as of Go
// 1.26). Without it browsers use HTTP/1.1 for WebSockets, which always works.
func WebSockets(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol, ok := r.Header[":protocol"]
		if r.ProtoMajor != 2 || r.Method != http.MethodConnect || !ok {
			delete(r.Header, ":protocol") // net/http lets no client set it; nor do we
			next.ServeHTTP(w, r)
			return
		}
		if len(protocol) != 1 || !strings.EqualFold(protocol[0], "websocket") {
			http.Error(w, http.StatusText(http.StatusNotImplemented), http.StatusNotImplemented) // RFC 8441 section 5
			return
		}
		s := &h2Socket{body: r.Body, key: webSocketKey()}
		up := r.WithContext(context.WithValue(r.Context(), h2SocketKey{}, s))
		up.Method, up.Body, up.ContentLength = http.MethodGet, http.NoBody, 0
		up.Header = r.Header.Clone()
		delete(up.Header, ":protocol")
		delete(up.Header, "Content-Length")
		up.Header["Connection"], up.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
		up.Header["Sec-Websocket-Key"] = []string{s.key}
		next.ServeHTTP(w, up)
	})
}

// h2Socket is the client's half of a WebSocket over HTTP/2.
type h2Socket struct {
	body io.ReadCloser // what the client sends
	key  string
}

type h2SocketKey struct{}

func socketOf(r *http.Request) *h2Socket {
	s, _ := r.Context().Value(h2SocketKey{}).(*h2Socket)
	return s
}

func webSocketKey() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.StdEncoding.EncodeToString(b[:])
}

// accept is the only answer to a key: RFC 6455 section 4.2.2. HTTP/2 has no place
// for it, so it is we who have to look.
func (s *h2Socket) accept() string {
	sum := sha1.Sum([]byte(s.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// errServed tells fail that the answer was given: ReverseProxy cannot give one to
// a connection that it cannot have to itself.
var errServed = errors.New("the connection was served")

// serve answers 200 and carries both directions until one of them ends. res is the
// upstream's 101, cleaned and watched over.
func (s *h2Socket) serve(c *call, res *http.Response) error {
	backend, ok := res.Body.(io.ReadWriteCloser)
	if !ok || !strings.EqualFold(res.Header.Get("Upgrade"), "websocket") || res.Header.Get("Sec-Websocket-Accept") != s.accept() {
		return errors.New("upstream did not accept the WebSocket")
	}
	defer context.AfterFunc(c.ctx, func() { backend.Close() })()
	removeHopByHop(res.Header)
	delete(res.Header, "Sec-Websocket-Accept")
	copyHeader(c.w.Header(), res.Header)
	c.w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(c.w)
	if err := rc.Flush(); err != nil {
		return errServed
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if _, err := io.Copy(backend, s.body); err != nil {
			backend.Close() // the client reset the stream
		} else if half, ok := backend.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
			backend.Close()
		}
	}()
	_, err := io.Copy(flusher{c.w, rc}, backend)
	backend.Close()
	s.body.Close()
	<-sent
	if err != nil {
		c.abort() // not an end that the upstream meant
	}
	return errServed
}

// flusher sends what it is given at once.
type flusher struct {
	io.Writer
	rc *http.ResponseController
}

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}
