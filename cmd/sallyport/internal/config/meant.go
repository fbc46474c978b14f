package config

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"sallyport/policy/ipv4in6"
	"sallyport/proxy/upstream"
)

// The functions of this file guess what was meant by a value that is wrong. "" means that
// several things may have been. A guess is only shown: nothing is taken for another
// value.

var (
	sizes  = regexp.MustCompile(`^(\d{1,9}) *([kKmMgG])i?[bB]?$`)
	floats = regexp.MustCompile(`^\d{1,20}(?:\.\d{1,20})?(?:[eE]\+?\d{1,2})?$`)
	share  = regexp.MustCompile(`^([1-9]\d{0,2}) *(%|percent)?$`)
)

// numberMeant reads "1e+06", which is how Helm renders 1000000, and, where bytes are
// counted, "64MiB". MB, said of memory, means the same.
func numberMeant(unit, text string) string {
	if floats.MatchString(text) {
		n, err := strconv.ParseFloat(text, 64)
		if whole := int64(n); err == nil && n < 1<<53 && float64(whole) == n {
			return strconv.FormatInt(whole, 10)
		}
	}
	m := sizes.FindStringSubmatch(text)
	if unit == "" || m == nil {
		return ""
	}
	n, _ := strconv.ParseInt(m[1], 10, 64) // digits
	return strconv.FormatInt(n<<map[string]int{"k": 10, "m": 20, "g": 30}[strings.ToLower(m[2])], 10)
}

// shareMeant reads "15" and "15 percent". "0.5" and "1" may be meant in two ways.
func shareMeant(text string) string {
	m := share.FindStringSubmatch(text)
	if m == nil || m[2] == "" && m[1] == "1" {
		return ""
	}
	if n, err := strconv.Atoi(m[1]); err != nil || n == 0 || n > 100 {
		return ""
	}
	return m[1] + "%"
}

// hostMeant is the host of an address that was written with a scheme, a wildcard, a port
// or a path.
func hostMeant(text string) string {
	text = strings.TrimPrefix(text, "*.")
	if !strings.Contains(text, "://") {
		text = "//" + text
	}
	u, err := url.Parse(text)
	if err != nil || !hostName(u.Hostname()) {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// originMeant is the origin of a host, or of a URL with a path.
func originMeant(text string) string {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || !strings.Contains(u.Hostname(), ".") || !hostName(u.Hostname()) {
		return ""
	}
	origin, err := upstream.CanonicalOrigin(u.Scheme + "://" + u.Host)
	if err != nil {
		return ""
	}
	return origin
}

// domainMeant is the domain of a pattern or a URL, if the cookies of host may have it.
func domainMeant(host, text string) string {
	domain := hostMeant(text)
	if domain == "" || domain == text {
		return ""
	}
	if domain, err := upstream.CookieDomain(host, domain); err == nil {
		return domain
	}
	return ""
}

// pathMeant is the path of a URL, or of a path without its first slash.
func pathMeant(text string) string {
	u, err := url.Parse(text)
	if err != nil || strings.ContainsAny(u.Path, "%*\\; ") || u.Path == "" || number.MatchString(u.Path) {
		return ""
	}
	return path.Clean("/" + u.Path)
}

// translatorMeant completes an address, and clears bits that are not of the prefix.
func translatorMeant(text string) string {
	p, err := netip.ParsePrefix(text)
	if a, notAddress := netip.ParseAddr(text); notAddress == nil {
		p, err = netip.PrefixFrom(a, 96), nil
	}
	if err != nil || !ipv4in6.PrefixOK(p.Masked()) {
		return ""
	}
	return p.Masked().String()
}

// part of a host name: letters, digits, dashes, and underscores, which container networks
// have.
const part = `[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?`

var (
	validHost = regexp.MustCompile(`^(?i)` + part + `(?:\.` + part + `)*\.?$`)
	number    = regexp.MustCompile(`(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$`)
)

// hostName reports whether a text is the name of a host. To browsers, a name whose last
// part is a number is an address ("0" is 0.0.0.0).
func hostName(text string) bool { return validHost.MatchString(text) && !number.MatchString(text) }
