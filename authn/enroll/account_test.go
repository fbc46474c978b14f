package enroll_test

import (
	"context"
	"errors"
	"testing"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/enroll"
)

// namesake is another account with the e-mail address of name.
func namesake(name string) authn.Person {
	p := person(name)
	p.Subject.ID = "new-" + name
	return p
}

// An e-mail address that was given to another person, or that another account of
// the provider came by, does not bring a ticket along.
func TestAttackAddressOfAnotherAccount(t *testing.T) {
	w := newHarness(t)
	_, first := w.mint("alice")
	if err := w.Redeem(t.Context(), first, person("alice"), w.passkeyOf("alice")); err != nil {
		t.Fatal(err)
	}
	heir := namesake("alice")
	record := w.passkeyOf("new-alice")
	_, second := w.mint("alice")
	if _, err := w.Check(t.Context(), second, heir); !errors.Is(err, enroll.ErrOtherAccount) {
		t.Errorf("check: %v", err)
	}
	if err := w.Redeem(t.Context(), second, heir, record); !errors.Is(err, enroll.ErrOtherAccount) {
		t.Errorf("redeem: %v", err)
	}
	if _, err := w.Check(t.Context(), second, person("alice")); err != nil {
		t.Errorf("her own further ticket: %v", err)
	}
	if enroll.ErrOtherAccount.Public != enroll.ErrWrongPerson.Public {
		t.Error("a stranger can tell")
	}

	_, third, err := w.Mint(t.Context(), enroll.MintRequest{Email: heir.Email, By: "root", NewAccount: true})
	if err != nil {
		t.Fatal(err)
	}
	if ticket, err := w.Check(t.Context(), third, heir); err != nil || !ticket.NewAccount {
		t.Fatalf("a ticket for the new account: %v", err)
	}
	if err := w.Redeem(t.Context(), third, heir, record); err != nil {
		t.Errorf("a ticket for the new account: %v", err)
	}
}

// Both ask at once; the store's transaction lets one account have the address.
func TestAttackAddressTakenMeanwhile(t *testing.T) {
	w := newHarness(t)
	_, one := w.mint("alice")
	_, two := w.mint("alice")
	heir, record := namesake("alice"), w.passkeyOf("new-alice")
	hers := w.passkeyOf("alice")
	w.store.OnCall("RedeemTicket", func() {
		w.store.OnCall("RedeemTicket", func() {})
		if err := w.Redeem(t.Context(), one, person("alice"), hers); err != nil {
			t.Error(err)
		}
	})
	if err := w.Redeem(t.Context(), two, heir, record); !errors.Is(err, enroll.ErrOtherAccount) {
		t.Errorf("redeem: %v", err)
	}
}

func TestStoreDownWhileLookingForTheOtherAccount(t *testing.T) {
	w := newHarness(t)
	_, secret := w.mint("alice")
	w.store.FailNext("OtherAccount", authntest.NotStored)
	if _, err := w.Check(t.Context(), secret, person("alice")); !errors.Is(err, authntest.ErrFault) {
		t.Errorf("%v", err)
	}
}

// The making of a ticket is written down before there is one.
func TestOnMintComesFirst(t *testing.T) {
	w := newHarness(t)
	var noted enroll.Ticket
	r := enroll.MintRequest{Email: person("alice").Email, By: "root", OnMint: func(ctx context.Context, k enroll.Ticket) error {
		if list, err := w.List(ctx, ""); err != nil || len(list) != 0 {
			t.Errorf("%d tickets, %v", len(list), err)
		}
		noted = k
		return nil
	}}
	if ticket, _, err := w.Mint(t.Context(), r); err != nil || ticket != noted || noted.ID == "" {
		t.Errorf("noted %+v, made %+v, %v", noted, ticket, err)
	}
	full := errors.New("disk full")
	r.OnMint = func(context.Context, enroll.Ticket) error { return full }
	if _, secret, err := w.Mint(t.Context(), r); !errors.Is(err, full) || secret != "" {
		t.Errorf("%q, %v", secret, err)
	}
	if list, err := w.List(t.Context(), ""); err != nil || len(list) != 1 {
		t.Errorf("%d tickets, %v", len(list), err)
	}
}
