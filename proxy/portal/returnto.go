package portal

import (
	"errors"
	"net/url"
	"strings"
)

var errReturnTo = errors.New("the address to return to is not one of ours")

const maxReturnTo = 4096

// returnTo is where a person goes after a ceremony: always an origin of ours.
type returnTo struct {
	origin string // "https://treasury.example.com"
	path   string // from the first "/", with query
}

func (t returnTo) String() string { return t.origin + t.path }

// own is the page of ours that t leads to, in any spelling, with its query.
func (t returnTo) own() (page string, query url.Values, ok bool) {
	u, err := url.Parse(t.path)
	if err != nil {
		return "", nil, false
	}
	page, ok = strings.CutPrefix(u.Path, Prefix)
	return page, u.Query(), ok
}

// parseReturnTo accepts a path on the sign-in host, or an absolute URL whose
// origin is ours, compared whole. The browser's reading of
// a URL differs from Go's (a backslash is a slash to it, tabs and newlines vanish),
// so everything the two could disagree on is refused first rather than cleaned:
// `//evil`, `/\evil`, "/\t/evil", `https:evil`, `corp.com@evil`.
func parseReturnTo(raw, signIn string, ours func(origin string) bool) (returnTo, error) {
	if raw == "" || len(raw) > maxReturnTo {
		return returnTo{}, errReturnTo
	}
	for i := 0; i < len(raw); i++ {
		if c := raw[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return returnTo{}, errReturnTo
		}
	}
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return returnTo{}, errReturnTo
	}
	path := u.RequestURI()
	// A browser takes "//evil" for a host when it follows a path by itself.
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return returnTo{}, errReturnTo
	}
	// A browser removes dot segments, so it would go elsewhere than our pages show.
	for segment := range strings.SplitSeq(u.EscapedPath(), "/") {
		if dots := strings.ReplaceAll(strings.ToLower(segment), "%2e", "."); dots == "." || dots == ".." {
			return returnTo{}, errReturnTo
		}
	}
	if u.Scheme == "" && u.Host == "" {
		if !strings.HasPrefix(raw, "/") || strings.HasPrefix(raw, "//") {
			return returnTo{}, errReturnTo
		}
		return returnTo{signIn, path}, nil
	}
	origin, ok := canonicalOrigin(u)
	if !ok || !ours(origin) {
		return returnTo{}, errReturnTo
	}
	return returnTo{origin, path}, nil
}

// only is for addresses that must not leave an origin.
func only(ours string) func(origin string) bool {
	return func(origin string) bool { return origin == ours }
}

// canonicalOrigin is the origin of u as RFC 6454 section 6.2 serialises it: lower
// case, without the scheme's default port.
func canonicalOrigin(u *url.URL) (string, bool) {
	scheme := strings.ToLower(u.Scheme)
	if scheme != "http" && scheme != "https" || u.Hostname() == "" {
		return "", false
	}
	host := strings.ToLower(u.Host)
	switch {
	case scheme == "http":
		host = strings.TrimSuffix(host, ":80")
	default:
		host = strings.TrimSuffix(host, ":443")
	}
	if strings.HasSuffix(host, ":") {
		return "", false
	}
	return scheme + "://" + host, true
}
