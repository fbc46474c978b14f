package upstream

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"sallyport/proxy/upstream/h1"
)

// cleanHeader removes from an answer's header what a tool may not set, and adds our own
// headers.
func (c *call) cleanHeader(res *http.Response) {
	h, route := res.Header, c.fr.Route
	scope := ""
	if lines := h[workerScope]; c.fr.RootWorker && len(lines) == 1 {
		scope = lines[0]
		if route.strip && strings.HasPrefix(scope, "/") {
			scope = route.rawPrefix + scope
		}
		scope = scopeWithin(route.Prefix, scope)
	}
	withhold(h)
	if scope != "" {
		h[workerScope] = []string{scope}
	}
	c.f.own.stripResponse(h, route.cookieDomain)
	c.fr.restorePrefix(h)
	if res.StatusCode == http.StatusSwitchingProtocols {
		return
	}
	if !strings.HasPrefix(h.Get("Content-Type"), "application/grpc") {
		keepPrivate(h)
		if !route.embeddable && !framed(h) {
			h["X-Frame-Options"] = sameOrigin
		}
	}
	if len(route.allowedOrigins) > 0 { // gRPC-Web too
		c.readableBy(h)
	}
}

// sameOrigin is never written to.
var sameOrigin = []string{"SAMEORIGIN"}

// framed reports whether the tool decides itself who may show it in a frame. The gate has
// refused most frames already; this is for browsers without Fetch metadata.
func framed(h http.Header) bool {
	if _, ok := h["X-Frame-Options"]; ok {
		return true
	}
	for _, policy := range h["Content-Security-Policy"] {
		if strings.Contains(strings.ToLower(policy), "frame-ancestors") {
			return true
		}
	}
	return false
}

// readableBy lets the page of an allowed origin read the answer, unless the tool has
// decided that itself. Browsers do not accept "*" for a request with cookies, which all
// are here.
func (c *call) readableBy(h http.Header) {
	vary(h, "Origin", justOrigin)
	if c.fr.AllowedOrigin == "" {
		return
	}
	if own := h["Access-Control-Allow-Origin"]; len(own) > 0 && own[0] != "*" {
		return
	}
	h["Access-Control-Allow-Origin"] = []string{c.fr.AllowedOrigin}
	h["Access-Control-Allow-Credentials"] = []string{"true"}
}

// answer sends res to the client as ReverseProxy does: headers, body, trailers.
func (c *call) answer(res *http.Response) {
	h := c.w.Header()
	copyHeader(h, res.Header)
	announced := len(res.Trailer)
	if announced > 0 {
		names := make([]string, 0, announced)
		for name := range res.Trailer {
			names = append(names, name)
		}
		h.Add("Trailer", strings.Join(names, ", "))
	}
	c.WriteHeader(res.StatusCode)
	if err := c.copyBody(res); err != nil {
		res.Body.Close()
		if c.ctx.Err() == nil {
			c.brokeOff(err)
			if errors.Is(err, errIdle) {
				c.f.exceeded(c.fr, "idle_timeout", 0)
			}
		}
		c.abort() // the client must not take half an answer for a whole one
		return
	}
	res.Body.Close()
	withhold(res.Trailer)
	if len(res.Trailer) == 0 {
		return
	}
	// Trailers need chunks, also after a body short enough for a length.
	http.NewResponseController(c.w).Flush()
	prefix := http.TrailerPrefix
	if len(res.Trailer) == announced {
		prefix = ""
	}
	for name, values := range res.Trailer {
		for _, v := range values {
			h.Add(prefix+name, v)
		}
	}
}

func (c *call) brokeOff(err error) {
	c.f.log.LogAttrs(c.ctx, slog.LevelWarn, "answer broke off during body copy",
		slog.String("route", c.fr.Route.Name), slog.String("upstream", c.at()), slog.Any("error", err))
}

// copyBody streams: an answer of unknown length, or an event stream, is passed on as it
// arrives. The last piece needs no flush of its own.
func (c *call) copyBody(res *http.Response) error {
	if res.Body == http.NoBody {
		return nil
	}
	streaming := res.ContentLength < 0 || isEventStream(res.Header.Get("Content-Type"))
	rc := http.NewResponseController(c.w)
	if streaming && !h1.Arrived(res.Body) {
		rc.Flush() // the header, now: the body may be a long time coming
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := res.Body.Read(buf[:])
		if n > 0 {
			if _, werr := c.w.Write(buf[:n]); werr != nil {
				return werr
			}
			if streaming && err != io.EOF {
				rc.Flush()
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func isEventStream(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), "text/event-stream")
}

// copyHeader adds src to dst, sharing the values.
func copyHeader(dst, src http.Header) {
	for name, values := range src {
		if old := dst[name]; old != nil {
			values = append(old[:len(old):len(old)], values...)
		}
		dst[name] = values
	}
}
