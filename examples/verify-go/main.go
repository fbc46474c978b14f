// Command verify-go is a small upstream that believes only Sallyport: it checks the
// signed assertion of each request and says who it is from.
//
// verify.go and keys.go are made to be copied. They need go-jose and the standard
// library.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"
)

// Header carries the assertion.
const Header = "X-Sallyport-Assertion"

func main() {
	listen := flag.String("listen", "127.0.0.1:3000", "address to serve on")
	issuer := flag.String("issuer", "http://localhost:8080", "external_url of Sallyport")
	audience := flag.String("audience", "", "name of the route that leads here")
	jwks := flag.String("jwks", "", "URL of the key set (default: issuer + /.sallyport/jwks.json)")
	flag.Parse()
	if *audience == "" {
		log.Fatal("-audience is required: an assertion for another tool must not be accepted here")
	}
	if *jwks == "" {
		*jwks = strings.TrimSuffix(*issuer, "/") + "/.sallyport/jwks.json"
	}
	v := &Verifier{Issuer: *issuer, Audience: *audience, Keys: &KeySet{URL: *jwks}}
	server := &http.Server{Addr: *listen, Handler: v.Require(http.HandlerFunc(hello)), ReadHeaderTimeout: 10 * time.Second}
	log.Printf("serving on http://%s for the route %q", *listen, *audience)
	log.Fatal(server.ListenAndServe())
}

func hello(w http.ResponseWriter, r *http.Request) {
	c := From(r.Context())
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Hello %s (%s).\nGroups: %s\nYou proved yourself %s ago with a %s passkey.\n",
		c.Email, c.Subject, strings.Join(c.Groups, ", "), time.Since(time.Unix(c.VerifiedAt, 0)).Round(time.Second), c.Credential)
}

// Require lets only requests through that carry one good assertion. Everything else
// is 401, or 503 if there are no keys to check it with.
func (v *Verifier) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Two of them are one too many: who added the other?
		values := r.Header[Header]
		if len(values) != 1 {
			http.Error(w, "this tool is reached through Sallyport only", http.StatusUnauthorized)
			return
		}
		claims, err := v.Verify(r.Context(), values[0])
		switch {
		case errors.Is(err, ErrNoKeys):
			log.Printf("cannot check assertions: %v", err)
			http.Error(w, "cannot check who you are", http.StatusServiceUnavailable)
		case err != nil:
			log.Printf("refused an assertion: %v", err)
			http.Error(w, "this tool is reached through Sallyport only", http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r.WithContext(With(r.Context(), claims)))
		}
	})
}
