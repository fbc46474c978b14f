package passkey_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/passkey"
)

// answerOf is a ceremony that was begun, and what a key signed for it.
type answerOf struct {
	passkey.Ceremony
	body []byte
}

// TestSignCountsThatTimeBrings: one security key in two computers. In which order its
// answers arrive is the network's doing: in every order, nothing is blocked, the highest
// count is remembered, and the next answer is good.
func TestSignCountsThatTimeBrings(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {1, 0, 2}, {2, 1, 0}, {0, 2, 1}, {1, 2, 0}, {2, 0, 1}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			w, alice, laptop := newHarness(t), session("alice", "1"), session("alice", "2")
			key := authntest.NewAuthenticator(origin)
			r := w.register(alice, key)
			w.mustAssert(alice, key)
			var answers []answerOf
			for i := range 3 { // all are begun before the first is answered
				s := []authn.Session{alice, laptop}[i%2]
				c, body := w.asserted(s, key)
				answers = append(answers, answerOf{c, body})
			}
			var most uint32
			for _, i := range order {
				s, count := []authn.Session{alice, laptop}[i%2], uint32(i)
				_, err := w.FinishAssertion(t.Context(), s, answers[i].ID, answers[i].body)
				if most <= count {
					if err != nil {
						t.Errorf("answer %d: %v", i, err)
					}
					most = count
					continue
				}
				refused(t, err, passkey.CodeOvertaken, false)
			}
			if now := w.stored(r); now.Blocked != "" || now.SignCount != key.Count {
				t.Errorf("blocked %q, count %d of %d", now.Blocked, now.SignCount, key.Count)
			}
			w.mustAssert(laptop, key)
		})
	}
}

// A count that was reached before the challenge was made, or that was used already, is a
// copy in any order of arrival.
func TestAttackCountsOfACopy(t *testing.T) {
	for _, tt := range []struct {
		name string
		lag  int // uses of the owner's that the copy does not know of, before its ceremony begins
		late int // and after
		code string
	}{
		{"behind at the beginning", 2, 0, passkey.CodeCounterRegressed},
		{"level at the beginning", 1, 0, passkey.CodeCounterRegressed},
		{"behind at the beginning, answered late", 1, 3, passkey.CodeCounterRegressed},
		{"the same count twice", 0, 1, passkey.CodeCounterRegressed},
		{"between: not to be told from a key in two computers", 0, 2, passkey.CodeOvertaken},
	} {
		for _, vouching := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, vouching %t", tt.name, vouching), func(t *testing.T) {
				w, alice := newHarness(t), session("alice", "1")
				key := authntest.NewAuthenticator(origin)
				r := w.register(alice, key)
				alice = w.verified(alice, key)
				thief := key.Clone()
				for range tt.lag {
					w.mustAssert(alice, key)
				}
				var c passkey.Ceremony
				var body []byte
				if vouching {
					proposal, _ := w.proposed(alice, authntest.NewAuthenticator(origin))
					c, body = w.vouching(alice, proposal, thief)
				} else {
					c, body = w.asserted(alice, thief)
				}
				for range tt.late {
					w.mustAssert(alice, key)
				}
				var err error
				if vouching {
					_, err = w.FinishVouching(t.Context(), alice, c.ID, body)
				} else {
					_, err = w.FinishAssertion(t.Context(), alice, c.ID, body)
				}
				refused(t, err, tt.code, tt.code == passkey.CodeCounterRegressed)
				if blocked := w.stored(r).Blocked != ""; blocked != (tt.code == passkey.CodeCounterRegressed) {
					t.Errorf("blocked: %q", w.stored(r).Blocked)
				}
			})
		}
	}
}

// At once: of honest answers the one with the highest count always gets through, and
// nothing is blocked.
func TestSignCountsAtOnce(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	key := authntest.NewAuthenticator(origin)
	r := w.register(alice, key)
	for range 20 {
		var answers []answerOf
		for range 4 {
			c, body := w.asserted(alice, key)
			answers = append(answers, answerOf{c, body})
		}
		errs := make([]error, len(answers))
		var wg sync.WaitGroup
		for i, a := range answers {
			wg.Go(func() { _, errs[i] = w.FinishAssertion(t.Context(), alice, a.ID, a.body) })
		}
		wg.Wait()
		for i, err := range errs {
			if e, ok := errors.AsType[*passkey.Error](err); err != nil && (!ok || e.Code != passkey.CodeOvertaken || i == len(errs)-1) {
				t.Fatalf("answer %d: %v", i, err)
			}
		}
		if now := w.stored(r); now.Blocked != "" || now.SignCount != key.Count {
			t.Fatalf("blocked %q, count %d of %d", now.Blocked, now.SignCount, key.Count)
		}
	}
}

// The owner and a copy with one count, at once: each is judged by the count that the other
// has stored meanwhile.
func TestAttackCopyAtTheSameMoment(t *testing.T) {
	w, alice := newHarness(t), session("alice", "1")
	key := authntest.NewAuthenticator(origin)
	r := w.register(alice, key)
	thief := key.Clone()
	c1, body1 := w.asserted(alice, key)
	c2, body2 := w.asserted(alice, thief)
	once := false
	w.store.OnCall("RecordUse", func() {
		if once {
			return
		}
		once = true
		if _, err := w.FinishAssertion(t.Context(), alice, c2.ID, body2); err != nil {
			t.Errorf("the quicker one: %v", err)
		}
	})
	_, err := w.FinishAssertion(t.Context(), alice, c1.ID, body1)
	refused(t, err, passkey.CodeCounterRegressed, true)
	if w.stored(r).Blocked == "" {
		t.Error("not blocked")
	}
}
