package passkey

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
	"github.com/go-webauthn/webauthn/webauthn"

	"sallyport/authn"
)

// Every code has words for the person: the table is found from the source, so
// that a new code cannot be forgotten.
func TestEveryCodeHasAdvice(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names[0].Name) < 5 || spec.Names[0].Name[:4] != "Code" {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil || seen[code] {
			t.Errorf("code %q: twice, or %v", code, err)
		}
		seen[code] = true
		if advice[code] == "" {
			t.Errorf("%s says nothing to the person", code)
		}
		return true
	})
	for code := range advice {
		if !seen[code] {
			t.Errorf("advice for %q, which is no code", code)
		}
	}
	if e := refuse("unheard_of", nil); !e.Risk || e.Public == "" {
		t.Errorf("an unknown code gives %+v", e)
	}
}

// A ceremony's key is found under by exactly what it was bound to, however the parts
// run together.
func TestAttackCeremonyKeysDoNotCollide(t *testing.T) {
	of := func(session, person, id string) [32]byte {
		return key(assertion, authn.Session{ID: session, Person: authn.Person{Subject: authn.Subject{Issuer: "i", ID: person}}}, id)
	}
	one := of("a", "b", "cd")
	for _, other := range [][32]byte{of("a", "bc", "d"), of("ab", "", "cd"), of("a", "", "bcd"), of("", "ab", "cd"), of("abcd", "", "")} {
		if one == other {
			t.Error("two ceremonies have one key")
		}
	}
	s := authn.Session{Person: authn.Person{Subject: authn.Subject{Issuer: "i", ID: "p"}}}
	s.ID = s.Person.Subject.Key() // so that session and person can be taken for each other
	long := s
	long.ID += "x"
	if key("a", s, "b") == key("a"+purpose(s.ID), s, "") || key("a", long, "b") == key("a", s, "xb") || key("ab", s, "c") == key("a", s, "c") {
		t.Error("two ceremonies have one key")
	}
	pre := s
	pre.ID = "b" + s.ID
	if key("a", pre, "c") == key("ab", s, "c") {
		t.Error("purpose and session run together")
	}
}

// What is signed to add a passkey stands for one nonce, relying party, person, credential id
// and public key, however the parts run together, and for no other purpose.
func TestChallengeCommitsToExactlyOneKey(t *testing.T) {
	of := func(rpID, nonce, person, id, key string) string {
		rp := &RelyingParty{library: &webauthn.WebAuthn{Config: &webauthn.Config{RPID: rpID}}}
		s := authn.Session{Person: authn.Person{Subject: authn.Subject{Issuer: "i", ID: person}}}
		return string(rp.commitment([]byte(nonce), s, Record{Credential: authn.Credential{ID: []byte(id)}, PublicKey: []byte(key)}))
	}
	seen := map[string]string{}
	for _, p := range [][5]string{
		{"rp", "nonce", "alice", "id", "key"},
		{"rq", "nonce", "alice", "id", "key"}, {"rp", "noncf", "alice", "id", "key"}, {"rp", "nonce", "bob", "id", "key"},
		{"rp", "nonce", "alice", "ie", "key"}, {"rp", "nonce", "alice", "id", "kez"},
		{"rp", "nonce", "alice", "idk", "ey"}, {"rp", "nonce", "alicei", "d", "key"}, {"r", "noncep", "alice", "id", "key"}, {"rp", "nonce", "alice", "", "idkey"},
	} {
		c := of(p[0], p[1], p[2], p[3], p[4])
		if other, ok := seen[c]; ok || len(c) != 32 {
			t.Errorf("%q and %s have one challenge", p, other)
		}
		seen[c] = fmt.Sprintf("%q", p)
	}
	subject := authn.Subject{Issuer: "i", ID: "alice"}
	if sum := digest("nonce", "rp", subject.Key(), "id", "key"); seen[string(sum[:])] != "" {
		t.Error("nothing keeps the challenge apart from other digests")
	}
}

func TestAttackUnusableKey(t *testing.T) {
	for name, key := range map[string]any{
		"no key type":        map[int]any{3: -7},
		"key type of RSA":    map[int]any{1: 3, 3: -7, -1: 1, -2: make([]byte, 32), -3: make([]byte, 32)},
		"not on the curve":   map[int]any{1: 2, 3: -7, -1: 1, -2: make([]byte, 32), -3: make([]byte, 32)},
		"curve of ES384":     map[int]any{1: 2, 3: -7, -1: 2, -2: make([]byte, 48), -3: make([]byte, 48)},
		"short Ed25519":      map[int]any{1: 1, 3: -8, -1: 6, -2: make([]byte, 5)},
		"RSA exponent of 1":  map[int]any{1: 3, 3: -257, -1: append([]byte{0xc1}, make([]byte, 255)...), -2: []byte{1}},
		"RSA of 1024 bits":   map[int]any{1: 3, 3: -257, -1: append([]byte{0xc1}, make([]byte, 127)...), -2: []byte{1, 0, 1}},
		"RSA without modulo": map[int]any{1: 3, 3: -257, -2: []byte{1, 0, 1}},
		"not a map":          7,
	} {
		cose, err := webauthncbor.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkKey(cose, algorithms()); !errors.Is(err, refuse(CodeKeyUnusable, nil)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
