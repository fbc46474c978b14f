package jsonrpc

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits bound the messages. The zero Limits refuse all of them.
type Limits struct {
	// Version1 takes JSON-RPC 1.0 too, as bitcoind and its clients speak it: "jsonrpc"
	// may be missing or "1.0", and "id" may be any value. All else is as strict.
	Version1 bool
	MaxBytes int // of the whole message
	MaxCalls int // in a batch
	// Room, if set, is asked before Read holds n bytes more; false ends with [NoRoom].
	Room func(n int) bool
}

// The bounds of the form of a call, which are the same for every server.
const (
	maxDepth  = 32  // nesting of arrays and objects in params: the server behind may recurse
	maxMethod = 128 // bytes of a method name
	maxID     = 256 // bytes of an id as it was written, because it is written back
)

// Request is what a message asks for.
type Request struct {
	// Methods are the names of the methods called, each once, in the order of their
	// first call. A batch is to be judged by the strictest of them.
	Methods []string
	// Calls are the calls in the order of the message.
	Calls []Call
	// Batch tells an array of one call from that call alone: they are answered
	// differently.
	Batch bool
}

// Call is one call.
type Call struct {
	Method string
	// ID is the id as it was written, quotes included: a part of the message that was
	// parsed, not a copy. It is nil for a notification, which gets no answer.
	ID []byte
}

// Parse reads one message: the body of an HTTP request, or one WebSocket message. The
// error is always an *Error. The Request refers to body, which must not change while it
// is in use.
func Parse(body []byte, l Limits) (Request, error) {
	if len(body) > l.MaxBytes {
		return Request{}, &Error{TooLarge, l.MaxBytes, "the message is too long"}
	}
	if at := firstInvalidUTF8(body); at >= 0 {
		return Request{}, &Error{Encoding, at, "not UTF-8"}
	}
	r := readers.Get().(*reader)
	defer r.release()
	r.reset(body)
	p := parser{reader: r, limits: l}
	var req Request
	if err := p.document(&req); err != nil {
		return Request{}, err
	}
	return req, nil
}

type parser struct {
	*reader
	limits Limits
	seen   map[string]struct{} // methods, once there are too many to compare with each
}

func (p *parser) document(req *Request) *Error {
	switch p.kind() {
	case jsontext.KindBeginObject:
		// One allocation for what most messages need.
		own := new(struct {
			methods [1]string
			calls   [1]Call
		})
		req.Methods, req.Calls = own.methods[:0], own.calls[:0]
		if err := p.call(req); err != nil {
			return err
		}
	case jsontext.KindBeginArray:
		req.Batch = true
		if err := p.batch(req); err != nil {
			return err
		}
	case jsontext.KindInvalid:
		return p.token()
	default:
		return p.fail(NotACall, "a message is an object or an array")
	}
	return p.end()
}

func (p *parser) batch(req *Request) *Error {
	if err := p.token(); err != nil {
		return err
	}
	if p.kind() == jsontext.KindEndArray {
		return p.fail(EmptyBatch, "a batch holds at least one call")
	}
	for {
		switch k := p.kind(); {
		case k == jsontext.KindEndArray, k == jsontext.KindInvalid, k == jsontext.KindEndObject:
			return p.token()
		case k != jsontext.KindBeginObject:
			return p.fail(NotACall, "a batch holds calls only")
		case len(req.Calls) == p.limits.MaxCalls:
			return p.fail(TooManyCalls, fmt.Sprintf("the batch has more than %d calls", p.limits.MaxCalls))
		}
		if err := p.call(req); err != nil {
			return err
		}
	}
}

// The members of a call, as a set.
const (
	hasVersion = 1 << iota
	hasMethod
	hasParams
	hasID
)

// call reads one call object and adds it to req.
func (p *parser) call(req *Request) *Error {
	start := p.next()
	if err := p.token(); err != nil {
		return err
	}
	var (
		has    int
		method []byte
		c      Call
	)
	for p.kind() != jsontext.KindEndObject {
		at := p.next()
		member, err := p.member()
		if err != nil {
			return err
		}
		if has&member != 0 {
			return &Error{Duplicate, at, "the same member twice"}
		}
		has |= member
		switch member {
		case hasVersion:
			err = p.version()
		case hasMethod:
			method, err = p.method()
		case hasParams:
			err = p.params()
		case hasID:
			c.ID, err = p.id()
		}
		if err != nil {
			return err
		}
	}
	if err := p.token(); err != nil {
		return err
	}
	if has&hasVersion == 0 && !p.limits.Version1 {
		return &Error{Version, start, `a call without "jsonrpc"`}
	}
	if has&hasMethod == 0 {
		return &Error{Method, start, `a call without "method"`}
	}
	c.Method = p.addMethod(req, method)
	req.Calls = append(req.Calls, c)
	return nil
}

// addMethod adds a method to req.Methods if it is new there, and returns its name.
func (p *parser) addMethod(req *Request, method []byte) string {
	const few = 16
	if p.seen == nil {
		for _, m := range req.Methods {
			if m == string(method) {
				return m
			}
		}
	} else if _, ok := p.seen[string(method)]; ok {
		return string(method)
	}
	name := string(method)
	req.Methods = append(req.Methods, name)
	if p.seen == nil && len(req.Methods) > few {
		p.seen = make(map[string]struct{}, p.limits.MaxCalls)
		for _, m := range req.Methods {
			p.seen[m] = struct{}{}
		}
	} else if p.seen != nil {
		p.seen[name] = struct{}{}
	}
	return name
}
