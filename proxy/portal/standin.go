package portal

import "net/http"

// StandIn answers a browser that asks for the script of a service worker, which the gate
// refuses now, with a worker that does nothing. With an error status the browser would
// keep the worker that it has.
func (p *Pages) StandIn(w http.ResponseWriter) {
	a := p.assets["standin.js"]
	h := w.Header()
	SecurityHeaders(h)
	h.Set("Content-Type", a.contentType)
	// The worker that this one replaces may have a scope beyond the folder of its script.
	// Without this header the browser would keep that one.
	h.Set("Service-Worker-Allowed", "/")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(a.body)
}
