package signin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

const (
	maxResponse   = 1 << 20  // bytes of one answer, after decompression
	maxHeader     = 64 << 10 // bytes of response headers
	callTimeout   = 10 * time.Second
	maxTokenBytes = 64 << 10 // of one JWT or refresh token: it is kept in the session store
)

var (
	errTooLarge = fmt.Errorf("the provider's answer is larger than %d bytes", maxResponse)
	errRedirect = errors.New("the provider answered with a redirect, which is not followed: use the final URL")
	errTooOften = errors.New("keys were fetched too often for logout tokens with unknown keys")
)

// boundedClient wraps the transport of c (or a default one) so that no answer of the
// provider can block a request forever or fill the memory.
//
// Redirects are refused: the token endpoint gets our secret, the userinfo endpoint an
// access token, and the discovery document decides which keys we trust.
func boundedClient(c *http.Client) *http.Client {
	timeout := callTimeout
	var base http.RoundTripper
	if c != nil {
		base = c.Transport
		if c.Timeout > 0 && c.Timeout < timeout {
			timeout = c.Timeout
		}
	}
	if base == nil {
		base = defaultTransport()
	}
	return &http.Client{
		Transport:     bounded{base},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}
}

func defaultTransport() http.RoundTripper {
	std, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // replaced by the embedding program: its choice
		return http.DefaultTransport
	}
	t := std.Clone()
	t.MaxResponseHeaderBytes = maxHeader
	t.ResponseHeaderTimeout = callTimeout
	t.MaxConnsPerHost = 32 // a slow provider must not eat all our sockets
	return t
}

// bounded limits the bytes read from any response body.
type bounded struct{ base http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > maxResponse {
		resp.Body.Close()
		return nil, errTooLarge
	}
	resp.Body = &limitedBody{ReadCloser: resp.Body, left: maxResponse}
	return resp, nil
}

// limitedBody fails, rather than ends, at its limit: a truncated JSON document
// must not be mistaken for a whole one.
type limitedBody struct {
	io.ReadCloser
	left int64
}

func (l *limitedBody) Read(b []byte) (int, error) {
	if l.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(b)) > l.left+1 {
		b = b[:l.left+1] // one more than allowed, to tell "exactly full" from "too much"
	}
	n, err := l.ReadCloser.Read(b)
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// rationed refuses calls above a rate. Any host on the network can send logout tokens,
// and each one with an unknown key id makes go-oidc fetch the keys: without this limit a
// stranger could use us to flood the provider.
type rationed struct {
	base  http.RoundTripper
	limit *rate.Limiter
}

func (r rationed) RoundTrip(req *http.Request) (*http.Response, error) {
	if !r.limit.Allow() {
		return nil, errTooOften
	}
	return r.base.RoundTrip(req)
}

// rationedClient is c with at most a burst of 10 calls, then one each 6 seconds.
func rationedClient(c *http.Client) *http.Client {
	limited := *c
	limited.Transport = rationed{c.Transport, rate.NewLimiter(rate.Every(6*time.Second), 10)}
	return &limited
}

func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case issuer == "":
		return errors.New("issuer is empty")
	case err != nil || !u.IsAbs() || u.Host == "" || u.Opaque != "":
		return fmt.Errorf("issuer %q is not an absolute URL", issuer)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("issuer %q must not have a query, a fragment or user information", issuer)
	case !secureOrLoopback(u):
		return fmt.Errorf("issuer %q must be https: over plain http an attacker on the path could sign in as any person", issuer)
	}
	return nil
}

// secureOrLoopback reports whether u is https, or http to this very machine.
// Names are not resolved: only those that can never leave the machine count.
func secureOrLoopback(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	if u.Scheme != "http" {
		return false
	}
	host := strings.ToLower(u.Hostname())
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761 section 6.3
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// network strips what the standard library adds to an error: the URL, whose
// query may hold a secret.
func network(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return fmt.Errorf("no answer in time: %w", u.Err)
		}
		return u.Err
	}
	return err
}

// clip bounds text that came from the provider before it goes into an error.
func clip(s string) string {
	const limit = 200
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
