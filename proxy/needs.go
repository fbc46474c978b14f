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
	// Load returns session.ErrNoSession if there is no session; any other error fails
	// closed.
	Load(r *http.Request, host string) (authn.Session, error)
	// List returns the sessions that are alive.
	List(ctx context.Context, f session.Filter) ([]session.Record, error)
	// Device is the public handle of the device that the sign-in host knows the browser
	// by, or "".
	Device(r *http.Request) string
}

// Auditor is what the gate needs of proxy/audit.
type Auditor interface {
	// Record is durable when it returns. It returns the incident to search for: r's own,
	// or, if there were too many records, that of the first of them.
	Record(ctx context.Context, r audit.Record) (incident string, err error)
	// Count counts one more of a run of identical allows whose first is on disk, and
	// reports whether there is one.
	Count(k audit.RunKey) (bool, error)
	// AppendRun writes the first of a run durably and opens it for Count. audit.ErrManyCalls
	// means that this session has used up its lines.
	AppendRun(ctx context.Context, r audit.Record) error
}

// Asserter vouches for people to upstreams.
type Asserter interface {
	// For returns the assertion of a session for a route; d let it through.
	For(s *authn.Session, route string, d *policy.Decision) (string, error)
	// ServeHTTP answers with the keys that verify assertions.
	ServeHTTP(w http.ResponseWriter, r *http.Request)
}
