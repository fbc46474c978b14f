package policy

import (
	"strings"
	"testing"
)

// A requirement that no passkey can meet is a lock-out, and says so when it is loaded.
func TestRequirementThatNobodyCanMeet(t *testing.T) {
	source := func(mode string) []byte {
		return []byte("version: 1\nrules:\n  - {name: vault, when: request.method == \"POST\", then: step_up, require: [attested]" + mode + "}\n")
	}
	_, err := Compile(Config{Name: "policy.yaml", Source: source(""), NoAttestation: true})
	if err == nil || !strings.Contains(err.Error(), "policy.yaml:3:") || !strings.Contains(err.Error(), "no one could meet it") {
		t.Errorf("got %v", err)
	}
	for name, c := range map[string]Config{
		"where attestation is judged": {Source: source("")},
		"in report mode":              {Source: source(", mode: report"), NoAttestation: true},
	} {
		if _, err := Compile(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
