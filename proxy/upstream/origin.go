package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"sallyport/proxy/hostname"
)

// setOrigins checks which other origins may use the tool from a browser.
func (r *Route) setOrigins(c RouteConfig) error {
	var errs []error
	for i, raw := range c.AllowedOrigins {
		key := fmt.Sprintf("allowed_origins[%d]", i)
		origin, err := CanonicalOrigin(raw)
		switch {
		case err != nil:
			errs = append(errs, inKey(key, fmt.Errorf("allowed_origins: %w", err)))
		case strings.HasPrefix(origin, "http://") && r.Scheme == "https":
			errs = append(errs, inKey(key, fmt.Errorf("allowed_origins: %q: an attacker on the network can write pages of an http origin, and this route is https", raw)))
		case slices.Contains(r.allowedOrigins, origin):
			errs = append(errs, inKey(key, fmt.Errorf("allowed_origins: %q is there twice", raw)))
		}
		r.allowedOrigins = append(r.allowedOrigins, origin)
	}
	r.embeddable = c.Embeddable
	if c.CookieDomain != "" && r.Wildcard() {
		errs = append(errs, inKey("cookie_domain", errors.New("cookie_domain: the hosts of a wildcard share no cookies")))
	} else if c.CookieDomain != "" {
		var err error
		if r.cookieDomain, err = CookieDomain(r.Hostname, c.CookieDomain); err != nil {
			errs = append(errs, inKey("cookie_domain", fmt.Errorf("cookie_domain: %w", err)))
		}
	}
	return errors.Join(errs...)
}

// CookieDomain returns the Domain that cookies of a host may have, as browsers compare
// it.
func CookieDomain(host, raw string) (string, error) {
	domain, err := canonicalName(strings.TrimPrefix(raw, "."))
	if err != nil {
		return "", fmt.Errorf("%q is not a domain: %w", raw, err)
	}
	if host != domain && !strings.HasSuffix(host, "."+domain) {
		return "", fmt.Errorf("%s is not in %q, so that no browser would keep the cookies", host, raw)
	}
	if public, _ := hostname.PublicSuffix(domain); public && domain != host {
		return "", fmt.Errorf("%q is a public suffix: its hosts belong to others, and browsers keep no such cookies", raw)
	}
	return domain, nil
}

// AllowsOrigin reports whether the route lets pages of origin, as a browser spells it,
// act on the tool. An opaque origin ("null") is that of many unrelated pages, and never
// one of these.
func (r *Route) AllowsOrigin(origin string) bool { return slices.Contains(r.allowedOrigins, origin) }

// Embeddable reports whether other origins of the same site may show the tool in a frame,
// and load its images, scripts and media.
func (r *Route) Embeddable() bool { return r.embeddable }

// Origins of browser extensions, and of applications built on a browser: app://,
// tauri://.
var otherScheme = regexp.MustCompile(`^[a-z][a-z0-9+.-]{1,31}$`)

// CanonicalOrigin returns an origin as browsers send it (RFC 6454 section 6.2).
func CanonicalOrigin(raw string) (string, error) {
	bad := func(what string) (string, error) {
		return "", fmt.Errorf("%q %s: an origin is scheme://host or scheme://host:port, such as https://tool.example.com", raw, what)
	}
	switch {
	case raw == "null":
		return bad("is what many unrelated pages call themselves")
	case strings.Contains(raw, "*"):
		return bad("names more than one origin")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return bad("is not an origin")
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		return bad("has more than an origin has")
	case u.Scheme == "file" || u.Scheme == "data" || u.Scheme == "blob" || !otherScheme.MatchString(u.Scheme):
		return bad("has a scheme without origins")
	case u.Scheme != "http" && u.Scheme != "https":
		return u.Scheme + "://" + strings.ToLower(u.Host), nil
	}
	t := Target{Scheme: u.Scheme}
	if err := t.setHost(u.Host); err != nil {
		return bad("has " + err.Error())
	}
	return t.Scheme + "://" + t.Host, nil
}

// exposed are what a script of another origin may see of an answer of ours besides its
// status and body.
var exposed = []string{"Retry-After, WWW-Authenticate, Allow, Grpc-Status, Grpc-Message"}

// Readable lets the page of an allowed origin read an answer of Sallyport's own, with any
// status. The caller has compared the origin with those that the route allows. A tool
// opens its own answers (readableBy).
func Readable(h http.Header, origin string) {
	h["Access-Control-Allow-Origin"] = []string{origin}
	h["Access-Control-Allow-Credentials"] = []string{"true"}
	h["Access-Control-Expose-Headers"] = exposed
	vary(h, "Origin", justOrigin)
}
