package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// TLSConfig is how a route's https upstreams are authenticated, and how we
// authenticate to them. The zero value checks the certificate against the
// system's roots and the host name in `to`. There is no way not to check it.
type TLSConfig struct {
	// CAFile holds the only roots that are trusted, in PEM; "" is the system's.
	CAFile string
	// ServerName is what is asked for (SNI) and must be in the certificate; "" is
	// the host in `to`.
	ServerName string
	// CertFile and KeyFile are our own certificate, for upstreams that want one.
	CertFile, KeyFile string
	// MinVersion is "1.2" (also "") or "1.3".
	MinVersion string
}

// tlsFilesEvery is how often files are looked at, at most, and only when a
// connection is made.
const tlsFilesEvery = time.Second

// tlsSource makes client configurations of a TLSConfig, and reads its files
// again when they have changed. Connections that exist stay as they are.
type tlsSource struct {
	c       TLSConfig
	current atomic.Pointer[tls.Config]

	mu    sync.Mutex
	stamp [3]fileStamp // of the files behind current
	tried [3]fileStamp // of those that were last read, well or not
	next  time.Time
}

type fileStamp struct {
	size int64
	mod  time.Time
}

func newTLSSource(c TLSConfig) (*tlsSource, error) {
	s := &tlsSource{c: c, stamp: stampsOf(c)}
	s.tried = s.stamp
	t, err := c.load()
	if err != nil {
		return nil, err
	}
	s.current.Store(t)
	return s, nil
}

// load reads all files. It makes nothing but a value.
func (c TLSConfig) load() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	switch c.MinVersion {
	case "", "1.2":
	case "1.3":
		t.MinVersion = tls.VersionTLS13
	default:
		return nil, inKey("tls.min_version", fmt.Errorf("tls: min_version %q: must be 1.2 or 1.3", c.MinVersion))
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, inKey("tls.ca_file", fmt.Errorf("tls: ca_file: %w", err))
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, inKey("tls.ca_file", fmt.Errorf("tls: ca_file %s: holds no certificate", c.CAFile))
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, errors.New("tls: cert_file and key_file go together")
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, inKey("tls.cert_file", fmt.Errorf("tls: cert_file and key_file: %w", err))
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}

func stampsOf(c TLSConfig) (s [3]fileStamp) {
	for i, name := range [...]string{c.CAFile, c.CertFile, c.KeyFile} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			s[i] = fileStamp{info.Size(), info.ModTime()}
		}
	}
	return s
}

// config returns the newest configuration that could be read. Files that are
// half way through being replaced leave the old one in force.
func (s *tlsSource) config(now time.Time, log *slog.Logger) *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		return s.current.Load()
	}
	s.next = now.Add(tlsFilesEvery)
	stamp := stampsOf(s.c)
	if stamp == s.stamp {
		return s.current.Load()
	}
	t, err := s.c.load()
	if err != nil {
		if stamp != s.tried { // said once for each change
			log.Warn("upstream TLS files cannot be used: the old ones stay in force", "error", err)
		}
		s.tried = stamp
		return s.current.Load()
	}
	s.stamp, s.tried = stamp, stamp
	s.current.Store(t)
	log.Info("upstream TLS files were read again", "ca_file", s.c.CAFile, "cert_file", s.c.CertFile)
	return t
}

// dialTLS connects and shakes hands. What fails here has sent no request.
func (b *backend) dialTLS(ctx context.Context, protocols []string) (net.Conn, error) {
	conn, err := patient(b.dial(ctx))
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if b.tls != nil {
		c = b.tls.config(b.now(), b.log).Clone()
	}
	c.NextProtos = protocols
	if c.ServerName == "" {
		c.ServerName = hostOnly(b.address)
	}
	if b.key.connect > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.key.connect)
		defer cancel()
	}
	tc := tls.Client(conn, c)
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, dialError{fmt.Errorf("TLS handshake: %w", err)}
	}
	return tc, nil
}

func hostOnly(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
