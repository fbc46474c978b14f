package expr

import (
	"strings"
	"testing"
)

// A fact larger than the estimate assumed is still judged, but under the limit.
func TestOversizeFactsRunUnderTheLimit(t *testing.T) {
	e := testEnv(t)
	f := sample()
	for range 5000 {
		f.User.Groups = append(f.User.Groups, "group")
	}
	f.User.Groups = append(f.User.Groups, "last")
	for text, want := range map[string]bool{`"last" in user.groups`: true, `user.groups.exists(g, g == "last")`: true, `ip.vpn`: true} {
		if got, err := eval(compile(t, e, text), f); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for range 100_000 {
		f.User.Groups = append(f.User.Groups, "group")
	}
	got, err := eval(compile(t, e, `user.groups.all(g, g != "x" && ip.country != "ZZ")`), f)
	if got || err == nil || !strings.Contains(err.Error(), "costs too much") {
		t.Errorf("an evaluation beyond the limit gave %v, %v", got, err)
	}
	f = &testFacts{User: testUser{Email: strings.Repeat("x", 1<<20)}}
	for text, want := range map[string]bool{`user.email == "x"`: false, `user.email in ["x"]`: false, `user.email.contains("y")`: false, `user.email != "x"`: true} {
		if got, err := eval(compile(t, e, text), f); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	// and the scope is as good as new afterwards
	if got, err := eval(compile(t, e, `ip.country == "KP"`), sample()); !got || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}
