package portal

import (
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// CrossSite reports whether a session gets to an origin by a form rather than by fetch:
// browsers treat it as another site than the sign-in host, and send no cookies with a
// fetch; or the configuration says so (session.handoff: post).
//
// A service worker of such an origin can read what a form brings there.
func (p *Portal) CrossSite(origin string) bool {
	if p.cfg.HandoffByPost {
		return true
	}
	u, err := url.Parse(origin)
	return err != nil || !sameSite(p.cfg.SignIn, u)
}

// sameSite is "schemeful same-site" of the HTML standard: equal schemes, and equal
// registrable domains by the public suffix list, or equal hosts where there is none
// (addresses, "localhost"). If our list and the browser's differ, a hand-off by fetch
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

// SiteSources are the origins that browsers treat as one site with an origin, as sources
// of a content security policy, each with a space before it. It names only the host that
// the client asked for and its domain.
func SiteSources(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname())
	domain, ok := registrable(host)
	switch {
	case ok:
		return " " + scheme + "://" + domain + ":* " + scheme + "://*." + domain + ":*"
	case strings.Contains(host, ":"): // CSP sources cannot be IPv6 addresses
		return ""
	}
	return " " + scheme + "://" + host + ":*"
}
