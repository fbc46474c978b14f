package jsonrpc

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// member reads the name of a member and returns which of the four it is.
func (p *parser) member() (int, *Error) {
	at := p.next()
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
	return member, nil
}

// odd describes the mistake in a key, for the person who looks for the client that sends
// it; all of them are refused alike.
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
	at := p.next()
	if p.kind() == jsontext.KindString {
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
	at := p.next()
	if p.kind() != jsontext.KindString {
		return nil, p.fail(Method, `"method" is not a string`)
	}
	name, _, err := p.str()
	switch {
	case err != nil:
		return nil, err
	case len(name) == 0:
		return nil, &Error{Method, at, `"method" is empty`}
	case len(name) > maxMethod:
		return nil, &Error{MethodTooLong, at, fmt.Sprintf(`"method" is longer than %d bytes`, maxMethod)}
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
	switch p.kind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray, jsontext.KindNull, jsontext.KindInvalid:
		return p.skip(maxDepth)
	}
	return p.fail(Params, `"params" is neither an object nor an array`)
}

func (p *parser) id() ([]byte, *Error) {
	at, depth := p.next(), 0
	switch p.kind() {
	case jsontext.KindString, jsontext.KindNumber, jsontext.KindNull, jsontext.KindInvalid:
	default:
		if !p.limits.Version1 {
			return nil, p.fail(ID, `"id" is neither a string nor a number`)
		}
		depth = maxDepth
	}
	if err := p.skip(depth); err != nil {
		return nil, err
	}
	id := p.body[at:p.offset():p.offset()]
	if len(id) > maxID {
		return nil, &Error{IDTooLong, at, fmt.Sprintf(`"id" is longer than %d bytes`, maxID)}
	}
	return id, nil
}
