package passkey_test

import (
	"errors"
	"strings"
	"testing"

	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
)

func TestManage(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	first := w.register(alice, authntest.NewAuthenticator(origin))
	ctx, s := t.Context(), first.Subject
	for _, name := range []string{"", "  ", strings.Repeat("x", 65), "line\nbreak", "turned\u202eround", "\xff", "\x1b[31m"} {
		refused(t, w.Rename(ctx, s, first.ID, name), passkey.CodeNameInvalid, false)
	}
	if err := w.Rename(ctx, s, first.ID, "  Schlüssel am Bund "); err != nil || w.stored(first).Name != "Schlüssel am Bund" {
		t.Errorf("renamed to %q: %v", w.stored(first).Name, err)
	}
	bob := person("bob").Subject
	refused(t, w.Rename(ctx, bob, first.ID, "mine"), passkey.CodeCredentialGone, false)
	refused(t, w.Remove(ctx, bob, first.ID), passkey.CodeCredentialGone, false)
	err := w.Remove(ctx, s, first.ID)
	refused(t, err, passkey.CodeLastCredential, false)
	if !errors.Is(err, passkey.ErrLastCredential) {
		t.Errorf("%v hides the store's error", err)
	}
	w.register(alice, authntest.NewAuthenticator(origin))
	if err := w.Remove(ctx, s, first.ID); err != nil {
		t.Error(err)
	}
	w.store.Fail(authntest.NotStored)
	var refusal *passkey.Error
	if err := w.Rename(ctx, s, first.ID, "x"); err == nil || errors.As(err, &refusal) {
		t.Errorf("with the store down: %v", err)
	}
	if _, err := w.List(ctx, s); err == nil {
		t.Error("a list with the store down")
	}
}

func TestConfig(t *testing.T) {
	good := func() passkey.Config {
		m := authntest.NewMemory()
		return passkey.Config{RPID: rpID, RPName: "Corp", Origins: []string{origin}, Store: m, Ceremonies: m}
	}
	for _, tt := range []struct {
		name string
		set  func(*passkey.Config)
		ok   bool
	}{
		{"good", func(c *passkey.Config) {}, true},
		{"the relying party itself", func(c *passkey.Config) { c.Origins = []string{"https://corp.example"} }, true},
		{"a port", func(c *passkey.Config) { c.Origins = []string{"https://corp.example:8443"} }, true},
		{"localhost", func(c *passkey.Config) { c.RPID, c.Origins = "localhost", []string{"http://localhost:8080"} }, true},
		{"below localhost", func(c *passkey.Config) { c.RPID, c.Origins = "localhost", []string{"http://app.localhost:8080"} }, true},
		{"no store", func(c *passkey.Config) { c.Store = nil }, false},
		{"no ceremonies", func(c *passkey.Config) { c.Ceremonies = nil }, false},
		{"no name", func(c *passkey.Config) { c.RPName = "" }, false},
		{"no id", func(c *passkey.Config) { c.RPID = "" }, false},
		{"an address as id", func(c *passkey.Config) { c.RPID, c.Origins = "127.0.0.1", []string{"http://127.0.0.1"} }, false},
		{"a URL as id", func(c *passkey.Config) { c.RPID = "https://corp.example" }, false},
		{"no origin", func(c *passkey.Config) { c.Origins = nil }, false},
		{"plain http", func(c *passkey.Config) { c.Origins = []string{"http://login.corp.example"} }, false},
		{"no scheme", func(c *passkey.Config) { c.Origins = []string{"login.corp.example"} }, false},
		{"trailing slash", func(c *passkey.Config) { c.Origins = []string{origin + "/"} }, false},
		{"upper case", func(c *passkey.Config) { c.Origins = []string{"https://Login.corp.example"} }, false},
		{"default port", func(c *passkey.Config) { c.Origins = []string{origin + ":443"} }, false},
		{"empty port", func(c *passkey.Config) { c.Origins = []string{origin + ":"} }, false},
		{"user info", func(c *passkey.Config) { c.Origins = []string{"https://a@login.corp.example"} }, false},
		{"another domain", func(c *passkey.Config) { c.Origins = []string{"https://evil.example"} }, false},
		{"a domain that only ends alike", func(c *passkey.Config) { c.Origins = []string{"https://evilcorp.example"} }, false},
		{"the domain above", func(c *passkey.Config) { c.Origins = []string{"https://example"} }, false},
	} {
		c := good()
		tt.set(&c)
		if rp, err := passkey.New(c); (err == nil) != tt.ok || (rp != nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
