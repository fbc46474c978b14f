package main

import (
	"strings"
	"testing"

	"sallyport/policy/rehearse"
	"sallyport/proxy/audit"
	"sallyport/proxy/rollout"
)

// What no checkpoint proves yet is said beside the figures.
func TestReplayNotes(t *testing.T) {
	result := &rollout.Result{Replay: &rehearse.Replay{}}
	for _, tt := range []struct {
		unsigned int64
		want     string
	}{{0, ""}, {1, "1 record is not signed yet"}, {3, "3 records are not signed yet"}} {
		got := strings.Join(policyReplayCmd{}.notes(audit.Report{Unsigned: tt.unsigned}, result), "\n")
		if (tt.want == "") == strings.Contains(got, "not signed yet") || !strings.Contains(got, tt.want) {
			t.Errorf("%d: %q", tt.unsigned, got)
		}
	}
}
