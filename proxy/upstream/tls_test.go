package upstream_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/upstream"
)

// pki is a certificate authority of this test's own.
type pki struct {
	t      testing.TB
	dir    string
	caFile string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

func newPKI(t testing.TB) *pki {
	p := &pki{t: t, dir: t.TempDir()}
	p.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &p.key.PublicKey, p.key)
	if err != nil {
		t.Fatal(err)
	}
	p.cert, _ = x509.ParseCertificate(der)
	p.caFile = p.write("ca.pem", "CERTIFICATE", der)
	return p
}

func (p *pki) write(name, kind string, der []byte) string {
	file := filepath.Join(p.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return file
}

// pair issues a certificate for a name or address.
func (p *pki) pair(name string) tls.Certificate {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ip := net.ParseIP(name); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, p.cert, &key.PublicKey, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files writes a pair and returns where.
func (p *pki) files(name string) (cert, key string) {
	pair := p.pair(name)
	der, err := x509.MarshalECPrivateKey(pair.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		p.t.Fatal(err)
	}
	return p.write(name+".pem", "CERTIFICATE", pair.Certificate[0]), p.write(name+".key", "EC PRIVATE KEY", der)
}

func newTLSUpstream(t testing.TB, c *tls.Config) string {
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].DNSNames[0]
		}
		io.WriteString(w, name)
	}))
	up.TLS = c
	up.EnableHTTP2 = true
	up.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	up.StartTLS()
	t.Cleanup(up.Close)
	return up.URL
}

func TestUpstreamTLS(t *testing.T) {
	ours, theirs := newPKI(t), newPKI(t)
	cert, key := ours.files("client.example")
	server := func(name string) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{ours.pair(name)}} }
	wants := server("127.0.0.1")
	wants.ClientAuth, wants.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	wants.ClientCAs.AddCert(ours.cert)
	old := server("127.0.0.1")
	old.MaxVersion = tls.VersionTLS12
	oldest := server("127.0.0.1")
	oldest.MaxVersion = tls.VersionTLS11
	oldest.MinVersion = tls.VersionTLS10

	for name, c := range map[string]struct {
		server *tls.Config
		tls    upstream.TLSConfig
		want   string // "" is 502
	}{
		"its own authority":            {server("127.0.0.1"), upstream.TLSConfig{CAFile: ours.caFile}, "nobody"},
		"the system's authorities":     {server("127.0.0.1"), upstream.TLSConfig{}, ""},
		"another authority":            {server("127.0.0.1"), upstream.TLSConfig{CAFile: theirs.caFile}, ""},
		"another name":                 {server("tool.inner"), upstream.TLSConfig{CAFile: ours.caFile}, ""},
		"the name that was configured": {server("tool.inner"), upstream.TLSConfig{CAFile: ours.caFile, ServerName: "tool.inner"}, "nobody"},
		"a client certificate":         {wants, upstream.TLSConfig{CAFile: ours.caFile, CertFile: cert, KeyFile: key}, "client.example"},
		"no client certificate":        {wants, upstream.TLSConfig{CAFile: ours.caFile}, ""},
		"TLS 1.2":                      {old, upstream.TLSConfig{CAFile: ours.caFile}, "nobody"},
		"TLS 1.2 when 1.3 is wanted":   {old, upstream.TLSConfig{CAFile: ours.caFile, MinVersion: "1.3"}, ""},
		"TLS 1.1":                      {oldest, upstream.TLSConfig{CAFile: ours.caFile}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newHarness(t, options{route: upstream.RouteConfig{To: []string{newTLSUpstream(t, c.server)}, TLS: c.tls}})
			res := g.do("GET", "/", nil, nil)
			got := text(t, res)
			if res.StatusCode != 200 {
				got = ""
			}
			if got != c.want {
				t.Errorf("%s %q, want %q; %s", res.Status, got, c.want, g.logged())
			}
		})
	}
}

// Files that change are used by the next connection; files that cannot be read
// leave the old ones in force.
func TestUpstreamTLSReload(t *testing.T) {
	first, second := newPKI(t), newPKI(t)
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	install := func(content []byte) {
		if err := os.WriteFile(caFile+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		os.Rename(caFile+".new", caFile)
	}
	read := func(p *pki) []byte { b, _ := os.ReadFile(p.caFile); return b }
	install(read(first))
	now := time.Now()
	a := newTLSUpstream(t, &tls.Config{Certificates: []tls.Certificate{first.pair("127.0.0.1")}})
	b := newTLSUpstream(t, &tls.Config{Certificates: []tls.Certificate{second.pair("127.0.0.1")}})
	ask := func(tb *upstream.Table, f *upstream.Forwarder) int {
		target, _ := upstream.Canonicalise(asked("GET", "app.example", "/"), "http")
		w := newRecorder()
		f.Forward(w, httptest.NewRequest("GET", "http://app.example/", nil), &upstream.ForwardRequest{Route: tb.Routes()[0], Target: target})
		f.Close() // the next request makes a connection
		now = now.Add(time.Minute)
		return w.Code
	}
	f := proxytest.NewForwarder(upstream.Config{Now: func() time.Time { return now }})
	one := func(to string) *upstream.Table {
		return table(t, []upstream.RouteConfig{{Name: "a", From: "http://app.example", To: []string{to}, TLS: upstream.TLSConfig{CAFile: caFile}}})
	}
	ta, tb := one(a), one(b)
	check := func(what string, wantA, wantB int) {
		t.Helper()
		if gotA, gotB := ask(ta, f), ask(tb, f); gotA != wantA || gotB != wantB {
			t.Errorf("%s: %d, %d", what, gotA, gotB)
		}
	}
	check("at first", 200, 502)
	install([]byte("half a fi"))
	check("unreadable", 200, 502)
	install(append(read(second), '\n'))
	check("replaced", 502, 200)
}
