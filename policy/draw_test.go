package policy

import (
	"fmt"
	"testing"
	"time"
)

const drawnPolicy = reverifyPolicy + `  - {name: tenth, when: ip.vpn, then: block, enforce: {percent: 50}}
`

// TestDrawsCannotBeWorkedOutWithoutTheKey: a person with the policy file and all that `whoami` tells them of their session
// knows neither when they are asked again nor whether a percentage includes them.
func TestDrawsCannotBeWorkedOutWithoutTheKey(t *testing.T) {
	guess := mustCompile(t, drawnPolicy)
	real := guess.Keyed(DrawKey{1})
	same := mustCompile(t, drawnPolicy).Keyed(DrawKey{1})
	if !guess.Draws() {
		t.Error("draws nothing")
	}
	right, in := 0, 0
	const n = 1000
	for i := range n {
		f := since(OrdinaryTime.Add(time.Duration(i)*time.Second), time.Minute, func(f *Facts) { f.User.Subject = fmt.Sprint("s", i) })
		r, s := &real.rules[0], &real.rules[len(real.rules)-1]
		d := real.drawn(r, f)
		if d != same.drawn(&same.rules[0], f) || real.reports(s, f) != same.reports(s, f) {
			t.Fatal("two replicas draw differently")
		}
		if off := d - guess.drawn(&guess.rules[0], f); off.Abs() < time.Minute {
			right++
		}
		if real.reports(s, f) == guess.reports(s, f) {
			in++
		}
	}
	// By chance: 8 within a minute of 4 h, and half of the places.
	if right > 30 {
		t.Errorf("%d of %d due times were guessed", right, n)
	}
	if in < n*4/10 || in > n*6/10 {
		t.Errorf("%d of %d places were guessed", in, n)
	}
}

// What a policy draws in tests is the same everywhere: Compile does not know the key.
func TestCompiledPolicyDrawsByTheKeyOfTests(t *testing.T) {
	f := since(OrdinaryTime, time.Minute)
	a, b := mustCompile(t, drawnPolicy), mustCompile(t, drawnPolicy).Keyed(DrawKey{})
	if a.drawn(&a.rules[0], f) != b.drawn(&b.rules[0], f) {
		t.Error("differs")
	}
	if p := mustCompile(t, "\nrules:\n  - {name: r, when: ip.vpn, then: block, enforce: {percent: 100}}\n"); p.Draws() {
		t.Error("there is nothing to draw for everybody")
	}
}
