package upstream

import (
	"net/http"
	"net/url"
	"strings"
)

// This file removes answer headers that affect more than the tool. A tool's answer passes
// a browser, which stores promises for the whole site, and perhaps another proxy, which
// obeys commands from the server behind it. Both believe the headers of any answer; a
// compromised tool must not speak to them for Sallyport or for other tools. The headers
// named here are removed from final answers, from 1xx answers and from trailers, in every
// spelling that a proxy in front could fold together.
//
// Not removed, because they concern only the document or origin of the tool:
// Content-Security-Policy, Reporting-Endpoints, Accept-CH, Refresh, Content-Location,
// Origin-Agent-Cluster, Access-Control-*. Tools that share a host share these.

// withheldNames are folded (see fold); each comment names the program that would obey the
// header.
var withheldNames = map[string]string{
	"service-worker-allowed":      "browser: a worker of one path of a host gets the others, and our pages there; see scopeWithin",
	"nel":                         "browser: reports every address of the host, with its secrets, to where the tool says, for months",
	"report-to":                   "browser: the same for other reports, kept beyond the document",
	"alt-svc":                     "browser: asks another server, past Sallyport, in the name of the host",
	"alternate-protocol":          "browser: the same, older",
	"strict-transport-security":   "browser: for subdomains too; it is ours to say",
	"public-key-pins":             "browser: makes the host unreachable when the certificate changes",
	"public-key-pins-report-only": "browser: reports every connection to the host",
	"expect-ct":                   "browser: the same, and blocks",
	"set-cookie2":                 "browser: a cookie that is not looked at here",
	"set-cookie":                  "other spellings only: the header itself is read cookie by cookie",
	"clear-site-data":             "other spellings only: the header itself is read word by word",
	"cdn-cache-control":           "cache: ours to say",
	"cache-tag":                   "cache: names what a purge hits",
	"xkey":                        "cache: the same (Varnish)",
	"x-esi":                       "cache: executes the body",
	"x-archive-files":             "nginx (mod_zip): fetches and packs the internal addresses that the body lists",
	"x-appengine-blobkey":         "App Engine: serves a stored file",
	"x-google-appengine-blobkey":  "App Engine: the same",
	"x-purge":                     "cache: forgets what it is told to",
	"x-mogilefs-key":              "nginx (MogileFS): serves a stored file",
	"x-rewrite-url":               "IIS: another address",
	"x-original-url":              "IIS: another address",
	"x-internal-redirect":         "several: another address, without the checks of the outside",
	"internal-redirect":           "the same",
	"secure-session-registration": "browser: binds the cookies of the whole site to what the tool says (DBSC)",
	"secure-session-challenge":    "browser: the same",
	"secure-session-skipped":      "browser: the same",
}

// withheldPrefixes are beginnings of folded names.
var withheldPrefixes = []string{
	"x-accel-",     // nginx: serves its internal files; buffering, rate and caching are its owner's
	"x-sendfile",   // Apache, lighttpd and others: serves any file that it can read; -2, -temporary
	"x-lighttpd-",  // lighttpd: the same
	"x-reproxy-",   // Perlbal, H2O: fetches any address that it can reach
	"x-litespeed-", // LiteSpeed: internal redirect, cache and purge
	"x-lsadc-",     // LiteSpeed ADC: cache
	"x-envoy-",     // Envoy: an answer can have the host taken out, or retried
	"surrogate-",   // caches: Surrogate-Control has the body executed (ESI), -Key names what a purge hits
	"edge-",        // Akamai: Edge-Control, Edge-Cache-Tag
	"x-sallyport-", // what claims to be ours
	"sec-",         // browser: Sec-Session-Registration and what will follow it; see keptAnswers
}

// keptAnswers begin with a withheld prefix and belong to a WebSocket's handshake.
var keptAnswers = []string{"sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions", "sec-websocket-version"}

// withheldSuffix is what CDNs put their names before: Cloudflare-CDN-Cache-Control.
const withheldSuffix = "-cdn-cache-control"

// usualAnswers are what tools send, as it is usually spelled, and is not withheld.
var usualAnswers = []string{
	"Accept-Ranges", "Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Age", "Cache-Control", "Clear-Site-Data", "Content-Disposition", "Content-Encoding",
	"Content-Language", "Content-Length", "Content-Location", "Content-Range", "Content-Security-Policy", "Content-Type",
	"Cross-Origin-Embedder-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Date", "Etag", "Expires",
	"Grpc-Encoding", "Grpc-Message", "Grpc-Status", "Last-Modified", "Link", "Location", "Permissions-Policy", "Pragma",
	"Referrer-Policy", "Retry-After", "Sec-Websocket-Accept", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol", "Sec-Websocket-Version", "Server",
	"Server-Timing", "Set-Cookie", "Trailer", "Transfer-Encoding", "Upgrade", "Connection", "Vary", "Via", "Warning", "Www-Authenticate",
	"X-Content-Type-Options", "X-Dns-Prefetch-Control", "X-Frame-Options", "X-Permitted-Cross-Domain-Policies",
	"X-Powered-By", "X-Request-Id", "X-Runtime", "X-Xss-Protection",
}

// harmlessAnswers are usualAnswers, for a look-up without folding.
var harmlessAnswers = func() map[string]bool {
	m := make(map[string]bool, len(usualAnswers))
	for _, name := range usualAnswers {
		m[name] = true
	}
	return m
}()

// withheld reports whether a tool may not send this header, in any spelling.
func withheld(name string) bool {
	if harmlessAnswers[name] {
		return false
	}
	var buf [maxFolded]byte
	folded := string(fold(&buf, name))
	if _, ok := withheldNames[folded]; ok || strings.HasSuffix(folded, withheldSuffix) {
		return true
	}
	for _, kept := range keptAnswers {
		if strings.EqualFold(name, kept) {
			return false
		}
	}
	for _, p := range withheldPrefixes {
		if strings.HasPrefix(folded, p) {
			return true
		}
	}
	return false
}

// withhold removes the headers that a tool may not send, in place.
func withhold(h http.Header) {
	for name := range h {
		if withheld(name) {
			delete(h, name)
		}
	}
	if _, ok := h["Clear-Site-Data"]; ok {
		clearLess(h)
	}
	if links, ok := h["Link"]; ok {
		h["Link"] = linkLess(links)
	}
}

// clearLess keeps of Clear-Site-Data only what concerns the tool's own origin. "cookies",
// and "*" with it, apply to the registrable domain: one answer would sign the person out
// everywhere. An unknown directive may be as wide.
func clearLess(h http.Header) {
	var kept []string
	for _, line := range h["Clear-Site-Data"] {
		for word := range strings.SplitSeq(line, ",") {
			switch word = strings.TrimSpace(word); word {
			case `"cache"`, `"storage"`, `"executionContexts"`:
				kept = append(kept, word)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Clear-Site-Data")
		return
	}
	h["Clear-Site-Data"] = []string{strings.Join(kept, ", ")}
}

// linkLess drops lines that register a service worker: older browsers obey them for any
// scope.
func linkLess(links []string) []string {
	var kept []string
	for i, l := range links {
		if strings.Contains(strings.ToLower(l), "serviceworker") {
			if kept == nil {
				kept = append([]string{}, links[:i]...)
			}
		} else if kept != nil {
			kept = append(kept, l)
		}
	}
	if kept == nil {
		return links
	}
	return kept
}

const workerScope = "Service-Worker-Allowed"

// scopeWithin is what of the scope that a tool allows its service workers is within its
// route, "" if nothing is. Browsers compare a scope with addresses as text, so that one
// of a folder has to end in a slash: "/app" would be the scope of "/apple" too. They also
// resolve "..", "%2e" and backslashes before that, so that what is not a plain path is
// nothing.
func scopeWithin(prefix, scope string) string {
	folder := (&url.URL{Path: strings.TrimSuffix(prefix, "/") + "/"}).EscapedPath()
	switch {
	case !plainScope(scope):
		return ""
	case strings.HasPrefix(scope, folder):
		return scope
	case strings.HasPrefix(folder, scope) && strings.HasSuffix(scope, "/"), scope+"/" == folder:
		return folder
	}
	return ""
}

// plainScope reports whether every reader takes s for the same absolute path.
func plainScope(s string) bool {
	if !strings.HasPrefix(s, "/") || strings.Contains(s, "//") {
		return false
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return strings.Trim(s, "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}
