package edge

import (
	"bytes"
	"net"
	"net/http"
)

// Some answers are not the handler's: net/http refuses by itself what it cannot read (400, 417, 431, 501,
// 505), before there is a request. A page can bring that about for a person, with an address or with
// cookies that are too long, show the answer in a frame, and read from it where the browser was led.
// So those answers too say that no page may show them, and that they are nobody's to keep.

// sealed is what every answer says that is not a tool's.
var sealed = []struct{ name, value string }{
	{"Cache-Control", "no-store"},
	{"Content-Security-Policy", "frame-ancestors 'none'"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
}

// sealedLines are sealed as HTTP/1.1 writes them.
var sealedLines = func() []byte {
	var b []byte
	for _, s := range sealed {
		b = append(b, s.name+": "+s.value+"\r\n"...)
	}
	return b
}()

// seal adds what an answer does not say otherwise.
func seal(h http.Header) {
	for _, s := range sealed {
		if _, ok := h[s.name]; !ok {
			h[s.name] = []string{s.value}
		}
	}
}

// Forwarded tells the server that the answer of w is that of a tool, which says itself who
// may show it.
func Forwarded(w http.ResponseWriter) {
	if x := exchangeOf(w); x != nil {
		x.forwarded = true
	}
}

// writeSealed writes what net/http has to say by itself on an HTTP/1.1 connection. It does so in one
// piece, which begins with the status line.
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

// isTooLong reports whether p is how net/http refuses a header that is too long.
func isTooLong(p []byte) bool {
	_, status, _ := bytes.Cut(p[:min(len(p), len("HTTP/1.1 431 "))], []byte(" "))
	return bytes.HasPrefix(p, []byte("HTTP/")) && bytes.HasPrefix(status, []byte("431 "))
}
