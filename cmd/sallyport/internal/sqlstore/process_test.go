package sqlstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
)

// The test binary is also the other process: it runs one of these instead of
// the tests if the environment names it.
const childVar = "SALLYPORT_SQLSTORE_CHILD"

var children = map[string]func(path, arg string) error{
	"open":   func(path, _ string) error { return openErr("sqlite:" + path) },
	"redeem": redeemForever,
}

func TestMain(m *testing.M) {
	name := os.Getenv(childVar)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := children[name](os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(name, path, arg string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], path, arg)
	cmd.Env = append(os.Environ(), childVar+"="+name)
	return cmd
}

func TestConcurrentStartsOfProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "s.db")
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if out, err := child("open", path, "").CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
}

// redeemForever makes tickets and redeems them, and reports each one whose
// redemption has returned. It never ends by itself.
func redeemForever(path, round string) error {
	ctx := context.Background()
	d, err := Open(ctx, "sqlite:"+path, Options{})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%s-%d", round, i)
		ticket := enroll.Ticket{ID: id, Email: "alice@example.test", CreatedAt: epoch, ExpiresAt: epoch.Add(time.Hour)}
		if err := d.CreateTicket(ctx, ticket, digest(id)); err != nil {
			return err
		}
		if err := d.RedeemTicket(ctx, digest(id), ticket.Email, epoch, credential(id)); err != nil {
			return err
		}
		fmt.Println(id)
	}
}

// A process killed in the middle of a redemption leaves a spent ticket with its
// credential or an open one without, and has kept what it has answered. (A kill
// is not a power failure: what synchronous=FULL adds cannot be seen from here.)
func TestKilledWhileRedeeming(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	answered := map[string]bool{}
	for round := range 12 {
		killMidway(t, path, fmt.Sprint("r", round), answered)
		d, err := Open(t.Context(), "sqlite:"+path, Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checkRedeemed(t, d, answered)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(answered) == 0 {
		t.Error("nothing was redeemed at all")
	}
}

func killMidway(t *testing.T, path, round string, answered map[string]bool) {
	t.Helper()
	cmd := child("redeem", path, round)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		answered[lines.Text()] = true
		if n == 2 {
			// Not in step with the answers, or the kill would always find the
			// child at the same place.
			time.AfterFunc(time.Duration(rand.Int64N(int64(5*time.Millisecond))), func() { _ = cmd.Process.Kill() })
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the child was not killed: %v", err)
	}
}

func checkRedeemed(t *testing.T, d *DB, answered map[string]bool) {
	t.Helper()
	tickets, err := d.ListTickets(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := d.Credentials(t.Context(), credential("").Subject)
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]bool{}
	for _, c := range credentials {
		stored[string(c.ID)] = true
	}
	known := map[string]bool{}
	for _, ticket := range tickets {
		known[ticket.ID] = true
		if spent := !ticket.RedeemedAt.IsZero(); spent != stored[ticket.ID] {
			t.Errorf("ticket %s: redeemed %v, credential stored %v", ticket.ID, spent, stored[ticket.ID])
		}
	}
	for id := range answered {
		if !stored[id] {
			t.Errorf("ticket %s was redeemed for the person, and is not in the file", id)
		}
	}
	for id := range stored {
		if !known[id] {
			t.Errorf("credential %s has no ticket", id)
		}
	}
}

// A server runs while a command works on the same file, and is killed.
func TestAKilledProcessLeavesNoLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	d := open(t, path)
	killMidway(t, path, "x", map[string]bool{})
	create(t, d, "s1")
	if _, err := d.TicketByDigest(t.Context(), digest("guess")); !errors.Is(err, authn.ErrNotFound) {
		t.Error(err)
	}
	if ts, err := d.ListTickets(t.Context(), ""); err != nil || len(ts) < 3 || !strings.HasPrefix(ts[0].ID, "x-") {
		t.Errorf("%d tickets, %v", len(ts), err)
	}
}
