package edge

import (
	"net/http"
	"time"
)

// MatchSAN is the comparison of allowed names.
var MatchSAN = matchSAN

// FingerprintFor reads a hello.
var FingerprintFor = fingerprint

// WindowHeld is for how long the client of an HTTP/2 request could not send anything.
func WindowHeld(r *http.Request) time.Duration {
	return r.Context().Value(connInfoKey{}).(*connInfo).h2.window.held()
}
