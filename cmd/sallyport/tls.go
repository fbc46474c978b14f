package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/proxy/clientip"
)

// certificate is what the data port shows. A reload replaces it whole, so that a
// renewed certificate needs no restart.
type certificate struct {
	now atomic.Pointer[tls.Certificate]
}

func (c *certificate) load(files *config.TLS) error {
	pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	c.now.Store(&pair)
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil }

// listenData opens the data port, with the PROXY protocol and TLS as configured.
func (a *app) listenData() (net.Listener, error) {
	c := a.config
	if c.TLS != nil {
		if err := a.tls.load(c.TLS); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if c.ProxyProtocol {
		l = clientip.ListenProxyProtocol(l, c.TrustedProxies)
	}
	if c.TLS == nil {
		return l, nil
	}
	return tls.NewListener(l, &tls.Config{GetCertificate: a.tls.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}), nil
}

// protocols allows HTTP/2 where TLS negotiates it.
func protocols(tls bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(tls)
	return p
}
