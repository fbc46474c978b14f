package session

import (
	"fmt"
	"net/url"
	"strings"
)

// maxReturnTo keeps a redirect within what browsers and proxies pass on.
const maxReturnTo = 4096

// returnPath reduces a return-to address to a path with its query on host: the result can
// be sent as a Location and leads nowhere else. It accepts a path that starts with one
// slash, or an http(s) URL whose host is exactly host.
func returnPath(s, host string) (string, error) {
	if len(s) > maxReturnTo {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrReturnTo, maxReturnTo)
	}
	for i := 0; i < len(s); i++ {
		// Browsers drop tabs and line breaks and read "\" as "/": "/\evil",
		// "/\t/evil" and CRLF would all mean something else to them than to us.
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return "", fmt.Errorf("%w: it holds a character that has no place in a URL", ErrReturnTo)
		}
	}
	if !strings.HasPrefix(s, "/") {
		u, err := url.Parse(s)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || !sameHost(u, host) {
			return "", fmt.Errorf("%w: it is not on the host that asked", ErrReturnTo)
		}
		if s = u.EscapedPath(); s == "" {
			s = "/"
		}
		if u.RawQuery != "" {
			s += "?" + u.RawQuery
		}
	}
	// "//evil" is a host to a browser. The URL above can have such a path too.
	u, err := url.Parse(s)
	if err != nil || strings.HasPrefix(s, "//") || !strings.HasPrefix(s, "/") || u.Scheme != "" || u.Host != "" {
		return "", fmt.Errorf("%w: it is not a path", ErrReturnTo)
	}
	return s, nil
}

func sameHost(u *url.URL, host string) bool {
	got := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		got = strings.TrimSuffix(got, ":443")
	} else {
		got = strings.TrimSuffix(got, ":80")
	}
	return got != "" && (got == host || strings.ToLower(u.Host) == host)
}
