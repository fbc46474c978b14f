package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy/filewatch"
	"sallyport/proxy/edge"
)

// certificates is what the data port shows and asks for: files, an authority's, or
// nothing (plain http behind a load balancer).
type certificates struct {
	files   *edge.Certificates // nil: no certificate files
	clients *edge.ClientAuth   // nil: no client certificates
	acme    *edge.ACME         // nil: no authority
	logger  *slog.Logger
}

func newCertificates(c *config.Config, logger *slog.Logger) (k *certificates, err error) {
	k = &certificates{logger: logger}
	switch {
	case c.TLS != nil:
		k.files, err = edge.NewCertificates(edge.CertConfig{Pairs: c.TLS.Pairs(), Now: time.Now, Logger: logger})
		if err == nil && c.TLS.Client != nil {
			k.clients, err = edge.NewClientAuth(*c.TLS.Client)
		}
	case c.ACME != nil:
		acme := *c.ACME
		acme.Logger = logger
		k.acme, err = edge.NewACME(acme)
	}
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return k, nil
}

// tls returns nil for plain http.
func (k *certificates) tls() (*tls.Config, error) {
	if k.files == nil && k.acme == nil {
		return nil, nil
	}
	return edge.NewTLS(edge.TLSConfig{Certificates: k.files, ACME: k.acme, ClientAuth: k.clients})
}

// fileset was read from files and can be read again.
type fileset interface {
	Files() []string
	Reload() error
}

// watched are the files that may change while serving.
func (k *certificates) watched() (list []fileset) {
	if k.files != nil {
		list = append(list, k.files)
	}
	if k.clients != nil {
		list = append(list, k.clients)
	}
	return list
}

// reload reads the files again; a file with a mistake keeps its old content.
func (k *certificates) reload() error {
	var errs []error
	for _, f := range k.watched() {
		errs = append(errs, f.Reload())
	}
	return errors.Join(errs...)
}

// watch follows the files, or obtains what an authority gives, until ctx ends.
func (k *certificates) watch(ctx context.Context) {
	if k.acme != nil {
		k.acme.Run(ctx)
		return
	}
	if k.watched() == nil {
		return
	}
	filewatch.Run(ctx, filewatch.Config{
		What: "certificates", Logger: k.logger,
		Files: func() (files []string) {
			for _, f := range k.watched() {
				files = append(files, f.Files()...)
			}
			return files
		},
		Changed: func() time.Duration {
			if err := k.reload(); err != nil {
				k.logger.Error("reload refused", "error", err)
			}
			return 0
		},
	})
}
