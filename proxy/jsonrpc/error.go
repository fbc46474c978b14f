package jsonrpc

import (
	"fmt"
	"net/http"
)

// Code says why a message was refused. Codes are stable: they go to metrics and to
// the audit log.
type Code string

const (
	TooLarge     Code = "too_large"      // body longer than Limits.MaxBytes
	TooDeep      Code = "too_deep"       // params nested deeper than 32 levels
	TooManyCalls Code = "too_many_calls" // batch longer than Limits.MaxCalls
	Syntax       Code = "syntax"         // not one JSON text
	Encoding     Code = "encoding"       // not UTF-8, or a header that says so
	EmptyBatch   Code = "empty_batch"    // []
	NotACall     Code = "not_a_call"     // neither an object nor an array of objects
	Response     Code = "response"       // an answer where a call belongs
	Duplicate    Code = "duplicate"      // a member twice
	Member       Code = "member"         // a member that is not spelled as in the standard
	Version      Code = "version"        // "jsonrpc" missing or not "2.0"
	Method       Code = "method"         // "method" missing or not an acceptable name
	Params       Code = "params"         // "params" neither object, array nor null
	ID           Code = "id"             // "id" neither string, number nor null

	MethodTooLong Code = "method_too_long" // "method" longer than 128 bytes
	IDTooLong     Code = "id_too_long"     // "id" longer than 256 bytes

	HTTPMethod Code = "http_method" // neither POST nor a WebSocket handshake nor OPTIONS
	NoBody     Code = "no_body"     // POST without a message
	Query      Code = "query"       // something behind a question mark
	ByLink     Code = "by_link"     // a call by GET that a page, or a link elsewhere, may have made a browser send
	NoRoom     Code = "no_room"     // Limits.Room said no
)

// Error is a refusal.
type Error struct {
	Code   Code
	Offset int // byte of the body
	Detail string
}

func (e *Error) Error() string {
	return fmt.Sprintf("json-rpc message refused (%s) at byte %d: %s", e.Code, e.Offset, e.Detail)
}

// The codes of JSON-RPC 2.0 section 5.1.
const (
	ParseError     = -32700
	InvalidRequest = -32600
)

// RPCCode is the code of the JSON-RPC error object that tells a client of e.
func (e *Error) RPCCode() int {
	if e.Code == Syntax || e.Code == Encoding {
		return ParseError
	}
	return InvalidRequest
}

// Status is the HTTP status that tells a client of e.
func (e *Error) Status() int {
	switch e.Code {
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case HTTPMethod:
		return http.StatusMethodNotAllowed
	case ByLink:
		return http.StatusForbidden
	case NoRoom:
		return http.StatusTooManyRequests
	}
	return http.StatusBadRequest
}
