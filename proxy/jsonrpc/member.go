package jsonrpc

import (
	"fmt"
	"strings"
)

// member reads a key and its colon, and returns which of the four members it is.
func (p *parser) member() (int, *Error) {
	at := p.i
	if p.peek() != '"' {
		return 0, p.unexpected()
	}
	key, plain, err := p.str()
	if err != nil {
		return 0, err
	}
	member := 0
	switch string(key) {
	case "jsonrpc":
		member = hasVersion
	case "method":
		member = hasMethod
	case "params":
		member = hasParams
	case "id":
		member = hasID
	case "result", "error":
		return 0, &Error{Response, at, "an answer, not a call"}
	default:
		return 0, &Error{Member, at, odd(key, plain)}
	}
	if p.space(); p.peek() != ':' {
		return 0, p.unexpected()
	}
	p.i++
	p.space()
	return member, nil
}

// odd says what is wrong with a key. It is for the person who looks for the client
// that sends such things; all of them are refused alike.
func odd(key []byte, plain bool) string {
	if !plain {
		return "a member whose name is written with escapes"
	}
	for _, known := range []string{"jsonrpc", "method", "params", "id"} {
		// Unicode case folding: encoding/json takes "paramſ" for "params".
		if strings.EqualFold(known, string(key)) {
			return "a member that differs from \"" + known + "\" in case only"
		}
	}
	return "a member that is not of JSON-RPC 2.0"
}

func (p *parser) version() *Error {
	at := p.i
	if p.peek() == '"' {
		v, _, err := p.str()
		if err != nil {
			return err
		}
		if string(v) == "2.0" || p.limits.Version1 && string(v) == "1.0" {
			return nil
		}
	}
	return &Error{Version, at, `"jsonrpc" is not "2.0"`}
}

func (p *parser) method() ([]byte, *Error) {
	at := p.i
	if p.peek() != '"' {
		return nil, p.fail(Method, `"method" is not a string`)
	}
	name, _, err := p.str()
	switch {
	case err != nil:
		return nil, err
	case len(name) == 0:
		return nil, &Error{Method, at, `"method" is empty`}
	case len(name) > p.limits.MaxMethod:
		return nil, &Error{MethodTooLong, at, fmt.Sprintf(`"method" is longer than %d bytes`, p.limits.MaxMethod)}
	}
	for _, c := range name {
		// A backslash begins an escape: there is one spelling of each name.
		if c <= ' ' || c > '~' || c == '\\' {
			return nil, &Error{Method, at, `"method" is not plain printable ASCII`}
		}
	}
	return name, nil
}

func (p *parser) params() *Error {
	switch p.peek() {
	case '{', '[', 'n':
		return p.skip(p.limits.MaxDepth)
	}
	return p.fail(Params, `"params" is neither an object nor an array`)
}

func (p *parser) id() ([]byte, *Error) {
	at, depth := p.i, 0
	switch c := p.peek(); {
	case p.limits.Version1 && (c == '{' || c == '[' || c == 't' || c == 'f'):
		depth = p.limits.MaxDepth
	case c == '"', c == 'n', c == '-', '0' <= c && c <= '9':
	default:
		return nil, p.fail(ID, `"id" is neither a string nor a number`)
	}
	if err := p.skip(depth); err != nil {
		return nil, err
	}
	if p.i-at > p.limits.MaxID {
		return nil, &Error{IDTooLong, at, fmt.Sprintf(`"id" is longer than %d bytes`, p.limits.MaxID)}
	}
	return p.b[at:p.i:p.i], nil
}
