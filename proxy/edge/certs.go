package edge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sallyport/proxy/hostname"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// CertPair names the files of one certificate, both PEM. The certificate file
// holds the whole chain, the server's own first.
type CertPair struct{ CertFile, KeyFile string }

// CertConfig names the certificates of a server. The first is also for clients that send
// no server name, or one without a certificate.
type CertConfig struct {
	Pairs  []CertPair
	Now    func() time.Time
	Logger *slog.Logger
}

// Certificates holds certificates from files, chosen by the name that the client sends.
// If a reload of a pair fails, that pair stays as it was.
type Certificates struct {
	config CertConfig
	mu     sync.Mutex // one reload at a time
	state  atomic.Pointer[certState]
}

type certState struct {
	pairs  []loadedPair
	byName map[string][]*tls.Certificate
}

type loadedPair struct {
	cert     *tls.Certificate
	loaded   time.Time
	err      string
	failures uint64
}

// NewCertificates loads every pair. Unlike Reload it fails if one is unusable.
func NewCertificates(c CertConfig) (*Certificates, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if len(c.Pairs) == 0 {
		return nil, errors.New("edge: no certificate files")
	}
	s := &Certificates{config: c}
	s.state.Store(&certState{pairs: make([]loadedPair, len(c.Pairs))})
	return s, s.Reload()
}

// Files is for [Watch].
func (s *Certificates) Files() []string {
	var files []string
	for _, p := range s.config.Pairs {
		files = append(files, p.CertFile, p.KeyFile)
	}
	return files
}

// Reload reads all files again. The error names each pair that could not be used; the
// others have been replaced.
func (s *Certificates) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.state.Load()
	next := &certState{pairs: make([]loadedPair, len(old.pairs)), byName: map[string][]*tls.Certificate{}}
	var errs []error
	for i, p := range s.config.Pairs {
		loaded, err := s.load(p, old.pairs[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("edge: certificate %s: %w", p.CertFile, err))
		}
		next.pairs[i] = loaded
		if loaded.cert != nil {
			next.add(loaded.cert)
		}
	}
	s.state.Store(next)
	return errors.Join(errs...)
}

func (s *Certificates) load(p CertPair, old loadedPair) (loadedPair, error) {
	cert, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	now := s.config.Now()
	if err == nil {
		err = usable(cert.Leaf, now)
		// The first certificate is taken even if it has expired, so that operators can
		// reach the server to repair it. A reload must not make things worse.
		if err != nil && (old.cert == nil || usable(old.cert.Leaf, now) != nil) {
			s.config.Logger.Warn("the certificate is not valid now", "file", p.CertFile, "error", err)
			err = nil
		}
	}
	if err != nil {
		old.err, old.failures = err.Error(), old.failures+1
		return old, err
	}
	if old.cert != nil && old.cert.Leaf.Equal(cert.Leaf) {
		old.err = ""
		return old, nil
	}
	s.config.Logger.Info("certificate loaded", "file", p.CertFile, "names", cert.Leaf.DNSNames, "not_after", cert.Leaf.NotAfter)
	return loadedPair{cert: &cert, loaded: now, failures: old.failures}, nil
}

func usable(c *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(c.NotBefore):
		return fmt.Errorf("not valid before %s", c.NotBefore.Format(time.RFC3339))
	case now.After(c.NotAfter):
		return fmt.Errorf("expired at %s", c.NotAfter.Format(time.RFC3339))
	}
	return nil
}

func (s *certState) add(c *tls.Certificate) {
	names := c.Leaf.DNSNames
	for _, ip := range c.Leaf.IPAddresses {
		names = append(names[:len(names):len(names)], ip.String())
	}
	for _, n := range names {
		n = strings.ToLower(n)
		s.byName[n] = append(s.byName[n], c)
	}
}

// find returns the certificates for a name: its own, or those of its wildcard.
func (s *certState) find(name string) []*tls.Certificate {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if own := s.byName[name]; own != nil {
		return own
	}
	if parent, ok := hostname.Parent(name); ok {
		return s.byName[hostname.Wildcard+parent]
	}
	return nil
}

func (s *Certificates) covers(name string) bool { return s.state.Load().find(name) != nil }

// GetCertificate is for [tls.Config].
func (s *Certificates) GetCertificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	state := s.state.Load()
	found := state.find(h.ServerName)
	for _, c := range found { // one name may have an ECDSA and an RSA certificate
		if len(found) == 1 || h.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	return state.pairs[0].cert, nil
}

// CertStatus is the state of one pair, for metrics.
type CertStatus struct {
	File     string
	Names    []string
	NotAfter time.Time // of the one in use
	Loaded   time.Time
	Err      string // why the last reload kept the old one; "" if it succeeded
	Failures uint64
}

// Status reports on every pair.
func (s *Certificates) Status() []CertStatus {
	state := s.state.Load()
	all := make([]CertStatus, len(state.pairs))
	for i, p := range state.pairs {
		all[i] = CertStatus{File: s.config.Pairs[i].CertFile, Loaded: p.loaded, Err: p.err, Failures: p.failures}
		if p.cert != nil {
			all[i].Names, all[i].NotAfter = p.cert.Leaf.DNSNames, p.cert.Leaf.NotAfter
		}
	}
	return all
}
