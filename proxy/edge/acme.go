package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACMECache keeps the account key, certificates and pending challenges. It holds private
// keys. Get returns [ErrACMECacheMiss] for an unknown name.
type ACMECache = autocert.Cache

// ErrACMECacheMiss is what an ACMECache returns for an unknown name.
var ErrACMECacheMiss = autocert.ErrCacheMiss

// ACMEConfig says for which hosts certificates are obtained, and from which authority
// (RFC 8555).
type ACMEConfig struct {
	Hosts []string // host names with a dot, ASCII, no wildcards
	Email string   // for the authority's warnings; may be empty
	// AcceptTerms says that the operator accepts the authority's terms.
	AcceptTerms bool
	// Directory is the URL of the authority; empty is Let's Encrypt.
	Directory string
	// CAFile holds the roots that the directory's own TLS certificate is verified
	// with; empty is the system's.
	CAFile string
	// Cache, or a private Folder: one of them.
	Cache  ACMECache
	Folder string
	// RenewBefore is how long before its end a certificate is renewed; zero is a
	// third of its life, at most 30 days.
	RenewBefore time.Duration
	// BindingKeyID and BindingKeyFile (base64url) tie the account to one that the
	// authority knows already, if the authority requires that.
	BindingKeyID, BindingKeyFile string
	Now                          func() time.Time
	Logger                       *slog.Logger
}

// ACME obtains and renews certificates.
type ACME struct {
	config       ACMEConfig
	manager      *autocert.Manager
	challengeTLS *tls.Config
	problems     *problems

	mu    sync.Mutex
	hosts map[string]*acmeHost
}

type acmeHost struct {
	notAfter time.Time
	err      error
	failures uint64
	inARow   int
	next     time.Time // no attempt before
}

// NewACME checks c. It does not talk to the authority.
func NewACME(c ACMEConfig) (*ACME, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	client, trouble, err := c.client()
	if err != nil {
		return nil, err
	}
	a := &ACME{config: c, problems: trouble, hosts: map[string]*acmeHost{}}
	for _, h := range c.Hosts {
		a.hosts[h] = &acmeHost{}
	}
	a.manager = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: &loggedCache{c.Cache, c.Logger}, HostPolicy: a.policy,
		RenewBefore: c.RenewBefore, Client: client, Email: c.Email,
	}
	if c.BindingKeyID != "" {
		text, err := os.ReadFile(c.BindingKeyFile)
		if err != nil {
			return nil, fmt.Errorf("edge: acme: %w", err)
		}
		key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(string(text)), "="))
		if err != nil || len(key) == 0 {
			return nil, fmt.Errorf("edge: acme: %s does not hold a base64url key", c.BindingKeyFile)
		}
		a.manager.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: c.BindingKeyID, Key: key}
	}
	a.challengeTLS = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acme.ALPNProto}, GetCertificate: a.manager.GetCertificate}
	return a, nil
}

func (c *ACMEConfig) complete() error {
	if c.Now == nil {
		c.Now = time.Now
	}
	orDefault(&c.Logger, slog.New(slog.DiscardHandler))
	orDefault(&c.Directory, acme.LetsEncryptURL)
	if !c.AcceptTerms {
		return errors.New("edge: acme: the terms of the authority must be accepted")
	}
	if len(c.Hosts) == 0 {
		return errors.New("edge: acme: no hosts")
	}
	for _, h := range c.Hosts {
		if err := checkACMEHost(h); err != nil {
			return err
		}
	}
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("edge: acme: the directory %q is not an https URL", c.Directory)
	}
	if (c.Cache == nil) == (c.Folder == "") {
		return errors.New("edge: acme: either a cache or a folder keeps the keys")
	}
	if c.Cache == nil {
		if err := privateFolder(c.Folder); err != nil {
			return err
		}
		c.Cache = autocert.DirCache(c.Folder)
	}
	return nil
}

func checkACMEHost(h string) error {
	bad := net.ParseIP(h) != nil || len(h) > 253 || !strings.Contains(h, ".")
	for _, label := range strings.Split(h, ".") {
		bad = bad || label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-'
	}
	for i := 0; i < len(h); i++ {
		c := h[i]
		bad = bad || !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.')
	}
	if bad {
		return fmt.Errorf("edge: acme: %q is not a host name a certificate can be obtained for (lower case, with a dot, no port, no wildcard)", h)
	}
	return nil
}

// privateFolder makes folder, or checks that no other user can read it.
func privateFolder(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("edge: acme: %w", err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return fmt.Errorf("edge: acme: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("edge: acme: %s will hold private keys, but others may enter it: %w (mode %04o): chmod 700 %[1]s", folder, fs.ErrPermission, mode)
	}
	return nil
}

func (c *ACMEConfig) client() (*acme.Client, *problems, error) {
	roots := (*x509.CertPool)(nil) // the system's
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("edge: acme: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("edge: acme: %s holds no certificate", c.CAFile)
		}
	}
	trouble := &problems{logger: c.Logger, byHost: map[string]string{}, base: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second,
	}}
	return &acme.Client{DirectoryURL: c.Directory, UserAgent: "sallyport",
		HTTPClient: &http.Client{Transport: trouble, Timeout: time.Minute}}, trouble, nil
}

var errUnknownHost = errors.New("edge: acme: no certificate is obtained for this host")

// policy keeps strangers from using up our quota with the authority: the client chooses
// the name in a ClientHello.
func (a *ACME) policy(_ context.Context, host string) error {
	if _, ok := a.hosts[strings.TrimSuffix(host, ".")]; !ok {
		return errUnknownHost
	}
	return nil
}

// modern has what every client of TLS 1.2 and later supports. For a client that does not
// announce it, autocert would obtain a second, RSA certificate: for any stranger, and for
// those that speak TLS 1.3 only.
var modern = tls.ClientHelloInfo{
	CipherSuites:     []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	SupportedCurves:  []tls.CurveID{tls.CurveP256},
	SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
}

// GetCertificate is for [tls.Config]. It obtains the certificate if there is
// none, which takes seconds; [ACME.Run] does that ahead of the first client.
func (a *ACME) GetCertificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	hello := modern
	hello.ServerName = strings.ToLower(strings.TrimSuffix(h.ServerName, "."))
	if len(h.SupportedProtos) == 1 && h.SupportedProtos[0] == acme.ALPNProto {
		hello.SupportedProtos = h.SupportedProtos
		return a.manager.GetCertificate(&hello)
	}
	host := a.hosts[hello.ServerName]
	if host == nil {
		return nil, errUnknownHost
	}
	now := a.config.Now()
	a.mu.Lock()
	next, last := host.next, host.err
	a.mu.Unlock()
	if now.Before(next) {
		// Every attempt counts against a small quota (five failures an hour), and without
		// this wait every handshake would be an attempt.
		return nil, last
	}
	cert, err := a.manager.GetCertificate(&hello)
	return cert, a.recordResult(hello.ServerName, host, cert, err)
}

const firstRetry, lastRetry = 70 * time.Second, time.Hour // autocert itself repeats its last error for a minute

func (a *ACME) recordResult(name string, host *acmeHost, cert *tls.Certificate, err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		host.notAfter, host.err, host.inARow = cert.Leaf.NotAfter, nil, 0
		return nil
	}
	if why := a.problems.of(name); why != "" {
		err = fmt.Errorf("%w (%s)", err, why)
	}
	err = fmt.Errorf("edge: acme: %s: %w", name, err)
	now := a.config.Now()
	if now.Before(host.next) {
		return err // another goroutine made this attempt
	}
	host.err, host.failures = err, host.failures+1
	host.next = now.Add(min(firstRetry<<min(host.inARow, 10), lastRetry))
	host.inARow++
	a.config.Logger.Error("no certificate", "host", name, "error", err, "next_attempt", host.next)
	return err
}

// Run obtains the missing certificates and keeps Status current until ctx ends. A
// certificate that was requested once renews itself.
func (a *ACME) Run(ctx context.Context) {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		for _, h := range a.config.Hosts {
			if ctx.Err() == nil {
				a.GetCertificate(&tls.ClientHelloInfo{ServerName: h})
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// HTTPHandler answers HTTP-01 challenges and passes the rest to next. Without it only
// TLS-ALPN-01 is tried.
func (a *ACME) HTTPHandler(next http.Handler) http.Handler {
	inner := a.manager.HTTPHandler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") {
			next.ServeHTTP(w, r)
			return
		}
		known := *r
		known.Host = hostOnly(r.Host) // autocert compares it with its port
		inner.ServeHTTP(w, &known)
	})
}

// ACMEStatus is the state of one host, for metrics.
type ACMEStatus struct {
	Host     string
	NotAfter time.Time // zero: there is no certificate yet
	Err      string    // of the last attempt
	Failures uint64
}

// Status reports on every host.
func (a *ACME) Status() []ACMEStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]ACMEStatus, 0, len(a.hosts))
	for _, name := range a.config.Hosts {
		h := a.hosts[name]
		s := ACMEStatus{Host: name, NotAfter: h.notAfter, Failures: h.failures}
		if h.err != nil {
			s.Err = h.err.Error()
		}
		all = append(all, s)
	}
	return all
}
