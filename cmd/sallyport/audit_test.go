package main

import (
	"bytes"
	"strings"
	"testing"

	"sallyport/proxy/audit"
)

// A reader who looks for refusals must not find "allow" beside a ceremony that failed, and
// sees what was done without the JSON.
func TestARecordForPeople(t *testing.T) {
	for _, c := range []struct {
		what   string
		record audit.Record
		want   string
	}{
		{"a change", audit.Record{Event: "access", Action: "allow", Route: "treasury", Method: "DELETE", Path: "/pay/7"}, `  allow     access            -     treasury  DELETE "/pay/7"`},
		{"that was not me", audit.Record{Event: "handoff_refused", Action: "allow"}, "  refused   handoff_refused "},
		{"a copied passkey", audit.Record{Event: "step_up_failed", Action: "allow"}, "  refused   step_up_failed "},
		{"a policy's own refusal", audit.Record{Event: "sign_in_refused", Action: "block"}, "  block     sign_in_refused "},
		{"a path that imitates a column", audit.Record{Event: "access", Action: "block", Route: "treasury", Method: "GET", Path: "/a  incident X\x1b[2J"}, "GET \"/a  incident X\ufffd[2J\""},
		{"a long path", audit.Record{Event: "access", Action: "block", Route: "treasury", Method: "GET", Path: "/" + strings.Repeat("a", 2000)}, strings.Repeat("a", shownPath-1) + `…"`},
	} {
		var out bytes.Buffer
		if printRecord(&out, c.record); !strings.Contains(out.String(), c.want) || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%s: %q has no %q", c.what, out.String(), c.want)
		}
	}
}
