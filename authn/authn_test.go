package authn_test

import (
	"testing"
	"time"

	"sallyport/authn"
)

func TestZeroValueIsNobody(t *testing.T) {
	var s authn.Session
	if s.Level() != authn.None || authn.Level(0) != authn.None || authn.Class(0) != authn.ClassNone {
		t.Error("a zero value is somebody")
	}
	if authn.Level(7).String() != "none" || authn.Class(7).String() != "none" {
		t.Error("a value out of range has a name of its own")
	}
}

func TestLevel(t *testing.T) {
	alice := authn.Person{Subject: authn.Subject{Issuer: "https://idp", ID: "1"}}
	proof := authn.Verification{At: time.Unix(1, 0)}
	for _, tc := range []struct {
		name string
		s    authn.Session
		want authn.Level
	}{
		{"no session", authn.Session{Person: alice, Verification: proof}, authn.None},
		{"nobody's session", authn.Session{ID: "x", Verification: proof}, authn.None},
		{"signed in", authn.Session{ID: "x", Person: alice}, authn.SignedIn},
		{"verified", authn.Session{ID: "x", Person: alice, Verification: proof}, authn.Verified},
	} {
		if got := tc.s.Level(); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Two people whose parts run together to the same text are two people.
func TestAttackSubjectKeysDoNotCollide(t *testing.T) {
	pairs := [][2]authn.Subject{
		{{Issuer: "a", ID: "bc"}, {Issuer: "ab", ID: "c"}},
		{{Issuer: "", ID: "1:a"}, {Issuer: "1", ID: ":a"}},
		{{Issuer: "1:", ID: "x"}, {Issuer: "", ID: "1:x"}},
	}
	for _, p := range pairs {
		if p[0].Key() == p[1].Key() {
			t.Errorf("%+v and %+v are one", p[0], p[1])
		}
	}
}

// One mailbox has one spelling, and no two spellings that look alike are one.
func TestAttackEmailSpellings(t *testing.T) {
	for in, want := range map[string]authn.Email{
		"alice@example.com": "alice@example.com",
		"Alice@Example.COM": "alice@example.com",
		"a+tag@example.com": "a+tag@example.com",
	} {
		if got, err := authn.ParseEmail(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "alice", "@example.com", "alice@", "a@b@example.com", "alice@example.com@evil.test", "alice@@example.com",
		"аlice@example.com", "alice@exаmple.com", "\u212alice@example.com", "alice@example.com\u200b", // homoglyphs, the Kelvin sign, nothing at all
		" alice@example.com", "alice@example.com ", "al ice@example.com", "alice@example.com\n", "alice\x00@example.com",
		`"alice"@example.com`, "alice(comment)@example.com", "alice@[192.0.2.1]", "a,b@example.com", "<alice@example.com>",
		"alice@example.com.", "alice@.example.com", "alice@example..com",
	} {
		if got, err := authn.ParseEmail(in); err == nil {
			t.Errorf("%q was taken for %q", in, got)
		}
	}
	if authn.Email("alice@example.com").Domain() != "example.com" {
		t.Error("domain")
	}
}

func FuzzParseEmail(f *testing.F) {
	for _, s := range []string{"alice@example.com", "a@b@c", "ALICE@EXAMPLE.COM", "é@example.com", "a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := authn.ParseEmail(s)
		if err != nil {
			return
		}
		again, err := authn.ParseEmail(string(e))
		if err != nil || again != e {
			t.Errorf("%q is %q, and that is %q (%v)", s, e, again, err)
		}
		for _, c := range []byte(e) {
			if c <= ' ' || c >= 0x7f || c >= 'A' && c <= 'Z' {
				t.Errorf("%q holds %q", e, c)
			}
		}
	})
}

func TestClassNames(t *testing.T) {
	for _, c := range []authn.Class{authn.ClassNone, authn.ClassSynced, authn.ClassUnattested, authn.ClassAttested} {
		if got, err := authn.ParseClass(c.String()); err != nil || got != c {
			t.Errorf("%v comes back as %v, %v", c, got, err)
		}
	}
	if _, err := authn.ParseClass("hardware"); err == nil {
		t.Error("an unknown class was accepted")
	}
}
