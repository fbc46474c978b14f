package proxy_test

import (
	"maps"
	"strings"
	"testing"

	"sallyport/proxy/portal"
)

// What a browser did not go through with is in the log and in a metric, in words of ours.
func TestStoppedCeremonies(t *testing.T) {
	counted := map[string]int{}
	g := newHarness(t, func(p *setup) {
		p.pages = func(c *portal.Config) { c.Stopped = func(phase, name string) { counted[phase+" "+name]++ } }
	})
	b := g.enrolled("alice", home)
	to := login + "/.sallyport/ceremony/stopped"
	long := strings.Repeat("x", 300)
	for _, c := range []struct{ sent, want map[string]string }{
		{map[string]string{"error": "NotAllowedError", "phase": "get", "page": "step-up"},
			map[string]string{"error": "NotAllowedError", "phase": "get", "page": "step-up", "authenticator": "unknown"}},
		{map[string]string{"error": "TypeError", "phase": "encode", "page": "enroll", "authenticator": "cross-platform"},
			map[string]string{"error": "TypeError", "phase": "encode", "page": "enroll", "authenticator": "cross-platform"}},
		{map[string]string{"error": "<script>", "phase": "a\nline", "page": "../..", "authenticator": long},
			map[string]string{"error": "other", "phase": "other", "page": "other", "authenticator": "other"}},
		{map[string]string{}, map[string]string{"error": "unknown", "phase": "unknown", "page": "unknown", "authenticator": "unknown"}},
	} {
		if a := b.fetch("POST", to, c.sent); a.StatusCode != 204 || a.body != "" {
			t.Errorf("%v: %d %s", c.sent, a.StatusCode, a.body)
		}
		recs := g.audit.take()
		if len(recs) != 1 || recs[0].Event != "ceremony_stopped" || !maps.Equal(recs[0].Detail, c.want) || recs[0].User != "alice@example.test" {
			t.Errorf("%v: %s", c.sent, jsonText(recs))
		}
	}
	if counted["get NotAllowedError"] != 1 || counted["other other"] != 1 || len(counted) != 4 {
		t.Errorf("counted %v", counted)
	}
	if a := b.fetch("POST", to, map[string]any{"message": "free text"}); a.StatusCode != 400 {
		t.Errorf("an unknown member: %d", a.StatusCode)
	}
	if a := b.fetch("POST", to, map[string]any{"error": strings.Repeat("x", 2000)}); a.StatusCode != 413 {
		t.Errorf("too long: %d", a.StatusCode)
	}
	if a := g.browser(home).fetch("POST", to, map[string]any{"error": "NotAllowedError"}); a.StatusCode != 401 {
		t.Errorf("of nobody: %d", a.StatusCode)
	}
	if recs := g.audit.take(); len(recs) != 0 {
		t.Errorf("records %s", jsonText(recs))
	}
}

// Reports fill no more of the log than its budget lets a person have.
func TestAttackFloodOfStoppedCeremonies(t *testing.T) {
	change, written := withLog(t)
	g := newHarness(t, change)
	b := g.browser(home).enroll("alice")
	written()
	for range 400 {
		b.fetch("POST", login+"/.sallyport/ceremony/stopped", map[string]any{"error": "NotAllowedError", "phase": "get"})
	}
	lines := 0
	for _, r := range written() {
		if r.Event == "ceremony_stopped" {
			lines++
		}
	}
	if lines == 0 || lines > 70 {
		t.Errorf("%d lines of 400 reports", lines)
	}
}
