package h1

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Request is a request as it is sent. RoundTrip changes nothing of it, and needs nothing
// of it after it has returned, so that a caller may use one again.
type Request struct {
	Method string
	// Path is the path as it is written, and begins with a slash; Query is what follows
	// "?", or "".
	Path, Query string
	Host        string
	// Header are the lines of the header in their order. Host, Content-Length and
	// Transfer-Encoding are an error, since this package writes what frames a request.
	Header []Field
	// Body is all of the body; its length is sent with it. Empty is none.
	Body []byte

	// IdleTimeout is the longest silence in the body of the answer; zero is no limit.
	IdleTimeout time.Duration
	// Interim, if set, is called with each 1xx answer but 100 and 101, before RoundTrip
	// returns.
	Interim func(*http.Response)
}

// Field is one line of a header.
type Field struct{ Name, Value string }

var (
	errRequest = errors.New("the request cannot be written")
	errField   = errors.New("a header that cannot be written")
)

// write sends r. The error is an errStale only if not one byte of r went out.
func (c *conn) write(r *Request) error {
	c.sent = 0
	if r.Path == "" || r.Path[0] != '/' || !visible(r.Path) || !visible(r.Query) ||
		!httpguts.ValidHostHeader(r.Host) || !visible(r.Host) || !httpguts.ValidHeaderFieldName(r.Method) { // a token too
		return errRequest
	}
	w := c.bw
	w.WriteString(r.Method)
	w.WriteByte(' ')
	w.WriteString(r.Path)
	if r.Query != "" {
		w.WriteByte('?')
		w.WriteString(r.Query)
	}
	w.WriteString(" HTTP/1.1\r\nHost: ")
	w.WriteString(r.Host)
	w.WriteString("\r\n")
	for _, f := range r.Header {
		// The server in front has checked what came in. This is for what did not.
		if !httpguts.ValidHeaderFieldName(f.Name) || !httpguts.ValidHeaderFieldValue(f.Value) || framing(f.Name) {
			return errField
		}
		w.WriteString(f.Name)
		w.WriteString(": ")
		w.WriteString(f.Value)
		w.WriteString("\r\n")
	}
	if len(r.Body) > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		var digits [20]byte
		w.WriteString("Content-Length: ")
		w.Write(strconv.AppendInt(digits[:0], int64(len(r.Body)), 10))
		w.WriteString("\r\n")
	}
	w.WriteString("\r\n")
	w.Write(r.Body)
	err := w.Flush()
	if err != nil && c.used && c.sent == 0 && !isTimeout(err) {
		return errStale{err, true}
	}
	return err
}

// framing reports whether a field says where the request ends, or which host it is for.
func framing(name string) bool {
	switch len(name) {
	case len("Host"):
		return strings.EqualFold(name, "Host")
	case len("Content-Length"):
		return strings.EqualFold(name, "Content-Length")
	case len("Transfer-Encoding"):
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// visible reports whether s has no white space, control characters or other bytes that
// end a part of the request line.
func visible(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// safe: RFC 9110 section 9.2.1.
func (r *Request) safe() bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}
