package app

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/proxy/rollout"
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

// TestServingDrawsByTheKeyOfTheStore: a policy that comes into force in any way draws by a key that is in the
// store and nowhere else.
func TestServingDrawsByTheKeyOfTheStore(t *testing.T) {
	d := newHarness(t, [3]string{"policy.yaml", site["policy.yaml"], againPolicy})
	defer d.closeApp()
	guess, err := d.config.Policies().Compile(d.intel.Current())
	if err != nil {
		t.Fatal(err)
	}
	key, err := rollout.MakeDrawKey(t.Context(), d.store)
	if err != nil || key == (policy.DrawKey{}) {
		t.Fatal(key, err)
	}
	want := dueBy(t, guess.Keyed(key))
	check := func(when string) {
		t.Helper()
		if got := dueBy(t, d.front.gate.Current().Policy); !got.Equal(want) || got.Equal(dueBy(t, guess)) {
			t.Errorf("%s: due %s, by the key of the store %s", when, got, want)
		}
	}
	check("start")
	d.reloader.onSIGHUP(t.Context())
	check("reload")
	d.write("policy.yaml", againPolicy+"# changed\n")
	if err := d.reloader.policies.ReloadFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.write("policy.yaml", againPolicy)
	if err := d.reloader.policies.ReloadFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("another file")
	log, err := os.ReadFile(d.config.AuditFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{hex.EncodeToString(key[:]), base64.StdEncoding.EncodeToString(key[:]), string(key[:])} {
		if strings.Contains(d.log.String()+string(log), text) {
			t.Error("the key is in a log")
		}
	}
}
