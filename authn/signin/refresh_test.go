package signin_test

import (
	"testing"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/signin"
)

func TestRefresh(t *testing.T) {
	r := newHarness(t)
	first := r.mustSignIn("alice-1")
	r.clock.Add(30 * time.Minute)
	second, err := r.rp.Refresh(t.Context(), subject(r), first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case second.RefreshToken == "" || second.RefreshToken == first.RefreshToken:
		t.Error("the rotated refresh token was not passed on")
	case second.IDToken == "" || second.IDToken == first.IDToken:
		t.Error("the new ID token was not passed on")
	case !second.AuthTime.Equal(first.AuthTime):
		t.Errorf("auth time %s: a refresh is not a sign-in", second.AuthTime)
	case second.Person.Email != first.Person.Email || len(second.Person.Groups) != 2:
		t.Errorf("person %+v", second.Person)
	}
}

func TestRefreshWithoutIDToken(t *testing.T) {
	r := newHarness(t)
	res := r.mustSignIn("alice-1")
	r.idp.SetFaults(authntest.FaultNoRefreshFacts)
	again, err := r.rp.Refresh(t.Context(), subject(r), res.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if p := again.Person; p.Subject != subject(r) || p.Email != "alice@example.com" || len(p.Groups) != 2 {
		t.Errorf("person %+v", p)
	}
	if again.IDToken != "" || !again.AuthTime.IsZero() {
		t.Errorf("an ID token or its time from nowhere: %s", again.AuthTime)
	}
}

func TestRefreshKeepsTheTokenThatIsNotReplaced(t *testing.T) {
	r := newHarness(t)
	res := r.mustSignIn("alice-1")
	r.idp.SetFaults(authntest.FaultNoRefreshToken)
	again, err := r.rp.Refresh(t.Context(), subject(r), res.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if again.RefreshToken != res.RefreshToken {
		t.Error("the refresh token was lost")
	}
}

func TestRefreshWithoutToken(t *testing.T) {
	r := newHarness(t)
	if _, err := r.rp.Refresh(t.Context(), subject(r), ""); err == nil {
		t.Error("accepted")
	}
}

func TestRefreshAcceptsNoTokenOfAnEarlierAnswer(t *testing.T) {
	r := newHarness(t)
	res := r.mustSignIn("alice-1")
	r.clock.Add(30 * time.Minute)
	r.idp.SetFaults(authntest.FaultIssuedEarlier)
	again, err := r.rp.Refresh(t.Context(), subject(r), res.RefreshToken)
	wantCode(t, again, err, signin.CodeTokenStale)
}
