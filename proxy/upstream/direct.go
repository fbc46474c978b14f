package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// The short way. Most requests are small ones to an HTTP/1.1 upstream in clear
// text, and most of what a proxy spends on them is net/http's hand-over between
// goroutines and the copying of headers between maps. Those requests are written
// and answered here by the goroutine that has them, with net/http's own parser for
// the answer. Everything with a subtlety in it (upgrades, expectations, credentials for a
// connection, bodies of unknown length or size, TLS, HTTP/2) goes through httputil.ReverseProxy.

// maxDirectBody is the largest body that goes the short way. It is read before the
// request is sent, so that a client that trickles it in occupies no upstream.
const maxDirectBody = 32 << 10

// goesDirect reports whether r may take the short way.
func (c *call) goesDirect(r *http.Request) bool {
	return c.pool.direct && r.ContentLength >= 0 && r.ContentLength <= maxDirectBody && len(r.TransferEncoding) == 0 &&
		len(r.Header["Upgrade"]) == 0 && len(r.Header["Expect"]) == 0 && !signsInConnection(r.Header)
}

// headerLine is one line of the request as it will be sent.
type headerLine struct{ name, value string }

// serveDirect is what ReverseProxy.ServeHTTP is for other requests.
func (c *call) serveDirect(r *http.Request) {
	if err := c.prepare(r); err != nil {
		c.fail(c, r, err)
		return
	}
	res, err := c.exchange(c.ctx)
	c.returnBody()
	if err != nil {
		c.fail(c, r, err)
		return
	}
	removeHopByHop(res.Header)
	if err := c.cleanResponse(res); err != nil {
		res.Body.Close()
		c.fail(c, r, err)
		return
	}
	c.answer(res)
}

// prepare collects the lines of the request header and reads its body.
func (c *call) prepare(r *http.Request) error {
	c.collect(r.Header)
	if r.ContentLength == 0 {
		return nil
	}
	c.buf = buffers.Get().(*[bufferSize]byte)
	c.body = c.buf[:r.ContentLength]
	if _, err := io.ReadFull(r.Body, c.body); err != nil {
		c.returnBody()
		return errors.Join(errClientBody, err)
	}
	return nil
}

func (c *call) returnBody() {
	if c.buf != nil {
		buffers.Put(c.buf)
		c.buf, c.body = nil, nil
	}
}

// collect fills c.lines. The order is the one that matters: hop-by-hop headers
// and what the client named as such go first, then whatever claims to be ours,
// and what we say comes last and therefore stays.
func (c *call) collect(h http.Header) {
	named := h["Connection"]
	lines := c.lines[:0]
	for name, values := range h {
		switch {
		case hopByHop(name) || name == "Content-Length" || name == "Host" || namedIn(named, name) || c.f.stripper.forged(name):
			continue
		case name == "Cookie":
			for _, v := range values {
				if c.f.own.in(v) {
					if v = c.f.own.without(v); v == "" {
						continue
					}
				}
				lines = append(lines, headerLine{name, v})
			}
			continue
		case name == "User-Agent": // one, as net/http does
			if len(values) > 0 && values[0] != "" {
				lines = append(lines, headerLine{name, values[0]})
			}
			continue
		}
		for _, v := range values {
			lines = append(lines, headerLine{name, v})
		}
	}
	if httpguts.HeaderValuesContainsToken(h["Te"], "trailers") {
		lines = append(lines, headerLine{"Te", "trailers"})
	}
	ours(c.fr, func(name, value string) { lines = append(lines, headerLine{name, value}) })
	c.lines = lines
}

// hopByHop reports whether a header is about one connection: RFC 9110 section
// 7.6.1 and its ancestors, in canonical spelling.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// namedIn reports whether a Connection header names name.
func namedIn(connection []string, name string) bool {
	for _, v := range connection {
		for rest, more := v, true; more; {
			var token string
			token, rest, more = strings.Cut(rest, ",")
			if strings.EqualFold(textproto.TrimString(token), name) {
				return true
			}
		}
	}
	return false
}

// removeHopByHop removes from an answer what is about the upstream's connection.
func removeHopByHop(h http.Header) {
	if named := h["Connection"]; named != nil {
		for name := range h {
			if namedIn(named, name) {
				delete(h, name)
			}
		}
	}
	for name := range h {
		if hopByHop(name) {
			delete(h, name)
		}
	}
}

// sendDirect is one attempt. fresh asks for a new connection.
func (c *call) sendDirect(b *backend, fresh bool) (*http.Response, error) {
	conn, err := b.connect(c.ctx, fresh)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(c.ctx, conn.abort)
	res, err := c.converse(conn)
	if err != nil {
		stop()
		conn.Conn.Close()
		if c.ctx.Err() != nil {
			return nil, context.Cause(c.ctx)
		}
		return nil, err
	}
	body := &directBody{
		inner: res.Body, conn: conn, ctx: c.ctx, stop: stop, idle: c.fr.Route.timeouts.Idle,
		keep: !res.Close && res.StatusCode >= 200,
	}
	conn.left = noLimit
	if res.Body == http.NoBody || c.r.Method == http.MethodHead {
		body.finish()
		res.Body = http.NoBody
		return res, nil
	}
	res.Body = body
	return res, nil
}

// errStale is a connection from an earlier exchange that turned out to be closed
// before this request had any effect that we know of. unsent: it had none.
type errStale struct {
	error
	unsent bool
}

func (e errStale) Unwrap() error { return e.error }

// converse writes the request and reads the head of the answer.
func (c *call) converse(conn *directConn) (*http.Response, error) {
	if err := c.write(conn); err != nil {
		if res := c.early(conn, err); res != nil {
			return res, nil
		}
		return nil, err
	}
	for interim := 0; ; interim++ {
		res, err := conn.receive(c.r)
		var silent errSilent
		switch {
		case errors.As(err, &silent) && conn.used && interim == 0 && !isTimeout(err):
			return nil, errStale{silent.error, false}
		case err != nil:
			return nil, err
		case res.StatusCode >= 200 || res.StatusCode < 100: // what is below is not HTTP; cleanResponse refuses it
			return res, nil
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("upstream switched protocols when it was not asked to")
		case interim == maxInterim:
			return nil, errors.New("upstream sends interim answers without end")
		case res.StatusCode != http.StatusContinue: // nobody asked
			c.interim(res)
		}
	}
}

// early is the answer of an upstream that hung up in the middle of the request, and said before
// why: a 413, a 401. It is nil if there is none. What came before a byte was sent answers nothing.
func (c *call) early(conn *directConn, failed error) *http.Response {
	if c.sent.n == 0 || !hungUp(failed) {
		return nil
	}
	res, err := conn.receive(c.r)
	if err != nil || res.StatusCode < 200 {
		return nil
	}
	res.Close = true
	return res
}

// maxInterim is how many 1xx answers one request may get.
const maxInterim = 16

// interim passes a 1xx answer on. What else is set on the answer stays for the last one.
func (c *call) interim(res *http.Response) {
	if !c.r.ProtoAtLeast(1, 1) {
		return
	}
	removeHopByHop(res.Header)
	h := c.w.Header()
	saved := h.Clone()
	copyHeader(h, res.Header)
	c.WriteHeader(res.StatusCode)
	clear(h)
	copyHeader(h, saved)
}

// write sends the request. It fails as unsent only if not one byte of it went out.
func (c *call) write(conn *directConn) error {
	r, w := c.r, conn.bw
	c.sent = sentCounter{Writer: conn.Conn}
	w.Reset(&c.sent)
	target := &c.fr.Target
	host := c.fr.Route.host
	if host == "" {
		host = target.Host
	}
	_, uri := c.fr.sent()
	if uri == "" || uri[0] != '/' || !visible(uri) || !visible(target.RawQuery) || !httpguts.ValidHostHeader(host) || !visible(host) || !visible(r.Method) {
		return errors.New("the request cannot be written")
	}
	w.WriteString(r.Method)
	w.WriteByte(' ')
	w.WriteString(uri)
	if target.RawQuery != "" {
		w.WriteByte('?')
		w.WriteString(target.RawQuery)
	}
	w.WriteString(" HTTP/1.1\r\nHost: ")
	w.WriteString(host)
	w.WriteString("\r\n")
	for _, l := range c.lines {
		// The server in front has checked what came in. This is for what did not.
		if !httpguts.ValidHeaderFieldName(l.name) || !httpguts.ValidHeaderFieldValue(l.value) {
			return errors.New("a header that cannot be written")
		}
		w.WriteString(l.name)
		w.WriteString(": ")
		w.WriteString(l.value)
		w.WriteString("\r\n")
	}
	if len(c.body) > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		var digits [20]byte
		w.WriteString("Content-Length: ")
		w.Write(strconv.AppendInt(digits[:0], int64(len(c.body)), 10))
		w.WriteString("\r\n")
	}
	w.WriteString("\r\n")
	w.Write(c.body)
	err := w.Flush()
	if err != nil && conn.used && c.sent.n == 0 && !isTimeout(err) {
		return errStale{err, true}
	}
	return err
}

type sentCounter struct {
	io.Writer
	n int
}

func (s *sentCounter) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	s.n += n
	return n, err
}

// visible reports whether s has no white space, control characters or other
// bytes that end a part of the request line.
func visible(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
