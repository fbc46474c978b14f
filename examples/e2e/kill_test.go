package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/authn/authntest"
)

// TestKilledDuringEnrolment kills the product around the moment at which a ticket is
// turned into a passkey, over and over on one state folder. At every moment: the
// ticket is spent exactly if the passkey is there; what was acknowledged is there; and
// the audit log verifies and knows of both.
func TestKilledDuringEnrolment(t *testing.T) {
	t.Parallel()
	const rounds = 25
	s := newHarness(t)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, seed))
	var acknowledged, stored, nothing int
	defer func() {
		t.Logf("seed %d: %d acknowledged, %d stored but cut off before the answer, %d not stored", seed, acknowledged, stored, nothing)
	}()

	// The kill is aimed at where the last rounds found the boundary between nothing and
	// something, with a spread around it.
	aim := 5 * time.Millisecond
	for round := range rounds {
		c, who := newClient(t, s, home), []authntest.IdPPerson{alice, bob}[round%2]
		ticket := s.ticket(who.Email)
		id := newest(t, s).ID
		c.signIn(ticket, who.Sub)
		finish, err := c.ceremony("enroll", map[string]any{"ticket": secretOf(t, ticket)}, c.keys.Create)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		credential := c.keys.Credentials()[0]

		delay := time.Duration(float64(aim) * (0.5 + random.Float64()))
		killed := make(chan struct{})
		time.AfterFunc(delay, func() { defer close(killed); s.stop(syscall.SIGKILL) })
		a, err := c.post("enroll/finish", finish)
		<-killed
		ok := err == nil && a.status == http.StatusOK
		if err == nil && !ok {
			t.Errorf("round %d: %d %s", round, a.status, a.body)
		}
		s.start()

		spent, there := newest(t, s).State == "redeemed", hasKey(t, s, who.Email, credential)
		if newest(t, s).ID != id {
			t.Fatalf("round %d: the ticket is gone", round)
		}
		if spent != there {
			t.Fatalf("round %d, killed after %v: ticket spent: %t, passkey there: %t", round, delay, spent, there)
		}
		verified, enrolled := mentions(s, "enroll_verified", credential), mentions(s, "enroll", credential)
		switch {
		case ok && !there:
			t.Fatalf("round %d: acknowledged, and not there", round)
		case ok && !(verified && enrolled):
			t.Fatalf("round %d: acknowledged, and not in the audit log (%t, %t)", round, verified, enrolled)
		case there && !verified:
			t.Fatalf("round %d: a passkey that the audit log does not know of", round)
		case enrolled && !there:
			t.Fatalf("round %d: the audit log says enrolled, and it is not so", round)
		}
		s.run("audit", "verify")

		// Life goes on, in the session that was there before.
		switch {
		case ok:
			acknowledged++
			aim -= aim / 5
		case there:
			stored++
		default:
			nothing++
			aim += aim / 4
			c.enrol(ticket)
		}
		if a, err := c.post("enroll/begin", map[string]any{"ticket": secretOf(t, ticket)}); err != nil || a.status != http.StatusForbidden {
			t.Errorf("round %d: a spent ticket says %d %v", round, a.status, err)
		}
		c.verify(nil)
	}
	if acknowledged == 0 || nothing == 0 {
		t.Errorf("the kills missed the moment: %d acknowledged, %d not stored", acknowledged, nothing)
	}
}

type ticketState struct{ ID, State string }

// newest is the newest ticket, as the command line tells.
func newest(t *testing.T, s *harness) (k ticketState) {
	t.Helper()
	line, _, _ := strings.Cut(s.run("ticket", "list", "--json"), "\n")
	if err := json.Unmarshal([]byte(line), &k); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return k
}

// hasKey reports whether a person has a passkey.
func hasKey(t *testing.T, s *harness, email string, id []byte) bool {
	t.Helper()
	var p struct{ Keys []struct{ ID string } }
	if err := json.Unmarshal([]byte(s.run("people", "show", "--json", email)), &p); err != nil {
		t.Fatal(err)
	}
	for _, k := range p.Keys {
		if k.ID == hex.EncodeToString(id) {
			return true
		}
	}
	return false
}

// mentions reports whether the audit log has an event about a passkey.
func mentions(s *harness, event string, id []byte) bool {
	s.t.Helper()
	handle := base64.RawURLEncoding.EncodeToString(id)
	for _, r := range s.audit() {
		detail, _ := r["detail"].(map[string]any)
		if named, _ := detail["credential"].(string); r["event"] == event && named != "" && strings.HasPrefix(handle, named) {
			return true
		}
	}
	return false
}
