package proxy

import (
	"context"
	"net/http"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/policy"
	"sallyport/proxy/audit"
)

// Sessions is what the gate needs of authn/session.
type Sessions interface {
	// Load answers session.ErrNoSession for nobody; any other error fails closed.
	Load(r *http.Request, host string) (authn.Session, error)
	// List answers with what is alive.
	List(ctx context.Context, f session.Filter) ([]session.Record, error)
	// Device is the public handle of the device that the sign-in host knows the browser by, or "".
	Device(r *http.Request) string
}

// Auditor is what the gate needs of proxy/audit.
type Auditor interface {
	// Record is durable when it returns, and returns the incident that the record is found
	// under: r's, or, where there were too many, that of the first of them.
	Record(ctx context.Context, r audit.Record) (incident string, err error)
	// Repeat counts one more of a run of identical allows whose first is on disk, and
	// reports whether there is one.
	Repeat(k audit.Same) (bool, error)
	// Allow writes the first of a run durably and opens it for Repeat. audit.ErrManyCalls: this
	// session has had more lines than anybody needs.
	Allow(ctx context.Context, r audit.Record) error
}

// Asserter vouches for people to upstreams.
type Asserter interface {
	// For returns the assertion of a session for a route; d let it through.
	For(s *authn.Session, route string, d *policy.Decision) (string, error)
	// ServeHTTP answers with the keys that verify assertions.
	ServeHTTP(w http.ResponseWriter, r *http.Request)
}
