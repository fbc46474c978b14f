package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/policy/ipv4in6"
	"sallyport/proxy/clientip"
)

// builder turns a file that is well-formed into a Config that makes sense.
type builder struct {
	*reader
	dir string
	f   file
	c   *Config

	reads map[string]string // files that are read, and the keys that name them

	starting bool // the policy may be unreadable

	elsewhere policy.Diagnostics // mistakes in files that this one names
}

func (b *builder) build() {
	b.listeners()
	b.opsHosts()
	b.externalURL()
	b.peers()
	b.tls()
	b.oidc()
	b.webauthn()
	b.session()
	b.store()
	b.audit()
	b.policyFiles()
	b.ipData()
	b.behavior()
	b.limits()
	b.routes()
	b.publicFace()
	b.tracing()
	b.writes()
	b.c.Contact = b.f.Contact
}

func (b *builder) required(key, value, expected string) bool {
	if value == "" {
		b.at(key, key+" is missing", expected)
		return false
	}
	return true
}

func (b *builder) listeners() {
	b.c.Listen, b.c.OpsListen = b.f.Listen, b.f.OpsListen
	host, port, ok := b.listenAddress("listen", b.f.Listen)
	opsHost, opsPort, opsOK := b.listenAddress("ops_listen", b.f.OpsListen)
	if ok && opsOK && port == opsPort && port != "0" && (host == opsHost || anywhere(host) || anywhere(opsHost)) {
		b.at("ops_listen", "the ops port is the same as the data port", "a port of its own, that people cannot reach")
	}
}

func (b *builder) listenAddress(key, addr string) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		b.at(key, fmt.Sprintf("%q is not an address to listen on", addr), "HOST:PORT, such as 127.0.0.1:8080 or :8443")
	}
	return host, port, err == nil
}

// anywhere reports whether listening on host means listening on all addresses.
func anywhere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// origin reads an absolute http(s) URL and lower-cases its host; the default port
// is dropped, so that one origin has one spelling.
func (b *builder) origin(key, raw string) *url.URL {
	const expected = "an absolute URL, such as https://tool.example.com, or http://127.0.0.1:3000 on this machine"
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "" {
		b.at(key, fmt.Sprintf("%q is not an absolute http or https URL", raw), expected)
		return nil
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(u.Host, ":") {
		b.at(key, fmt.Sprintf("%q has more than a scheme, a host and a path", raw), expected)
		return nil
	}
	u.Host = strings.ToLower(u.Host)
	if p := u.Port(); p == "80" && u.Scheme == "http" || p == "443" && u.Scheme == "https" {
		u.Host = strings.TrimSuffix(u.Host, ":"+p)
	}
	return u
}

func (b *builder) externalURL() {
	if !b.required("external_url", b.f.ExternalURL, "the address people sign in at, such as https://access.example.com") {
		return
	}
	u := b.site("external_url", b.f.ExternalURL)
	if u == nil {
		return
	}
	if u.Path != "" && u.Path != "/" {
		b.at("external_url", fmt.Sprintf("%q has a path", b.f.ExternalURL), "scheme and host only: Sallyport answers below /.sallyport/ on every host")
	}
	if u.Scheme == "http" && !localName(u.Hostname()) {
		b.at("external_url", "passkeys and session cookies need https", "https://"+u.Host+" (plain http works for localhost and *.localhost only)")
	} else if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		// WebAuthn section 5.1.3: an RP ID is a domain; an address is none.
		b.at("external_url", "browsers have no passkeys on an IP address", "a host name; on this machine, http://localhost and the port")
	}
	u.Path = ""
	b.c.ExternalURL = u
}

// localName is what browsers treat as this machine, and therefore as a secure
// context over plain http (W3C Secure Contexts section 3.1).
func localName(host string) bool {
	host = strings.ToLower(host)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}

// parseNetwork reads a CIDR, or an address for a network of one. An IPv4 network that is
// written as IPv6 (::ffff:10.0.0.0/104) is the IPv4 network: clients are never mapped.
func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if a, notAddress := netip.ParseAddr(s); notAddress == nil {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil || !p.Addr().Is4In6() {
		return p, err
	}
	if p.Bits() < 96 {
		return netip.Prefix{}, fmt.Errorf("%s is larger than all of IPv4", s)
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96), nil
}

func (b *builder) peers() {
	for i, s := range b.f.TrustedProxies {
		key := fmt.Sprintf("trusted_proxies[%d]", i)
		p, err := parseNetwork(s)
		if err != nil {
			b.at(key, fmt.Sprintf("%q is not an address or a network", s), "an address such as 10.0.0.5, or a CIDR")
			continue
		}
		if _, err := clientip.New(clientip.Config{Trusted: []netip.Prefix{p}}); err != nil {
			b.at(key, err.Error(), "the networks of your own proxies only: every host in them can claim any address")
			continue
		}
		if least := map[bool]int{true: 8, false: 16}[p.Addr().Is4()]; p.Bits() < least {
			b.at(key, fmt.Sprintf("%s is a large part of the Internet, and every host in it can claim any address", s), "the addresses of your own proxies, such as 10.0.0.5")
			continue
		}
		b.c.TrustedProxies = append(b.c.TrustedProxies, p)
	}
	b.internal()
	switch strings.ToLower(b.f.ForwardedHeader) {
	case "x-forwarded-for":
		b.c.Forwarding = clientip.XForwardedFor
	case "forwarded":
		b.c.Forwarding = clientip.Forwarded
	case "none":
		b.c.Forwarding = clientip.None
	default:
		b.at("forwarded_header", fmt.Sprintf("there is no forwarding header %q", b.f.ForwardedHeader), "x-forwarded-for, forwarded (RFC 7239) or none")
	}
	b.c.ProxyProtocol = b.f.ProxyProtocol
	if b.f.ProxyProtocol && len(b.f.TrustedProxies) == 0 {
		b.at("proxy_protocol", "no peer is trusted to send the PROXY protocol", "trusted_proxies with the addresses of the load balancers")
	}
}

// internal reads the private networks that people of ours are in. Public addresses of an
// office are for the policy, which then says what they are exempt from.
func (b *builder) internal() {
	for i, s := range b.f.Internal {
		key := fmt.Sprintf("internal_networks[%d]", i)
		p, err := parseNetwork(s)
		switch {
		case err != nil:
			b.at(key, fmt.Sprintf("%q is not an address or a network", s), "a CIDR such as 10.20.0.0/16")
			continue
		case !slices.ContainsFunc(ipv4in6.PrivateNetworks(), func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) }):
			b.at(key, fmt.Sprintf("%s is not a private network", s), "private networks only; public ones are for a list in the policy, with ip.within(lists.NAME)")
			continue
		case p.Bits() == p.Addr().BitLen() && !strings.Contains(s, "/") && p.Addr().AsSlice()[len(p.Addr().AsSlice())-1] == 0:
			b.at(key, fmt.Sprintf("%s is one address, and no machine's", s), "the network with its number of bits, such as 10.20.0.0/16")
			continue
		case p != p.Masked():
			b.suggest(key, fmt.Sprintf("%s is an address and the size of its network", s), "the network, or the address alone", p.Masked().String())
			continue
		case slices.ContainsFunc(b.c.TrustedProxies, func(t netip.Prefix) bool { return t.Bits() <= p.Bits() && t.Contains(p.Addr()) }):
			b.at(key, fmt.Sprintf("%s is in trusted_proxies, and the address of a proxy is not a person's", s), "the networks that people are in, and trusted_proxies with the proxies alone")
			continue
		}
		b.c.Internal = append(b.c.Internal, p.Masked())
	}
}

func (b *builder) tls() {
	if t := b.f.TLS; t != nil {
		if b.required("tls.cert_file", t.CertFile, "a PEM file with the certificate chain") && b.required("tls.key_file", t.KeyFile, "a PEM file with the private key") {
			b.keyPair(t.CertFile, t.KeyFile)
		}
		b.moreTLS()
		if b.c.ExternalURL != nil && b.c.ExternalURL.Scheme == "http" {
			b.at("tls", "external_url is plain http, but the data port speaks TLS", "an https external_url, or no tls")
		}
		return
	}
	if b.f.ACME != nil {
		return
	}
	host, _, err := net.SplitHostPort(b.f.Listen)
	if err == nil && !localName(host) && len(b.f.TrustedProxies) == 0 {
		b.at("listen", fmt.Sprintf("%s is reachable from elsewhere, without TLS and without a proxy in front", b.f.Listen),
			"tls, or a loopback address, or trusted_proxies with the proxy that terminates TLS")
	}
	if b.c.ExternalURL != nil && b.c.ExternalURL.Scheme == "https" && len(b.f.TrustedProxies) == 0 {
		b.at("external_url", "external_url is https, but nothing here speaks TLS", "tls, or trusted_proxies with the proxy that terminates it")
	}
}

func (b *builder) limits() {
	l := b.f.Limits
	if l.Header < 4<<10 || l.Header > 1<<20 {
		b.at("limits.header_bytes", fmt.Sprintf("%d bytes of request header is out of range", l.Header), "4096 to 1048576")
	}
	if _, given := b.places["limits.url_bytes"]; !given {
		l.URL = min(l.URL, max(l.Header, 1<<10))
	}
	if l.URL < 1<<10 || l.URL > max(l.Header, 1<<10) {
		b.at("limits.url_bytes", fmt.Sprintf("%d bytes of address is out of range", l.URL), fmt.Sprintf("1024 to limits.header_bytes, %d: the address is a part of the header", l.Header))
	}
	if l.HeaderLines < 32 || l.HeaderLines > 4096 {
		b.at("limits.header_lines", fmt.Sprintf("%d is out of range", l.HeaderLines), "32 to 4096")
	}
	if l.Message < 64<<10 || l.Message > 64<<20 {
		b.at("limits.message_bytes", fmt.Sprintf("%d bytes of message is out of range", l.Message), "65536 to 67108864")
		l.Message = defaults().Limits.Message
	}
	if l.BatchCalls < 1 || l.BatchCalls > 10_000 {
		b.at("limits.batch_calls", fmt.Sprintf("%d calls in a batch is out of range", l.BatchCalls), "1 to 10000")
	}
	if l.Body < 1 {
		b.at("limits.body_bytes", fmt.Sprintf("%d bytes of body is out of range", l.Body), "1 or more; without the key, 1073741824")
	}
	for key, n := range map[string]int64{"connections": l.Connections, "connections_per_client": l.ConnectionsPerClient, "requests": l.Requests, "streams": l.Streams, "streams_per_session": l.StreamsPerSession, "ceremonies_per_minute": l.CeremoniesPerMinute, "changes_per_minute": l.ChangesPerMinute} {
		if n < 1 || n > 10_000_000 {
			b.at("limits."+key, fmt.Sprintf("%d is out of range", n), "1 to 10000000")
		}
	}
	_, given := b.places["limits.inspected_bytes_per_session"]
	if !given {
		l.InspectedPerSession = min(max(l.InspectedPerSession, 2*l.Message), max(l.Inspected, 2<<20))
	}
	for key, n := range map[string]int64{"inspected_bytes": l.Inspected, "inspected_bytes_per_session": l.InspectedPerSession} {
		if least := max(2<<20, 2*l.Message); n < least || n > 1<<40 {
			b.at("limits."+key, fmt.Sprintf("%d is out of range", n), fmt.Sprintf("%d bytes (two messages of limits.message_bytes, and no less than 2097152) to 1099511627776", least))
		}
	}
	if given && l.InspectedPerSession > l.Inspected {
		b.at("limits.inspected_bytes_per_session", "one session would have more than there is for all", fmt.Sprintf("at most limits.inspected_bytes, %d", l.Inspected))
	}
	if l.MessageTime < time.Second || l.MessageTime > time.Hour {
		b.at("limits.message_time", fmt.Sprintf("%s is out of range", l.MessageTime), "1s to 1h")
	}
	b.c.Limits = Limits{
		Inspected: l.Inspected, InspectedPerSession: l.InspectedPerSession, MessageTime: l.MessageTime,
		URL: int(l.URL), Lines: int(l.HeaderLines), Message: int(l.Message), BatchCalls: int(l.BatchCalls),
		Header: int(l.Header), Body: l.Body, Connections: int(l.Connections), ConnectionsPerClient: int(l.ConnectionsPerClient),
		Requests: int(l.Requests), Streams: int(l.Streams), StreamsPerSession: int(l.StreamsPerSession), CeremoniesPerMinute: int(l.CeremoniesPerMinute),
		ChangesPerMinute: int(l.ChangesPerMinute),
	}
}
