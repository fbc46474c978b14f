package upstream

import (
	"net/http"
	"strings"
)

// Identity is who a request is forwarded for.
type Identity struct {
	// User, Email and Groups become X-Sallyport-User, -Email and -Groups; see
	// the package documentation for how they are encoded. Empty ones are absent.
	User, Email string
	Groups      []string
	// Assertion, if not empty, becomes X-Sallyport-Assertion as it is.
	Assertion string
}

// Names of the headers that upstreams may rely on, in canonical spelling.
const (
	headerUser           = "X-Sallyport-User"
	headerEmail          = "X-Sallyport-Email"
	headerGroups         = "X-Sallyport-Groups"
	headerAssertion      = "X-Sallyport-Assertion"
	headerForwardedFor   = "X-Forwarded-For"
	headerForwardedHost  = "X-Forwarded-Host"
	headerForwardedProto = "X-Forwarded-Proto"
	headerForwardedPath  = "X-Forwarded-Prefix"
)

// strippedPrefixes and strippedNames are headers that a backend may believe to come from
// a proxy in front of it, folded (see fold): who the user is, where the request came
// from, what was asked for. Besides our own they are those of other products, because
// tools are moved behind Sallyport together with their settings. A header that carries a
// credential for the backend itself (Authorization, X-Auth-Token, X-User-Id beside it) is
// not among them.
var strippedPrefixes = []string{
	"x-sallyport-",
	"x-forwarded-",
	"x-original-",
	"x-rewrite-",
	"x-envoy-",
	"x-auth-request-",
	"x-authentik-",
	"x-pomerium-",
	"x-vouch-",
	"x-goog-authenticated-user-",
	"x-goog-iap-",
	"x-amzn-oidc-",
	"x-ms-client-principal",
	"x-ms-token-",
	"x-token-user-",
	"x-consumer-",
	"x-ssl-",
	"ssl-client-",
	"cf-access-",
	"cf-connecting-",
	"tailscale-",
	"remote-",
	"http-", // HTTP_HOST, HTTP_X_...: what a gateway derives from headers
}

var strippedNames = map[string]bool{
	"forwarded": true, "x-forwarded": true, "forwarded-for": true,
	"x-real-ip": true, "x-client-ip": true, "x-cluster-client-ip": true, "true-client-ip": true,
	"client-ip": true, "fastly-client-ip": true, "x-originating-ip": true, "x-remote-ip": true,
	"x-remote-addr": true, "x-azure-clientip": true, "x-azure-socketip": true, "x-proxyuser-ip": true,
	"x-host": true, "x-http-host-override": true, "x-url-scheme": true, "x-scheme": true, "front-end-https": true,
	"x-remote-user": true, "x-remote-email": true, "x-remote-group": true, "x-remote-groups": true,
	"x-auth-user": true, "x-auth-username": true, "x-auth-email": true, "x-auth-name": true, "x-auth-id": true,
	"x-auth-group": true, "x-auth-groups": true, "x-auth-role": true, "x-auth-roles": true, "x-auth-subject": true,
	"x-authenticated-user": true, "x-authenticated-userid": true, "x-authenticated-email": true,
	"x-authenticated-groups": true, "x-authenticated-scope": true, "x-anonymous-consumer": true,
	"x-webauth-user": true, "x-webauth-email": true, "x-webauth-name": true, "x-webauth-groups": true, "x-webauth-role": true,
	"x-user": true, "x-email": true, "x-groups": true, "x-token-subject": true,
	"x-client-cert": true, "x-client-dn": true, "client-cert": true, "client-cert-chain": true,
	// A method other than the one in the request line would be executed
	// without having been judged.
	"x-http-method": true, "x-http-method-override": true, "x-method-override": true,
	// Offers to leave HTTP/1.1 (RFC 7540 section 3.2.1), and "httpoxy".
	"http2-settings": true, "proxy": true,
}

// maxFolded is longer than every name in the tables above.
const maxFolded = 96

// fold writes the form of name that all backends can be thought to reduce it
// to: CGI, WSGI, Rack and PHP turn case and punctuation alike into one
// character, so "x_sallyport.user" reaches the same variable as ours.
func fold(buf *[maxFolded]byte, name string) []byte {
	n := min(len(name), maxFolded)
	for i := range n {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case (c < 'a' || c > 'z') && (c < '0' || c > '9'):
			c = '-'
		}
		buf[i] = c
	}
	return buf[:n]
}

// stripper removes headers by folded name.
type stripper struct {
	names map[string]bool
	// harmless are names, as they are usually spelled, that are known not to be
	// stripped: nearly all that there are.
	harmless map[string]bool
}

// usual are what browsers and API clients send.
var usual = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Connection", "Content-Encoding",
	"Content-Language", "Content-Length", "Content-Type", "Cookie", "Dnt", "Grpc-Accept-Encoding", "Grpc-Encoding", "Grpc-Timeout",
	"Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Origin", "Pragma",
	"Priority", "Range", "Referer", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Sec-Fetch-Dest", "Sec-Fetch-Mode",
	"Sec-Fetch-Site", "Sec-Fetch-User", "Sec-Gpc", "Te", "Traceparent", "Tracestate", "Upgrade-Insecure-Requests", "User-Agent",
	"X-Csrf-Token", "X-Request-Id", "X-Requested-With",
}

func newStripper(more []string) stripper {
	s := stripper{make(map[string]bool, len(strippedNames)+len(more)), make(map[string]bool, len(usual))}
	for n := range strippedNames {
		s.names[n] = true
	}
	var buf [maxFolded]byte
	for _, n := range more {
		s.names[string(fold(&buf, n))] = true
	}
	for _, n := range usual {
		if !s.forged(n) {
			s.harmless[n] = true
		}
	}
	return s
}

// strip deletes a header that only we may set, or that no client may send, in every
// spelling and with every duplicate.
func (s stripper) strip(h http.Header) {
	for name := range h {
		if s.forged(name) {
			delete(h, name) // not Del: the key may not be canonical
		}
	}
}

func (s stripper) forged(name string) bool {
	if s.harmless[name] {
		return false
	}
	var buf [maxFolded]byte
	folded := fold(&buf, name)
	if s.names[string(folded)] {
		return true
	}
	for _, p := range strippedPrefixes {
		if len(folded) >= len(p) && string(folded[:len(p)]) == p {
			return true
		}
	}
	return false
}

// setOurs writes our headers. It runs after hop-by-hop processing, so that a
// client cannot have them removed by naming them in Connection, and after
// stripping, so that they stand alone.
func setOurs(h http.Header, fr *ForwardRequest) {
	values := new([9]string) // one allocation for all, and one slice of it for each
	n := 0
	ours(fr, func(name, value string) {
		values[n] = value
		h[name] = values[n : n+1 : n+1]
		n++
	})
}

// ours calls set with each of our headers that has a value.
func ours(fr *ForwardRequest, set func(name, value string)) {
	some := func(name, value string) {
		if value != "" {
			set(name, value)
		}
	}
	some(headerUser, encodeValue(fr.Identity.User))
	some(headerEmail, encodeValue(fr.Identity.Email))
	some(headerGroups, encodeGroups(fr.Identity.Groups))
	some(headerAssertion, fr.Identity.Assertion)
	if fr.ClientAddr.IsValid() {
		some(headerForwardedFor, fr.ClientAddr.String())
	}
	some(headerForwardedHost, fr.Target.Host)
	some(headerForwardedProto, fr.Target.Scheme)
	if fr.Route.strip {
		some(headerForwardedPath, fr.Route.rawPrefix)
	}
	some("Destination", fr.destination())
}

// encodeGroups joins the names with ",". A comma inside a name is escaped: the
// group "staff,admin" must not make its members admins upstream.
func encodeGroups(groups []string) string {
	if len(groups) == 1 {
		return encodeValue(groups[0])
	}
	var b strings.Builder
	for _, g := range groups {
		if g == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(encodeValue(g))
	}
	return b.String()
}

// encodeValue percent-encodes what a header cannot carry or a list would split:
// everything but printable ASCII, "%" and "," themselves, and a space at either
// end, which parsers trim. The result is unique to its input.
func encodeValue(s string) string {
	escaped := func(i int) bool {
		c := s[i]
		return c < ' ' || c >= 0x7f || c == '%' || c == ',' || c == ' ' && (i == 0 || i == len(s)-1)
	}
	first := 0
	for first < len(s) && !escaped(first) {
		first++
	}
	if first == len(s) {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:first])
	for i := first; i < len(s); i++ {
		if escaped(i) {
			writeEscaped(&b, s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
