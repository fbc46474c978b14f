package sqlstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/proxy/rollout"
)

func openForPolicies(t *testing.T) (cli, server *DB) {
	t.Helper()
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "state.db")
	for _, d := range []**DB{&cli, &server} {
		var err error
		if *d, err = Open(t.Context(), dsn, Options{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*d).Close() })
	}
	return cli, server
}

func TestPolicyVersions(t *testing.T) {
	cli, server := openForPolicies(t)
	if _, _, err := server.LastPolicy(t.Context()); !errors.Is(err, authn.ErrNotFound) {
		t.Error("a policy was in force:", err)
	}
	at := micro(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	a, b := strings.Repeat("ab", 32), strings.Repeat("ac", 32)
	want := []rollout.Version{
		{Seq: 1, At: at, Hash: a, Outcome: "applied", Origin: "start", By: "", Detail: ""},
		{Seq: 2, At: at, Hash: b, Outcome: "refused", Origin: "file", By: "", Detail: "line 3"},
		{Seq: 3, At: at, Hash: b, Outcome: "forced", Origin: "command", By: "root", Detail: "2 people", Note: "as agreed"},
		{Seq: 4, At: at, Hash: a, Outcome: "rolled_back", Origin: "command", By: "root", Detail: ""},
	}
	for i, v := range want {
		source := []string{"one", "", "two", "one"}[i]
		v.Seq = 99
		if err := server.AddPolicyVersion(t.Context(), v, source); err != nil {
			t.Fatal(err)
		}
	}
	got, err := cli.PolicyVersions(t.Context(), 10)
	for i := range want {
		if err != nil || len(got) != 4 || !reflect.DeepEqual(got[3-i], want[i]) {
			t.Fatalf("%+v %v", got, err)
		}
	}
	if got, err := cli.PolicyVersions(t.Context(), 1); err != nil || len(got) != 1 || got[0].Seq != 4 {
		t.Fatal(got, err)
	}
	if hash, text, err := cli.PolicyText(t.Context(), "abab"); err != nil || hash != a || text != "one" {
		t.Error(hash, text, err)
	}
	if _, _, err := cli.PolicyText(t.Context(), "a"); err == nil || errors.Is(err, authn.ErrNotFound) || !strings.Contains(err.Error(), "several") {
		t.Error("two begin like that:", err)
	}
	if _, _, err := cli.PolicyText(t.Context(), "ad"); !errors.Is(err, authn.ErrNotFound) {
		t.Error(err)
	}
	for _, bad := range []rollout.Version{{At: at, Hash: a, Outcome: "liked", Origin: "file"}, {At: at, Outcome: "applied", Origin: "file"}, {At: at, Hash: a, Outcome: "applied", Origin: "heaven"}} {
		if err := server.AddPolicyVersion(t.Context(), bad, ""); err == nil {
			t.Errorf("stored %+v", bad)
		}
	}
}

// The server stores which exceptions are in force, and a command reads them; "" is that
// there is no file of them, and not that nothing is known.
func TestExceptionsInForce(t *testing.T) {
	cli, server := openForPolicies(t)
	if _, err := cli.LastExceptions(t.Context()); !errors.Is(err, authn.ErrNotFound) {
		t.Error("exceptions were in force:", err)
	}
	for _, text := range []string{"exceptions: []\n", "exceptions:\n  - {user: ana@corp.example}\n", ""} {
		if err := server.PutExceptions(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		if got, err := cli.LastExceptions(t.Context()); err != nil || got != text {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// However often a policy changes, so much is kept and no more; texts go with their
// last entry. What was in force stays, however much was refused since.
func TestPolicyVersionsAreBounded(t *testing.T) {
	_, server := openForPolicies(t)
	for i := range rollout.KeptRefusals + 5 {
		v := rollout.Version{At: time.Unix(int64(i), 0), Hash: fmt.Sprintf("%064x", i), Outcome: "refused", Origin: "file", Detail: strings.Repeat("x", 2*maxDetail)}
		if i == 0 {
			v.Outcome = "applied"
		}
		if err := server.AddPolicyVersion(t.Context(), v, map[bool]string{true: "text"}[i == 0]); err != nil {
			t.Fatal(err)
		}
	}
	got, err := server.PolicyVersions(t.Context(), 2*rollout.ListedVersions)
	if err != nil || len(got) != rollout.KeptRefusals+1 || len(got[0].Detail) != maxDetail {
		t.Fatal(len(got), err)
	}
	if v, text, err := server.LastPolicy(t.Context()); err != nil || v.Seq != 1 || text != "text" {
		t.Errorf("%+v, %q, %v", v, text, err)
	}
	for range rollout.KeptVersions { // and the one before is one too many
		if err := server.AddPolicyVersion(t.Context(), rollout.Version{At: time.Unix(1, 0), Hash: strings.Repeat("f", 64), Outcome: "applied", Origin: "file"}, "next"); err != nil {
			t.Fatal(err)
		}
	}
	if v, text, err := server.LastPolicy(t.Context()); err != nil || v.Hash != strings.Repeat("f", 64) || text != "next" {
		t.Errorf("%+v, %q, %v", v, text, err)
	}
	if _, _, err := server.PolicyText(t.Context(), fmt.Sprintf("%064x", 0)); !errors.Is(err, authn.ErrNotFound) {
		t.Error("the text stayed:", err)
	}
}

func TestPolicyRequests(t *testing.T) {
	cli, server := openForPolicies(t)
	if _, err := server.TakePolicyRequest(t.Context()); !errors.Is(err, authn.ErrNotFound) {
		t.Fatal(err)
	}
	r := rollout.Request{At: micro(time.Now()), By: "root", Name: "new.yaml", Source: "text", Forced: true, Base: "abcdef", Note: "as agreed"}
	seq, err := cli.AddPolicyRequest(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Seq = seq
	if err := server.AnswerPolicyRequest(t.Context(), seq, rollout.RequestApplied, ""); !errors.Is(err, authn.ErrNotFound) {
		t.Error("answered before it was taken:", err)
	}
	if got, err := server.TakePolicyRequest(t.Context()); err != nil || !reflect.DeepEqual(got, r) {
		t.Fatalf("%+v %v", got, err)
	}
	if err := cli.WithdrawPolicyRequest(t.Context(), seq); !errors.Is(err, authn.ErrNotFound) {
		t.Error("withdrawn after it was taken:", err)
	}
	if state, _, err := cli.PolicyAnswer(t.Context(), seq); err != nil || state != rollout.RequestTaken {
		t.Error(state, err)
	}
	if err := server.AnswerPolicyRequest(t.Context(), seq, rollout.RequestRefused, "no"); err != nil {
		t.Fatal(err)
	}
	if state, answer, err := cli.PolicyAnswer(t.Context(), seq); err != nil || state != rollout.RequestRefused || answer != "no" {
		t.Error(state, answer, err)
	}
	r.Rollback, r.Forced = true, false
	second, err := cli.AddPolicyRequest(t.Context(), r)
	if err != nil || second <= seq {
		t.Fatal(second, err)
	}
	if err := cli.WithdrawPolicyRequest(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if _, err := server.TakePolicyRequest(t.Context()); !errors.Is(err, authn.ErrNotFound) {
		t.Error("taken after it was withdrawn:", err)
	}
	r.At = r.At.Add(2 * requestsKept)
	if _, err := cli.AddPolicyRequest(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, _, err := cli.PolicyAnswer(t.Context(), seq); !errors.Is(err, authn.ErrNotFound) {
		t.Error("kept for ever:", err)
	}
}

// Of several processes that serve, one takes a request.
func TestPolicyRequestIsTakenOnce(t *testing.T) {
	a, b := openForPolicies(t)
	for range 5 {
		if _, err := a.AddPolicyRequest(t.Context(), rollout.Request{At: time.Now(), By: "root", Source: "x"}); err != nil {
			t.Fatal(err)
		}
		var taken atomic.Int64
		var wg sync.WaitGroup
		for _, d := range []*DB{a, b, a, b} {
			wg.Go(func() {
				if _, err := d.TakePolicyRequest(t.Context()); err == nil {
					taken.Add(1)
				} else if !errors.Is(err, authn.ErrNotFound) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if taken.Load() != 1 {
			t.Fatalf("taken %d times", taken.Load())
		}
	}
}
