package proxy

import (
	"fmt"
	"net/url"

	"sallyport/proxy/upstream"
)

// apart refuses a route on the sign-in host. The tool of such a route would share
// cookies, or even the origin, with the pages that use passkeys. The configuration
// refuses such a route first, with a message that says what to write instead. Update does
// not check again, because its snapshots come from the configuration.
func apart(signIn string, t *upstream.Table) error {
	u, err := url.Parse(signIn)
	if err != nil {
		return fmt.Errorf("gate: sign-in host: %w", err)
	}
	for _, r := range t.Routes() {
		if r.Covers(u.Hostname()) {
			return fmt.Errorf("gate: %v is on the host that people sign in at", r)
		}
	}
	return nil
}
