package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"sallyport/proxy/hostname"
	"sallyport/proxy/upstream"
)

// site reads an origin that browsers open, and spells its host as requests are
// matched: one trailing dot is dropped, an IPv6 address has its short form, and what
// browsers and resolvers would read as another host is refused.
func (b *builder) site(key, raw string) *url.URL {
	return b.spelled(key, raw, upstream.CanonicalHost)
}

func (b *builder) spelled(key, raw string, canonical func(scheme, raw string) (hostname, host string, err error)) *url.URL {
	u := b.origin(key, raw)
	if u == nil {
		return nil
	}
	_, host, err := canonical(u.Scheme, u.Host)
	if err != nil {
		b.at(key, fmt.Sprintf("%q has %v", raw, err), "a DNS name in ASCII (xn--... for others), such as access.example.com")
		return nil
	}
	u.Host = host
	return u
}

// from reads what clients ask for: a host of the tool's own, with or without a path.
func (b *builder) from(key, name, raw string) *url.URL {
	ext := b.c.ExternalURL
	if ext == nil {
		return &url.URL{}
	}
	if !b.required(key, raw, "what people open, such as https://tool.example.com") {
		return &url.URL{}
	}
	if strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") {
		b.onSignInHost(key, name, fmt.Sprintf("no tool may share the host that people sign in at, and %s is a path of it", raw))
		return &url.URL{}
	}
	u := b.spelled(key, raw, upstream.CanonicalFrom)
	if u == nil {
		return &url.URL{}
	}
	switch {
	case hostname.Covers(u.Hostname(), ext.Hostname()) && u.Hostname() != ext.Hostname():
		b.at(key, fmt.Sprintf("%s is every host of %s, and people sign in at one of them: %s", u.Hostname(), u.Hostname()[len("*."):], ext.Hostname()),
			"a domain of their own for these hosts, such as "+u.Scheme+"://*."+name+"."+u.Hostname()[len("*."):])
	case u.Hostname() == ext.Hostname() && u.Host == ext.Host && u.Scheme == ext.Scheme:
		b.onSignInHost(key, name, fmt.Sprintf("no tool may share the host that people sign in at, %s", ext.Hostname()))
	case u.Hostname() == ext.Hostname():
		b.onSignInHost(key, name, fmt.Sprintf("no tool may share the host that people sign in at, %s: another port or scheme does not keep cookies apart", ext.Hostname()))
	case u.Scheme != ext.Scheme:
		b.at(key, fmt.Sprintf("%s does not have the scheme of external_url", raw), ext.Scheme+"://"+u.Host)
	case u.Scheme == "http" && !localName(u.Hostname()):
		b.at(key, "session cookies need https", "https (plain http works for localhost and *.localhost only)")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u
}

// Wildcard reports whether the route is for many hosts.
func (r *Route) Wildcard() bool { return strings.HasPrefix(r.From.Host, "*.") }

// Host is a host of the route, for where one is needed: of a wildcard, one that is called
// like the route.
func (r *Route) Host() string {
	if parent, wild := strings.CutPrefix(r.From.Hostname(), "*."); wild {
		return r.Name + "." + parent
	}
	return r.From.Hostname()
}

// Covers reports whether a host, with its port unless that is the scheme's, is one of the
// route's.
func (r *Route) Covers(host string) bool { return hostname.Covers(r.From.Host, host) }

// onSignInHost refuses a route on the host of external_url. To a browser, scripts of the
// tool would be scripts of the sign-in pages: they could enrol passkeys, prove and sign
// out as the person, and see the codes that sessions are handed to other hosts with. The
// same holds for cookies on another port of that host (RFC 6265 section 8.5).
func (b *builder) onSignInHost(key, name, message string) {
	b.at(key, message, fmt.Sprintf("a host name of the tool's own, such as from: %s, with DNS, certificate and proxy set up for it; "+
		"external_url, the passkeys and the redirect URI at the provider stay as they are", b.ownHost(name)))
}

// ownHost is an address that a route could have: beside the sign-in host if that is a
// subdomain of a domain that can be registered, below it otherwise.
func (b *builder) ownHost(name string) string {
	ext := *b.c.ExternalURL
	if !validName.MatchString(name) {
		name = "tool"
	}
	host, parent := ext.Hostname(), ext.Hostname()
	if above, ok := hostname.Parent(host); ok && !localName(host) {
		if suffix, _ := publicsuffix.PublicSuffix(host); above != suffix {
			parent = above
		}
	}
	for _, candidate := range []string{name, "tool", "app"} {
		if candidate+"."+parent != host {
			host = candidate + "." + parent
			break
		}
	}
	if port := ext.Port(); port != "" {
		host += ":" + port
	}
	return ext.Scheme + "://" + host
}

// HostNotes says what is not wrong with the hosts of the routes, but lets one tool reach
// further than its own host: browsers keep cookies by host and not by port, a domain
// speaks for all of its subdomains, and a subdomain may ask for a domain's passkeys.
func (c *Config) HostNotes() (notes []string) {
	note := func(format string, values ...any) { notes = append(notes, fmt.Sprintf(format, values...)) }
	signIn := c.ExternalURL.Hostname()
	var tools []Route // the first of each origin
	for _, r := range c.Routes {
		if !slices.ContainsFunc(tools, func(o Route) bool { return o.From.Host == r.From.Host }) {
			tools = append(tools, r)
		}
	}
	for i, r := range tools {
		switch host := r.From.Hostname(); {
		case within(signIn, host):
			note("route %s is on %s, a domain above the sign-in host %s: cookies and HSTS that the tool sets for the domain reach the sign-in host; "+
				"give the tool a host beside it, such as tool.%s", r.Name, host, signIn, host)
		case within(host, signIn) && !localName(host):
			note("route %s is on %s, below the sign-in host %s: scripts of the tool may ask browsers for the passkeys of %s (their answers are refused here); "+
				"a host that is not below it may not", r.Name, host, signIn, signIn)
		}
		if r.Wildcard() {
			note("route %s is for every host of %s: scripts of one can set cookies for all of them, unless the domain is on the public suffix list, and a foreign DNS record below it is taken for one of these hosts",
				r.Name, r.From.Hostname()[len("*."):])
		}
		for _, other := range tools[:i] {
			a, b := other.From.Hostname(), r.From.Hostname()
			switch {
			case a == b:
				note("routes %s and %s are on two ports of %s: browsers send the cookies of each tool to the other; give each a host name of its own", other.Name, r.Name, a)
			case within(a, b):
				note(aboveNote, r.Name, b, other.Name, a)
			case within(b, a):
				note(aboveNote, other.Name, a, r.Name, b)
			}
		}
	}
	return notes
}

const aboveNote = "route %s is on %s, a domain above that of route %s, %s: cookies that the one sets for the domain reach the other"

// within reports whether host is a subdomain of domain.
func within(host, domain string) bool {
	_, err := netip.ParseAddr(domain)
	return err != nil && strings.HasSuffix(host, "."+domain)
}
