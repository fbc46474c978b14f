package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"

	"sallyport/proxy/upstream/h1"
)

// This file sends small requests to an HTTP/1.1 upstream in clear text, which most
// requests are. It replaces httputil.ReverseProxy for them, and package h1 replaces
// http.Transport. All complicated cases use ReverseProxy: upgrades, expectations,
// credentials for a connection, bodies of unknown or large size, TLS, HTTP/2.

// maxShortBody is the largest body that goes the short way. It is read before the
// request is sent, so that a client that trickles it in occupies no upstream.
const maxShortBody = 32 << 10

// goesShort reports whether r may take the short way.
func (c *call) goesShort(r *http.Request) bool {
	return c.pool.short && r.ContentLength >= 0 && r.ContentLength <= maxShortBody && len(r.TransferEncoding) == 0 &&
		len(r.Header["Upgrade"]) == 0 && len(r.Header["Expect"]) == 0 && !signsInConnection(r.Header)
}

// serveShort does for these requests what ReverseProxy.ServeHTTP does for others.
func (c *call) serveShort(r *http.Request) {
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

// prepare makes c.short of the request, and reads its body.
func (c *call) prepare(r *http.Request) error {
	s, fr := &c.short, c.fr
	s.Method, s.Query, s.IdleTimeout = r.Method, fr.Target.RawQuery, fr.Route.timeouts.Idle
	_, s.Path = fr.sent()
	if s.Host = fr.Route.host; s.Host == "" {
		s.Host = fr.Target.Host
	}
	s.Header = c.collect(s.Header[:0], r.Header)
	if r.ContentLength == 0 {
		return nil
	}
	s.Body = buffers.Get().(*[bufferSize]byte)[:r.ContentLength]
	if _, err := io.ReadFull(r.Body, s.Body); err != nil {
		c.returnBody()
		return errors.Join(errClientBody, err)
	}
	return nil
}

func (c *call) returnBody() {
	if b := c.short.Body; b != nil {
		buffers.Put((*[bufferSize]byte)(b[:bufferSize]))
		c.short.Body = nil
	}
}

// collect adds to lines the headers of h that are sent. The order matters: hop-by-hop
// headers, and those that the client names in Connection, are removed first, then every
// header that imitates ours. Ours come last, so that the client cannot remove them.
func (c *call) collect(lines []h1.Field, h http.Header) []h1.Field {
	named := h["Connection"]
	for name, values := range h {
		switch {
		case hopByHop(name) || name == "Content-Length" || name == "Host" || namedIn(named, name),
			c.f.stripper.forged(name):
			continue
		case name == "Cookie":
			for _, v := range values {
				if c.f.own.in(v) {
					if v = c.f.own.without(v); v == "" {
						continue
					}
				}
				lines = append(lines, h1.Field{Name: name, Value: v})
			}
			continue
		case name == "Destination" && c.fr.Destination != "":
			continue
		case name == "User-Agent": // one, as net/http does
			if len(values) > 0 && values[0] != "" {
				lines = append(lines, h1.Field{Name: name, Value: values[0]})
			}
			continue
		}
		for _, v := range values {
			lines = append(lines, h1.Field{Name: name, Value: v})
		}
	}
	if httpguts.HeaderValuesContainsToken(h["Te"], "trailers") {
		lines = append(lines, h1.Field{Name: "Te", Value: "trailers"})
	}
	ours(c.fr, func(name, value string) { lines = append(lines, h1.Field{Name: name, Value: value}) })
	return lines
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
