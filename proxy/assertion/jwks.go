package assertion

import (
	"net/http"
	"strconv"
	"time"
)

// JWKS returns the public keys (RFC 7517), those that sign, will sign and signed until a
// moment ago. It must not be cached for longer than Config.JWKSMaxAge. The caller must
// not change it.
func (s *Signer) JWKS() []byte { return s.ring.Load().jwks }

// ServeHTTP answers GET and HEAD with the key set. It is public: no session is needed,
// and pages of other origins may read it.
func (s *Signer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	ring := s.ring.Load()
	h := w.Header()
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(s.cfg.JWKSMaxAge/time.Second)))
	h.Set("Etag", ring.etag)
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Header.Get("If-None-Match") == ring.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Content-Length", strconv.Itoa(len(ring.jwks)))
	if r.Method == http.MethodGet {
		w.Write(ring.jwks)
	}
}
