package edge

import (
	"bytes"
	"net"
	"net/http"
)

// This file adds headers to answers that net/http writes by itself (400, 417, 431, 501,
// 505) before there is a request for our handler. A page can cause such an answer for a
// person, with an address or cookies that are too long, show it in a frame, and read from
// it where the browser was redirected. So those answers too forbid frames and caching.

// sealed are the headers of every answer that no tool wrote.
var sealed = []struct{ name, value string }{
	{"Cache-Control", "no-store"},
	{"Content-Security-Policy", "frame-ancestors 'none'"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
}

// sealedLines is sealed in the form of HTTP/1.1.
var sealedLines = func() []byte {
	var b []byte
	for _, s := range sealed {
		b = append(b, s.name+": "+s.value+"\r\n"...)
	}
	return b
}()

// seal adds the headers that an answer does not set itself.
func seal(h http.Header) {
	for _, s := range sealed {
		if _, ok := h[s.name]; !ok {
			h[s.name] = []string{s.value}
		}
	}
}

// Forwarded tells the server that the answer of w is a tool's, which decides itself who
// may frame it.
func Forwarded(w http.ResponseWriter) {
	if x := exchangeOf(w); x != nil {
		x.forwarded = true
	}
}

// writeSealed writes an answer of net/http's own on an HTTP/1.1 connection, with
// sealedLines added. net/http writes it in one piece, which begins with the status line.
func writeSealed(c net.Conn, p []byte) (int, error) {
	end := bytes.Index(p, []byte("\r\n"))
	if end < 0 || !bytes.HasPrefix(p, []byte("HTTP/")) {
		return c.Write(p)
	}
	answer := make([]byte, 0, len(p)+len(sealedLines))
	answer = append(answer, p[:end+2]...)
	answer = append(answer, sealedLines...)
	answer = append(answer, p[end+2:]...)
	if _, err := c.Write(answer); err != nil {
		return 0, err
	}
	return len(p), nil
}

// isTooLong reports whether p is net/http's refusal of a header that is too long.
func isTooLong(p []byte) bool {
	_, status, _ := bytes.Cut(p[:min(len(p), len("HTTP/1.1 431 "))], []byte(" "))
	return bytes.HasPrefix(p, []byte("HTTP/")) && bytes.HasPrefix(status, []byte("431 "))
}
