package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/proxy/clientip"
)

// builder turns a file that is well-formed into a Config that makes sense.
type builder struct {
	*reader
	dir string
	f   file
	c   *Config
}

func (b *builder) build() {
	b.listeners()
	b.externalURL()
	b.peers()
	b.tls()
	b.oidc()
	b.webauthn()
	b.session()
	b.state()
	b.policyFiles()
	b.ipData()
	b.routes()
	b.limits()
	b.c.Contact = b.f.Contact
}

// path makes a path absolute, relative to the configuration file.
func (b *builder) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(b.dir, p)
}

// existing is path for a file that must be there and readable.
func (b *builder) existing(key, p, what string) string {
	abs := b.path(p)
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b.at(key, fmt.Sprintf("there is no file %s", abs), what)
	case err != nil:
		b.at(key, err.Error(), what)
	case info.IsDir():
		b.at(key, fmt.Sprintf("%s is a folder", abs), what)
	default:
		f, err := os.Open(abs)
		if err != nil {
			b.at(key, err.Error(), what+" that can be read")
			break
		}
		f.Close()
	}
	return abs
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
	for key, addr := range map[string]string{"listen": b.f.Listen, "ops_listen": b.f.OpsListen} {
		if _, port, err := net.SplitHostPort(addr); err != nil || !validPort(port) {
			b.at(key, fmt.Sprintf("%q is not an address to listen on", addr), "HOST:PORT, such as 127.0.0.1:8080 or :8443")
		}
	}
	if b.f.Listen == b.f.OpsListen && !strings.HasSuffix(b.f.Listen, ":0") {
		b.at("ops_listen", "the ops port is the same as the data port", "an address of its own, that people cannot reach")
	}
}

func validPort(p string) bool {
	n, err := strconv.Atoi(p)
	return err == nil && n >= 0 && n <= 65535
}

// origin reads an absolute http(s) URL and lower-cases its host; the default port
// is dropped, so that one origin has one spelling.
func (b *builder) origin(key, raw string) *url.URL {
	const expected = "an absolute URL, such as https://access.example.com"
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
	u := b.origin("external_url", b.f.ExternalURL)
	if u == nil {
		return
	}
	if u.Path != "" && u.Path != "/" {
		b.at("external_url", fmt.Sprintf("%q has a path", b.f.ExternalURL), "scheme and host only: Sallyport answers below /.sallyport/ on every host")
	}
	if u.Scheme == "http" && !localName(u.Hostname()) {
		b.at("external_url", "passkeys and session cookies need https", "https://"+u.Host+" (plain http works for localhost and *.localhost only)")
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

func (b *builder) peers() {
	for i, s := range b.f.TrustedProxies {
		key := fmt.Sprintf("trusted_proxies[%d]", i)
		if s == "unix" {
			b.c.TrustUnix = true
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				b.at(key, fmt.Sprintf("%q is not an address or a network", s), "an address or CIDR such as 10.0.0.0/8, or unix")
				continue
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Bits() == 0 {
			b.at(key, fmt.Sprintf("%s trusts everybody to name any client address", s), "the networks of your own proxies only")
		}
		b.c.TrustedProxies = append(b.c.TrustedProxies, p.Masked())
	}
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
	if b.f.ProxyProtocol && len(b.c.TrustedProxies) == 0 {
		b.at("proxy_protocol", "nobody is trusted to send the PROXY protocol", "trusted_proxies with the addresses of the load balancers")
	}
}

func (b *builder) tls() {
	if t := b.f.TLS; t != nil {
		if b.required("tls.cert_file", t.CertFile, "a PEM file with the certificate chain") && b.required("tls.key_file", t.KeyFile, "a PEM file with the private key") {
			b.c.TLS = &TLS{CertFile: b.existing("tls.cert_file", t.CertFile, "a PEM file"), KeyFile: b.existing("tls.key_file", t.KeyFile, "a PEM file")}
		}
		if b.c.ExternalURL != nil && b.c.ExternalURL.Scheme == "http" {
			b.at("tls", "external_url is plain http, but the data port speaks TLS", "an https external_url, or no tls")
		}
		return
	}
	host, _, err := net.SplitHostPort(b.f.Listen)
	if err == nil && !localName(host) && len(b.c.TrustedProxies) == 0 {
		b.at("listen", fmt.Sprintf("%s is reachable from elsewhere, without TLS and without a proxy in front", b.f.Listen),
			"tls, or a loopback address, or trusted_proxies with the proxy that terminates TLS")
	}
	if b.c.ExternalURL != nil && b.c.ExternalURL.Scheme == "https" && len(b.c.TrustedProxies) == 0 && !b.c.TrustUnix {
		b.at("external_url", "external_url is https, but nothing here speaks TLS", "tls, or trusted_proxies with the proxy that terminates it")
	}
}

func (b *builder) oidc() {
	o := b.f.OIDC
	if b.required("oidc.issuer", o.Issuer, "the URL of the OpenID provider, exactly as its discovery document says") {
		u, err := url.Parse(o.Issuer)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "":
			b.at("oidc.issuer", fmt.Sprintf("%q is not an issuer URL", o.Issuer), "https://..., without query or fragment")
		case u.Scheme == "http" && !localName(u.Hostname()):
			b.at("oidc.issuer", "the provider's answers would travel unprotected", "an https issuer (plain http works for a loopback issuer only)")
		}
	}
	b.required("oidc.client_id", o.ClientID, "the client id registered at the provider")
	if b.required("oidc.client_secret_file", o.ClientSecretFile, "a file that holds the client secret and nothing else") {
		file := b.existing("oidc.client_secret_file", o.ClientSecretFile, "a file that holds the client secret and nothing else")
		if secret, err := os.ReadFile(file); err == nil {
			b.c.OIDC.ClientSecret = strings.TrimSpace(string(secret))
			if b.c.OIDC.ClientSecret == "" {
				b.at("oidc.client_secret_file", file+" is empty", "the client secret")
			}
		}
	}
	hasOpenID := false
	for _, s := range o.Scopes {
		hasOpenID = hasOpenID || s == "openid"
	}
	if !hasOpenID {
		b.at("oidc.scopes", "the scope openid is missing", "openid, and usually email and profile")
	}
	if o.RefreshInterval < minRefresh {
		b.at("oidc.refresh_interval", "that would ask the provider too often", minRefresh.String()+" or more")
	}
	b.c.OIDC.Issuer, b.c.OIDC.ClientID, b.c.OIDC.Scopes = o.Issuer, o.ClientID, o.Scopes
	b.c.OIDC.GroupsClaim, b.c.OIDC.CountriesClaim, b.c.OIDC.RefreshInterval = o.GroupsClaim, o.CountriesClaim, o.RefreshInterval
}

func (b *builder) webauthn() {
	if b.c.ExternalURL == nil {
		return
	}
	host := b.c.ExternalURL.Hostname()
	id := b.f.WebAuthn.RPID
	if id == "" {
		id = host
	}
	// WebAuthn section 5.1.2: the RP ID is the host or a registrable suffix of it.
	if id != host && (!strings.HasSuffix(host, "."+id) || isPublicSuffix(id)) {
		b.at("webauthn.rp_id", fmt.Sprintf("browsers refuse passkeys for %q on %s", id, host), host+" or a parent domain of it that your company owns")
	}
	b.c.WebAuthn = WebAuthn{RPID: id, RPName: b.f.WebAuthn.RPName}
}

func isPublicSuffix(domain string) bool {
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return suffix == domain && domain != "localhost"
}

func (b *builder) session() {
	s := b.f.Session
	if s.MaxAge < minSession || s.MaxAge > maxSession {
		b.at("session.max_age", fmt.Sprintf("%s is not a sensible lifetime", s.MaxAge), fmt.Sprintf("%s to %s", minSession, maxSession))
	}
	if s.IdleTimeout < minSession || s.IdleTimeout > s.MaxAge {
		b.at("session.idle_timeout", fmt.Sprintf("%s is shorter than %s or longer than max_age", s.IdleTimeout, minSession), fmt.Sprintf("%s to %s", minSession, s.MaxAge))
	}
	b.c.Session = Session(s)
}

func (b *builder) state() {
	switch path, sqlite := strings.CutPrefix(b.f.Store, "sqlite:"); {
	case sqlite && path != "":
		b.c.Store = "sqlite:" + b.path(path)
	case strings.HasPrefix(b.f.Store, "postgres://") || strings.HasPrefix(b.f.Store, "postgresql://"):
		b.at("store", "PostgreSQL is not supported by this version", "sqlite:PATH")
	default:
		b.at("store", fmt.Sprintf("%q is not a store", b.f.Store), "sqlite:PATH")
	}
	if b.required("audit.file", b.f.Audit.File, "the file that audit records are appended to") {
		b.c.AuditFile = b.path(b.f.Audit.File)
		if info, err := os.Stat(b.c.AuditFile); err == nil && info.IsDir() {
			b.at("audit.file", b.c.AuditFile+" is a folder", "a file")
		}
	}
}

func (b *builder) policyFiles() {
	if b.required("policy", b.f.Policy, "a policy file") {
		b.c.PolicyFile = b.existing("policy", b.f.Policy, "a policy file; `sallyport init` writes one to start from")
		b.c.PolicySource, _ = os.ReadFile(b.c.PolicyFile) // a file that cannot be read was reported by existing
	}
	if b.f.Roster == "" {
		return
	}
	file := b.existing("roster", b.f.Roster, "a CSV file with the columns email,countries,timezone")
	if source, err := os.ReadFile(file); err == nil {
		roster, found := ParseRoster(file, source)
		b.c.Roster = roster
		b.found = append(b.found, found...)
	}
}

func (b *builder) ipData() {
	for i, d := range b.f.IPData.Databases {
		b.c.IPData.Databases = append(b.c.IPData.Databases, b.existing(fmt.Sprintf("ip_data.databases[%d]", i), d, "an mmdb file"))
	}
	names := map[string]bool{}
	for i, l := range b.f.IPData.Lists {
		key := fmt.Sprintf("ip_data.lists[%d]", i)
		if !validName.MatchString(l.Name) {
			b.at(key+".name", fmt.Sprintf("%q is not a name", l.Name), "lower-case letters, digits and dashes")
		}
		if names[l.Name] {
			b.at(key+".name", fmt.Sprintf("there are two lists with the name %q", l.Name), "a name of its own for each list")
		}
		names[l.Name] = true
		if !member(l.Signal, "", "vpn", "hosting", "tor", "proxy", "residential_proxy", "relay") {
			b.at(key+".signal", fmt.Sprintf("there is no signal %q", l.Signal), "vpn, hosting, tor, proxy, residential_proxy or relay; leave it out for a list that only rules name")
		}
		if !member(l.Format, "", "cidr", "aws", "gcp", "azure", "csv") {
			b.at(key+".format", fmt.Sprintf("there is no format %q", l.Format), "cidr (the default), aws, gcp, azure or csv")
		}
		if b.required(key+".file", l.File, "the file that holds the list") {
			b.c.IPData.Lists = append(b.c.IPData.Lists, ipintel.List{Name: l.Name, Signal: l.Signal, Format: l.Format, File: b.existing(key+".file", l.File, "a list file")})
		}
	}
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func member(s string, list ...string) bool {
	for _, l := range list {
		if s == l {
			return true
		}
	}
	return false
}

func (b *builder) routes() {
	if len(b.f.Routes) == 0 {
		b.at("routes", "there is no route, so there is nothing to protect", "at least one route with name, from, to and allow")
	}
	names := map[string]bool{}
	for i, f := range b.f.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		if !validName.MatchString(f.Name) {
			b.at(key+".name", fmt.Sprintf("%q is not a route name", f.Name), "lower-case letters, digits and dashes")
		}
		if names[f.Name] {
			b.at(key+".name", fmt.Sprintf("there are two routes with the name %q", f.Name), "a name of its own for each route")
		}
		names[f.Name] = true
		r := Route{Name: f.Name, ConnectTimeout: f.ConnectTimeout, ResponseTimeout: f.ResponseTimeout, IdleTimeout: f.IdleTimeout, MaxBody: f.MaxBody, PreserveHost: f.PreserveHost}
		r.From = b.from(key+".from", f.From)
		r.To = b.to(key+".to", f.To)
		r.Allow = b.allow(key+".allow", f.Name, f.Allow)
		b.c.Routes = append(b.c.Routes, r)
	}
}

func (b *builder) from(key, raw string) *url.URL {
	ext := b.c.ExternalURL
	if ext == nil {
		return &url.URL{}
	}
	var u *url.URL
	if strings.HasPrefix(raw, "/") {
		p, err := url.Parse(raw)
		if err != nil || p.Host != "" || p.RawQuery != "" || p.Fragment != "" {
			b.at(key, fmt.Sprintf("%q is not a path", raw), "a path on external_url, or an absolute URL")
			return &url.URL{}
		}
		u = &url.URL{Scheme: ext.Scheme, Host: ext.Host, Path: p.Path}
	} else if u = b.origin(key, raw); u == nil {
		return &url.URL{}
	}
	if u.Scheme != ext.Scheme {
		b.at(key, fmt.Sprintf("%s does not have the scheme of external_url", raw), ext.Scheme+"://"+u.Host)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if u.Path == "/.sallyport" || strings.HasPrefix(u.Path, "/.sallyport/") {
		b.at(key, "/.sallyport/ is kept for Sallyport's own pages", "another path")
	}
	return u
}

func (b *builder) to(key string, list []string) []*url.URL {
	if len(list) == 0 {
		b.at(key, "the route leads nowhere", "the URL of the tool, such as http://127.0.0.1:3000")
	}
	var urls []*url.URL
	for i, raw := range list {
		k := fmt.Sprintf("%s[%d]", key, i)
		if _, ok := b.places[k]; !ok {
			k = key
		}
		if u := b.origin(k, raw); u != nil {
			if u.Path != "" && u.Path != "/" {
				b.at(k, fmt.Sprintf("%q has a path", raw), "scheme and host only: requests keep their path")
			}
			u.Path = ""
			urls = append(urls, u)
		}
	}
	return urls
}

// allow is required: a route without one is a mistake, not an open door.
func (b *builder) allow(key, route string, a *fileAllow) policy.Grant {
	const expected = "allow: {groups: [...]}, {emails: [...]}, {domains: [...]} or {everyone: true}"
	if a == nil {
		b.at(key, fmt.Sprintf("route %q does not say who may use it", route), expected)
		return policy.Grant{}
	}
	if a.Everyone == (len(a.Groups)+len(a.Emails)+len(a.Domains) > 0) {
		message := "allow names nobody"
		if a.Everyone {
			message = "everyone and a narrower list contradict each other"
		}
		b.at(key, message, expected)
	}
	g := policy.Grant{Everyone: a.Everyone, Groups: a.Groups}
	for i, e := range a.Emails {
		email, err := authn.ParseEmail(e)
		if err != nil {
			b.at(fmt.Sprintf("%s.emails[%d]", key, i), err.Error(), "an e-mail address")
		}
		g.Emails = append(g.Emails, string(email))
	}
	for i, d := range a.Domains {
		email, err := authn.ParseEmail("x@" + d)
		if err != nil || strings.HasPrefix(d, "*") {
			b.at(fmt.Sprintf("%s.domains[%d]", key, i), fmt.Sprintf("%q is not a domain", d), "the part after the @, such as example.com")
		}
		g.Domains = append(g.Domains, email.Domain())
	}
	for i, group := range a.Groups {
		if group == "" {
			b.at(fmt.Sprintf("%s.groups[%d]", key, i), "an empty group name", "a group as the provider names it")
		}
	}
	return g
}

func (b *builder) limits() {
	l := b.f.Limits
	if l.Header < 4<<10 || l.Header > 1<<20 {
		b.at("limits.header_bytes", fmt.Sprintf("%d bytes of request header is out of range", l.Header), "4096 to 1048576")
	}
	b.c.Limits = Limits{Header: int(l.Header), Body: l.Body}
}
