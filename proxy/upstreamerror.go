package proxy

import (
	"net/http"

	"sallyport/proxy/portal"
)

// UpstreamError renders what the forwarder could not do. It is the forwarder's OnError.
func UpstreamError(pages *portal.Pages) func(http.ResponseWriter, *http.Request, int, error) {
	texts := map[int][3]string{
		http.StatusBadGateway:                  {"bad_gateway", "The tool does not answer", "You are signed in and allowed, but the tool behind this address is not running or answered with nonsense."},
		http.StatusServiceUnavailable:          {"upstream_unavailable", "The tool is not available", "You are signed in and allowed, but the tool behind this address is not available at the moment."},
		http.StatusGatewayTimeout:              {"gateway_timeout", "The tool takes too long to answer", "You are signed in and allowed, but the tool behind this address did not answer in time."},
		http.StatusRequestEntityTooLarge:       {"too_large", "That is too large", "The request has more data than is accepted for this tool."},
		http.StatusRequestHeaderFieldsTooLarge: {"headers_too_large", "The request headers are too large", "Delete the cookies of this site in your browser, then try again."},
	}
	return func(w http.ResponseWriter, r *http.Request, status int, err error) {
		text, ok := texts[status]
		if !ok {
			text = [3]string{"upstream_error", http.StatusText(status), "The request could not be passed on."}
		}
		f := portal.Refusal{Status: status, Code: text[0], Title: text[1], Text: []string{text[2]}, Tool: true}
		if status >= 500 {
			f.Steps = []string{"Wait a minute, then reload this page.", "If it goes on, tell the people who run the tool."}
			w.Header().Set("Retry-After", "10")
		}
		pages.Refuse(w, r, f)
	}
}
