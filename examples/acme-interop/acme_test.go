// Package acmeinterop obtains certificates from pebble, the test authority of
// Let's Encrypt: an implementation of RFC 8555 by the people who run one.
package acmeinterop

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"sallyport/proxy/edge"
	"sallyport/proxy/proxytest"
)

// names answers every question for an address with 127.0.0.1.
func names(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // pebble asks over TCP
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1)}}
		}
		w.WriteMsg(m)
	})}
	go s.ActivateAndServe()
	t.Cleanup(func() { s.Shutdown() })
	return l.Addr().String()
}

// pebble starts the authority. It validates at the given ports of every name.
func pebble(t *testing.T, httpPort, tlsPort int, bindings map[string]string) (directory, directoryCA string, root *x509.CertPool) {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "10") // percent: clients must cope
	logger, store := log.New(io.Discard, "", 0), db.NewMemoryStore()
	for id, key := range bindings {
		if err := store.AddExternalAccountKeyByID(id, key); err != nil {
			t.Fatal(err)
		}
	}
	authority := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "default"}})
	validator := va.New(logger, httpPort, tlsPort, false, names(t), store)
	front := wfe.New(logger, store, validator, authority, []string{"pebble.letsencrypt.org"}, false, len(bindings) > 0, 1, 1)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	directoryCA = filepath.Join(t.TempDir(), "directory.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(directoryCA, block, 0o600); err != nil {
		t.Fatal(err)
	}
	root = x509.NewCertPool()
	root.AddCert(authority.GetRootCert(0).Cert)
	return server.URL + wfe.DirectoryPath, directoryCA, root
}

func listen(t *testing.T) (net.Listener, int) {
	t.Helper()
	l, err := edge.Listen(t.Context(), edge.ListenConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n, _ := strconv.Atoi(port)
	return l, n
}

func serve(t *testing.T, l net.Listener, c edge.Config) {
	t.Helper()
	s, err := proxytest.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

// settled waits until the certificate is there, or the reason why not.
func settled(t *testing.T, acme *edge.ACME) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for end := time.After(2 * time.Minute); ; {
		if s := acme.Status()[0]; s.Err != "" || !s.NotAfter.IsZero() {
			return
		}
		select {
		case <-look.C:
		case <-end:
			t.Fatal("neither a certificate nor a reason")
		}
	}
}

func TestPebble(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	for name, c := range map[string]struct {
		http01  bool
		binding bool
	}{"TLS-ALPN-01": {false, false}, "HTTP-01": {true, false}, "external account": {false, true}} {
		t.Run(name, func(t *testing.T) {
			dataListener, tlsPort := listen(t)
			httpListener, httpPort := listen(t)
			bindings := map[string]string{}
			if c.binding {
				bindings["kid-1"] = base64.RawURLEncoding.EncodeToString(key)
			}
			if c.http01 {
				// Another server is at the TLS port: only HTTP-01 can succeed.
				other := httptest.NewTLSServer(http.NotFoundHandler())
				t.Cleanup(other.Close)
				_, port, _ := net.SplitHostPort(other.Listener.Addr().String())
				tlsPort, _ = strconv.Atoi(port)
			}
			directory, directoryCA, root := pebble(t, httpPort, tlsPort, bindings)
			config := edge.ACMEConfig{Hosts: []string{"app.example.test"}, Email: "ops@example.test", AcceptTerms: true, Directory: directory,
				CAFile: directoryCA, Folder: filepath.Join(t.TempDir(), "acme"), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
			if c.binding {
				config.BindingKeyID, config.BindingKeyFile = "kid-1", filepath.Join(t.TempDir(), "key")
				if err := os.WriteFile(config.BindingKeyFile, []byte(bindings["kid-1"]+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			acme, err := edge.NewACME(config)
			if err != nil {
				t.Fatal(err)
			}
			redirect, err := edge.Redirect(edge.RedirectConfig{Known: func(host string) bool { return slices.Contains(config.Hosts, host) }, ACME: acme})
			if err != nil {
				t.Fatal(err)
			}
			conf, err := edge.NewTLS(edge.TLSConfig{ACME: acme})
			if err != nil {
				t.Fatal(err)
			}
			serve(t, httpListener, edge.Config{Handler: redirect})
			serve(t, dataListener, edge.Config{TLS: conf, Handler: http.NotFoundHandler()})

			go acme.Run(t.Context()) // a first handshake would not wait as long as pebble takes
			settled(t, acme)
			conn, err := tls.Dial("tcp", dataListener.Addr().String(), &tls.Config{ServerName: "app.example.test", RootCAs: root})
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if conn, err := tls.Dial("tcp", dataListener.Addr().String(), &tls.Config{ServerName: "other.example.test", RootCAs: root}); err == nil {
				conn.Close()
				t.Error("a certificate for a host that is not configured")
			}
			if s := acme.Status()[0]; s.Err != "" || s.NotAfter.IsZero() {
				t.Errorf("%+v", s)
			}
		})
	}
}

// What the authority says about a failure reaches the operator.
func TestPebbleSaysWhy(t *testing.T) {
	dataListener, _ := listen(t)
	directory, directoryCA, _ := pebble(t, 1, 1, nil) // no one is there
	acme, err := edge.NewACME(edge.ACMEConfig{Hosts: []string{"app.example.test"}, AcceptTerms: true, Directory: directory,
		CAFile: directoryCA, Folder: filepath.Join(t.TempDir(), "acme")})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := edge.NewTLS(edge.TLSConfig{ACME: acme})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, dataListener, edge.Config{TLS: conf, Handler: http.NotFoundHandler()})
	go acme.Run(t.Context())
	settled(t, acme)
	if conn, err := tls.Dial("tcp", dataListener.Addr().String(), &tls.Config{ServerName: "app.example.test", InsecureSkipVerify: true}); err == nil {
		conn.Close()
		t.Fatal("a certificate without a proof")
	}
	if s := acme.Status()[0]; !strings.Contains(s.Err, "tls-alpn-01") || !strings.Contains(s.Err, "Failed to connect") {
		t.Errorf("%+v", s)
	}
}
