package edge

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RedirectConfig says where to redirect plain HTTP.
type RedirectConfig struct {
	// Known says to which hosts (lower case, without port and trailing dot) to redirect.
	// Any other host is refused: the client chooses the Host header, and a redirect to any
	// host would help phishing (an open redirect).
	Known func(host string) bool
	// Port is that of the HTTPS listener as clients see it; zero is 443.
	Port int
	// ACME, if set, answers HTTP-01 challenges.
	ACME *ACME
}

// Redirect returns the handler of a plain HTTP listener, which only redirects to https.
func Redirect(c RedirectConfig) (http.Handler, error) {
	if c.Known == nil {
		return nil, errors.New("edge: a redirect needs the hosts it may lead to")
	}
	if c.Port < 0 || c.Port > 65535 {
		return nil, fmt.Errorf("edge: %d is not a port", c.Port)
	}
	r := &redirect{known: c.Known}
	if c.Port != 0 && c.Port != 443 {
		r.port = ":" + strconv.Itoa(c.Port)
	}
	if c.ACME != nil {
		return c.ACME.HTTPHandler(r), nil
	}
	return r, nil
}

type redirect struct {
	known func(host string) bool
	port  string // with its colon, or ""
}

func (h *redirect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	host := hostOnly(r.Host)
	switch {
	case !h.known(host):
		http.Error(w, "This host is not served here.", http.StatusMisdirectedRequest)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		// The form's content has crossed the network in the clear already. A redirect
		// would send it once more and hide that.
		http.Error(w, "Use https.", http.StatusForbidden)
	case !strings.HasPrefix(r.RequestURI, "/"):
		http.Error(w, "Use https.", http.StatusBadRequest)
	default:
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		// The authority is ours. The request target begins with "/", so it cannot become
		// part of the authority.
		w.Header().Set("Location", "https://"+host+h.port+r.RequestURI)
		w.WriteHeader(http.StatusPermanentRedirect)
	}
}

// hostOnly is a Host header in lower case, without port, trailing dot or brackets.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// HSTSConfig is a policy of RFC 6797.
type HSTSConfig struct {
	MaxAge            time.Duration
	IncludeSubdomains bool
	Preload           bool
	// Scheme says which scheme the client used: clientip.Resolver.Scheme. Nil: https
	// means that the connection is TLS here.
	Scheme func(*http.Request) string
}

// HSTS tells browsers that use https to use nothing else. A MaxAge of zero sends no
// header.
func HSTS(c HSTSConfig, next http.Handler) http.Handler {
	if c.MaxAge <= 0 {
		return next
	}
	value := "max-age=" + strconv.FormatInt(int64(c.MaxAge/time.Second), 10)
	if c.IncludeSubdomains {
		value += "; includeSubDomains"
	}
	if c.Preload {
		value += "; preload"
	}
	line := []string{value}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Over http browsers ignore the header, because an attacker on the network could
		// have written it (section 7.2).
		if r.TLS != nil || c.Scheme != nil && c.Scheme(r) == "https" {
			w.Header()["Strict-Transport-Security"] = line
		}
		next.ServeHTTP(w, r)
	})
}
