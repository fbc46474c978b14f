package edge

import (
	"crypto/tls"
	"errors"
	"slices"

	"golang.org/x/crypto/acme"
)

// TLSConfig says where certificates come from and whether clients need one.
type TLSConfig struct {
	// Certificates are searched first, then ACME for its hosts. One may be nil.
	Certificates *Certificates
	ACME         *ACME
	// ClientAuth is nil if clients need no certificate.
	ClientAuth *ClientAuth
}

// suites12 are the suites of TLS 1.2 with forward secrecy and authenticated encryption.
// All suites of TLS 1.3 have both, and cannot be chosen.
var suites12 = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// NewTLS returns the configuration of a server that speaks TLS 1.2 and 1.3. Reloaded
// certificates and authorities take effect with the next handshake.
func NewTLS(c TLSConfig) (*tls.Config, error) {
	if c.Certificates == nil && c.ACME == nil {
		return nil, errors.New("edge: TLS without a certificate")
	}
	base := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		CipherSuites: suites12,
		NextProtos:   []string{"h2", "http/1.1"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c.Certificates != nil && (c.ACME == nil || c.Certificates.covers(h.ServerName)) {
				return c.Certificates.GetCertificate(h)
			}
			return c.ACME.GetCertificate(h)
		},
	}
	if c.ClientAuth != nil {
		c.ClientAuth.apply(base)
	}
	base.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		noteHello(h)
		if c.ACME != nil && slices.Equal(h.SupportedProtos, []string{acme.ALPNProto}) {
			// The authority that checks a challenge has no client certificate. It gets
			// the challenge certificate, and no HTTP.
			return c.ACME.challengeTLS, nil
		}
		if c.ClientAuth == nil {
			return nil, nil
		}
		if pool := c.ClientAuth.pool.Load(); !pool.Equal(base.ClientCAs) {
			now := base.Clone()
			c.ClientAuth.apply(now)
			return now, nil
		}
		return nil, nil
	}
	return base, nil
}
