package edge

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/proxy/hostname"
)

// ClientCertMode says whether clients must present a certificate.
type ClientCertMode int

const (
	// RequireCert refuses the handshake of a client without a certificate.
	RequireCert ClientCertMode = iota
	// RequestCert lets clients without a certificate in. A certificate that is presented
	// must be valid.
	RequestCert
)

// ClientAuthConfig says which client certificates are accepted.
type ClientAuthConfig struct {
	// CAFile holds the PEM certificates of the authorities that issue them, and of no
	// others: every certificate that they issue is a candidate.
	CAFile string
	Mode   ClientCertMode
	// AllowedSANs are the subject alternative names of which a certificate must have one,
	// each with its kind: "dns:agent.corp.example", "dns:*.corp.example" (one label of
	// letters, digits, "-" and "_"; not a certificate for *.corp.example itself),
	// "email:bot@corp.example", "ip:192.0.2.1", "uri:spiffe://corp/x",
	// "uri:spiffe://corp/ns/*" (everything below). Empty: any certificate is accepted.
	AllowedSANs []string
	Now         func() time.Time
}

// ClientAuth verifies client certificates. It does not check revocation lists: issue
// certificates that live for hours or days.
type ClientAuth struct {
	config ClientAuthConfig
	pool   atomic.Pointer[x509.CertPool]
}

// NewClientAuth reads the CA file.
func NewClientAuth(c ClientAuthConfig) (*ClientAuth, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Mode != RequireCert && c.Mode != RequestCert {
		return nil, fmt.Errorf("edge: there is no client certificate mode %d", c.Mode)
	}
	for _, s := range c.AllowedSANs {
		if err := CheckSAN(s); err != nil {
			return nil, err
		}
	}
	a := &ClientAuth{config: c}
	return a, a.Reload()
}

// Files and Reload are for [Watch].
func (a *ClientAuth) Files() []string { return []string{a.config.CAFile} }

// Reload reads the CA file again. On an error the earlier content stays in use.
func (a *ClientAuth) Reload() error {
	pem, err := os.ReadFile(a.config.CAFile)
	if err != nil {
		return fmt.Errorf("edge: client CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("edge: client CA: %s holds no certificate", a.config.CAFile)
	}
	if old := a.pool.Load(); old == nil || !old.Equal(pool) {
		a.pool.Store(pool)
	}
	return nil
}

// apply completes a tls.Config, which then asks for and verifies certificates.
func (a *ClientAuth) apply(c *tls.Config) {
	c.ClientCAs = a.pool.Load()
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if a.config.Mode == RequestCert {
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	// Not VerifyPeerCertificate: that is not called when a session is resumed.
	c.VerifyConnection = a.verify
}

var errClientCert = errors.New("edge: the client certificate is not one of those that are allowed")

func (a *ClientAuth) verify(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		if a.config.Mode == RequireCert {
			return errClientCert
		}
		return nil
	}
	leaf, between := cs.PeerCertificates[0], x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		between.AddCert(c)
	}
	if cs.DidResume {
		// crypto/tls compares the old chain with the current authorities. This check does
		// not depend on that.
		_, err := leaf.Verify(x509.VerifyOptions{Roots: a.pool.Load(), Intermediates: between, CurrentTime: a.config.Now(),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			return fmt.Errorf("%w: %w", errClientCert, err)
		}
	}
	if len(a.config.AllowedSANs) == 0 {
		return nil
	}
	for _, san := range sans(leaf) {
		for _, pattern := range a.config.AllowedSANs {
			if matchSAN(pattern, san) {
				return nil
			}
		}
	}
	return errClientCert
}

// ClientCert is a client certificate that was verified in the handshake. The zero value
// means that there is none.
type ClientCert struct {
	Subject     string   // RFC 2253
	SANs        []string // with their kinds: "dns:agent.corp.example"
	Serial      string   // hexadecimal
	Fingerprint string   // SHA-256 of the certificate, hexadecimal
}

// ClientCertOf returns the certificate that the client of r proved to hold, and
// the zero ClientCert if there is none or it was not verified.
func ClientCertOf(r *http.Request) ClientCert {
	// PeerCertificates proves nothing: it holds unverified certificates too.
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return ClientCert{}
	}
	info, ok := r.Context().Value(connInfoKey{}).(*connInfo)
	if !ok {
		return describe(r.TLS.VerifiedChains[0][0])
	}
	info.once.Do(func() { info.cert = describe(r.TLS.VerifiedChains[0][0]) })
	return info.cert
}

func describe(c *x509.Certificate) ClientCert {
	sum := sha256.Sum256(c.Raw)
	return ClientCert{Subject: c.Subject.String(), SANs: sans(c), Serial: fmt.Sprintf("%x", c.SerialNumber), Fingerprint: hex.EncodeToString(sum[:])}
}

func sans(c *x509.Certificate) []string {
	var names []string
	for _, n := range c.DNSNames {
		names = append(names, "dns:"+strings.ToLower(n))
	}
	for _, n := range c.EmailAddresses {
		names = append(names, "email:"+strings.ToLower(n))
	}
	for _, n := range c.IPAddresses {
		names = append(names, "ip:"+n.String())
	}
	for _, n := range c.URIs {
		names = append(names, "uri:"+n.String())
	}
	return names
}

// CheckSAN says whether a text may be one of [ClientAuthConfig.AllowedSANs].
func CheckSAN(s string) error {
	kind, name, ok := strings.Cut(s, ":")
	stars := strings.Count(name, "*")
	switch {
	case !ok || name == "":
	case (kind == "email" || kind == "ip") && stars == 0,
		kind == "dns" && (stars == 0 || stars == 1 && strings.HasPrefix(name, "*.") && len(name) > 2),
		kind == "uri" && (stars == 0 || stars == 1 && strings.HasSuffix(name, "/*") && strings.Contains(strings.TrimSuffix(name, "/*"), "://")):
		return nil
	}
	return fmt.Errorf("%q is not a name like dns:host.example, dns:*.example, email:a@b.example, ip:192.0.2.1 or uri:scheme://host/path", s)
}

// matchSAN compares whole names of one kind. The kind is part of both: a URI that is
// spelled like a host name is not that host.
func matchSAN(pattern, san string) bool {
	kind, _, _ := strings.Cut(pattern, ":")
	if kind != "uri" {
		pattern = strings.ToLower(pattern)
	}
	switch {
	case kind == "dns":
		// A certificate for a wildcard is that of a server, copied to many hosts: it proves
		// no one of the names that the pattern is for.
		host, ok := strings.CutPrefix(san, "dns:")
		return ok && hostname.Covers(pattern[len("dns:"):], host)
	case pattern == san:
		return true
	case strings.HasPrefix(pattern, "uri:") && strings.HasSuffix(pattern, "/*"):
		below, ok := strings.CutPrefix(san, pattern[:len(pattern)-1])
		// A path with ".." segments may leave the folder.
		return ok && below != "" && !strings.Contains("/"+below+"/", "/../")
	}
	return false
}
