package h1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Config of a [Transport]. Dial and Now are required; the fields that http.Transport has
// too mean the same here.
type Config struct {
	// Dial opens a connection to the server. It must be a syscall.Conn.
	Dial func(context.Context) (net.Conn, error)
	// ResponseHeaderTimeout is how long sending the request and waiting for the header of
	// the answer may take, to within a tenth. Zero is no limit.
	ResponseHeaderTimeout time.Duration
	// MaxResponseHeaderBytes is the size of the header of one answer.
	MaxResponseHeaderBytes int64
	// MaxIdleConns is the number of unused connections that are kept, and IdleConnTimeout is
	// how long each of them is.
	MaxIdleConns    int
	IdleConnTimeout time.Duration

	Now func() time.Time
}

// Transport sends requests to one server. It is safe for concurrent use.
type Transport struct {
	c    Config
	idle idleConns
}

// New returns a Transport. It makes no connection.
func New(c Config) *Transport {
	t := &Transport{c: c}
	t.idle.c = &t.c
	return t
}

var (
	// ErrStale is a kept connection that turned out to be closed, when the request could
	// not be sent again because the server may have acted on it.
	ErrStale = errors.New("a kept connection was closed")

	// ErrIdle is the end of a body whose server was silent for longer than
	// Request.IdleTimeout.
	ErrIdle = errors.New("upstream was silent for longer than the idle timeout")

	// ErrResponseHeader is an answer whose header is larger than it may be.
	ErrResponseHeader = errors.New("response headers are too large")
	errSwitched       = errors.New("upstream switched protocols when it was not asked to")
	errEndless        = errors.New("upstream sends interim answers without end")
	errVersion        = errors.New("upstream does not answer in HTTP/1")
)

// maxInterim is how many 1xx answers one request may get.
const maxInterim = 16

// RoundTrip sends r and returns the answer when its header is here. The caller must close
// the body. The Request of the answer is nil. Its status may be below 100, since
// [http.ReadResponse] takes any three digits: the caller must refuse it.
//
// When ctx ends, so does the exchange, and the body of the answer with it.
func (t *Transport) RoundTrip(ctx context.Context, r *Request) (*http.Response, error) {
	res, err := t.attempt(ctx, r, false)
	var stale errStale
	if errors.As(err, &stale) && (stale.unsent || r.safe()) && ctx.Err() == nil {
		return t.attempt(ctx, r, true) // says nothing of the server: servers do close connections
	}
	return res, err
}

// CloseIdleConnections closes unused connections. What is in flight goes on, and its
// connections are not kept afterwards.
func (t *Transport) CloseIdleConnections() { t.idle.closeAll() }

// attempt sends r once. fresh asks for a new connection.
func (t *Transport) attempt(ctx context.Context, r *Request, fresh bool) (*http.Response, error) {
	c, err := t.connect(ctx, fresh)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, c.abort)
	res, err := c.converse(r)
	if err != nil {
		stop()
		c.abort()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	b := &body{
		inner: res.Body, t: t, conn: c, ctx: ctx, stop: stop, idle: r.IdleTimeout,
		keep: !res.Close && res.StatusCode >= 200,
	}
	c.left = noLimit
	if res.Body == http.NoBody || r.Method == http.MethodHead {
		b.finish()
		res.Body = http.NoBody
		return res, nil
	}
	res.Body = b
	return res, nil
}

// connect returns a connection to send a request on.
func (t *Transport) connect(ctx context.Context, fresh bool) (*conn, error) {
	for !fresh {
		c := t.idle.get()
		if c == nil {
			break
		}
		if c.allow(t.c.Now(), t.c.ResponseHeaderTimeout) == nil && c.fit() {
			return c, nil
		}
		c.abort()
	}
	socket, err := t.c.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newConn(socket, t.c.MaxResponseHeaderBytes)
	if err == nil {
		err = c.allow(t.c.Now(), t.c.ResponseHeaderTimeout)
	}
	if err != nil {
		socket.Close()
		return nil, err
	}
	return c, nil
}

// errStale is an ErrStale with its cause. unsent: the request had no effect, because not
// one byte of it was sent.
type errStale struct {
	error
	unsent bool
}

func (e errStale) Unwrap() []error { return []error{e.error, ErrStale} }

// errSilent is a connection that ended before the first byte of an answer.
type errSilent struct{ error }

func (e errSilent) Unwrap() error { return e.error }

// converse writes r and reads the head of the answer.
func (c *conn) converse(r *Request) (*http.Response, error) {
	if err := c.write(r); err != nil {
		if res := c.early(r, err); res != nil {
			return res, nil
		}
		return nil, err
	}
	for interim := 0; ; interim++ {
		res, err := c.receive(r)
		var silent errSilent
		switch {
		case errors.As(err, &silent) && c.used && interim == 0 && !isTimeout(err):
			return nil, errStale{silent.error, false}
		case err != nil:
			return nil, err
		case res.StatusCode >= 200 || res.StatusCode < 100: // what is below is not HTTP, and for the caller to refuse
			return res, nil
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		case interim == maxInterim:
			return nil, errEndless
		case res.StatusCode != http.StatusContinue && r.Interim != nil: // 100 was not asked for
			r.Interim(res)
		}
	}
}

// early returns the answer of a server that sent it and then hung up in the middle of r,
// nil if there is none. What came before a byte of r was sent is no answer to it.
func (c *conn) early(r *Request, failed error) *http.Response {
	if c.sent == 0 || !errors.Is(failed, syscall.EPIPE) && !errors.Is(failed, syscall.ECONNRESET) {
		return nil
	}
	res, err := c.receive(r)
	if err != nil || res.StatusCode < 200 {
		return nil
	}
	res.Close = true
	return res
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
