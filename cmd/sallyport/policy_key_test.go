package main

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

const againPolicy = "version: 1\nrules:\n  - {name: again, when: 'true', then: step_up, every: 4h, jitter: 2h}\n"

func dueBy(t *testing.T, p *policy.Policy) time.Time {
	t.Helper()
	f := &policy.Facts{Time: policy.Time{Now: monday}, User: policy.User{Email: "a@example.com", Subject: "a"},
		Session: policy.Session{ID: "s", Level: "verified", VerifiedAge: time.Minute, VerifiedHere: true}, Request: policy.Request{Purpose: "access", Route: "wiki"}}
	for _, r := range p.Explain(f).Rules {
		if !r.Due.IsZero() {
			return r.Due
		}
	}
	t.Fatal("nothing is due")
	return time.Time{}
}

// TestServingDrawsByTheKeyOfTheStore: whatever way a policy comes into force, it draws by a key that is in the
// store and nowhere else; commands that may read the store draw the same.
func TestServingDrawsByTheKeyOfTheStore(t *testing.T) {
	d := newDeployment(t, [3]string{"policy.yaml", site["policy.yaml"], againPolicy})
	defer d.closeApp()
	guess, _, err := policies(d.config).Compile(d.intel.Current())
	if err != nil {
		t.Fatal(err)
	}
	want := dueBy(t, guess.Keyed(d.draws))
	check := func(when string) {
		t.Helper()
		if got := dueBy(t, d.gate.Current().Policy); !got.Equal(want) || got.Equal(dueBy(t, guess)) {
			t.Errorf("%s: due %s, by the key of the store %s", when, got, want)
		}
	}
	check("start")
	d.hangup(t.Context())
	check("reload")
	d.write("policy.yaml", againPolicy+"# changed\n")
	if err := (policyFiles{d.policies, t.Context()}).Reload(); err != nil {
		t.Fatal(err)
	}
	d.write("policy.yaml", againPolicy)
	if err := (policyFiles{d.policies, t.Context()}).Reload(); err != nil {
		t.Fatal(err)
	}
	check("another file")
	again, err := makeDrawKey(t.Context(), d.store)
	if err != nil || again != d.draws || again == (policy.DrawKey{}) {
		t.Error("another key", err)
	}
	var said, warned strings.Builder
	g := &globals{Config: filepath.Join(d.dir, "sallyport.yaml")}
	if got := dueBy(t, keyedAsHere(t.Context(), g, stdio{out: &said, err: &warned}, guess)); !got.Equal(want) || warned.Len() > 0 {
		t.Errorf("explain says %s %q", got, warned.String())
	}
	log, err := os.ReadFile(d.config.AuditFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{hex.EncodeToString(d.draws[:]), base64.StdEncoding.EncodeToString(d.draws[:]), string(d.draws[:])} {
		if strings.Contains(d.log.String()+string(log), text) {
			t.Error("the key is in a log")
		}
	}
	elsewhere := t.TempDir()
	for name, text := range site {
		if err := os.WriteFile(filepath.Join(elsewhere, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g.Config = filepath.Join(elsewhere, "sallyport.yaml")
	if got := dueBy(t, keyedAsHere(t.Context(), g, stdio{out: &said, err: &warned}, guess)); got.Equal(want) || !strings.Contains(warned.String(), "by the key of tests") {
		t.Errorf("without the store: %s %q", got, warned.String())
	}
}
