package edge_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn/clocktest"
	"sallyport/proxy/edge"
)

// site is a server that gets its certificates from a, with the redirect listener
// that answers HTTP-01.
type site struct {
	*harness
	acme   *edge.ACME
	http   *harness
	folder string
	log    *journal
}

type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func newSite(t testing.TB, a *authority, change func(*edge.ACMEConfig), auth *edge.ClientAuth) *site {
	t.Helper()
	s := &site{folder: filepath.Join(lingering(t), "acme"), log: &journal{}}
	c := edge.ACMEConfig{Hosts: []string{"app.example", "ops.example"}, Email: "ops@corp.example", AcceptTerms: true, Directory: a.URL + "/dir",
		CAFile: a.caFile(), Folder: s.folder, Logger: slog.New(slog.NewTextHandler(s.log, nil))}
	if change != nil {
		change(&c)
	}
	var err error
	if s.acme, err = edge.NewACME(c); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(a.offers, "http-01") {
		s.http = newHarness(t, edge.Config{Handler: must(edge.Redirect(edge.RedirectConfig{Known: known(c.Hosts...), ACME: s.acme}))})
		a.httpAddr = func() string { return s.http.addr }
	}
	s.harness = newHarness(t, edge.Config{TLS: must(edge.NewTLS(edge.TLSConfig{ACME: s.acme, ClientAuth: auth})), Handler: tell})
	s.pki = a.pki
	a.tlsAddr = func() string { return s.addr }
	return s
}

// tell answers with the path, and with the client certificate to those who have one.
var tell = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if c := edge.ClientCertOf(r); c.Fingerprint != "" {
		json.NewEncoder(w).Encode(c)
		return
	}
	io.WriteString(w, "GET "+r.URL.Path)
})

// lingering is a folder for files that goroutines of autocert's own, or processes of a
// browser's, which no one can wait for, still make and delete while a test ends: t.TempDir would
// fail it.
func lingering(t testing.TB) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "edge-acme-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		clocktest.Eventually(t, "the folder is gone", func() bool { return os.RemoveAll(folder) == nil })
	})
	return folder
}

// handshake returns the certificate that is shown for host.
func (s *site) handshake(host string, conf *tls.Config) (*x509.Certificate, error) {
	c := conf.Clone()
	c.RootCAs, c.ServerName = s.pki.pool, host
	conn, err := tls.Dial("tcp", s.addr, c)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func TestACMEIssues(t *testing.T) {
	for _, kind := range []string{"tls-alpn-01", "http-01"} {
		t.Run(kind, func(t *testing.T) {
			a := newAuthority(t, kind)
			s := newSite(t, a, nil, nil)
			var wg sync.WaitGroup
			for range 5 { // at once, and one order all the same
				wg.Go(func() {
					if c, err := s.handshake("app.example", &tls.Config{}); err != nil || c.DNSNames[0] != "app.example" {
						t.Errorf("%v, %v", c, err)
					}
				})
			}
			wg.Wait()
			res, err := s.client("h2").Get("https://app.example/x")
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(res.Body); string(body) != "GET /x" {
				t.Errorf("got %q", body)
			}
			attempts, issued, proofs := a.seen()
			if attempts != 1 || len(issued) != 1 || !slices.Equal(proofs, []string{kind}) || !slices.Equal(a.contact, []string{"mailto:ops@corp.example"}) {
				t.Errorf("%d orders, issued %v by %v, contact %v", attempts, issued, proofs, a.contact)
			}
			for _, st := range s.acme.Status() {
				if got := !st.NotAfter.IsZero(); got != (st.Host == "app.example") || st.Err != "" {
					t.Errorf("%+v", st)
				}
			}
			if kind == "http-01" { // everything else still goes to https
				res, _ := s.http.client("http/1.1").Get("http://" + s.http.addr + "/")
				if res.StatusCode != http.StatusMisdirectedRequest {
					t.Errorf("the redirect listener answers %d", res.StatusCode)
				}
			}
			// The next process finds it, and has nothing to ask.
			again := newSite(t, a, func(c *edge.ACMEConfig) { c.Folder = s.folder }, nil)
			if c, err := again.handshake("app.example", &tls.Config{}); err != nil || c.SerialNumber.Int64() != 100 {
				t.Errorf("%v, %v", c, err)
			}
			if attempts, _, _ := a.seen(); attempts != 1 {
				t.Errorf("%d orders", attempts)
			}
		})
	}
}

// The keys are for no one else to read.
func TestACMEFolderIsPrivate(t *testing.T) {
	a := newAuthority(t, "tls-alpn-01")
	s := newSite(t, a, nil, nil)
	if _, err := s.handshake("app.example", &tls.Config{}); err != nil {
		t.Fatal(err)
	}
	files := 0
	filepath.WalkDir(s.folder, func(path string, d fs.DirEntry, err error) error {
		info, _ := d.Info()
		files++
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", path, info.Mode())
		}
		return err
	})
	if files < 3 {
		t.Errorf("%d files", files)
	}
	os.Chmod(s.folder, 0o755)
	_, err := edge.NewACME(edge.ACMEConfig{Hosts: []string{"a.example"}, AcceptTerms: true, Folder: s.folder})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "chmod 700 "+s.folder) {
		t.Errorf("a folder open to others: %v", err)
	}
}

// A certificate is renewed before its end, while serving.
func TestACMERenews(t *testing.T) {
	a := newAuthority(t, "tls-alpn-01")
	a.lifetime = func(n int) time.Duration { return []time.Duration{time.Hour, 90 * 24 * time.Hour}[min(n, 1)] }
	s := newSite(t, a, func(c *edge.ACMEConfig) { c.RenewBefore = 2 * time.Hour }, nil)
	if c, err := s.handshake("app.example", &tls.Config{}); err != nil || c.SerialNumber.Int64() != 100 {
		t.Fatalf("%v, %v", c, err)
	}
	clocktest.Eventually(t, "the new certificate is shown", func() bool {
		c, err := s.handshake("app.example", &tls.Config{})
		return err == nil && c.SerialNumber.Int64() == 101
	})
}

// A stranger's ClientHello names any host that it likes, and costs no order.
func TestAttackACMEUnknownHosts(t *testing.T) {
	a := newAuthority(t, "tls-alpn-01", "http-01")
	s := newSite(t, a, nil, nil)
	for _, host := range []string{"evil.example", "x.app.example", "app.example.evil", "localhost", "127.0.0.1", ""} {
		if _, err := s.handshake(host, &tls.Config{InsecureSkipVerify: true}); err == nil {
			t.Errorf("%q: a certificate was shown", host)
		}
	}
	for _, host := range []string{"evil.example", "app.example"} { // no such challenge
		req, _ := http.NewRequest("GET", "http://"+s.http.addr+"/.well-known/acme-challenge/..%2fapp.example", nil)
		req.Host = host
		res, err := s.http.client("http/1.1").Do(req)
		if err != nil || res.StatusCode/100 != 4 {
			t.Errorf("%s: %v, %v", host, res, err)
		}
	}
	if attempts, _, _ := a.seen(); attempts != 0 {
		t.Errorf("%d orders", attempts)
	}
	for _, host := range []string{"APP.example", "app.example."} {
		if _, err := s.handshake(host, &tls.Config{InsecureSkipVerify: true}); err != nil {
			t.Errorf("%q: %v", host, err)
		}
	}
}

// A client that claims to know RSA only does not make us order a second
// certificate, and one that speaks TLS 1.3 only is none of those.
func TestAttackACMEOneCertificatePerHost(t *testing.T) {
	a := newAuthority(t, "tls-alpn-01")
	s := newSite(t, a, nil, nil)
	for _, conf := range []*tls.Config{{}, {MinVersion: tls.VersionTLS13}} {
		if _, err := s.handshake("app.example", conf); err != nil {
			t.Error(err)
		}
	}
	s.handshake("app.example", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}})
	if attempts, issued, _ := a.seen(); attempts != 1 {
		t.Errorf("%d orders, %v", attempts, issued)
	}
}

// A failure says why, and is not repeated by every handshake: five an hour are
// what an authority puts up with.
func TestACMEFailuresAreClearAndRare(t *testing.T) {
	a := newAuthority(t, "http-01")
	now := clocktest.At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	s := newSite(t, a, func(c *edge.ACMEConfig) { c.Now = now.Now }, nil)
	wrong := newHarness(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "another server") })})
	a.httpAddr = func() string { return wrong.addr }
	for range 5 {
		if _, err := s.handshake("app.example", &tls.Config{}); err == nil {
			t.Fatal("a certificate out of nothing")
		}
	}
	before, _, _ := a.seen()
	st := s.acme.Status()[0]
	if !strings.Contains(st.Err, "another server") || !strings.Contains(st.Err, "http-01") || st.Failures != 1 || !strings.Contains(s.log.String(), "another server") {
		t.Errorf("%+v\n%s", st, s.log)
	}
	if before > 3 { // autocert tries each challenge with an order of its own
		t.Errorf("%d orders for five handshakes", before)
	}
	now.Add(69 * time.Second)
	s.handshake("app.example", &tls.Config{})
	if after, _, _ := a.seen(); after != before || s.acme.Status()[0].Failures != 1 {
		t.Errorf("%d orders, %d before", after, before)
	}
}

func TestACMEUnreachable(t *testing.T) {
	a := newAuthority(t, "http-01")
	s := newSite(t, a, nil, nil)
	a.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.acme.Run(ctx); close(done) }()
	clocktest.Eventually(t, "the failure shows", func() bool { return s.acme.Status()[0].Err != "" })
	cancel()
	<-done
	if !strings.Contains(s.log.String(), "cannot be reached") {
		t.Errorf("%s", s.log)
	}
}

// Run obtains what is missing before anyone asks.
func TestACMERunObtains(t *testing.T) {
	a := newAuthority(t, "tls-alpn-01")
	s := newSite(t, a, nil, nil)
	go s.acme.Run(t.Context())
	clocktest.Eventually(t, "both hosts have one", func() bool { _, issued, _ := a.seen(); return len(issued) == 2 })
}

// The authority has no client certificate, and needs none; no one else gets past
// by speaking its protocol.
func TestACMEBesideClientCertificates(t *testing.T) {
	a, clients := newAuthority(t, "tls-alpn-01"), newPKI(t)
	auth := must(edge.NewClientAuth(edge.ClientAuthConfig{CAFile: clients.caFile()}))
	s := newSite(t, a, nil, auth)
	go s.acme.Run(t.Context())
	clocktest.Eventually(t, "issued", func() bool { _, issued, _ := a.seen(); return len(issued) == 2 })
	if _, _, err := s.ask(with(clients.pair(clients.leaf("agent.example")))); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if got, _, err := s.ask(with()); err == nil {
		t.Errorf("without: served %+v", got)
	}
	for _, protos := range [][]string{{"acme-tls/1"}, {"acme-tls/1", "http/1.1"}, {"http/1.1", "acme-tls/1"}} {
		c := with()
		c.NextProtos = protos
		if got, _, err := s.ask(c); err == nil {
			t.Errorf("%v: served %+v", protos, got)
		}
	}
}

func TestACMEConfigIsChecked(t *testing.T) {
	good := edge.ACMEConfig{Hosts: []string{"a.example"}, AcceptTerms: true, Folder: filepath.Join(t.TempDir(), "acme")}
	if _, err := edge.NewACME(good); err != nil {
		t.Fatal(err)
	}
	nonsense := filepath.Join(t.TempDir(), "nonsense")
	write(t, nonsense, []byte("?"))
	for name, change := range map[string]func(*edge.ACMEConfig){
		"terms":          func(c *edge.ACMEConfig) { c.AcceptTerms = false },
		"no hosts":       func(c *edge.ACMEConfig) { c.Hosts = nil },
		"wildcard":       func(c *edge.ACMEConfig) { c.Hosts = []string{"*.a.example"} },
		"port":           func(c *edge.ACMEConfig) { c.Hosts = []string{"a.example:443"} },
		"no dot":         func(c *edge.ACMEConfig) { c.Hosts = []string{"localhost"} },
		"address":        func(c *edge.ACMEConfig) { c.Hosts = []string{"192.0.2.1"} },
		"upper case":     func(c *edge.ACMEConfig) { c.Hosts = []string{"A.example"} },
		"trailing dot":   func(c *edge.ACMEConfig) { c.Hosts = []string{"a.example."} },
		"plain http":     func(c *edge.ACMEConfig) { c.Directory = "http://a.example/dir" },
		"nowhere":        func(c *edge.ACMEConfig) { c.Folder = "" },
		"two places":     func(c *edge.ACMEConfig) { c.Cache = memoryCache{} },
		"no such roots":  func(c *edge.ACMEConfig) { c.CAFile = nonsense + "x" },
		"no roots in it": func(c *edge.ACMEConfig) { c.CAFile = nonsense },
		"no binding key": func(c *edge.ACMEConfig) { c.BindingKeyID, c.BindingKeyFile = "x", nonsense },
	} {
		c := good
		change(&c)
		if _, err := edge.NewACME(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// memoryCache forgets, and keeps nothing but the account.
type memoryCache struct{}

func (memoryCache) Get(context.Context, string) ([]byte, error) { return nil, edge.ErrACMECacheMiss }
func (memoryCache) Delete(context.Context, string) error        { return nil }
func (memoryCache) Put(_ context.Context, name string, _ []byte) error {
	if strings.HasPrefix(name, "acme_account") {
		return nil
	}
	return errors.New("the disk is full")
}

// A certificate that cannot be kept is used, and the operator is told: the next
// start would order it again.
func TestACMECacheFails(t *testing.T) {
	a := newAuthority(t, "tls-alpn-01")
	s := newSite(t, a, func(c *edge.ACMEConfig) { c.Cache, c.Folder = memoryCache{}, "" }, nil)
	if _, err := s.handshake("app.example", &tls.Config{}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(s.log.String(), "the disk is full") {
		t.Errorf("%s", s.log)
	}
}
