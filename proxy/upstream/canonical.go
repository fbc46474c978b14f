package upstream

import (
	"net/http"
	"strconv"
	"strings"
)

// Target is the one canonical form of what a request asks for. It is made once,
// by [Canonicalise]; routes are matched on it, policy judges it, and it is what
// is forwarded. Nothing reads the request line again.
type Target struct {
	// Scheme is "http" or "https", as the caller of Canonicalise established it.
	Scheme string
	// Host is what X-Forwarded-Host and the Host header say upstream: lower case,
	// without trailing dot, with the port unless it is the scheme's default.
	Host string
	// Hostname is Host without port; an IPv6 address is without brackets.
	Hostname string
	// Port is the effective port: the scheme's default if the client wrote none.
	Port string
	// Path is decoded: valid UTF-8, begins with "/", has no empty, "." or ".." segment,
	// and holds none of \ ; # or control characters. On a route that allows some of these
	// ([PathForms]) it has them as they are, and encoded slashes as %2F and %252F: what
	// is one segment of the path that is forwarded is one segment here.
	Path string
	// RawPath is Path as it is forwarded. Decoding it, but for encoded slashes, gives
	// Path, and canonicalising it again gives it back.
	RawPath string
	// RawQuery is forwarded as the client sent it (raw bytes outside ASCII are
	// percent-encoded). It is not interpreted and takes no part in matching.
	RawQuery string

	portGiven bool      // the client wrote a port
	forms     PathForms // of Path, for the route to allow
	joined    string    // Path as a tool may read it that decodes slashes, cuts parameters and joins slashes; "": there are no forms
}

// BadRequest is a request that is refused before it is matched or judged.
type BadRequest struct {
	// Status is 400, 405, 421 or 501.
	Status int
	// Reason is plain text that is safe to show; it never repeats input.
	Reason string
	// Path says that it is the path that is refused, and Forms those of its forms that a
	// route could allow. Setting is what would let it pass; "": nothing does.
	Path    bool
	Forms   PathForms
	Setting string
}

func (e *BadRequest) Error() string { return e.Reason }

func refuse(reason string) *BadRequest {
	return &BadRequest{Status: http.StatusBadRequest, Reason: reason}
}

func refusePath(reason string) *BadRequest {
	return &BadRequest{Status: http.StatusBadRequest, Reason: reason, Path: true}
}

// Canonicalise returns what r asks for, or a [*BadRequest]. scheme is what the client
// spoke to the outermost trusted proxy, "http" or "https".
//
// It does not repair input. If two programs repair an ambiguous request differently, a
// path that is refused here can be served there. So input that a backend could read in a
// second way is refused with 400:
//
//   - a path with an empty segment (//), with "." or ".." segments in any spelling, with
//     an encoded slash, with a backslash, ";", "#" or a control character, literal or
//     encoded, or that is not UTF-8;
//   - a path that would become one of those if it were decoded again, up to a depth that
//     no client uses;
//   - a bad percent escape in the path, white space or a fragment in the target;
//   - absolute-form targets and "*": net/http has by then dropped the Host header that
//     had to be compared;
//   - hosts with user information, without name, with a malformed port, outside ASCII
//     (browsers send punycode), or numeric in any form but dotted decimal.
//
// A path whose only fault is a form that a route may allow ([PathForms]) is refused too,
// but with its target: [Table.Admit] says whether its route allows it.
//
// Everything else passes: %20, %2B, %25, %3F and UTF-8 keep their meaning. In RawPath
// unreserved characters are literal, escapes are in upper case (RFC 3986 section 6.2.2),
// and a reserved character stays as the client wrote it.
//
// A TLS connection made for another host is 421 (RFC 9110 section 15.5.20): use
// [CanonicaliseBehindProxy] when the TLS client is a trusted proxy.
func Canonicalise(r *http.Request, scheme string) (Target, error) {
	t, err := CanonicaliseBehindProxy(r, scheme)
	if err != nil && t.forms == 0 {
		return Target{}, err
	}
	// Without this, a name that the TLS front end let through serves as the key
	// to every other host behind the same certificate or address.
	if r.TLS != nil && r.TLS.ServerName != "" && strings.TrimSuffix(strings.ToLower(r.TLS.ServerName), ".") != t.Hostname {
		return Target{}, &BadRequest{Status: http.StatusMisdirectedRequest, Reason: "the connection was made for another host"}
	}
	return t, err
}

// CanonicaliseBehindProxy is [Canonicalise] for a request whose direct peer is a
// trusted proxy: the server name in its TLS handshake is its own affair.
func CanonicaliseBehindProxy(r *http.Request, scheme string) (Target, error) {
	if err := checkMethod(r.Method); err != nil {
		return Target{}, err
	}
	if err := checkAgreement(r); err != nil {
		return Target{}, err
	}
	t := Target{Scheme: scheme}
	if err := t.setHost(r.Host); err != nil {
		return Target{}, err
	}
	// RequestURI is what the client wrote; URL has been through a parser that
	// forgives. Requests that were not read by a server have no RequestURI.
	uri := r.RequestURI
	if uri == "" && r.URL != nil {
		uri = r.URL.RequestURI()
	}
	path, query, _ := strings.Cut(uri, "?")
	if err := t.setPath(path); err != nil {
		return Target{}, err
	}
	if err := t.setQuery(query); err != nil {
		return Target{}, err
	}
	if t.forms != 0 {
		return t, refuseForms(t.forms)
	}
	return t, nil
}

// checkAgreement refuses what HTTP/2 can say twice and differently. net/http has
// sorted this out for HTTP/1 by now.
func checkAgreement(r *http.Request) error {
	for _, h := range r.Header["Host"] { // beside :authority (RFC 9113 section 8.3.1)
		if !strings.EqualFold(h, r.Host) {
			return refuse("the request names two hosts")
		}
	}
	for _, v := range r.Header["Content-Length"] { // beside the end of the stream (section 8.1.1)
		if n, err := strconv.ParseInt(v, 10, 64); err != nil || n != r.ContentLength {
			return refuse("the length of the body is not the one announced")
		}
	}
	return nil
}

// checkMethod allows every method that is spelled like one, known or not: the
// policy judges the name in the request line, and it is forwarded as it is.
// Lower case is refused, because some backends would fold it into the method
// that a rule is about; CONNECT and TRACE are, because they are addressed to proxies.
func checkMethod(m string) error {
	switch m {
	case "GET", "POST":
		return nil
	case "CONNECT", "TRACE", "TRACK":
		return &BadRequest{Status: http.StatusMethodNotAllowed, Reason: "this method is not served here"}
	}
	if len(m) == 0 || len(m) > 32 || m[0] < 'A' || m[0] > 'Z' {
		return &BadRequest{Status: http.StatusNotImplemented, Reason: "unknown method"}
	}
	for i := 1; i < len(m); i++ {
		if c := m[i]; (c < 'A' || c > 'Z') && c != '-' {
			return &BadRequest{Status: http.StatusNotImplemented, Reason: "unknown method"}
		}
	}
	return nil
}
