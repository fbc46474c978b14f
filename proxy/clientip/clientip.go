// Package clientip answers one question: which address is calling?
//
// It is the only reader of forwarding headers (X-Forwarded-For, Forwarded,
// X-Forwarded-Proto) and of the PROXY protocol in this program. Everything else takes the
// [netip.Addr] it returns.
//
// # What it believes
//
// By default only the socket: the client is the peer of the TCP connection. A header
// counts only when that peer is one of Config.Trusted, and then it is read from the
// right, the end that trusted proxies append to: hops that are trusted proxies themselves
// are stepped over, and the first that is not is the client. Hops to the left of it were
// written by a stranger and are not parsed. Only the one header named by Config.Header is
// read; the other is ignored.
//
// A trusted peer without that header, or with hops that are all trusted proxies, names no
// client: with [XForwardedFor] and [Forwarded] that is an error, because taking the
// proxy's own address would give all people one private address. With [None] the peer is
// the client.
//
// # What it returns
//
// An address without zone, and never an IPv4-mapped one (::ffff:192.0.2.1 becomes
// 192.0.2.1), so that one client cannot have two spellings to a policy.
//
// # How it fails
//
// With a typed [*Error] and no address. It never guesses: a hop that cannot be read (a
// name, "unknown", an obfuscated identifier, an address with a zone, a number in octal)
// makes the request unresolvable, and the caller must block it. A stranger can cause that
// for their own requests only.
package clientip

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Header names the forwarding header that trusted proxies maintain.
type Header int

const (
	// XForwardedFor is the de-facto X-Forwarded-For, with X-Forwarded-Proto beside it.
	XForwardedFor Header = iota
	// Forwarded is the header of RFC 7239.
	Forwarded
	// None reads no header from any peer: for trusted peers that speak the PROXY protocol
	// and nothing else. The client is the peer.
	None
)

const (
	maxHops        = 64   // proxies in one chain; a real one has fewer than five
	maxHeaderBytes = 8192 // all lines of the forwarding header together
)

// Config says which peers and headers are believed.
type Config struct {
	// Trusted are the networks of our own proxies. Empty: no header is believed. Every
	// host in here can claim any client address.
	Trusted []netip.Prefix
	// TrustUnix believes peers on a Unix socket, which have no address: access to the
	// socket file is what is trusted then.
	TrustUnix bool
	// Header is the one that is read.
	Header Header
	// Internal are private networks whose addresses are people of ours. See
	// [Resolver.Internal].
	Internal []netip.Prefix
}

// Resolver finds the client of a request. It is safe for concurrent use.
type Resolver struct {
	trusted   prefixes
	trustUnix bool
	header    Header
	internal  []netip.Prefix
}

// New checks c. A prefix that covers a whole address family is refused: it
// would let every caller choose its own address.
func New(c Config) (*Resolver, error) {
	trusted, err := newPrefixes(c.Trusted)
	if err != nil {
		return nil, err
	}
	if c.Header < XForwardedFor || c.Header > None {
		return nil, fmt.Errorf("clientip: there is no forwarding header number %d", c.Header)
	}
	return &Resolver{trusted: trusted, trustUnix: c.TrustUnix, header: c.Header, internal: c.Internal}, nil
}

// Internal reports whether an address is in one of the networks that the configuration
// calls ours. The address of a trusted proxy never is: it stands for people that the
// proxy did not name.
func (r *Resolver) Internal(a netip.Addr) bool {
	return a.IsValid() && prefixes(r.internal).contain(a) && !r.trusted.contain(a)
}

// Error says why there is no client address. The caller must block the request.
type Error struct {
	// Source is "connection" or the name of the header.
	Source string
	// Value is what could not be read, cut at 64 bytes. A stranger may have written it.
	Value string
	// Reason is for the log.
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("client address unknown: %s %q: %s", e.Source, e.Value, e.Reason)
}

func unreadable(source, value, reason string) *Error {
	if len(value) > 64 {
		value = value[:64]
	}
	return &Error{Source: source, Value: value, Reason: reason}
}

// Origin is where a request comes from: the answers of Resolve, Scheme and TrustedPeer
// together.
type Origin struct {
	Client  netip.Addr // not valid if Err is set
	Err     error      // an [*Error]
	Scheme  string
	Trusted bool // the direct peer is one of our own proxies
}

// Origin answers all three with one look at the connection.
func (r *Resolver) Origin(req *http.Request) (o Origin) {
	peer, isUnix, err := parsePeer(req.RemoteAddr)
	if err != nil {
		o.Err, o.Scheme = err, r.scheme(req, false)
		return o
	}
	o.Trusted = r.trusts(peer, isUnix)
	o.Scheme = r.scheme(req, o.Trusted)
	o.Client, o.Err = r.resolve(req, peer, isUnix, o.Trusted)
	return o
}

// Resolve returns the address of the client behind req. The error is always an
// [*Error].
func (r *Resolver) Resolve(req *http.Request) (netip.Addr, error) {
	peer, isUnix, err := parsePeer(req.RemoteAddr)
	if err != nil {
		return netip.Addr{}, err
	}
	return r.resolve(req, peer, isUnix, r.trusts(peer, isUnix))
}

func (r *Resolver) resolve(req *http.Request, peer netip.Addr, isUnix, trusted bool) (addr netip.Addr, err error) {
	// The peer before its headers: a header from a stranger is not looked at,
	// so that no byte of it can change this answer.
	if !trusted {
		if isUnix {
			return netip.Addr{}, unreadable("connection", req.RemoteAddr, "a Unix socket has no address and is not trusted to name one")
		}
		return peer, nil
	}

	switch r.header {
	case XForwardedFor:
		addr, err = r.fromXFF(req.Header["X-Forwarded-For"])
	case Forwarded:
		addr, err = r.fromForwarded(req.Header["Forwarded"])
	default:
		if isUnix {
			return netip.Addr{}, unreadable("connection", req.RemoteAddr, "a Unix socket has no address, and no header is read that could name one")
		}
		return peer, nil
	}
	switch {
	case err != nil:
		return netip.Addr{}, err
	case !addr.IsValid():
		return netip.Addr{}, r.unnamed(req)
	case r.trusted.contain(addr):
		return netip.Addr{}, unreadable(r.header.String(), addr.String(), "every hop is one of trusted_proxies, so none of them names a client; "+
			"list the addresses of the proxies there and not the networks that clients are in too; "+
			"a client on a proxy's own machine has the proxy's address: connect from another machine")
	}
	return addr, nil
}

// unnamed is the error about a trusted peer that says nothing of its client, and what to
// do about it: it is the first thing that an operator meets who forgot to set up the
// header.
func (r *Resolver) unnamed(req *http.Request) *Error {
	want, other, setting := r.header.String(), "Forwarded", "forwarded"
	if r.header == Forwarded {
		other, setting = "X-Forwarded-For", "x-forwarded-for"
	}
	reason := "the trusted proxy sends no " + want + ", so its client cannot be told; let it send the header, or set forwarded_header: none " +
		"if the peer is the client (PROXY protocol); health checks belong on ops_listen (/readyz)"
	if len(req.Header[other]) > 0 {
		reason = "the trusted proxy sends " + other + " and no " + want + "; set forwarded_header: " + setting + " if it overwrites what clients send"
	}
	return unreadable("connection", req.RemoteAddr, reason)
}

// String is the header's name.
func (h Header) String() string {
	switch h {
	case XForwardedFor:
		return "X-Forwarded-For"
	case Forwarded:
		return "Forwarded"
	}
	return "none"
}

// TrustedPeer reports whether the direct peer is one of our own proxies, whose
// word about scheme and client is taken.
func (r *Resolver) TrustedPeer(req *http.Request) bool {
	peer, isUnix, err := parsePeer(req.RemoteAddr)
	return err == nil && r.trusts(peer, isUnix)
}

func (r *Resolver) trusts(peer netip.Addr, isUnix bool) bool {
	if isUnix {
		return r.trustUnix
	}
	return r.trusted.contain(peer)
}

// Scheme returns "https" or "http": what the client spoke to the outermost
// proxy of ours. The word of a trusted peer is its right-most one; anything but
// a clear "https" (or "wss") is "http".
func (r *Resolver) Scheme(req *http.Request) string {
	return r.scheme(req, req.TLS == nil && r.TrustedPeer(req))
}

func (r *Resolver) scheme(req *http.Request, trusted bool) string {
	if req.TLS != nil {
		return "https"
	}
	if r.header == None || !trusted {
		return "http"
	}
	var said string
	switch r.header {
	case XForwardedFor:
		said = rightmost(req.Header["X-Forwarded-Proto"])
	case Forwarded:
		if hops, err := parseForwarded(req.Header["Forwarded"]); err == nil && len(hops) > 0 {
			said = hops[len(hops)-1].proto
		}
	}
	// Some proxies say "wss" for a WebSocket handshake over TLS.
	if said == "https" || strings.EqualFold(said, "https") || strings.EqualFold(said, "wss") {
		return "https"
	}
	return "http"
}

// rightmost returns the last element of the last line of a list header.
func rightmost(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	last := lines[len(lines)-1]
	return trimOWS(last[strings.LastIndexByte(last, ',')+1:])
}

// fromXFF walks X-Forwarded-For from the right. No line: the zero Addr.
func (r *Resolver) fromXFF(lines []string) (netip.Addr, error) {
	const name = "X-Forwarded-For"
	if err := withinLimits(name, lines); err != nil {
		return netip.Addr{}, err
	}
	var hop netip.Addr
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			var element string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, element = rest[:at], rest[at+1:]
			} else {
				element, more = rest, false
			}
			var err error
			if hop, err = parseHop(name, trimOWS(element)); err != nil {
				return netip.Addr{}, err
			}
			if !r.trusted.contain(hop) {
				return hop, nil
			}
		}
	}
	return hop, nil
}

// fromForwarded walks Forwarded from the right. No line: the zero Addr.
func (r *Resolver) fromForwarded(lines []string) (netip.Addr, error) {
	const name = "Forwarded"
	if err := withinLimits(name, lines); err != nil {
		return netip.Addr{}, err
	}
	hops, err := parseForwarded(lines)
	if err != nil {
		return netip.Addr{}, err
	}
	var hop netip.Addr
	for i := len(hops) - 1; i >= 0; i-- {
		if hop, err = parseHop(name, hops[i].node); err != nil {
			return netip.Addr{}, err
		}
		if !r.trusted.contain(hop) {
			return hop, nil
		}
	}
	return hop, nil
}

// withinLimits bounds the work that one header can cause.
func withinLimits(name string, lines []string) error {
	if len(lines) == 1 && len(lines[0]) < maxHops {
		return nil
	}
	size, hops := 0, len(lines)
	for _, line := range lines {
		size += len(line)
		hops += strings.Count(line, ",")
	}
	if size > maxHeaderBytes || hops > maxHops {
		return unreadable(name, fmt.Sprintf("%d bytes, %d hops", size, hops), "longer than any real chain of proxies")
	}
	return nil
}
