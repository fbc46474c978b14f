package upstream_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is one HTTP/2 request as it goes over the wire, with nothing in between
// that would refuse to send it.
type h2 struct {
	fields   [][2]string
	data     string
	trailers [][2]string
}

// h2Status sends q and returns the status, or 0 if the stream or the connection
// was reset.
func (g *harness) h2Status(q h2) int {
	g.t.Helper()
	conn, err := tls.Dial("tcp", g.front.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "app.example", NextProtos: []string{"h2"}})
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, http2.ClientPreface)
	fr := http2.NewFramer(conn, conn)
	fr.AllowIllegalWrites = true
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	fr.WriteSettings()

	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	write := func(fields [][2]string, end bool) {
		block.Reset()
		for _, f := range fields {
			enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
	}
	write(q.fields, q.data == "" && q.trailers == nil)
	if q.data != "" {
		fr.WriteData(1, q.trailers == nil, []byte(q.data))
	}
	if q.trailers != nil {
		write(q.trailers, true)
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return 0
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if n, _ := strconv.Atoi(f.PseudoValue("status")); n >= 200 {
				return n
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return 0
		}
	}
}

// get returns a well-formed request with changes: a field that exists already
// is replaced, others are appended.
func get(changes ...[2]string) h2 {
	fields := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "app.example"}, {":path", "/"}}
	for _, c := range changes {
		if i := slices.IndexFunc(fields, func(f [2]string) bool { return f[0] == c[0] }); i >= 0 && c[0][0] == ':' {
			fields[i] = c
			continue
		}
		fields = append(fields, c)
	}
	return h2{fields: fields}
}

// HTTP/2 fields hold what HTTP/1 cannot say; none of it reaches the
// HTTP/1 request that is made of them.
func TestAttackPseudoHeaderInjection(t *testing.T) {
	g := newHarness(t, options{tls: true})
	for _, f := range [][2]string{
		{":path", "/a b"}, {":path", "/ HTTP/1.1\r\nX-Sallyport-User: evil\r\n\r\n"}, {":path", "/\nX: y"}, {":path", "/\x00"},
		{":path", "http://app.example/"}, {":path", "//app.example/"}, {":path", "*"}, {":path", ""}, {":path", "a"}, {":path", "/%2e%2e/"}, {":path", "/#x"},
		{":method", "GET / HTTP/1.1\r\nX-Sallyport-User: evil\r\n\r\nGET"}, {":method", "GET /admin HTTP/1.1"}, {":method", "get"}, {":method", "TRACE"},
		{":method", "CONNECT"}, {":method", ""}, {":method", "G\x00T"},
		{":authority", "app.example\r\nX: y"}, {":authority", "user@app.example"}, {":authority", ""}, {":authority", "app.example/x"},
		{":authority", "app.example, other.example"}, {":authority", "other.example"}, {":authority", "app.example:8443"},
		{":scheme", "https\r\nX: y"},
		{":evil", "x"}, {":protocol", "websocket"}, {":status", "200"},
		{"host", "other.example"}, {"transfer-encoding", "chunked"}, {"connection", "x-sallyport-user"}, {"proxy-connection", "x"}, {"keep-alive", "x"},
		{"upgrade", "websocket"}, {"te", "gzip"}, {"X-Upper", "x"}, {"x evil", "x"}, {"x:evil", "x"}, {"x\r\nevil", "x"}, {"", "x"},
		{"x-value", "a\r\nX-Sallyport-User: evil"}, {"x-value", "a\x00"}, {"x-value", "a\n"}, {"content-length", "5"}, {"content-length", "-1"},
	} {
		if status := g.h2Status(get(f)); status != 0 && status < 400 {
			t.Errorf("%q: %d", f, status)
		}
	}
	twice := get()
	twice.fields = append(twice.fields, [2]string{":path", "/second"})
	late := get([2]string{"x-early", "1"})
	late.fields[3], late.fields[4] = late.fields[4], late.fields[3]
	extended := get([2]string{":method", "CONNECT"}, [2]string{":protocol", "websocket"})
	short := get([2]string{":method", "POST"}, [2]string{"content-length", "1"})
	short.data = "more than one byte"
	for name, q := range map[string]h2{"duplicate": twice, "pseudo-header after field": late, "extended CONNECT": extended, "length that lies": short} {
		if status := g.h2Status(q); status != 0 && status < 400 {
			t.Errorf("%s: %d", name, status)
		}
	}
	for _, s := range g.requests() {
		// A body may have been found out only after its headers went on.
		if s.Method != "POST" || s.Body != "" {
			t.Errorf("reached the upstream: %+v", s)
		}
	}
}

// Identity headers over HTTP/2: names arrive in lower case, and cookies in pieces.
func TestAttackIdentityHeadersOverHTTP2(t *testing.T) {
	g := newHarness(t, options{tls: true})
	q := get([2]string{":path", "/caf%c3%a9?x=1"}, [2]string{"x-sallyport-user", "evil"}, [2]string{"x_sallyport_user", "evil"}, [2]string{"x-forwarded-for", "evil"},
		[2]string{"cookie", "a=1"}, [2]string{"cookie", "__Host-sallyport=secret"}, [2]string{"cookie", "b=2"}, [2]string{"te", "trailers"})
	q.trailers = [][2]string{{"x-sallyport-user", "evil"}}
	q.fields[0][1], q.data = "POST", "body"
	if status := g.h2Status(q); status != 200 {
		t.Fatal(status)
	}
	last := g.last()
	if last.URI != "/caf%C3%A9?x=1" || last.Host != "app.example" || last.Body != "body" || len(last.Trailer) != 0 {
		t.Errorf("%+v", last)
	}
	if got := last.Header["Cookie"]; !slices.Equal(got, []string{"a=1; b=2"}) {
		t.Errorf("%q", got)
	}
	if last.Header.Get("X-Forwarded-Proto") != "https" {
		t.Error(last.Header)
	}
	last.Header.Set("X-Forwarded-Proto", "http") // what assertIdentity expects of the other harnesses
	assertIdentity(t, last.Header)
}
