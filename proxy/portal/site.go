package portal

import (
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// CrossSite reports whether a session gets to an origin by a form rather than by fetch: browsers
// take it for another site than the sign-in host, and send it no cookies with a fetch; or
// the configuration says so (session.handoff: post).
//
// A service worker of such an origin can read what a form brings there.
func (p *Portal) CrossSite(origin string) bool {
	if p.HandoffByPost {
		return true
	}
	u, err := url.Parse(origin)
	return err != nil || !sameSite(p.SignIn, u)
}

// sameSite is "schemeful same-site" of the HTML standard: equal schemes, and equal
// registrable domains by the public suffix list, or equal hosts where there is none
// (addresses, "localhost"). Where our list and the browser's differ, a hand-off by fetch
// lacks its cookie and is refused; session.handoff: post helps.
func sameSite(a, b *url.URL) bool {
	if !strings.EqualFold(a.Scheme, b.Scheme) {
		return false
	}
	x, y := strings.ToLower(a.Hostname()), strings.ToLower(b.Hostname())
	if x == y {
		return true
	}
	s, ok := registrable(x)
	t, too := registrable(y)
	return ok && too && s == t
}

func registrable(host string) (string, bool) {
	if _, err := netip.ParseAddr(host); err == nil {
		return "", false
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(strings.TrimSuffix(host, "."))
	return domain, err == nil
}
