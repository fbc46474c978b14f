package jsonrpc

import (
	"net/http"
	"strings"
)

// Form is how a request brings its calls. The zero value is none that is known.
type Form int

const (
	// Unjudged has no message that could be read. It is never without an error.
	Unjudged Form = iota
	// Message is POST with a body: read it with [Read] and [Parse].
	Message
	// Handshake begins a WebSocket: each of its messages is to be read.
	Handshake
	// Preflight is OPTIONS without a body, which calls nothing.
	Preflight
)

// FormOf says how r brings its calls, or an *Error if a server could take it for a call
// that no body names. Nodes have more ways in than the one of JSON-RPC: CometBFT executes
// GET /broadcast_tx_commit?tx=..., and takes parameters from the query of a POST as well.
// So nothing passes but a POST with a body, a WebSocket handshake, and OPTIONS, all of
// them without a query.
//
// It does not look at the path; see [Named].
func FormOf(r *http.Request, rawQuery string) (Form, error) {
	if rawQuery != "" {
		return Unjudged, &Error{Query, 0, "a query belongs to no JSON-RPC message, and some nodes read calls in it"}
	}
	empty := r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0
	switch {
	case r.Method == http.MethodPost && !empty:
		return Message, nil
	case r.Method == http.MethodPost:
		return Unjudged, &Error{NoBody, 0, "a POST without a message"}
	case r.Method == http.MethodGet && empty && isHandshake(r):
		return Handshake, nil
	case r.Method == http.MethodOptions && empty:
		return Preflight, nil
	}
	return Unjudged, &Error{HTTPMethod, 0, "calls come by POST with a message, or in a WebSocket"}
}

// isHandshake recognises what a server would upgrade (RFC 6455 section 4.2.1). What only
// looks like it is answered as a GET by a node that calls methods by GET.
func isHandshake(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	if len(upgrade) != 1 || !strings.EqualFold(strings.TrimSpace(upgrade[0]), "websocket") {
		return false
	}
	if r.ProtoMajor != 1 { // RFC 8441 has neither of the other two
		return true
	}
	if r.Header.Get("Sec-Websocket-Key") == "" {
		return false
	}
	for _, line := range r.Header["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}

// endpoints are last segments of paths at which nodes commonly take messages.
var endpoints = map[string]bool{"": true, "rpc": true, "jsonrpc": true, "json_rpc": true, "json-rpc": true, "ws": true, "wss": true,
	"websocket": true, "v0": true, "v1": true, "v2": true, "v3": true}

// Named returns the method that a path below the node's own may call by itself, or "".
// CometBFT runs /unsafe_flush_mempool with any body, and Monero /stop_daemon: the name in
// the path must be judged like one in the body. The usual names of endpoints ("rpc",
// "ws", "v1", ...) are no methods; the caller knows of others.
func Named(below string) string {
	last := strings.TrimSuffix(below, "/")
	last = last[strings.LastIndexByte(last, '/')+1:]
	if endpoints[last] {
		return ""
	}
	return last
}
