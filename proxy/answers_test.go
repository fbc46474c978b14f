package proxy_test

import (
	"strings"
	"testing"
)

// What a browser fetches before the person goes there begins nothing: no cookie, no way to the sign-in host. On
// a click, the browser asks again.
func TestNothingIsBegunAhead(t *testing.T) {
	g := newRig(t)
	b := g.enrolled("alice", home)
	for name, who := range map[string]*browser{"sign-in": g.browser(home), "step-up": b.clone(vpn)} {
		for _, purpose := range []string{"Sec-Purpose", "Purpose"} {
			r := who.request("GET", treasury+"/", "")
			r.Header.Set("Accept", "text/html")
			r.Header.Set("Sec-Fetch-Site", "none")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
			r.Header.Set("Sec-Fetch-Dest", "document")
			r.Header.Set(purpose, "prefetch")
			a := who.do(r)
			if a.StatusCode != 401 || len(a.Cookies()) != 0 || a.location() != "" || !strings.Contains(a.body, "<h1>") {
				t.Errorf("%s, %s: %d %v", name, purpose, a.StatusCode, a.Header)
			}
		}
	}
}
