package upstream

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"syscall"

	"sallyport/proxy/upstream/h1"
)

// Limit is a bound that refused an exchange, or ended it before it was over.
type Limit struct {
	// Key is the last part of its key in the configuration; "upgrade_bytes" and "waiting"
	// are fixed, and have none.
	Key string
	// Setting is the whole key, or what is fixed. It is for the log, not for the client.
	Setting string
	Route   *Route
	User    string
	Is      any   // the bound: a size, a number or a time
	Asked   int64 // what came instead; not positive: that is not known
}

// Attrs are what a line of the log says of it.
func (l *Limit) Attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("limit", l.Setting), slog.Any("is", l.Is)}
	if l.Asked > 0 {
		attrs = append(attrs, slog.Int64("asked", l.Asked))
	}
	switch l.Key {
	case "max_connections":
		attrs = append(attrs, slog.Duration("wait_timeout", l.Route.timeouts.Wait))
	case "waiting": // why there was anything to wait for
		attrs = append(attrs, slog.Int("max_connections", l.Route.maxConns))
	}
	return append(attrs, slog.String("route", l.Route.Name), slog.String("user", l.User))
}

// limitOf is the key of the limit that err came of, "" if it came of none.
//
// Waiting for a place for longer than wait_timeout is max_connections. What is not told
// apart: a name that is looked up for longer than connect_timeout counts as
// connect_timeout, and so does a resolver that gives up before.
func limitOf(err error) string {
	var dial dialError
	switch {
	case errors.Is(err, errUpgradeBody):
		return "upgrade_bytes"
	case errors.Is(err, errBodyTooLarge):
		return "body_bytes"
	case errors.Is(err, ErrHeaderTooLarge):
		return "header_bytes"
	case errors.Is(err, errPaused), errors.Is(err, errIdle):
		return "idle_timeout"
	case errors.Is(err, errTotal):
		return "total_timeout"
	case errors.Is(err, errQueue):
		return "waiting"
	case errors.Is(err, errBusy):
		return "max_connections"
	case largeAnswer(err):
		return "response_header_bytes"
	case errors.Is(err, errDeadline), errors.Is(err, syscall.ETIMEDOUT), !isTimeout(err):
		return "" // the client's own time, or the kernel's
	case errors.As(err, &dial):
		return "connect_timeout"
	}
	return "response_timeout"
}

// largeAnswer reports whether err is an answer whose header is larger than its route
// allows. net/http has no error that says so, only these texts: TestLimitsOfARoute
// notices when they change. An HTTP/2 answer with one field beyond the limit, or with far
// more in all, is not told from one that cannot be decoded: both end the connection with
// COMPRESSION_ERROR, which counts as no limit.
func largeAnswer(err error) bool {
	if errors.Is(err, h1.ErrResponseHeader) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "server response headers exceeded") || strings.Contains(text, "response header list larger than")
}

// exceeded tells of one. asked is not positive if that is not known.
func (f *Forwarder) exceeded(fr *ForwardRequest, key string, asked int64) {
	r := fr.Route
	l := &Limit{Key: key, Setting: "routes[]." + key, Route: r, User: fr.Identity.User, Asked: asked}
	switch key {
	case "upgrade_bytes":
		l.Setting, l.Is = fmt.Sprintf("fixed: %d KB of the body of a request that switches protocols", maxShortBody>>10), maxShortBody
	case "waiting":
		l.Setting, l.Is = fmt.Sprintf("fixed: %d requests that wait for one upstream", maxWaiting), maxWaiting
	case "header_bytes":
		l.Setting, l.Is = "limits.header_bytes", f.maxRequestHeader
	case "body_bytes":
		if l.Is = r.maxBody; r.sharedBody {
			l.Setting = "limits.body_bytes"
		}
	case "response_header_bytes":
		l.Is = r.maxResponseHeader
	case "max_connections":
		l.Is = r.maxConns
	case "connect_timeout":
		l.Is = r.timeouts.Connect
	case "response_timeout":
		l.Is = r.timeouts.ResponseHeader
	case "idle_timeout":
		l.Is = r.timeouts.Idle
	case "total_timeout":
		l.Is = r.timeouts.Total
	}
	f.onLimit(l)
}

// asked is what r has of what key is a limit of, as far as it says so.
func asked(r *http.Request, key string) int64 {
	switch key {
	case "body_bytes":
		return r.ContentLength
	case "header_bytes":
		return int64(headerSize(r))
	}
	return 0
}
