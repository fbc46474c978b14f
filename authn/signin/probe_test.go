package signin_test

import (
	"errors"
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
		r := newRig(t)
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
