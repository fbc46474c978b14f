package streams

import (
	"encoding/binary"
	"strconv"
	"time"
)

// Reason is why a stream is cut.
type Reason int

const (
	Ended     Reason = iota // the session ended; no more is said
	Revoked                 // by an administrator, or the OpenID provider
	SignedOut               // by the person
	Expired                 // maximum age or idle limit
	Stale                   // the route asks for a fresher verification
	Blocked                 // judged again: block
	Shutdown                // the process stops; the session is fine
	Malformed               // a message that was to be inspected is not one
	TooLarge                // a message that was to be inspected is longer than the limit
	TooMuch                 // there is no room to inspect it: the session, or all of them, have too much begun
	Slow                    // a message that was to be inspected took too long to come
	NotTaken                // a message that was inspected and passed: the upstream did not read it in time
)

// reasons has, for each Reason: its name, the text for a WebSocket client (RFC 6455
// allows 123 bytes), and the codes for WebSocket and gRPC.
var reasons = [...]struct {
	name, text      string
	websocket, grpc int
}{
	Ended:     {"ended", "the session has ended", 1008, 16},
	Revoked:   {"revoked", "the session was revoked", 1008, 16},
	SignedOut: {"signed_out", "signed out", 1008, 16},
	Expired:   {"expired", "the session has expired", 1008, 16},
	Stale:     {"stale", "verify that it is you, then connect again", 1008, 16},
	Blocked:   {"blocked", "access is blocked", 1008, 7},
	Shutdown:  {"shutdown", "the proxy is restarting", 1001, 14},
	Malformed: {"malformed", "a message was malformed", 1002, 3},
	TooLarge:  {"too_large", "a message was too large", 1009, 8},
	TooMuch:   {"too_much", "too many messages were begun, try again later", 1013, 8},
	Slow:      {"slow", "a message took too long", 1008, 4},
	NotTaken:  {"not_taken", "the tool did not read a message in time, try again later", 1013, 4},
}

func (r Reason) get() int {
	if r < 0 || int(r) >= len(reasons) {
		return int(Ended)
	}
	return int(r)
}

// String is a stable name, for logs and metrics.
func (r Reason) String() string { return reasons[r.get()].name }

// closeFrame is the close frame that a server sends: not masked.
func (r Reason) closeFrame() []byte {
	v := reasons[r.get()]
	f := append([]byte{0x88, byte(2 + len(v.text))}, 0, 0)
	binary.BigEndian.PutUint16(f[2:], uint16(v.websocket))
	return append(f, v.text...)
}

func (r Reason) event() []byte {
	return []byte("event: sallyport\ndata: {\"error\":\"session_ended\",\"reason\":\"" + r.String() + "\"}\n\n")
}

func (r Reason) grpc() (status, message string) {
	v := reasons[r.get()]
	return strconv.Itoa(v.grpc), v.text
}

// Cut is the order to end a stream. It is the cause of the stream's context
// ([context.Cause]), and the error of what the order broke off.
type Cut struct {
	Reason Reason
	At     time.Time
}

func (c *Cut) Error() string { return "stream cut: " + c.Reason.String() }

// Kind is what an exchange turned out to be.
type Kind int

const (
	Request     Kind = iota // not answered yet, or with something short
	Download                // a body that is long, or whose length is not known
	WebSocket               // RFC 6455 over HTTP/1.1
	EventStream             // text/event-stream
	GRPC                    // gRPC and gRPC-Web
	Upgrade                 // another upgraded protocol
	kinds
)

var kindNames = [...]string{Request: "request", Download: "download", WebSocket: "websocket", EventStream: "sse", GRPC: "grpc", Upgrade: "upgrade"}

// String is a stable name, for metrics.
func (k Kind) String() string {
	if k < 0 || k >= kinds {
		return "unknown"
	}
	return kindNames[k]
}
