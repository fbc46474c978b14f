package edge

import (
	"context"
	"crypto/tls"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http2"
)

// serveHTTP2 serves HTTP/2 with golang.org/x/net/http2, the code that net/http has a copy
// of. Unlike the copy it accepts a connection that is not TLS's own, such as h2Conn.
func (s *Server) serveHTTP2() error {
	server := &http2.Server{CountError: s.http2Error}
	// A header of up to twice the limit is read, and gets ServeHTTP's answer: a person
	// whose cookies grew too large sees a reason. For a larger header http2 does not call
	// the handler: it answers 431 by itself, or closes the connection.
	base := &http.Server{
		MaxHeaderBytes: 2 * s.config.Limits.HeaderBytes,
		IdleTimeout:    s.http.IdleTimeout, ReadHeaderTimeout: s.http.ReadHeaderTimeout,
		HTTP2: s.http.HTTP2, ErrorLog: s.http.ErrorLog,
	}
	if err := http2.ConfigureServer(s.http, server); err != nil {
		return err
	}
	for _, proto := range []string{"h2", "http/1.1"} {
		if !slices.Contains(s.http.TLSConfig.NextProtos, proto) {
			s.http.TLSConfig.NextProtos = append(s.http.TLSConfig.NextProtos, proto)
		}
	}
	s.http.TLSNextProto[http2.NextProtoTLS] = func(_ *http.Server, c *tls.Conn, h http.Handler) {
		own := &h2Conn{Conn: c, tls: c, window: newWindow(), suspect: int64(min(s.config.Limits.HeaderBytes, minMaxFrameSize/2)),
			tooLong: func() { s.config.Exceeded("header_bytes") }}
		if info := infoOf(c); info != nil {
			info.h2 = own
		}
		opts := &http2.ServeConnOpts{Handler: h, BaseConfig: base}
		// net/http passes the connection's context this way; ConnContext has added to it.
		if b, ok := h.(interface{ BaseContext() context.Context }); ok {
			opts.Context = b.BaseContext()
		}
		server.ServeConn(own, opts)
	}
	return nil
}

// http2Error counts a client's protocol errors. Opening more streams than announced is
// over a limit.
func (s *Server) http2Error(what string) {
	s.counts.http2Errors.Add(1)
	if strings.Contains(what, "_over_max_streams") {
		s.config.Exceeded("http2_streams")
	}
}

// streamOf is the number of the HTTP/2 stream that w answers, 0 if it is unknown. The
// server knows it and has no method for it. If its types change, every answer of HTTP/2
// gets X-Frame-Options, which a test notices.
func streamOf(w http.ResponseWriter) uint32 {
	v := reflect.ValueOf(w)
	path := streamPath.Load()
	if path == nil || path.of != v.Type() {
		path = pathToStream(v.Type())
		streamPath.Store(path)
	}
	if len(path.fields) == 0 {
		return 0
	}
	for _, field := range path.fields {
		if v.IsNil() {
			return 0
		}
		v = v.Elem().Field(field)
	}
	return uint32(v.Uint())
}

// streamPath is where the number was found last: all ResponseWriters of the server have
// one type.
var streamPath atomic.Pointer[fieldPath]

type fieldPath struct {
	of     reflect.Type
	fields []int // of structs that pointers lead to; the last is an uint32. Empty: not found
}

func pathToStream(of reflect.Type) *fieldPath {
	t, path := of, &fieldPath{of: of}
	for _, name := range [...]string{"rws", "stream", "id"} {
		if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
			return &fieldPath{of: of}
		}
		field, ok := t.Elem().FieldByName(name)
		if !ok || len(field.Index) != 1 {
			return &fieldPath{of: of}
		}
		t, path.fields = field.Type, append(path.fields, field.Index[0])
	}
	if t.Kind() != reflect.Uint32 {
		return &fieldPath{of: of}
	}
	return path
}
