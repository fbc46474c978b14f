package portal

import "net/http"

// StandIn answers a browser that asks for the script of a service worker which it is not to have now, with a worker that
// does nothing. A refusal would leave the worker that it has in place.
func (p *Pages) StandIn(w http.ResponseWriter) {
	a := p.assets["standin.js"]
	h := w.Header()
	SecurityHeaders(h)
	h.Set("Content-Type", a.contentType)
	// The worker in whose place this one comes may have a scope beyond the folder of its script. Without this the
	// browser would keep that one.
	h.Set("Service-Worker-Allowed", "/")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(a.body)
}
