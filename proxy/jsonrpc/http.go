package jsonrpc

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// CheckHeader refuses request headers under which the server could read another
// text than [Parse] does: a coding that has to be undone first, a charset other than
// UTF-8. The type itself is not judged, since nodes accept several.
func CheckHeader(h http.Header) error {
	for _, v := range h["Content-Encoding"] {
		if !strings.EqualFold(strings.TrimSpace(v), "identity") {
			return &Error{Encoding, 0, "a body with a Content-Encoding cannot be judged"}
		}
	}
	types := h["Content-Type"]
	switch {
	case len(types) == 0:
		return nil
	case len(types) > 1:
		return &Error{Encoding, 0, "more than one Content-Type"}
	}
	media, params, err := mime.ParseMediaType(types[0])
	if err != nil {
		return &Error{Encoding, 0, "Content-Type cannot be read"}
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return &Error{Encoding, 0, "a charset other than UTF-8"}
	}
	// A server decodes bodies of these types before it looks for JSON in them.
	if media == "application/x-www-form-urlencoded" || strings.HasPrefix(media, "multipart/") {
		return &Error{Encoding, 0, "a form is not a JSON-RPC message"}
	}
	return nil
}

// Read returns all of r, if it is within limits; otherwise an *Error with [TooLarge],
// having read one byte more than allowed. size is what the client announced, or
// negative; it saves growing and is not believed. The caller bounds the time.
func Read(r io.Reader, size int64, l Limits) ([]byte, error) {
	limit := l.MaxBytes
	if size > int64(limit) {
		return nil, &Error{TooLarge, limit, "the message is too long"}
	}
	room := l.Room
	if room == nil {
		room = func(int) bool { return true }
	}
	// One byte more than expected lets the end be seen without growing. An announced
	// length is not memory before the bytes are there.
	first := min(max(size, 512), 4<<10) + 1
	if !room(int(first)) {
		return nil, noRoom(0)
	}
	buf := make([]byte, 0, first)
	for {
		if len(buf) == cap(buf) {
			more := min(cap(buf), limit+1-cap(buf))
			if !room(more) {
				return nil, noRoom(len(buf))
			}
			buf = append(make([]byte, 0, cap(buf)+more), buf...)
		}
		n, err := r.Read(buf[len(buf):min(cap(buf), limit+1)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > limit:
			return nil, &Error{TooLarge, limit, "the message is too long"}
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, fmt.Errorf("read message: %w", err)
		}
	}
}

func noRoom(at int) *Error { return &Error{NoRoom, at, "too many messages are under way"} }
