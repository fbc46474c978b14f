package proxy

import (
	"errors"
	"net/http"

	"sallyport/proxy/portal"
	"sallyport/proxy/upstream"
)

// ofLimits has the texts for limits of a route, by key, that say more than the status
// does. They do not name the setting: the log does, and the person cannot change it.
var ofLimits = map[string][3]string{
	"connect_timeout":       {"gateway_timeout", "The tool cannot be reached", "You are signed in and allowed, but there was no connection to the tool behind this address in time."},
	"total_timeout":         {"gateway_timeout", "The request takes too long", "You are signed in and allowed, but the request took longer in all than is accepted for this tool."},
	"max_connections":       {"upstream_unavailable", "The tool is busy", busy},
	"waiting":               {"upstream_unavailable", "The tool is busy", busy},
	"response_header_bytes": {"bad_gateway", "The tool's answer is too large", "You are signed in and allowed, but the headers of the tool's answer are larger than is accepted from this tool."},
}

const busy = "You are signed in and allowed, but the tool behind this address is serving as many requests as it may at once."

// UpstreamError renders errors of the forwarder. It is the forwarder's OnError.
func UpstreamError(pages *portal.Pages) func(http.ResponseWriter, *http.Request, int, error) {
	texts := map[int][3]string{
		http.StatusBadGateway:                  {"bad_gateway", "The tool does not answer", "You are signed in and allowed, but the tool behind this address is not running or answered with nonsense."},
		http.StatusServiceUnavailable:          {"upstream_unavailable", "The tool is not available", "You are signed in and allowed, but the tool behind this address is not available at the moment."},
		http.StatusGatewayTimeout:              {"gateway_timeout", "The tool takes too long to answer", "You are signed in and allowed, but the tool behind this address did not answer in time."},
		http.StatusRequestTimeout:              {"slow_body", "The upload paused for too long", "You are signed in and allowed, but nothing more of what you sent came for longer than is accepted for this tool. Check your connection, then send it again without a pause."},
		http.StatusBadRequest:                  {"body_broken", "The request did not arrive whole", "What you sent broke off before its end. Try again."},
		http.StatusRequestEntityTooLarge:       {"too_large", "That is too large", "The request has more data than is accepted for this tool."},
		http.StatusRequestHeaderFieldsTooLarge: {"headers_too_large", "The request headers are too large", "Delete the cookies of this site in your browser, then try again."},
	}
	return func(w http.ResponseWriter, r *http.Request, status int, err error) {
		text, ok := texts[status]
		if !ok {
			text = [3]string{"upstream_error", http.StatusText(status), "The request could not be passed on."}
		}
		if status == http.StatusBadGateway && upstream.HungUp(err) {
			text[1], text[2] = "The tool closed the connection", "You are signed in and allowed, but the tool behind this address closed the connection without an answer."
		}
		if errors.Is(err, upstream.ErrHeadersRefused) {
			text = [3]string{"upstream_headers", "The tool could not take the request's headers", "You are signed in and allowed, but your groups and the cookies of this tool together are more than the tool accepts."}
		}
		limit := ""
		e, forwarded := errors.AsType[*upstream.NotForwarded](err)
		if forwarded {
			limit = e.Limit
		}
		if t, ok := ofLimits[limit]; ok {
			text = t
		}
		f := portal.Refusal{Status: status, Code: text[0], Title: text[1], Text: []string{text[2]}, Tool: true}
		switch {
		case errors.Is(err, upstream.ErrHeadersRefused): // waiting changes nothing
			f.Steps = []string{"Delete the cookies of this tool in your browser, then try again.", "If that does not help, tell the people who run the tool: its limit on request headers is too low."}
		case limit == "response_header_bytes": // nor here
			f.Steps = []string{"Tell the people who run the tool, and name this page: its answer is too large, so trying again changes nothing."}
		case limit == "total_timeout":
			f.Steps = []string{"Ask the tool for less at once, or send less at once.", "If that does not help, tell the people who run the tool."}
		case limit == "body_bytes", limit == "upgrade_bytes":
			f.Steps = []string{"Send less at once.", "If the tool has to take this much, tell the people who run the tool."}
		case status >= 500:
			f.Steps = []string{"Wait a minute, then reload this page.", "If it goes on, tell the people who run the tool."}
			w.Header().Set("Retry-After", "10")
		}
		// If a page must not be shown in the frame, the frame stays empty, and the person
		// would not see that the tool is down.
		if forwarded && portal.KindOf(r) == portal.Framed {
			pages.RefuseFramed(w, f, ancestors(e.Route))
			return
		}
		pages.Refuse(w, r, f)
	}
}
