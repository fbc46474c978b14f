package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"sallyport/policy"
	"sallyport/policy/strictyaml"
)

// longSession is the longest session that is not worth a warning: a working day and a
// night.
const longSession = 24 * time.Hour

// Risks are the settings that work and give away more than most deployments mean to. None
// is a mistake: an operator may know better. They are in the order of the file.
func (c *Config) Risks() policy.Diagnostics {
	s := c.source.Another()
	warn := func(path, message, expected string) {
		s.At(c.source.place(path), strictyaml.Diagnostic{Message: named(path, message), Expected: expected})
	}
	c.untouched(warn)
	for i, p := range c.TrustedProxies {
		if least := map[bool]int{true: 24, false: 120}[p.Addr().Is4()]; (p.Bits() < least || p != p.Masked()) && !p.Addr().IsLoopback() {
			warn(fmt.Sprintf("trusted_proxies[%d]", i), fmt.Sprintf("every machine in %s can claim any client address", p.Masked()), "the addresses of your proxies alone")
		}
	}
	if host, _, err := net.SplitHostPort(c.OpsListen); err == nil && !localName(host) {
		message := c.OpsListen + " is reachable from other machines, and nothing on that port asks who is there"
		if c.Pprof {
			message += "; with pprof it also shows what is in memory, and lets a stranger keep a processor busy"
		}
		warn("ops_listen", message, "a loopback address, or a firewall that lets your monitoring alone through"+map[bool]string{true: ", and pprof: false"}[c.Pprof])
	}
	if c.OIDC.EmailsVerified {
		warn("oidc.email_verified", "every address that "+c.OIDC.Issuer+" sends counts as verified: if its people may write their own address, each of them can be any other person",
			"claim, or an issuer whose addresses your company alone sets")
	}
	if host := c.ExternalURL.Hostname(); c.WebAuthn.RPID != host {
		warn("webauthn.rp_id", fmt.Sprintf("every host under %s may ask for these passkeys, tools and forgotten servers included", c.WebAuthn.RPID), host+", which is the default")
	}
	if c.Session.MaxAge > longSession {
		warn("session.max_age", fmt.Sprintf("a stolen cookie may be of use for %s", c.Session.MaxAge), "24h at most; 12h is the limit of NIST SP 800-63B-4 for the highest level")
	}
	for i, r := range c.Routes {
		for _, to := range r.To {
			if plainElsewhere(to) {
				warn(fmt.Sprintf("routes[%d].to", i), fmt.Sprintf("requests to %s, identity headers and answers included, can be read and changed on the way", to.Host), "https, or the tool on this machine")
				break
			}
		}
		c.crossOriginRisks(i, r, warn)
		if other := c.sharesTool(i); r.StripPrefix && other != "" {
			warn(fmt.Sprintf("routes[%d].strip_prefix", i), fmt.Sprintf("%s leads to the tool of route %s: who may use %s reaches the tool's paths that %s is for", r.Name, other, r.Name, other),
				"one route for each tool, or the same allow on both")
		}
	}
	return s.Found()
}

// crossOriginRisks are about who else has a say in what a person does in a tool.
func (c *Config) crossOriginRisks(i int, r Route, warn func(path, message, expected string)) {
	key := fmt.Sprintf("routes[%d]", i)
	for j, origin := range r.AllowedOrigins {
		u, err := url.Parse(origin)
		k := fmt.Sprintf("%s.allowed_origins[%d]", key, j)
		switch {
		case err != nil: // refused before
		case u.Scheme != "http" && u.Scheme != "https":
			warn(k, fmt.Sprintf("the publisher of %s, with each update of it, acts on %s as the person", origin, r.Name), "a program whose updates your company controls")
		case origin == r.From.Scheme+"://"+r.From.Host:
			warn(k, fmt.Sprintf("%s is the route's own origin, which needs no permission", origin), "leave it out")
		case c.protects(origin):
		case siteOf(u.Hostname()) != siteOf(c.ExternalURL.Hostname()) && siteOf(u.Hostname()) != siteOf(r.From.Hostname()):
			warn(k, fmt.Sprintf("%s is not of your company's site: its owner acts on %s as the person", u.Host, r.Name), "an origin of yours; for the provider's form posts, leave it if the provider is trusted with that")
		case u.Scheme == "http" && !localName(u.Hostname()):
			warn(k, fmt.Sprintf("an attacker on the network can write the pages of %s", origin), "an https origin")
		}
	}
	if r.Embeddable {
		warn(key+".embeddable", fmt.Sprintf("every tool of this site may show %s in a frame and trick people into clicks, unless its answers say which may", r.Name),
			"leave it out, or let the tool send Content-Security-Policy: frame-ancestors https://HOST-OF-THE-OTHER-TOOL")
	}
	if domain := strings.ToLower(strings.Trim(r.CookieDomain, ".")); domain != "" && domain != r.From.Hostname() {
		reached := []string{}
		for _, o := range c.Origins() {
			if u, err := url.Parse(o); err == nil && u.Hostname() != r.From.Hostname() && (u.Hostname() == domain || within(u.Hostname(), domain)) && !slices.Contains(reached, u.Hostname()) {
				reached = append(reached, u.Hostname())
			}
		}
		if len(reached) > 0 {
			warn(key+".cookie_domain", fmt.Sprintf("cookies that %s sets for %s reach %s, and can evict theirs", r.Name, domain, strings.Join(reached, ", ")), "leave it out, or a domain that no other tool is in")
		}
	}
}

// sharesTool is the name of another route that leads to a tool of route i; "": none does.
func (c *Config) sharesTool(i int) string {
	for j, other := range c.Routes {
		if j != i && slices.ContainsFunc(other.To, func(u *url.URL) bool {
			return slices.ContainsFunc(c.Routes[i].To, func(v *url.URL) bool { return *u == *v })
		}) {
			return other.Name
		}
	}
	return ""
}

// protects reports whether an origin is one that is served here.
func (c *Config) protects(origin string) bool {
	scheme, host, _ := strings.Cut(origin, "://")
	return slices.Contains(c.Origins(), origin) || slices.ContainsFunc(c.Routes, func(r Route) bool { return r.From.Scheme == scheme && r.Covers(host) })
}

// siteOf is the domain that one owner can have, or the host where there is none.
func siteOf(host string) string {
	if site, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return site
	}
	return host
}

// plainElsewhere reports whether an upstream is on another machine and spoken to without
// TLS.
func plainElsewhere(to *url.URL) bool {
	return (to.Scheme == "http" || to.Scheme == "h2c") && !localName(to.Hostname())
}

// opsHosts reads the names under which the ops port may be asked for.
func (b *builder) opsHosts() {
	for i, name := range b.f.OpsHosts {
		key := fmt.Sprintf("ops_hosts[%d]", i)
		if !hostName(name) {
			b.suggest(key, fmt.Sprintf("%q is not a host name", name), "a name such as sallyport.monitoring.svc, without a port; addresses need not be listed", hostMeant(name))
			continue
		}
		b.c.OpsHosts = append(b.c.OpsHosts, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	if host, _, err := net.SplitHostPort(b.f.OpsListen); err == nil && host != "" {
		if _, err := netip.ParseAddr(host); err != nil { // the name that the port is opened under
			b.c.OpsHosts = append(b.c.OpsHosts, strings.ToLower(host))
		}
	}
}
