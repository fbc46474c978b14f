package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"sallyport/policy"
)

// longSession is the longest session that is not worth a warning: a working day and a night.
const longSession = 24 * time.Hour

// Risks are the settings that work and give away more than most deployments mean to. None is
// a mistake: an operator may know better. They are in the order of the file.
func (c *Config) Risks() policy.Diagnostics {
	m := mistakes{file: c.source.file, lines: c.source.lines}
	warn := func(path, message, expected string) {
		n := c.source.place(path)
		m.add(n.Line, n.Column, message, expected, "")
	}
	for i, p := range c.TrustedProxies {
		if least := map[bool]int{true: 24, false: 120}[p.Addr().Is4()]; p.Bits() < least && !p.Addr().IsLoopback() {
			warn(fmt.Sprintf("trusted_proxies[%d]", i), fmt.Sprintf("every machine in %s can claim any client address", p), "the addresses of your proxies alone")
		}
	}
	if host, _, err := net.SplitHostPort(c.OpsListen); err == nil && !localName(host) {
		message := c.OpsListen + " is reachable from other machines, and nothing on that port asks who is there"
		if c.Pprof {
			message += "; with pprof it also shows what is in memory, and lets a stranger keep a processor busy"
		}
		warn("ops_listen", message, "a loopback address, or a firewall that lets your monitoring alone through"+map[bool]string{true: ", and pprof: false"}[c.Pprof])
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
	}
	if found, ok := m.err().(policy.Diagnostics); ok {
		return found
	}
	return nil
}

// plainElsewhere reports whether an upstream is on another machine and spoken to without TLS.
func plainElsewhere(to *url.URL) bool {
	return (to.Scheme == "http" || to.Scheme == "h2c") && !localName(to.Hostname())
}

// opsHosts reads the names under which the ops port may be asked for.
func (b *builder) opsHosts() {
	for i, name := range b.f.OpsHosts {
		key := fmt.Sprintf("ops_hosts[%d]", i)
		_, notAddress := netip.ParseAddr(name)
		if name == "" || strings.ContainsAny(name, ":/ *[]") || notAddress == nil {
			b.at(key, fmt.Sprintf("%q is not a host name", name), "a name such as sallyport.monitoring.svc, without a port; addresses need not be listed")
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
