package edge_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

type prefix = netip.Prefix

var parsePrefix = netip.MustParsePrefix

// pki is a certificate authority for one test.
type pki struct {
	t    testing.TB
	ca   *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	n    int64
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	p := &pki{t: t, n: 1}
	p.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &p.key.PublicKey, p.key)
	if err != nil {
		t.Fatal(err)
	}
	p.ca, _ = x509.ParseCertificate(der)
	p.pool = pool(p.ca)
	return p
}

// leaf is a template for a server or client certificate.
func (p *pki) leaf(dns ...string) *x509.Certificate {
	p.n++
	return &x509.Certificate{SerialNumber: big.NewInt(p.n), Subject: pkix.Name{CommonName: fmt.Sprint("leaf ", p.n)}, DNSNames: dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(12 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
}

func (p *pki) issue(c *x509.Certificate) (certPEM, keyPEM []byte) {
	p.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, c, p.ca, &key.PublicKey, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	k, _ := x509.MarshalPKCS8PrivateKey(key)
	return pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", k)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// files issues c and returns where it lies.
func (p *pki) files(c *x509.Certificate) (cert, key string) {
	p.t.Helper()
	dir := p.t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	p.rewrite(c, cert, key)
	return cert, key
}

func (p *pki) rewrite(c *x509.Certificate, cert, key string) {
	p.t.Helper()
	certPEM, keyPEM := p.issue(c)
	write(p.t, cert, certPEM)
	write(p.t, key, keyPEM)
}

func (p *pki) pair(c *x509.Certificate) tls.Certificate {
	p.t.Helper()
	pair, err := tls.X509KeyPair(p.issue(c))
	if err != nil {
		p.t.Fatal(err)
	}
	return pair
}

func (p *pki) caFile() string {
	f := filepath.Join(p.t.TempDir(), "ca.pem")
	write(p.t, f, pemOf("CERTIFICATE", p.ca.Raw))
	return f
}

func write(t testing.TB, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
