package signin_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"sallyport/authn/signin"
)

func TestProbe(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*signin.Config)
		code string // "" if the client is known
	}{
		"the client":      {func(*signin.Config) {}, ""},
		"by post":         {func(c *signin.Config) { c.ClientAuth = signin.AuthPost }, ""},
		"another secret":  {func(c *signin.Config) { c.ClientSecret = "x" }, signin.CodeClientRejected},
		"another client":  {func(c *signin.Config) { c.ClientID = "nobody" }, signin.CodeClientRejected},
		"nobody answers":  {func(c *signin.Config) { c.Issuer = "http://127.0.0.1:1" }, signin.CodeUnavailable},
		"another address": {func(c *signin.Config) { c.Issuer += "/realm" }, signin.CodeUnavailable},
	} {
		r := newHarness(t)
		cfg := r.cfg
		c.edit(&cfg)
		p, err := signin.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		method, err := p.Probe(t.Context())
		var e *signin.Error
		if errors.As(err, &e); (err == nil) != (c.code == "") || (method == "") != (err != nil) || e != nil && e.Code != c.code {
			t.Errorf("%s: %q, %v", name, method, err)
		}
	}
}

// A provider that calls itself otherwise is no outage: the text says what to write.
func TestProbeOfAnIssuerWithASlash(t *testing.T) {
	r := newHarness(t)
	cfg := r.cfg
	cfg.Issuer += "/"
	p, err := signin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "calls itself "+strconv.Quote(r.cfg.Issuer)+": oidc.issuer has to be written exactly so") {
		t.Error(err)
	}
}
