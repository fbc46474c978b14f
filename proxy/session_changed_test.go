package proxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/proxy"
	"sallyport/proxy/edge"
	"sallyport/proxy/proxytest"
)

// A cookie that is used by another TLS client than the one that proved itself: a fact of
// each request, over HTTP/1.1 and HTTP/2, and a question that only a proof with that
// client answers.
func TestAnotherTLSClient(t *testing.T) {
	g, who := newCrowdHarness(t, func(p *setup) {
		p.policy = "version: 1\nrules:\n  - {name: other-client, when: session.tls_changed, then: step_up, max_age: 1h}\n"
	})
	front := serveTLS(t, g.gate)
	get := func(c *tls.Config, http2 bool) policy.Facts {
		t.Helper()
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!http2)
		protocols.SetHTTP2(http2)
		c.InsecureSkipVerify = true
		transport := &http.Transport{TLSClientConfig: c, Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", front)
		}}
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), "GET", treasury+"/", nil)
		g.must(err)
		r.AddCookie(&http.Cookie{Name: "who", Value: "alice"})
		res, err := transport.RoundTrip(r)
		g.must(err)
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		f := g.last("access")
		if (res.StatusCode == 401) != f.Session.TLSChanged {
			t.Errorf("%d for %+v", res.StatusCode, f.Session)
		}
		g.audit.reset()
		return f
	}
	s := somebody("alice", "127.0.0.1", "treasury")
	who.by["alice"] = s
	f := get(&tls.Config{}, true)
	if !strings.HasPrefix(f.TLS.JA4, "t13") || f.Session.TLSChanged {
		t.Fatalf("of a proof whose client was not noted: %+v %+v", f.TLS, f.Session)
	}
	s.Verification.Browser.JA4 = familyOfGo(t)
	who.by["alice"] = s
	for _, http2 := range []bool{true, false} {
		if f := get(&tls.Config{}, http2); f.Session.TLSChanged {
			t.Errorf("the same client, HTTP/2 %v: %+v", http2, f.TLS)
		}
		if f := get(&tls.Config{MaxVersion: tls.VersionTLS12}, http2); !f.Session.TLSChanged {
			t.Errorf("another client, HTTP/2 %v: %+v", http2, f.TLS)
		}
	}
	// Where nothing is seen of TLS, nothing differs.
	if v := g.check("alice", "127.0.0.1", "GET", treasury+"/"); v.Facts.Session.TLSChanged || v.Facts.TLS.JA4 != "" {
		t.Errorf("behind a balancer: %+v", v.Facts.Session)
	}
}

// familyOfGo is the family of Go's own client.
func familyOfGo(t *testing.T) string {
	t.Helper()
	var family string
	other := serveTLS(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { family = edge.FingerprintOf(r).Family }))
	c, err := tls.Dial("tcp", other, &tls.Config{InsecureSkipVerify: true, ServerName: "treasury.example.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if err == nil {
		_, err = io.ReadAll(c)
	}
	if err != nil || family == "" {
		t.Fatal(err, family)
	}
	return family
}

// serveTLS serves a handler at the edge, with a certificate for no one in particular.
func serveTLS(t *testing.T, h http.Handler) (addr string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"treasury.example.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair := edge.CertPair{CertFile: filepath.Join(t.TempDir(), "cert.pem"), KeyFile: filepath.Join(t.TempDir(), "key.pem")}
	for file, block := range map[string]*pem.Block{pair.CertFile: {Type: "CERTIFICATE", Bytes: der}, pair.KeyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certs, err := edge.NewCertificates(edge.CertConfig{Pairs: []edge.CertPair{pair}})
	if err != nil {
		t.Fatal(err)
	}
	c := edge.Config{Handler: h, Logger: slog.New(slog.DiscardHandler)}
	if c.TLS, err = edge.NewTLS(edge.TLSConfig{Certificates: certs}); err != nil {
		t.Fatal(err)
	}
	server, err := proxytest.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// What is judged inside an open WebSocket sees what requests see: history as of at most
// a minute ago, the place of the proof, the browser.
func TestStreamsSeeBehaviour(t *testing.T) {
	w := &observed{}
	l := newLive(t, func(p *setup) {
		p.intel = placesIntel(t)
		p.policy = "version: 1\nrules:\n" +
			"  - {name: hopping, when: 'seen.countries_1h >= 2 && \"eth_sendRawTransaction\" in request.rpc_methods', then: block}\n" +
			"  - {name: moved, when: session.country_changed, then: block}\n"
		p.options = map[string]proxy.RouteOptions{"treasury": takesCalls(proxy.RouteOptions{})}
		p.change = func(c *proxy.Config) {
			var err error
			if w.Tracker, err = behavior.New(behavior.Config{Retention: proxytest.BehaviorRetention, Household: proxytest.BehaviorHousehold, Now: c.Now, Key: make([]byte, 32)}); err != nil {
				t.Fatal(err)
			}
			c.Behavior = w
		}
	})
	alice := l.enrolled("alice", home)
	l.forwarded()
	s := l.open(alice, "ws")
	s.message(money)
	s.arrives(money)
	// Meanwhile she is seen in another country: within a minute her messages know.
	who := alice.sessionNow(treasury).Person.Subject
	w.Record(behavior.Visit{Subject: who, At: l.clock.Now(), Place: behavior.Place{Addr: addr(zurich), Country: "CH", ASN: 64501}}, policy.Allow)
	w.take()
	for range 5 {
		s.message(number)
		s.arrives(number)
	}
	if asked, _, _ := w.take(); len(asked) != 0 {
		t.Errorf("asked %d times within a minute", len(asked))
	}
	l.clock.Add(61 * time.Second)
	l.audit.reset()
	s.message(money)
	if e := s.refused(); e.Error.Data.Error != "blocked" {
		t.Errorf("%+v", e)
	}
	for range 5 {
		s.message(number)
		s.arrives(number)
	}
	if asked, told, _ := w.take(); len(asked) != 1 || asked[0].Place.Country != "US" || len(told) != 0 {
		t.Errorf("asked %+v, told %+v", asked, told)
	}
	if r := l.audit.all(); len(r) == 0 || r[0].Event != "message" || r[0].Facts.Seen.Countries1h != 2 || !r[0].Facts.Device.Known {
		t.Errorf("recorded %s", jsonText(r))
	}
	s.alive()
}

// A verdict turns to block by itself as well: the hour comes, or the person is seen elsewhere. What
// is open then ends within a minute, or who came first would keep what no one may open any more.
func TestStreamsEndWhenTheirVerdictTurns(t *testing.T) {
	hopping := "  - {name: hopping, when: seen.countries_1h >= 2, then: block}\n"
	evening := fmt.Sprintf("  - {name: evening, when: 'time.now > timestamp(%q)', then: block}\n", epoch.Add(50*time.Minute).Format(time.RFC3339))
	for name, c := range map[string]struct {
		rule string
		turn func(*live, *observed, authn.Subject)
	}{
		"seen elsewhere": {hopping, func(l *live, w *observed, who authn.Subject) {
			w.Record(behavior.Visit{Subject: who, At: l.clock.Now(), Place: behavior.Place{Addr: addr(zurich), Country: "CH", ASN: 64501}}, policy.Allow)
			l.clock.Add(61 * time.Second)
		}},
		"the hour": {evening, func(l *live, _ *observed, _ authn.Subject) { l.clock.Add(51 * time.Minute) }},
	} {
		for _, kind := range []string{"sse", "ws"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				w := &observed{}
				l := newLive(t, func(p *setup) {
					p.intel = placesIntel(t)
					p.policy = "version: 1\nrules:\n" + c.rule
					p.change = func(c *proxy.Config) {
						var err error
						if w.Tracker, err = behavior.New(behavior.Config{Retention: proxytest.BehaviorRetention, Household: proxytest.BehaviorHousehold, Now: c.Now, Key: make([]byte, 32)}); err != nil {
							t.Fatal(err)
						}
						c.Behavior = w
					}
				})
				ctx, cancel := context.WithCancel(t.Context())
				var run sync.WaitGroup
				defer run.Wait()
				defer cancel()
				alice := l.enrolled("alice", home)
				s := l.open(alice, kind)
				run.Go(func() { l.gate.Run(ctx) })
				c.turn(l, w, alice.sessionNow(treasury).Person.Subject)
				s.ended("blocked")
			})
		}
	}
}
