package upstream

import (
	"bufio"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
)

// DefaultMaxHeaderBytes is the size of request headers beyond which the answer
// is 431. http.Server.MaxHeaderBytes should be the same: it bounds what is read
// at all, with some slack.
const DefaultMaxHeaderBytes = 64 << 10

// Config of a [Forwarder]. The zero Config works, and has no cookies of its own.
type Config struct {
	// Cookies are the names of all cookies that Sallyport itself sets.
	Cookies []string
	// StripHeaders are further request headers to remove, in all spellings:
	// those by which a tool recognised its users before.
	StripHeaders []string
	// MaxHeaderBytes is the size of all request headers; zero is [DefaultMaxHeaderBytes].
	MaxHeaderBytes int
	// OnError answers a request that could not be forwarded; nothing has been
	// written yet. err is for the log, not for the client. nil is a plain text page.
	OnError func(w http.ResponseWriter, r *http.Request, status int, err error)
	Logger  *slog.Logger

	// Transport, if set, returns what carries the requests of a route: the place
	// for balancing, retries and other protocols. It may change the URL's host.
	// nil is a pool of connections for each set of timeouts.
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
}

// Forwarder sends requests to upstreams. It is safe for concurrent use, keeps
// connections over changes of the route table, and should live as long as the process.
type Forwarder struct {
	own        ownCookies
	stripper   stripper
	maxHeader  int
	onError    func(http.ResponseWriter, *http.Request, int, error)
	onResponse func(*ForwardRequest, *http.Response) error
	transport  func(*Route) http.RoundTripper
	transports transports
	log        *slog.Logger
	calls      sync.Pool // of *call
}

// NewForwarder returns a Forwarder. It makes no connection.
func NewForwarder(c Config) *Forwarder {
	f := &Forwarder{
		own:        newOwnCookies(c.Cookies),
		stripper:   newStripper(c.StripHeaders),
		maxHeader:  c.MaxHeaderBytes,
		onError:    c.OnError,
		onResponse: c.OnResponse,
		transport:  c.Transport,
		log:        c.Logger,
	}
	if f.maxHeader <= 0 {
		f.maxHeader = DefaultMaxHeaderBytes
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.onError == nil {
		f.onError = plainError
	}
	if f.transport == nil {
		f.transport = f.transports.forRoute
	}
	errorLog := slog.NewLogLogger(f.log.Handler(), slog.LevelWarn)
	f.calls.New = func() any { return newCall(f, errorLog) }
	return f
}

// Close closes idle upstream connections. Requests in flight go on.
func (f *Forwarder) Close() { f.transports.closeIdle() }

// Forward sends r to fr.Route and its answer to w. The caller has judged r and
// decided to let it through.
//
// When r's context ends, so does the exchange, and with it an upgraded
// connection or stream: that is how a caller cuts one.
func (f *Forwarder) Forward(w http.ResponseWriter, r *http.Request, fr *ForwardRequest) {
	switch {
	case reserved(fr.Target.Path): // The gate serves these; an upstream must not be able to imitate it.
		f.onError(w, r, http.StatusNotFound, errReserved)
		return
	case headerSize(r) > f.maxHeader:
		f.onError(w, r, http.StatusRequestHeaderFieldsTooLarge, errHeaderTooLarge)
		return
	case fr.Route.maxBody >= 0 && r.ContentLength > fr.Route.maxBody:
		f.onError(w, r, http.StatusRequestEntityTooLarge, errBodyTooLarge)
		return
	}
	c := f.calls.Get().(*call)
	c.w, c.r, c.fr, c.hijacked = w, r, fr, false
	c.to = fr.Route.Pick()
	c.proxy.Transport = f.transport(fr.Route)
	// Not deferred: a call that panics (an aborted answer) is left to the
	// collector, since something may still hold it.
	c.proxy.ServeHTTP(c, r)
	c.w, c.r, c.fr, c.to = nil, nil, nil, nil
	f.calls.Put(c)
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
	fr       *ForwardRequest
	to       *url.URL
	hijacked bool
}

func newCall(f *Forwarder, errorLog *log.Logger) *call {
	c := &call{f: f}
	c.proxy = httputil.ReverseProxy{
		Rewrite:        c.rewrite,
		ModifyResponse: c.modifyResponse,
		ErrorHandler:   c.fail,
		ErrorLog:       errorLog,
		BufferPool:     bufferPool{},
	}
	return c
}

// rewrite makes the outbound request. ReverseProxy has already removed
// hop-by-hop headers, including those the client named in Connection; what is
// set here therefore stays.
func (c *call) rewrite(pr *httputil.ProxyRequest) {
	out, fr, route := pr.Out, c.fr, c.fr.Route
	out.URL.Scheme, out.URL.Host = c.to.Scheme, c.to.Host
	out.URL.Path, out.URL.RawPath = fr.Target.Path, fr.Target.RawPath
	out.URL.RawQuery, out.URL.ForceQuery = fr.Target.RawQuery, false
	out.URL.Opaque, out.URL.User, out.URL.Fragment, out.URL.RawFragment = "", nil, "", ""
	if out.Host = route.host; out.Host == "" {
		out.Host = fr.Target.Host
	}
	out.Trailer = nil // headers that come after everything was judged

	if up := out.Header["Upgrade"]; len(up) > 0 && !route.mayUpgrade(up[0]) {
		delete(out.Header, "Upgrade")
		delete(out.Header, "Connection")
	}
	c.f.stripper.strip(out.Header)
	c.f.own.stripRequest(out.Header)
	setOurs(out.Header, fr)

	if out.Body != nil {
		out.Body = &requestBody{ReadCloser: out.Body, left: route.maxBody}
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

// modifyResponse cleans the answer and watches over its body.
func (c *call) modifyResponse(res *http.Response) error {
	c.f.own.stripResponse(res.Header)
	delete(res.Header, "Alt-Svc")
	if c.f.onResponse != nil {
		if err := c.f.onResponse(c.fr, res); err != nil {
			return err
		}
	}
	watch(c.r.Context(), res, c.fr.Route.timeouts.Idle)
	return nil
}

// call is the ResponseWriter that ReverseProxy writes to.

func (c *call) Header() http.Header         { return c.w.Header() }
func (c *call) Write(b []byte) (int, error) { return c.w.Write(b) }
func (c *call) Unwrap() http.ResponseWriter { return c.w }

// WriteHeader also sees informational answers (103), which ReverseProxy sends
// without asking modifyResponse.
func (c *call) WriteHeader(status int) {
	if status >= 100 && status < 200 {
		delete(c.w.Header(), "Set-Cookie")
		delete(c.w.Header(), "Alt-Svc")
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
