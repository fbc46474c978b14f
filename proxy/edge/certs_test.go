package edge_test

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/proxy/edge"
)

// serverName makes a handshake for host and returns the serial number it was shown.
func (g *harness) shown(host string) string {
	g.t.Helper()
	c, err := tls.Dial("tcp", g.addr, &tls.Config{InsecureSkipVerify: true, ServerName: host})
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestCertificateByServerName(t *testing.T) {
	p := newPKI(t)
	var pairs []edge.CertPair
	for _, names := range [][]string{{"a.example"}, {"B.example", "*.b.example"}, {"x.b.example"}} {
		cert, key := p.files(p.leaf(names...)) // serials 2, 3, 4
		pairs = append(pairs, edge.CertPair{CertFile: cert, KeyFile: key})
	}
	certs, err := edge.NewCertificates(edge.CertConfig{Pairs: pairs})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := edge.NewTLS(edge.TLSConfig{Certificates: certs})
	if err != nil {
		t.Fatal(err)
	}
	g := newHarness(t, edge.Config{TLS: conf})
	for host, want := range map[string]string{
		"a.example": "2", "A.EXAMPLE": "2", "b.example": "3", "y.b.example": "3", "x.b.example": "4", // the own name before the wildcard
		"deep.y.b.example": "2", "other.example": "2", "": "2",
	} {
		if got := g.shown(host); got != want {
			t.Errorf("%q was shown certificate %s, want %s", host, got, want)
		}
	}
}

func TestReloadKeepsWhatWorks(t *testing.T) {
	p := newPKI(t)
	cert, key := p.files(p.leaf("a.example"))
	cert2, key2 := p.files(p.leaf("b.example"))
	certs, err := edge.NewCertificates(edge.CertConfig{Pairs: []edge.CertPair{{CertFile: cert, KeyFile: key}, {CertFile: cert2, KeyFile: key2}}})
	if err != nil {
		t.Fatal(err)
	}
	g := newHarness(t, edge.Config{TLS: must(edge.NewTLS(edge.TLSConfig{Certificates: certs}))})
	good, _ := os.ReadFile(cert)
	goodKey, _ := os.ReadFile(key)
	expired := p.leaf("a.example")
	expired.NotAfter = time.Now().Add(-time.Minute)
	early := p.leaf("a.example")
	early.NotBefore = time.Now().Add(time.Hour)
	for name, spoil := range map[string]func(){
		"half written": func() { write(t, cert, good[:len(good)/2]) },
		"empty":        func() { write(t, cert, nil) },
		"gone":         func() { os.Remove(cert) },
		"another key":  func() { c, _ := p.issue(p.leaf("a.example")); write(t, cert, c) },
		"expired":      func() { p.rewrite(expired, cert, key) },
		"not yet":      func() { p.rewrite(early, cert, key) },
	} {
		before := certs.Status()[0].Failures
		spoil()
		p.rewrite(p.leaf("b.example"), cert2, key2)
		want2 := p.n
		err := certs.Reload()
		s := certs.Status()
		if err == nil || !strings.Contains(err.Error(), cert) || s[0].Failures != before+1 || s[0].Err == "" {
			t.Errorf("%s: %v, %+v", name, err, s[0])
		}
		if got := g.shown("a.example"); got != "2" {
			t.Errorf("%s: shown %s", name, got)
		}
		if got := g.shown("b.example"); got != itoa(want2) {
			t.Errorf("%s: the other pair was not reloaded: shown %s", name, got)
		}
		write(t, cert, good)
		write(t, key, goodKey)
		if err := certs.Reload(); err != nil || certs.Status()[0].Err != "" {
			t.Errorf("%s: mended, but %v", name, err)
		}
	}
	if _, err := edge.NewCertificates(edge.CertConfig{Pairs: []edge.CertPair{{CertFile: cert, KeyFile: key2}}}); err == nil {
		t.Error("a server started with the key of another certificate")
	}
}

// An expired certificate is better than no server, and the next one that comes replaces it.
func TestStartWithExpiredCertificate(t *testing.T) {
	p := newPKI(t)
	old := p.leaf("a.example")
	old.NotAfter = time.Now().Add(-time.Minute)
	cert, key := p.files(old)
	certs, err := edge.NewCertificates(edge.CertConfig{Pairs: []edge.CertPair{{CertFile: cert, KeyFile: key}}})
	if err != nil {
		t.Fatal(err)
	}
	if s := certs.Status()[0]; !s.NotAfter.Before(time.Now()) {
		t.Errorf("%+v", s)
	}
	p.rewrite(p.leaf("a.example"), cert, key)
	if err := certs.Reload(); err != nil || !certs.Status()[0].NotAfter.After(time.Now()) {
		t.Errorf("%v, %+v", err, certs.Status()[0])
	}
}

// Old protocols and weak suites are not spoken.
func TestTLSFloor(t *testing.T) {
	g := newTLSHarness(t, edge.Config{})
	for name, c := range map[string]*tls.Config{
		"TLS 1.1": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"CBC":     {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}},
		"RSA":     {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}},
	} {
		c.RootCAs, c.ServerName = g.pki.pool, "app.example"
		if conn, err := tls.Dial("tcp", g.addr, c); err == nil {
			t.Errorf("%s: spoken", name)
			conn.Close()
		}
	}
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conn, err := tls.Dial("tcp", g.addr, &tls.Config{RootCAs: g.pki.pool, ServerName: "app.example", MinVersion: v, MaxVersion: v})
		if err != nil {
			t.Errorf("version %x: %v", v, err)
			continue
		}
		conn.Close()
	}
	p := newPKI(t)
	cert, key := p.files(p.leaf("a.example"))
	certs := must(edge.NewCertificates(edge.CertConfig{Pairs: []edge.CertPair{{CertFile: cert, KeyFile: key}}}))
	if v := must(edge.NewTLS(edge.TLSConfig{Certificates: certs})).MinVersion; v != tls.VersionTLS12 {
		t.Errorf("the least version is %x", v) // the suites alone would keep older ones out as well
	}
	if _, err := edge.NewTLS(edge.TLSConfig{}); err == nil {
		t.Error("TLS without a certificate was accepted")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
