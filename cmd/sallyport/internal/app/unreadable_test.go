package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"sallyport/authn/signin"
)

// TestAttackUnreadableClaims: a provider that sends groups no one can read says
// something about the person all the time. For three intervals that may be a mistake
// that a person puts right.
func TestAttackUnreadableClaims(t *testing.T) {
	g := newRefreshRig(t)
	var logged bytes.Buffer
	g.logger = slog.New(slog.NewTextHandler(&logged, nil))
	g.signIn("alice", "treasury")
	g.signIn("bob", "treasury")
	g.provider.down["alice"] = &signin.Error{Code: signin.CodeClaimMalformed}
	confirmed := g.now
	for g.now.Sub(confirmed) < unreadableFor*g.every-g.tick() {
		g.pass()
		if _, in := g.person("alice"); !in {
			t.Fatalf("ended after %s", g.now.Sub(confirmed))
		}
	}
	if !strings.Contains(logged.String(), "level=ERROR") {
		t.Errorf("not loud: %s", logged.String())
	}
	g.pass()
	if _, in := g.person("alice"); in {
		t.Fatalf("still in after %s", g.now.Sub(confirmed))
	}
	if _, in := g.person("bob"); !in {
		t.Error("bob, whose claims can be read, was signed out")
	}
	if len(g.audit.list) != 1 || g.audit.list[0].Detail["reason"] != "refresh_unreadable" {
		t.Errorf("audit: %+v", g.audit.list)
	}
}

// A claim that was put right in time starts the count anew.
func TestUnreadableClaimsPutRight(t *testing.T) {
	g := newRefreshRig(t)
	g.signIn("alice", "treasury")
	for range 3 {
		g.provider.down["alice"] = &signin.Error{Code: signin.CodeClaimMalformed}
		for range 25 { // two and a half intervals
			g.pass()
		}
		g.provider.change(func() { clear(g.provider.down) })
		g.pass()
	}
	if _, in := g.person("alice"); !in {
		t.Error("signed out")
	}
}
