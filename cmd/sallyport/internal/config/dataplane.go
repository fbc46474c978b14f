package config

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/policy/strictyaml"
	"sallyport/proxy/edge"
	"sallyport/proxy/upstream"
)

// file is existing for callers that read the file later: what is wrong was noted.
func (b *builder) file(key, p, what string) string {
	abs, _ := b.existing(key, p, what)
	return abs
}

// authorities is file for the certificates of authorities.
func (b *builder) authorities(key, p string) string {
	const what = "a PEM file with the certificates of the authorities"
	pem, ok := b.read(key, p, what, 1<<20)
	if ok && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		b.at(key, b.path(p)+" holds no certificate", what)
	}
	return b.path(p)
}

// moreTLS reads what goes beyond the one certificate.
func (b *builder) moreTLS() {
	t := b.f.TLS
	if b.c.TLS == nil {
		return
	}
	for i, p := range t.Certificates {
		key := fmt.Sprintf("tls.certificates[%d]", i)
		if b.required(key+".cert_file", p.CertFile, "a PEM file with the certificate chain") && b.required(key+".key_file", p.KeyFile, "a PEM file with the private key") {
			b.c.TLS.More = append(b.c.TLS.More, edge.CertPair{CertFile: b.file(key+".cert_file", p.CertFile, "a PEM file"), KeyFile: b.file(key+".key_file", p.KeyFile, "a PEM file")})
		}
	}
	if t.ClientCAFile == "" {
		if t.ClientCerts != "" || t.ClientSANs != nil {
			b.at("tls.client_certificates", "there is no authority to verify client certificates with", "tls.client_ca_file")
		}
		return
	}
	c := edge.ClientAuthConfig{CAFile: b.authorities("tls.client_ca_file", t.ClientCAFile), AllowedSANs: t.ClientSANs}
	for i, name := range t.ClientSANs {
		if err := edge.CheckSAN(name); err != nil {
			b.at(fmt.Sprintf("tls.client_sans[%d]", i), err.Error(), "")
		}
	}
	switch t.ClientCerts {
	case "", "require":
		c.Mode = edge.RequireCert
	case "request":
		c.Mode = edge.RequestCert
	default:
		b.at("tls.client_certificates", fmt.Sprintf("%q is not a way to ask for certificates", t.ClientCerts), "require (the default) or request")
	}
	b.c.TLS.Client = &c
}

// publicFace reads what concerns the listeners besides their addresses.
func (b *builder) publicFace() {
	b.c.RedirectListen, b.c.HSTSMaxAge = b.f.RedirectListen, b.f.HSTSMaxAge
	b.c.AccessLog, b.c.Pprof = b.f.AccessLog, b.f.Pprof
	if r := b.f.RedirectListen; r != "" {
		b.listenAddress("redirect_listen", r)
		if b.c.ExternalURL != nil && b.c.ExternalURL.Scheme != "https" {
			b.at("redirect_listen", "external_url is plain http: there is nothing to redirect to", "an https external_url")
		}
	}
	a := b.f.ACME
	if a == nil {
		return
	}
	if b.f.TLS != nil {
		b.at("acme", "tls and acme contradict each other", "one of them")
	}
	if b.c.ExternalURL == nil {
		return
	}
	if b.c.ExternalURL.Scheme != "https" {
		b.at("acme", "external_url is plain http, but acme obtains certificates", "an https external_url")
	}
	if !a.AcceptTerms {
		b.at("acme.accept_terms", "the authority's terms have to be accepted", "accept_terms: true, once you have read them")
	}
	folder := a.Folder
	if folder == "" {
		folder = filepath.Join("state", "acme")
	}
	c := edge.ACMEConfig{Email: a.Email, AcceptTerms: a.AcceptTerms, Directory: a.Directory, Folder: b.path(folder)}
	if a.CAFile != "" {
		c.CAFile = b.authorities("acme.ca_file", a.CAFile)
	}
	for i, r := range b.c.Routes {
		if r.Wildcard() {
			b.at(fmt.Sprintf("routes[%d].from", i), fmt.Sprintf("acme obtains no certificate for %s: authorities want the DNS-01 challenge for a wildcard, which Sallyport does not do; "+
				"and a certificate for each host that is asked for would let strangers use up the authority's quota", r.From.Hostname()),
				"tls in place of acme, with a certificate for the wildcard among tls.certificates (certbot and lego do DNS-01); or a proxy in front that has one")
		}
	}
	for _, o := range b.c.Origins() {
		if u, err := url.Parse(o); err == nil {
			c.Hosts = append(c.Hosts, u.Hostname())
		}
	}
	b.c.ACME = &c
}

// dataPlane reads how requests of a route are carried.
func (b *builder) dataPlane(key string, f fileRoute, r *Route) {
	r.TotalTimeout, r.MaxConnections, r.CutStale, r.RootWorkers = f.TotalTimeout, int(f.MaxConnections), f.CutStale, f.RootWorkers
	r.ExactPaths, r.StripPrefix = f.ExactPaths, f.StripPrefix
	r.WaitTimeout, r.MaxResponseHeader, r.Upgrades = f.WaitTimeout, f.MaxResponseHeader, f.Upgrades
	switch f.RPC {
	case "":
	case "jsonrpc":
		r.RPC = true
	case "json-rpc-1":
		r.RPC, r.RPC1 = true, true
	default:
		b.suggest(key+".rpc", fmt.Sprintf("there is no RPC protocol %q", f.RPC), "jsonrpc, or json-rpc-1 for bitcoind", strictyaml.Nearest(f.RPC, []string{"jsonrpc", "json-rpc-1"}))
	}
	b.rpcWays(key, f, r)
	b.pathForms(key, f, r)
	if t := f.TLS; t != nil {
		r.UpstreamTLS = upstream.TLSConfig{ServerName: t.ServerName, MinVersion: t.MinVersion}
		for _, file := range []struct {
			key, name string
			into      *string
		}{{"ca_file", t.CAFile, &r.UpstreamTLS.CAFile}, {"cert_file", t.CertFile, &r.UpstreamTLS.CertFile}, {"key_file", t.KeyFile, &r.UpstreamTLS.KeyFile}} {
			if file.name != "" {
				*file.into = b.file(key+".tls."+file.key, file.name, "a PEM file")
			}
		}
	}
	if h := f.Health; h != nil {
		if b.required(key+".health.path", h.Path, "the path that says how the tool is, such as /healthz") {
			r.Health = h.check()
		}
	}
}

// pathForms reads what paths of the route may have that is refused elsewhere.
func (b *builder) pathForms(key string, f fileRoute, r *Route) {
	key += ".paths.allow"
	names := upstream.PathFormNames()
	for i, name := range f.Paths.Allow {
		k := fmt.Sprintf("%s[%d]", key, i)
		form, err := upstream.ParsePathForm(name)
		switch {
		case err != nil:
			b.suggest(k, err.Error(), strings.Join(names, ", "), strictyaml.Nearest(name, names))
		case r.PathForms&form != 0:
			b.at(k, fmt.Sprintf("%s is there twice", name), "each form once")
		}
		r.PathForms |= form
	}
	if r.PathForms != 0 && f.RPC != "" { // x%2Fstop may be stop to the node
		b.at(key, "on a JSON-RPC route the last segment of a path may be a method, which has one spelling", "the setting on routes without rpc")
	}
}

// rpcWays reads which requests without a message pass on a JSON-RPC route, and which
// paths are endpoints of the node rather than names of methods.
func (b *builder) rpcWays(key string, f fileRoute, r *Route) {
	r.RPCURI, r.RPCPaths = f.RPCURI, f.RPCPaths
	for _, k := range []string{key + ".rpc_uri", key + ".rpc_paths"} {
		if _, given := b.places[k]; given && f.RPC == "" {
			b.at(k, "this is for JSON-RPC routes", "rpc: jsonrpc beside it")
		}
	}
	for i, raw := range f.RPCPaths {
		k := fmt.Sprintf("%s.rpc_paths[%d]", key, i)
		switch {
		case !strings.HasPrefix(raw, "/") || strings.ContainsAny(raw, "?#%*\\; "):
			b.suggest(k, fmt.Sprintf("%q is not a path", raw), "a whole path as it is forwarded, such as /ext/bc/C/rpc", pathMeant(raw))
		case path.Clean(raw) != strings.TrimSuffix(raw, "/") && raw != "/":
			b.suggest(k, fmt.Sprintf("requests for %q are refused: two programs may read it in two ways", raw), "the path without //, . and ..", path.Clean(raw))
		case strings.HasPrefix(raw, "/.sallyport/"):
			b.at(k, fmt.Sprintf("%s is answered by Sallyport itself", raw), "a path of the node")
		}
	}
}

// crossOrigin reads what pages and hosts other than the route's own have to do with it.
func (b *builder) crossOrigin(key string, f fileRoute, r *Route) {
	r.Embeddable, r.CookieDomain = f.Embeddable, f.CookieDomain
	seen := map[string]bool{}
	for i, raw := range f.AllowedOrigins {
		k := fmt.Sprintf("%s.allowed_origins[%d]", key, i)
		origin, err := upstream.CanonicalOrigin(raw)
		switch {
		case err != nil:
			b.suggest(k, err.Error(), "https://HOST of the page that may act on this tool", originMeant(raw))
			continue
		case strings.HasPrefix(origin, "http://") && r.From.Scheme == "https":
			b.suggest(k, fmt.Sprintf("an attacker on the network can write the pages of %s", raw), "an https origin", strings.Replace(origin, "http:", "https:", 1))
		case seen[origin]:
			b.at(k, fmt.Sprintf("%s is there twice", origin), "each origin once")
		}
		seen[origin] = true
		r.AllowedOrigins = append(r.AllowedOrigins, origin)
	}
	b.crossSitePosts(key, f, r)
	if f.CookieDomain != "" && r.Wildcard() {
		b.at(key+".cookie_domain", fmt.Sprintf("the hosts of %s would share cookies, and each could act as the person at the others", f.From), "leave it out")
	} else if f.CookieDomain != "" {
		if _, err := upstream.CookieDomain(r.From.Hostname(), f.CookieDomain); err != nil {
			b.suggest(key+".cookie_domain", err.Error(), "a domain that the host of the route is in; or leave it out", domainMeant(r.From.Hostname(), f.CookieDomain))
		}
	}
}

// crossSitePosts reads the paths at which forms of other sites arrive. Each of them is
// open to every page of the web, so it is one path, spelled as the tool's own address of
// it, and not a folder or a pattern.
func (b *builder) crossSitePosts(key string, f fileRoute, r *Route) {
	if f.CrossSitePosts != nil && f.RPC != "" {
		b.at(key+".cross_site_posts", "no form is a JSON-RPC message", "the setting on routes without rpc")
		return
	}
	root := strings.TrimSuffix(r.From.Path, "/")
	for i, p := range f.CrossSitePosts {
		k := fmt.Sprintf("%s.cross_site_posts[%d]", key, i)
		plain := len(p) > 1 && p[0] == '/' && !strings.ContainsFunc(p, func(c rune) bool { return c <= ' ' || c >= 0x7f }) && !strings.ContainsAny(p, `?#%*;\`)
		switch {
		case !plain || path.Clean(p) != strings.TrimSuffix(p, "/"):
			b.at(k, fmt.Sprintf("%q is not one whole path", p), "the path that the other site posts to, such as /saml/acs")
		case upstream.Reserved(p):
			b.at(k, fmt.Sprintf("%s is ours and no tool's", p), "a path of the tool")
		case p != root && !strings.HasPrefix(p, root+"/"):
			b.at(k, fmt.Sprintf("%s is not on this route, which begins at %s", p, r.From.Path), "the whole path, with the path of from")
		case slices.Contains(r.CrossSitePosts, p):
			b.at(k, fmt.Sprintf("%s is there twice", p), "each path once")
		}
		r.CrossSitePosts = append(r.CrossSitePosts, p)
	}
}

// otherUpstream reads upstreams that are not http or https: HTTP/2 without TLS, and
// Unix sockets.
func (b *builder) otherUpstream(key, raw string) (*url.URL, bool) {
	scheme, _, _ := strings.Cut(raw, ":")
	switch scheme {
	case "h2c", "unix", "unix+h2c":
	default:
		return nil, false
	}
	u, err := url.Parse(raw)
	if err != nil {
		b.at(key, fmt.Sprintf("%q is not the address of a tool", raw), "h2c://HOST:PORT, unix:/PATH or unix+h2c:/PATH")
		return &url.URL{}, true
	}
	return u, true // the route table judges the rest
}
