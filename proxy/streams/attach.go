package streams

import (
	"errors"
	"net/http"
	"strings"
)

// longBody is the length from which an answer counts as a download.
const longBody = 1 << 20

// Attach makes the answer of an upstream one that can be cut, if its request was made
// with a stream's context. It belongs where the answer's headers are final and its body
// is not yet read. An error means that the answer must not be passed on.
func Attach(res *http.Response) error {
	if res.Request == nil {
		return nil
	}
	s := From(res.Request.Context())
	if s == nil {
		return nil
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return s.upgrade(res)
	}
	if res.Body == nil || res.Body == http.NoBody || res.Request.Method == http.MethodHead {
		return nil
	}
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	open := res.ContentLength < 0
	// Nothing can be appended to a compressed body.
	plain := open && len(res.Header["Content-Encoding"]) == 0
	switch {
	case media == "text/event-stream" && plain:
		return s.wrap(res, EventStream, &eventFraming{})
	case is(media, "application/grpc-web") && plain:
		return s.wrap(res, GRPC, &grpcFraming{web: true})
	case is(media, "application/grpc") && plain:
		return s.wrap(res, GRPC, &grpcFraming{})
	case media == "text/event-stream":
		s.become(EventStream)
	case open || res.ContentLength >= longBody:
		s.become(Download)
	}
	return nil
}

// is reports whether a media type is base, or base with a suffix such as "+proto".
func is(media, base string) bool {
	rest, ok := strings.CutPrefix(media, base)
	return ok && (rest == "" || rest[0] == '+')
}

func (s *Stream) upgrade(res *http.Response) error {
	if !strings.EqualFold(res.Header.Get("Upgrade"), "websocket") {
		s.mu.Lock()
		blind := s.inspect != nil
		s.mu.Unlock()
		if blind {
			return errors.New("an upgrade to something other than WebSocket, on a route whose messages are inspected")
		}
		s.become(Upgrade)
		return nil
	}
	s.mu.Lock()
	inspect := s.inspect != nil
	s.mu.Unlock()
	if inspect && len(res.Header["Sec-Websocket-Extensions"]) > 0 {
		// The code that asked for inspection has removed the client's offer.
		return errors.New("the upstream turned on a WebSocket extension that was not offered; messages cannot be inspected")
	}
	s.become(WebSocket)
	return nil
}

func (s *Stream) wrap(res *http.Response, k Kind, f framing) error {
	b := &body{s: s, src: res.Body, res: res, framing: f}
	if err := s.attach(b); err != nil {
		return err
	}
	res.Body = b
	s.become(k)
	return nil
}
