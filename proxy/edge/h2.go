package edge

import (
	"context"
	"crypto/tls"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"

	"golang.org/x/net/http2"
)

// serveHTTP2 has HTTP/2 served by golang.org/x/net/http2, the code that net/http has a copy of: unlike the
// copy it takes a connection that is not TLS's own, as h2Conn.
func (s *Server) serveHTTP2() error {
	server := &http2.Server{CountError: func(string) { s.counts.http2Errors.Add(1) }}
	if err := http2.ConfigureServer(s.http, server); err != nil {
		return err
	}
	for _, proto := range []string{"h2", "http/1.1"} {
		if !slices.Contains(s.http.TLSConfig.NextProtos, proto) {
			s.http.TLSConfig.NextProtos = append(s.http.TLSConfig.NextProtos, proto)
		}
	}
	s.http.TLSNextProto[http2.NextProtoTLS] = func(hs *http.Server, c *tls.Conn, h http.Handler) {
		own := &h2Conn{Conn: c, tls: c, window: newWindow()}
		if info := infoOf(c); info != nil {
			info.h2 = own
		}
		opts := &http2.ServeConnOpts{Handler: h, BaseConfig: hs}
		// How net/http hands over the connection's context, to which ConnContext has added.
		if b, ok := h.(interface{ BaseContext() context.Context }); ok {
			opts.Context = b.BaseContext()
		}
		server.ServeConn(own, opts)
	}
	return nil
}

// streamOf is the number of the HTTP/2 stream that w answers, 0 if it cannot be told. The server knows it and has no
// method to say it. If its types change, every answer of HTTP/2 says that it is not to be framed, which a test notices.
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

// streamPath is how the number was found last: the type of all its ResponseWriters is the same.
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
