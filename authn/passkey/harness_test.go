package passkey_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
)

const (
	rpID   = "corp.example"
	origin = "https://login.corp.example"
)

// harness is a relying party over a store in memory, with a clock to turn.
type harness struct {
	*passkey.RelyingParty
	t     *testing.T
	store *authntest.Memory
	now   time.Time
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	w := &harness{t: t, store: authntest.NewMemory(), now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	rp, err := passkey.New(passkey.Config{
		RPID: rpID, RPName: "Corp", Origins: []string{origin, "https://corp.example"},
		Store: w.store, Ceremonies: w.store, Now: func() time.Time { return w.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.RelyingParty = rp
	t.Cleanup(func() {
		for _, v := range w.store.Violations() {
			t.Error(v)
		}
	})
	return w
}

func person(name string) authn.Person {
	return authn.Person{
		Subject: authn.Subject{Issuer: "https://idp.example", ID: name},
		Email:   authn.Email(name + "@corp.example"),
		Name:    name,
	}
}

// session is a person signed in, in one of their browsers.
func session(name, browser string) authn.Session {
	return authn.Session{ID: name + "-" + browser, Person: person(name), Host: "login.corp.example"}
}

// register makes and stores a passkey.
func (w *harness) register(s authn.Session, a *authntest.Authenticator) passkey.Record {
	w.t.Helper()
	r, err := w.tryRegister(s, a)
	if err != nil {
		w.t.Fatalf("registration: %v", err)
	}
	if err := w.store.AddCredential(w.t.Context(), r, nil); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *harness) tryRegister(s authn.Session, a *authntest.Authenticator) (passkey.Record, error) {
	w.t.Helper()
	c, body := w.created(s, a)
	return w.FinishRegistration(w.t.Context(), s, c.ID, body)
}

// created begins a registration and has the browser answer it.
func (w *harness) created(s authn.Session, a *authntest.Authenticator) (passkey.Ceremony, []byte) {
	w.t.Helper()
	c, err := w.BeginRegistration(w.t.Context(), s)
	if err != nil {
		w.t.Fatalf("begin registration: %v", err)
	}
	body, err := a.Create(c.Options)
	if err != nil {
		w.t.Fatalf("create: %v", err)
	}
	return c, body
}

// proposed makes a further passkey, and leaves it to be vouched for.
func (w *harness) proposed(s authn.Session, a *authntest.Authenticator) (string, passkey.Record) {
	w.t.Helper()
	r, err := w.tryRegister(s, a)
	if err != nil {
		w.t.Fatalf("registration: %v", err)
	}
	id, err := w.Propose(w.t.Context(), s, r)
	if err != nil {
		w.t.Fatalf("propose: %v", err)
	}
	return id, r
}

// vouching begins to vouch for a proposal and has the browser answer.
func (w *harness) vouching(s authn.Session, proposal string, a *authntest.Authenticator) (passkey.Ceremony, []byte) {
	w.t.Helper()
	c, err := w.BeginVouching(w.t.Context(), s, proposal)
	if err != nil {
		w.t.Fatalf("begin vouching: %v", err)
	}
	body, err := a.Get(c.Options)
	if err != nil {
		w.t.Fatalf("get: %v", err)
	}
	return c, body
}

// verified is s after an assertion with a.
func (w *harness) verified(s authn.Session, a *authntest.Authenticator) authn.Session {
	w.t.Helper()
	s.Verification = authn.Verification{At: w.now, Credential: w.mustAssert(s, a)}
	return s
}

// has reports whether a passkey is stored.
func (w *harness) has(r passkey.Record) bool {
	w.t.Helper()
	records, err := w.List(context.WithoutCancel(w.t.Context()), r.Subject)
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.ContainsFunc(records, func(o passkey.Record) bool { return string(o.ID) == string(r.ID) })
}

// asserted begins an assertion and has the browser answer it.
func (w *harness) asserted(s authn.Session, a *authntest.Authenticator) (passkey.Ceremony, []byte) {
	w.t.Helper()
	c, err := w.BeginAssertion(w.t.Context(), s)
	if err != nil {
		w.t.Fatalf("begin assertion: %v", err)
	}
	body, err := a.Get(c.Options)
	if err != nil {
		w.t.Fatalf("get: %v", err)
	}
	return c, body
}

func (w *harness) assert(s authn.Session, a *authntest.Authenticator) (authn.Credential, error) {
	w.t.Helper()
	c, body := w.asserted(s, a)
	return w.FinishAssertion(w.t.Context(), s, c.ID, body)
}

func (w *harness) mustAssert(s authn.Session, a *authntest.Authenticator) authn.Credential {
	w.t.Helper()
	c, err := w.assert(s, a)
	if err != nil {
		w.t.Fatalf("assertion: %v", err)
	}
	return c
}

// stored is the credential as the store has it now.
func (w *harness) stored(r passkey.Record) passkey.Record {
	w.t.Helper()
	records, err := w.store.Credentials(context.WithoutCancel(w.t.Context()), r.Subject)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range records {
		if string(o.ID) == string(r.ID) {
			return o
		}
	}
	w.t.Fatal("the credential is gone")
	return passkey.Record{}
}

// refused checks the code and the risk of a refusal, and that it has words for
// the person.
func refused(t *testing.T, err error, code string, risk bool) {
	t.Helper()
	var e *passkey.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a refusal with %s", err, code)
	}
	if e.Code != code || e.Risk != risk {
		t.Errorf("refused with %s (risk %t): %v; want %s (risk %t)", e.Code, e.Risk, err, code, risk)
	}
	if e.Public == "" {
		t.Errorf("%s says nothing to the person", e.Code)
	}
}
