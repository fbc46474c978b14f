package jsonrpc

import "bytes"

// Oversize finds the id of a call that is too large to be held, while the call passes by
// in pieces. It holds no more than the id. It judges nothing: a call that it sees goes
// nowhere, and a client that misleads it gets its own answer with a wrong id. The zero
// value is ready.
type Oversize struct {
	depth         int
	begun         bool // the first byte of the message was seen
	lost          bool // a batch, no JSON, or two ids: there is no one id
	str, esc, val bool // inside a string; behind a backslash; behind the colon of an outermost member
	key           []byte
	isID          bool
	ids           int
	id            []byte
}

// Write takes the next piece. It keeps none of it, and never fails.
func (o *Oversize) Write(piece []byte) (int, error) {
	for _, c := range piece {
		if o.lost {
			break
		}
		o.next(c)
	}
	return len(piece), nil
}

func (o *Oversize) next(c byte) {
	if o.str || c == '"' {
		o.inString(c)
		return
	}
	switch c {
	case '{', '[':
		o.lost = o.depth == 0 && (o.begun || c == '[') // a second message, or a batch
		o.begun = true
		o.depth++
		if o.depth > 1 {
			o.keep(c)
		}
		return
	case '}', ']':
		if o.depth--; o.depth <= 0 {
			o.member()
			return
		}
	case ' ', '\t', '\r', '\n':
		if o.val {
			o.keep(c)
		}
		return
	}
	switch {
	case o.depth == 0:
		o.lost = true // before or after the call
	case o.depth == 1 && c == ',':
		o.member()
	case o.depth == 1 && c == ':':
		o.val, o.isID = true, string(o.key) == `"id"`
		if o.isID {
			o.ids++
		}
	default:
		o.keep(c)
	}
}

func (o *Oversize) inString(c byte) {
	o.keep(c)
	switch {
	case o.esc:
		o.esc = false
	case c == '\\':
		o.esc = o.str
	case c == '"':
		o.str = !o.str
	}
}

// keep notes a byte of an outermost member's name or of the id, as far as it matters.
func (o *Oversize) keep(c byte) {
	switch {
	case o.depth == 1 && !o.val && len(o.key) <= len(`"id"`):
		o.key = append(o.key, c)
	case o.val && o.isID && len(o.id) <= maxID:
		o.id = append(o.id, c)
	}
}

// member begins the next outermost member.
func (o *Oversize) member() { o.key, o.val, o.isID = o.key[:0], false, false }

// Request is the call as far as it is known, for [ErrorResponse]: with its id if it has
// one that l allows, otherwise one that is answered with null.
func (o *Oversize) Request(l Limits) Request {
	if o.lost || o.depth != 0 || o.ids != 1 {
		return Request{}
	}
	call := bytes.Join([][]byte{[]byte(`{"jsonrpc":"2.0","method":"m","id":`), o.id, []byte(`}`)}, nil)
	req, err := Parse(call, Limits{MaxBytes: len(call), Version1: l.Version1})
	if err != nil {
		return Request{}
	}
	req.Methods, req.Calls[0].Method = nil, ""
	return req
}
