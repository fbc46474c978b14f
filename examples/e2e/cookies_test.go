package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ours reports whether a cookie has a name that only the product may use.
func ours(name string) bool { return strings.Contains(strings.ToLower(name), "sallyport") }

// setCookies returns the cookies of the product in an answer, and what is wrong with
// them. Everything that is set under our own paths is ours.
func setCookies(from string, lines []string) (list []*http.Cookie, faults []string) {
	u, err := url.Parse(from)
	if err != nil || !ofTests(u.Hostname()) || u.Hostname() == "127.0.0.1" {
		return nil, nil
	}
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s sets %q: %v", from, line, err))
			continue
		}
		if !ours(c.Name) && !strings.HasPrefix(u.Path, "/.sallyport/") {
			continue
		}
		list = append(list, c)
		if fault := cookieFault(c, u.Scheme == "https"); fault != "" {
			faults = append(faults, fmt.Sprintf("%s sets %q: %s", from, line, fault))
		}
	}
	return list, faults
}

// cookieFault says what is wrong with a cookie of the product: a name without the prefix
// can be set by a neighbouring host, for one; a domain makes it readable there.
func cookieFault(c *http.Cookie, https bool) string {
	switch {
	case https && !strings.HasPrefix(c.Name, "__Host-"):
		return "no __Host- prefix"
	case https && !c.Secure:
		return "not Secure"
	case !c.HttpOnly:
		return "scripts can read it"
	case c.Path != "/" || c.Domain != "":
		return "not for exactly one host"
	case c.SameSite != http.SameSiteLaxMode && c.SameSite != http.SameSiteStrictMode:
		return "sent with requests of other sites"
	case c.Partitioned:
		return "can be there twice"
	}
	return ""
}
