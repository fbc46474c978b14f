package ops

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// knownHosts answers 421 to requests for a host that the ops port does not have. A page
// whose own name resolves to this port (DNS rebinding) is of the same origin as what it
// reads here, and so would learn metrics and routes through the browser of an operator.
// Such a request always carries the name of the page.
//
// An address needs no list: a page cannot have one for a name. On a loopback connection
// it has to be a loopback address; elsewhere any will do, since behind a published port
// of a container the process does not know the address that it is reached under. No Host
// at all is an HTTP/1.0 health check; browsers always send one.
func knownHosts(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hostKnown(r, names) {
			http.Error(w, fmt.Sprintf("This port does not answer for %q. If your monitoring asks under that name, add it to ops_hosts.", r.Host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func hostKnown(r *http.Request, names []string) bool {
	if r.Host == "" {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback() || !onLoopback(r)
	}
	return host == "localhost" || slices.Contains(names, host)
}

// onLoopback reports whether the request came in on a loopback address of this machine.
func onLoopback(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.IP.IsLoopback()
}
