package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/proxy/rollout"
)

// Commands that may read the store draw as the proxy that serves from it does; others say
// that they do not.
func TestCommandsDrawByTheKeyOfTheStore(t *testing.T) {
	p, err := policy.Compile(policy.Config{Name: "policy.yaml", Routes: []string{"wiki"}, Source: []byte("version: 1\nrules:\n  - {name: again, when: 'true', then: step_up, every: 4h, jitter: 2h}\n")})
	if err != nil {
		t.Fatal(err)
	}
	due := func(p *policy.Policy) time.Time {
		t.Helper()
		f := &policy.Facts{Time: policy.Time{Now: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)}, User: policy.User{Email: "a@example.com", Subject: "a"},
			Session: policy.Session{ID: "s", Level: "verified", VerifiedAge: time.Minute, VerifiedHere: true}, Request: policy.Request{Purpose: "access", Route: "wiki"}}
		for _, r := range p.Explain(f).Rules {
			if !r.Due.IsZero() {
				return r.Due
			}
		}
		t.Fatal("nothing is due")
		return time.Time{}
	}
	s := newShell(t)
	key, err := rollout.MakeDrawKey(t.Context(), s.db)
	s.ok(err)
	want := due(p.Keyed(key))
	var said, warned strings.Builder
	g := &globals{Config: filepath.Join(s.dir, "sallyport.yaml")}
	if got := due(keyedAsHere(t.Context(), g, stdio{out: &said, err: &warned}, p)); !got.Equal(want) || warned.Len() > 0 {
		t.Errorf("due %s, want %s; %q", got, want, warned.String())
	}
	elsewhere := t.TempDir()
	for name, text := range site {
		s.ok(os.WriteFile(filepath.Join(elsewhere, name), []byte(text), 0o600))
	}
	g.Config = filepath.Join(elsewhere, "sallyport.yaml")
	if got := due(keyedAsHere(t.Context(), g, stdio{out: &said, err: &warned}, p)); got.Equal(want) || !strings.Contains(warned.String(), "by the key of tests") {
		t.Errorf("without the store: %s %q", got, warned.String())
	}
}
