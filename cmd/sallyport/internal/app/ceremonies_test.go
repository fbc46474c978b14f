package app

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/authn"
)

// TestAttackSomebodyElsesBudget: neither an address nor the password of a person is enough to spend what they have.
func TestAttackSomebodyElsesBudget(t *testing.T) {
	l, err := newCeremonyLimits(5, nil)
	if err != nil {
		t.Fatal(err)
	}
	office, cafe := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	alice := authn.Person{Subject: authn.Subject{Issuer: "https://idp", ID: "alice"}}
	nobody := &authn.Session{}
	hers := &authn.Session{ID: "hers", Person: alice, Verification: authn.Verification{At: time.Now()}}
	begun := &authn.Session{ID: "begun", Person: alice}
	thief := &authn.Session{ID: "thief", Person: alice} // signed in with her password
	ok := func(who *authn.Session, from netip.Addr) bool { ok, _ := l.Allow(from, who); return ok }
	for range 100 {
		ok(nobody, office)
		ok(thief, cafe)
		l.AllowLogout(office)
	}
	if ok(nobody, office) || ok(thief, cafe) {
		t.Error("not limited")
	}
	if !ok(hers, office) || !ok(begun, office) || !ok(nobody, cafe) {
		t.Error("somebody else's budget was spent")
	}
	for range 5 {
		ok(hers, office)
	}
	if ok(hers, cafe) {
		t.Error("another address is another budget")
	}
	if ok, _ := l.AllowLogout(cafe); !ok {
		t.Error("the provider is not heard")
	}
}
