package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// endpoint is one upstream as it is dialled.
type endpoint struct {
	url     *url.URL // as configured, canonical: what people are shown
	scheme  string   // "http" or "https": whether TLS is spoken
	host    string   // what the request's URL names, and the default server name
	network string   // "tcp" or "unix"
	address string   // for network
	h2c     bool     // HTTP/2 without TLS and without asking
}

// parseEndpoint accepts
//
//	http://host[:port]    HTTP/1.1
//	https://host[:port]   HTTP/2 or HTTP/1.1, by ALPN
//	h2c://host:port       HTTP/2 in clear text, with prior knowledge
//	unix:/path            HTTP/1.1 over a socket
//	unix+h2c:/path        HTTP/2 over a socket
func parseEndpoint(s string) (endpoint, error) {
	if scheme, file, ok := strings.Cut(s, ":"); ok && (scheme == "unix" || scheme == "unix+h2c") {
		return unixEndpoint(scheme, file)
	}
	u, err := plainURL(s, "http", "https", "h2c")
	if err != nil {
		return endpoint{}, err
	}
	if u.Scheme == "h2c" && u.Port() == "" {
		return endpoint{}, errors.New("h2c has no default port: name one")
	}
	t := Target{Scheme: u.Scheme}
	if err := t.setHost(u.Host); err != nil {
		return endpoint{}, err
	}
	if u.Path != "" && u.Path != "/" {
		return endpoint{}, errors.New("an upstream has no path: requests are forwarded with the path they came with")
	}
	e := endpoint{scheme: u.Scheme, host: t.Host, network: "tcp", address: t.HostPort(), url: &url.URL{Scheme: u.Scheme, Host: t.Host}}
	if e.h2c = u.Scheme == "h2c"; e.h2c {
		e.scheme = "http"
	}
	return e, nil
}

func unixEndpoint(scheme, file string) (endpoint, error) {
	file = strings.TrimPrefix(file, "//") // unix:///run/x.sock is seen as often as unix:/run/x.sock
	// 108 bytes, of which one ends the string, is all that the kernel's address holds.
	if !path.IsAbs(file) || len(file) > 107 || strings.ContainsAny(file, "?#\x00") || strings.HasSuffix(file, "/") {
		return endpoint{}, errors.New("not the absolute path of a socket (107 bytes at most)")
	}
	file = path.Clean(file)
	return endpoint{
		scheme: "http", host: "localhost", network: "unix", address: file, h2c: scheme == "unix+h2c",
		url: &url.URL{Scheme: scheme, Path: file, OmitHost: true},
	}, nil
}

// plainURL accepts URLs of host and path only.
func plainURL(s string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	known := false
	for _, scheme := range schemes {
		known = known || u.Scheme == scheme
	}
	switch {
	case !known:
		return nil, fmt.Errorf("must begin with %s://", strings.Join(schemes, ":// or "))
	case u.Opaque != "" || u.Host == "":
		return nil, errors.New("names no host")
	case u.User != nil:
		return nil, errors.New("must not hold a user name or password")
	case strings.ContainsAny(s, "?#"):
		return nil, errors.New("must not hold a query or fragment")
	}
	return u, nil
}
