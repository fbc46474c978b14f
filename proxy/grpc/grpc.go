// Package grpc knows gRPC calls from other requests and refuses them in gRPC's own
// terms ("gRPC over HTTP2", grpc/grpc doc/PROTOCOL-HTTP2.md): an answer without a body
// whose header carries grpc-status and grpc-message (Trailers-Only). A client that gets
// an error page instead knows the code by the HTTP status at best, and no reason.
//
// It carries no calls: those are HTTP/2 exchanges like others (proxy/upstream).
package grpc

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Code is a status code of gRPC (doc/statuscodes.md). Zero is OK, which no refusal has.
type Code int

// The codes that are used here.
const (
	Unknown           Code = 2
	InvalidArgument   Code = 3
	DeadlineExceeded  Code = 4
	PermissionDenied  Code = 7
	ResourceExhausted Code = 8
	Unimplemented     Code = 12
	Internal          Code = 13
	Unavailable       Code = 14
	Unauthenticated   Code = 16
)

// CodeOf is what an HTTP status of ours means to a gRPC client. It says more than
// doc/http-grpc-status-mapping.md, which clients use for answers that are not gRPC's.
func CodeOf(status int) Code {
	switch status {
	case http.StatusBadRequest:
		return InvalidArgument
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return PermissionDenied
	case http.StatusNotFound, http.StatusNotImplemented:
		return Unimplemented
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, http.StatusRequestHeaderFieldsTooLarge:
		return ResourceExhausted
	case http.StatusInternalServerError:
		return Internal
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return Unavailable
	case http.StatusGatewayTimeout:
		return DeadlineExceeded
	}
	return Unknown
}

// IsCall reports whether r is a call of gRPC, or of gRPC-Web, which is spoken over
// HTTP/1.1 too.
func IsCall(r *http.Request) bool {
	return r.Method == http.MethodPost && (r.ProtoMajor == 2 && Is(r.Header, "application/grpc") || Is(r.Header, web) || Is(r.Header, webText))
}

const (
	web     = "application/grpc-web"
	webText = "application/grpc-web-text"
)

// Is reports whether the content type in h is base, or base with a suffix such as
// "+proto".
func Is(h http.Header, base string) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	media = strings.TrimSpace(media)
	if len(media) < len(base) || !strings.EqualFold(media[:len(base)], base) {
		return false
	}
	return len(media) == len(base) || media[len(base)] == '+'
}

// Refuse answers the call r, of which nothing has been answered yet. With a status other
// than 200 no client or proxy takes the answer for a success, even without knowing gRPC,
// and gRPC clients use grpc-status if it is present.
func Refuse(w http.ResponseWriter, r *http.Request, status int, code Code, message string) {
	w.Header().Set("Content-Type", answerType(r))
	SetStatus(w.Header(), code, message)
	w.WriteHeader(status)
}

// SetStatus puts the outcome of a call into h: trailers, or the header of an answer
// without a body.
func SetStatus(h http.Header, code Code, message string) {
	h.Set("Grpc-Status", strconv.Itoa(int(code)))
	h.Set("Grpc-Message", encode(message))
}

// answerType is one of our own words, so that nothing of the client's is repeated.
func answerType(r *http.Request) string {
	switch {
	case Is(r.Header, webText):
		return webText
	case Is(r.Header, web):
		return web
	}
	return "application/grpc"
}

// encode makes s a grpc-message: bytes other than printable ASCII, and "%", are
// percent-encoded.
func encode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Timeout is how long the client gives a call, by its grpc-timeout header: at most eight
// digits and a unit. ok is false where it sets no limit, or none that can be read.
func Timeout(r *http.Request) (d time.Duration, ok bool) {
	v := r.Header.Get("Grpc-Timeout")
	if len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	unit, ok := units[v[len(v)-1]]
	n, err := strconv.ParseUint(v[:len(v)-1], 10, 32) // no sign
	if !ok || err != nil {
		return 0, false
	}
	if n > uint64(1<<63-1)/uint64(unit) { // eleven thousand years in hours
		return 1<<63 - 1, true
	}
	return time.Duration(n) * unit, true
}

var units = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}
