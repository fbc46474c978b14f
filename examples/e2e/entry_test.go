package e2e

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// entry is how people reach the product of a test.
type entry struct {
	name string
	tls  bool // https://access.corp.example.com, or http://localhost
	ends bool // TLS ends at a load balancer in front, and the product speaks plain HTTP
	own  bool // under privateCompany
}

// Tests run over https, with the host names of a company: the sign-in host and the tools
// are one site to a browser, and the cookies have the prefix __Host-Http-. What can differ with
// the entry is tested with all three. On localhost, as in the demo, every tool is a site of
// its own to a browser.
var (
	overTLS   = entry{name: "https", tls: true}
	behindTLS = entry{name: "https, which ends in front", tls: true, ends: true}
	overHTTP  = entry{name: "http on localhost"}
	ownTLS    = entry{name: "https, with names of a private network", tls: true, own: true}

	entries = []entry{overTLS, behindTLS, overHTTP}
)

// company is the domain of the tests; RFC 2606 reserves example.com. privateCompany is one below a
// top-level domain that the public suffix list does not have, as names of private networks are.
const (
	company        = "corp.example.com"
	privateCompany = "corp.test"
)

// origin is where a tool is reached; without a name, the sign-in host.
func (e entry) origin(tool, port string) string {
	domain := company
	if e.own {
		domain = privateCompany
	}
	switch {
	case e.tls && tool == "":
		return "https://access." + domain + ":" + port
	case e.tls:
		return "https://" + tool + "." + domain + ":" + port
	case tool == "":
		return "http://localhost:" + port
	}
	return "http://" + tool + ".localhost:" + port
}

// cookiePrefix is what the names of all our cookies begin with.
func (e entry) cookiePrefix() string {
	if e.tls {
		return "__Host-Http-"
	}
	return ""
}

// certificates is the company's certificate authority and what it issued, made for this run.
var certificates authority

type authority struct {
	cert, key string // files
	authority string // the authority's own certificate, as base64 of DER
	pair      tls.Certificate
	roots     *x509.CertPool
	spki      string // of the key, as Chromium's --ignore-certificate-errors-spki-list takes it
}

func (a *authority) client() *tls.Config { return &tls.Config{RootCAs: a.roots} }

// issue makes an authority, and a certificate for the names of the tests.
func (a *authority) issue(dir string) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "An authority of the tests"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, DNSNames: []string{"*." + company, "*." + privateCompany}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(public)
	a.authority = base64.StdEncoding.EncodeToString(caDER)
	a.spki = base64.StdEncoding.EncodeToString(sum[:])
	a.cert, a.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	a.roots = x509.NewCertPool()
	a.roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
	a.pair, err = tls.X509KeyPair(chain, secret)
	return errors.Join(err, os.WriteFile(a.cert, chain, 0o600), os.WriteFile(a.key, secret, 0o600))
}

// startFront starts a load balancer before a product: it says in headers who is calling
// and by what. Most of them end TLS. It asks for the host that it was asked for, or for host.
func startFront(t *testing.T, e entry, port, product, host string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	balanced.Store(port, true)
	to := &url.URL{Scheme: "http", Host: "127.0.0.1:" + product}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificates.pair}}, Handler: &httputil.ReverseProxy{
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // people who go away
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = cmp.Or(host, r.In.Host)
			r.SetXForwarded() // the address from which the PROXY protocol says that the client called
		},
	}}
	serve := srv.Serve
	if e.tls {
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	go func() { _ = serve(&proxyproto.Listener{Listener: l}) }()
	t.Cleanup(func() { srv.Close() })
}
