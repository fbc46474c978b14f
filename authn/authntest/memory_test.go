package authntest

import (
	"context"
	"errors"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
)

func TestMemoryConforms(t *testing.T) {
	TestStores(t, func(*testing.T) (Stores, Stores) {
		m := NewMemory()
		return m, m
	})
}

func TestMemoryFaultsComeInPairs(t *testing.T) {
	ctx := t.Context()
	for _, test := range []struct {
		fault  Fault
		stored bool
	}{{NotStored, false}, {Stored, true}} {
		m := NewMemory()
		m.FailNext("Put", test.fault)
		if err := m.Put(ctx, "p", digest("k"), nil, epoch); !errors.Is(err, ErrFault) {
			t.Fatalf("fault %d: got %v", test.fault, err)
		}
		_, err := m.Take(ctx, "p", digest("k"), epoch.Add(-time.Hour))
		if stored := err == nil; stored != test.stored {
			t.Errorf("fault %d: stored = %v", test.fault, stored)
		}
	}
}

func TestMemoryIsDownUntilHealed(t *testing.T) {
	ctx := t.Context()
	m := NewMemory()
	m.Fail(NotStored)
	for range 2 {
		if _, err := m.ListTickets(ctx, ""); !errors.Is(err, ErrFault) {
			t.Fatalf("got %v", err)
		}
		if _, _, err := m.LoadSession(ctx, digest("x")); errors.Is(err, authn.ErrNotFound) {
			t.Fatal("a store that is down says that the session is not there")
		}
	}
	m.Heal()
	if _, err := m.ListTickets(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if n := m.Calls("ListTickets"); n != 3 {
		t.Errorf("counted %d calls", n)
	}
}

func TestMemoryHooksRunBeforeTheCall(t *testing.T) {
	ctx := t.Context()
	m := NewMemory()
	r, tok := sampleSession("s1", subject("alice"))
	if err := m.CreateSession(ctx, r, tok); err != nil {
		t.Fatal(err)
	}
	m.OnCall("PutToken", func() {
		if _, err := m.RevokeSessions(ctx, session.Filter{ID: "s1"}); err != nil {
			t.Error(err)
		}
	})
	if err := m.PutToken(ctx, sampleToken("x", "s1", "other")); !errors.Is(err, authn.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
}

func TestMemoryRemembersViolations(t *testing.T) {
	m := NewMemory()
	if err := m.CreateSession(context.Background(), session.Record{}, session.Token{}); err == nil {
		t.Fatal("an empty session was stored")
	}
	if len(m.Violations()) == 0 {
		t.Fatal("nothing was remembered")
	}
	defer func() {
		if recover() == nil {
			t.Error("a misspelt method was accepted")
		}
	}()
	m.FailNext("LoadSesion", Stored)
}

// A reader that was away for longer than the log is kept must hear of it.
func TestMemoryTrimsTheChangeLog(t *testing.T) {
	ctx := t.Context()
	m := NewMemory()
	_, old, err := m.SessionChanges(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range changesKept + 1 {
		m.note("s1")
	}
	if _, _, err := m.SessionChanges(ctx, old); err != nil {
		t.Fatalf("before the purge: %v", err)
	}
	if _, err := m.PurgeSessions(ctx, time.Time{}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.SessionChanges(ctx, old); err == nil {
		t.Fatal("a reader that missed changes was told that there are none")
	}
	if ids, _, err := m.SessionChanges(ctx, old+1); err != nil || len(ids) != 1 {
		t.Fatalf("a reader at the edge: %v, %v", ids, err)
	}
	if _, _, err := m.SessionChanges(ctx, 0); err != nil {
		t.Fatalf("a reader that starts: %v", err)
	}
}
