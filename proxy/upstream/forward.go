package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/proxy/upstream/h1"
)

// Config of a [Forwarder]. MaxRequestHeader is required.
type Config struct {
	// Cookies are the names of all cookies that Sallyport itself sets; one that ends in
	// "*" stands for all that begin so.
	Cookies []string
	// StripHeaders are further request headers to remove, in all spellings:
	// those by which a tool recognised its users before.
	StripHeaders []string
	// MaxRequestHeader is the size of all request headers in bytes; more is 431.
	// http.Server.MaxHeaderBytes should be the same: it bounds what is read at all, with
	// some slack.
	MaxRequestHeader int
	// OnError answers a request that could not be forwarded; nothing has been
	// written yet. err is for the log, not for the client. nil is a plain text page.
	OnError func(w http.ResponseWriter, r *http.Request, status int, err error)
	// OnLimit hears of each exchange that a limit refused or ended; it may be nil. It is
	// called before OnError, and, when the answer has begun, on any
	// goroutine.
	OnLimit func(*Limit)
	Logger  *slog.Logger

	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Transport, if set, returns what carries the requests of a route in place of
	// the connections to its upstreams. The upstream that was picked is in the URL;
	// it may change it.
	Transport func(*Route) http.RoundTripper
	// OnResponse, if set, sees each answer after its headers were cleaned and
	// before any of it is sent. It may replace the body; that of a 101 answer is
	// an io.ReadWriteCloser and must remain one. An error becomes a 502.
	OnResponse func(*ForwardRequest, *http.Response) error
}

// ForwardRequest is everything that is forwarded besides the request itself.
type ForwardRequest struct {
	Route      *Route
	Target     Target
	Identity   Identity
	ClientAddr netip.Addr
	// Destination, if not empty, is the RawPath of what [Table.Destination] returned.
	Destination string
	// AllowedOrigin, if not empty, is the Origin of the request, which the route allows:
	// its page may read the answer.
	AllowedOrigin string
	// RootWorker lets the tool widen the scope of its service workers with
	// Service-Worker-Allowed, up to the route and not beyond it. Otherwise the header is
	// removed.
	RootWorker bool

	// Detach, if set, is called when the connection (HTTP/1.1) has switched protocols and
	// the client has its answer. Forward then returns; serve, which must be called once
	// and on any goroutine, returns when the connection has ended. A handler that returns
	// meanwhile leaves net/http's memory behind, and must see to it that the request's
	// context does not end with it.
	Detach func(serve func())
}

// Forwarder sends requests to upstreams. It is safe for concurrent use, keeps
// connections over changes of the route table, and should live as long as the process.
type Forwarder struct {
	own              ownCookies
	stripper         stripper
	maxRequestHeader int
	onError          func(http.ResponseWriter, *http.Request, int, error)
	onLimit          func(*Limit)
	onResponse       func(*ForwardRequest, *http.Response) error
	transport        func(*Route) http.RoundTripper // nil: the upstreams' own
	backends         backends
	now              func() time.Time
	log              *slog.Logger
	calls            sync.Pool // of *call
}

// NewForwarder returns a Forwarder. It makes no connection.
func NewForwarder(c Config) (*Forwarder, error) {
	if c.MaxRequestHeader <= 0 {
		return nil, fmt.Errorf("upstream: MaxRequestHeader is %d, and must be positive", c.MaxRequestHeader)
	}
	f := &Forwarder{
		own:              newOwnCookies(c.Cookies),
		stripper:         newStripper(c.StripHeaders),
		maxRequestHeader: c.MaxRequestHeader,
		onError:          c.OnError,
		onLimit:          c.OnLimit,
		onResponse:       c.OnResponse,
		transport:        c.Transport,
		backends:         backends{byKey: make(map[backendKey]*backend), changed: make(chan struct{}, 1)},
		now:              c.Now,
		log:              c.Logger,
	}
	if f.now == nil {
		f.now = time.Now
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.onError == nil {
		f.onError = plainError
	}
	if f.onLimit == nil {
		f.onLimit = func(*Limit) {}
	}
	errorLog := slog.NewLogLogger(f.log.Handler(), slog.LevelWarn)
	f.calls.New = func() any { return newCall(f, errorLog) }
	return f, nil
}

// Forward sends r to fr.Route and its answer to w. The caller has judged r and
// decided to let it through.
//
// When r's context ends, so does the exchange, and with it an upgraded
// connection or stream: that is how a caller cuts one.
func (f *Forwarder) Forward(w http.ResponseWriter, r *http.Request, fr *ForwardRequest) {
	switch {
	case Reserved(fr.Target.Path): // The gate serves these; an upstream must not be able to imitate it.
		f.refuse(w, r, fr, http.StatusNotFound, errReserved)
		return
	case fr.toFolder(w, r):
		return
	case headerSize(r) > f.maxRequestHeader:
		f.refuse(w, r, fr, http.StatusRequestHeaderFieldsTooLarge, ErrHeaderTooLarge)
		return
	case fr.Route.maxBody >= 0 && r.ContentLength > fr.Route.maxBody:
		f.refuse(w, r, fr, http.StatusRequestEntityTooLarge, errBodyTooLarge)
		return
	}
	c := f.calls.Get().(*call)
	c.w, c.r, c.ctx, c.fr = w, r, r.Context(), fr
	c.pool = f.poolOf(fr.Route)
	c.deadline = f.deadlineOf(r)
	defer c.finish()
	if total := fr.Route.timeouts.Total; total > 0 {
		r = c.limit(r, total)
	}
	if c.goesShort(r) {
		c.serveShort(r)
	} else {
		c.serveProxied(r)
	}
	c.returned = true
}

// finish also runs when an aborted answer panics. A call that panicked is left to the
// garbage collector, since a reference to it may remain.
func (c *call) finish() {
	c.release()
	if c.duplex && !c.hijacked && c.outBody != nil && !c.outBody.ended.Load() {
		c.outBody.end(http.NewResponseController(c.w))
	}
	if c.timer != nil {
		c.timer.Stop()
		c.cancel(nil)
	}
	if c.returned {
		lines := c.short.Header
		clear(lines) // nothing of this one may show up in the next one
		*c = call{f: c.f, proxy: c.proxy, short: h1.Request{Header: lines[:0], Interim: c.short.Interim}}
		c.f.calls.Put(c)
	}
}

// serveProxied is the long way, through httputil.ReverseProxy.
func (c *call) serveProxied(r *http.Request) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 && len(r.Header["Upgrade"]) > 0 && c.fr.Route.mayUpgrade(r.Header["Upgrade"][0]) {
		var err error
		if r, err = readAhead(r); err != nil {
			c.w.Header().Set("Connection", "close") // or net/http reads the rest before it answers
			c.fail(c, r, err)
			return
		}
	} else if r.ProtoMajor == 1 && r.ContentLength != 0 {
		// Otherwise net/http reads the rest of the body away from under us when
		// the upstream answers before it has everything.
		c.duplex = http.NewResponseController(c.w).EnableFullDuplex() == nil
	}
	c.proxy.ServeHTTP(c, r)
}

// readAhead returns r with its body in memory. net/http gives up a connection that
// switches protocols; a transport that still reads the request from it would share its
// buffer with the new owner.
func readAhead(r *http.Request) (*http.Request, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxShortBody+1))
	switch {
	case err != nil:
		return r, errors.Join(errClientBody, err)
	case len(body) > maxShortBody:
		return r, errUpgradeBody
	}
	ahead := r.WithContext(r.Context())
	ahead.Body, ahead.ContentLength, ahead.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	if len(body) == 0 {
		ahead.Body = http.NoBody
	}
	return ahead, nil
}

// closeIfUnread ends the client's connection with this answer if it is still sending its
// request. Without this, net/http would look for the end of the body after the answer,
// find it, and go on reading the next request in the background. The reader of that
// request then panics where no code recovers (full duplex only).
func (c *call) closeIfUnread() {
	if c.duplex && (c.outBody == nil || !c.outBody.ended.Load()) {
		c.w.Header().Set("Connection", "close")
	}
}

func headerSize(r *http.Request) int {
	n := len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + 4
		}
	}
	return n
}

// call is one exchange. It carries a ReverseProxy whose hooks are bound once,
// so that passing per-request values to them costs nothing.
type call struct {
	f     *Forwarder
	proxy httputil.ReverseProxy

	w        http.ResponseWriter
	r        *http.Request
	ctx      context.Context // r's, or the one with the time limit
	fr       *ForwardRequest
	pool     *pool
	b        *backend // where a place is held
	last     *backend // where it was last tried
	hijacked bool
	returned bool      // Forward did not panic
	deadline time.Time // of a gRPC call; zero: none

	timer   *time.Timer // the limit on the whole exchange
	cancel  context.CancelCauseFunc
	expired *atomic.Bool // not part of call: the timer may outlive it

	// The long way.
	out     *http.Request
	outBody *requestBody
	duplex  bool // HTTP/1.1: the answer may begin before the request has ended
	// The short way. The body is one of buffers, and the lines of the header are used again.
	short h1.Request
}

func newCall(f *Forwarder, errorLog *log.Logger) *call {
	c := &call{f: f}
	c.short.Interim = c.interim
	c.proxy = httputil.ReverseProxy{
		Transport:      roundTripper{c},
		Rewrite:        c.rewrite,
		ModifyResponse: c.modifyResponse,
		ErrorHandler:   c.fail,
		ErrorLog:       errorLog,
		BufferPool:     bufferPool{},
	}
	return c
}

// release gives up the place at the upstream.
func (c *call) release() {
	if c.b != nil {
		c.b.release()
		c.b = nil
	}
}

// limit bounds the whole exchange. A connection that changes protocols has no end
// to wait for: modifyResponse lets it off.
func (c *call) limit(r *http.Request, d time.Duration) *http.Request {
	c.ctx, c.cancel = context.WithCancelCause(c.ctx)
	cancel, expired := c.cancel, new(atomic.Bool)
	c.expired = expired
	f, fr := c.f, c.fr
	c.timer = time.AfterFunc(d, func() {
		expired.Store(true)
		f.exceeded(fr, "total_timeout", 0) // here, because half an answer may have gone out
		cancel(errTotal)
	})
	return r.WithContext(c.ctx)
}

// at names the upstream for the log.
func (c *call) at() string {
	if c.last == nil {
		return ""
	}
	return c.last.name
}

// rewrite makes the outbound request. ReverseProxy has already removed
// hop-by-hop headers, including those the client named in Connection; what is
// set here therefore stays.
func (c *call) rewrite(pr *httputil.ProxyRequest) {
	out, fr, route := pr.Out, c.fr, c.fr.Route
	out.URL.Path, out.URL.RawPath = fr.sent()
	out.URL.RawQuery, out.URL.ForceQuery = fr.Target.RawQuery, false
	out.URL.Opaque, out.URL.User, out.URL.Fragment, out.URL.RawFragment = "", nil, "", ""
	if out.Host = route.host; out.Host == "" {
		out.Host = fr.Target.Host
	}
	out.Trailer = nil // headers that come after everything was judged
	out.Close = signsInConnection(out.Header)

	if up := out.Header["Upgrade"]; len(up) > 0 && !route.mayUpgrade(up[0]) {
		delete(out.Header, "Upgrade")
		delete(out.Header, "Connection")
	}
	c.f.stripper.strip(out.Header)
	c.f.own.stripRequest(out.Header)
	setOurs(out.Header, fr)
	hideIdempotencyKey(out.Header)

	if out.Body != nil {
		c.outBody = &requestBody{ReadCloser: out.Body, left: route.maxBody}
		switch {
		case c.r.ProtoMajor == 2:
			c.outBody.inbound = c.r.Body
		case c.duplex:
			c.outBody.conn = http.NewResponseController(c.w)
		}
		out.Body = c.outBody
	}
}

func (r *Route) mayUpgrade(protocol string) bool {
	for _, u := range r.upgrades {
		if strings.EqualFold(u, protocol) {
			return true
		}
	}
	return false
}

// signsInConnection reports whether a request has credentials of a scheme that signs in
// the connection and not the request: NTLM, and Negotiate at servers such as IIS (RFC
// 4559 section 6). Such a server takes every later request on that connection for the
// same person's. So the connection must not be shared: it is closed after the answer.
// Kerberos works with that, because each request has its one token; NTLM takes two
// requests on one connection, and fails.
func signsInConnection(h http.Header) bool {
	for _, v := range h["Authorization"] {
		v = strings.TrimLeft(v, " \t")
		for _, scheme := range [...]string{"NTLM", "Negotiate", "Kerberos"} {
			if len(v) >= len(scheme) && strings.EqualFold(v[:len(scheme)], scheme) { // with any white space after it
				return true
			}
		}
	}
	return false
}

// hideIdempotencyKey keeps net/http from sending a POST twice because the client
// says that it may: it knows the names in canonical spelling only.
func hideIdempotencyKey(h http.Header) {
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = v
		}
	}
}

// modifyResponse cleans the answer and watches over its body.
func (c *call) modifyResponse(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols && c.timer != nil {
		c.timer.Stop()
	}
	if err := c.cleanResponse(res); err != nil {
		return err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		c.watch(c.r.Context(), res) // without the limit on the whole exchange
		if s := socketOf(c.r); s != nil {
			return s.serve(c, res)
		}
		return c.switchProtocols(res)
	}
	if res.StatusCode < 300 && socketOf(c.r) != nil {
		return errors.New("upstream did not accept the WebSocket") // to the client, any success is one
	}
	c.watch(c.ctx, res)
	c.tellCall(res)
	return nil
}

// answerable reports whether a status can be the last of an answer. net/http reads "000"
// and, from HTTP/2, numbers of any length; its servers panic when they write these, and
// the person would see a broken connection.
func answerable(status int) bool {
	return status >= 200 && status <= 999 || status == http.StatusSwitchingProtocols
}

func (c *call) cleanResponse(res *http.Response) error {
	if !answerable(res.StatusCode) {
		return fmt.Errorf("upstream answered with the status %d, which HTTP does not have", res.StatusCode)
	}
	if res.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
		return ErrHeadersRefused // Node.js sends it without a body
	}
	c.cleanHeader(res)
	if _, ok := res.Header["Content-Type"]; !ok {
		c.w.Header()["Content-Type"] = nil // or net/http would guess one
	}
	withhold(res.Trailer) // what was announced
	if len(res.Trailer) > 0 && c.r.ProtoMajor == 1 {
		delete(res.Header, "Content-Length") // HTTP/1.1 has trailers after chunks only
	}
	if c.f.onResponse != nil {
		return c.f.onResponse(c.fr, res)
	}
	return nil
}

// call is the ResponseWriter that ReverseProxy writes to.

func (c *call) Header() http.Header         { return c.w.Header() }
func (c *call) Write(b []byte) (int, error) { return c.w.Write(b) }
func (c *call) Unwrap() http.ResponseWriter { return c.w }

// WriteHeader also sees informational answers (103), which ReverseProxy sends
// without asking modifyResponse.
func (c *call) WriteHeader(status int) {
	if status == http.StatusContinue {
		// The server sends this one itself when the transport reads the body, which is
		// when the upstream has asked for it: a second one here could cross with it.
		return
	}
	if status >= 100 && status < 200 {
		if !c.r.ProtoAtLeast(1, 1) {
			return // a client of HTTP/1.0 takes it for the answer
		}
		delete(c.w.Header(), "Set-Cookie")
		withhold(c.w.Header())
	} else {
		c.closeIfUnread()
	}
	c.w.WriteHeader(status)
}

func (c *call) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(c.w).Hijack()
	c.hijacked = err == nil
	return conn, rw, err
}

// bufferPool lends the buffers that bodies are copied through.
type bufferPool struct{}

const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func (bufferPool) Get() []byte  { return buffers.Get().(*[bufferSize]byte)[:] }
func (bufferPool) Put(b []byte) { buffers.Put((*[bufferSize]byte)(b)) }
