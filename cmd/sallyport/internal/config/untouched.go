package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// StarterClientID is what `sallyport init` writes, and no provider gives.
const StarterClientID = "client-id-from-your-provider"

// untouched warns of values that `sallyport init` or an example wrote and that were not
// replaced: they are well-formed, and work for people on this machine only.
func (c *Config) untouched(warn func(path, message, expected string)) {
	host := func(key string, u *url.URL, expected string) {
		switch name := u.Hostname(); {
		case forDocumentation(name):
			warn(key, fmt.Sprintf("%s is a name reserved for documentation (RFC 2606)", name), expected)
		case localName(name):
			warn(key, fmt.Sprintf("%s is this machine for every browser: people elsewhere cannot open it", u.Host), expected+"; for a trial on this machine, leave it")
		}
	}
	host("external_url", c.ExternalURL, "https and the host name that people sign in at")
	if u, err := url.Parse(c.OIDC.Issuer); err == nil && forDocumentation(u.Hostname()) {
		host("oidc.issuer", u, "the issuer of your OpenID provider")
	}
	if c.OIDC.ClientID == StarterClientID {
		warn("oidc.client_id", fmt.Sprintf("%q is what `sallyport init` wrote", c.OIDC.ClientID), "the client id that your provider gave you")
	}
	for i, r := range c.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		host(key+".from", r.From, "https and a host name of the tool's own")
		for j, e := range r.Allow.Emails {
			if _, domain, _ := strings.Cut(e, "@"); forDocumentation(domain) {
				warn(fmt.Sprintf("%s.allow.emails[%d]", key, j), fmt.Sprintf("%s is an address reserved for documentation (RFC 2606)", e), "addresses of your people")
			}
		}
		for j, d := range r.Allow.Domains {
			if forDocumentation(d) {
				warn(fmt.Sprintf("%s.allow.domains[%d]", key, j), fmt.Sprintf("%s is a name reserved for documentation (RFC 2606)", d), "the domain of your people's addresses")
			}
		}
	}
	for _, email := range slices.Sorted(maps.Keys(c.Roster)) {
		if forDocumentation(email.Domain()) {
			warn("roster", fmt.Sprintf("it has %s, who is made up", email), "your people, or no roster")
			break // one is enough to find the others
		}
	}
}

// forDocumentation reports whether a name is reserved for examples (RFC 2606 sections 2
// and 3).
func forDocumentation(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return slices.ContainsFunc([]string{"example", "invalid", "example.com", "example.net", "example.org"}, func(d string) bool {
		return host == d || strings.HasSuffix(host, "."+d)
	})
}
