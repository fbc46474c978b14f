package edge

import (
	"crypto/tls"
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// asked counts requests to the authority and answers none.
type asked int

func (a *asked) RoundTrip(*http.Request) (*http.Response, error) {
	*a++
	return nil, errors.New("nobody is there")
}

// Until the time has come for the next attempt, handshakes make none. autocert
// would make one a minute, for as long as a client connects.
func TestAttackACMEBacksOff(t *testing.T) {
	now := time.Now()
	a, err := NewACME(ACMEConfig{Hosts: []string{"app.example"}, AcceptTerms: true, Folder: filepath.Join(t.TempDir(), "acme"), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	var n asked
	a.problems.base = &n
	refused := errors.New("refused before")
	a.hosts["app.example"].next, a.hosts["app.example"].err = now.Add(time.Minute), refused
	hello := &tls.ClientHelloInfo{ServerName: "app.example"}
	if _, err := a.GetCertificate(hello); !errors.Is(err, refused) || n != 0 {
		t.Errorf("%v, %d requests to the authority", err, n)
	}
	host := a.hosts["app.example"]
	var waits []time.Duration
	for range 8 { // each failure waits longer than the one before, up to an hour
		now = host.next
		if err := a.recordResult("app.example", host, nil, refused); err == nil {
			t.Fatal("no error")
		}
		a.recordResult("app.example", host, nil, refused) // the same attempt, seen by another handshake
		waits = append(waits, host.next.Sub(now))
	}
	if waits[0] != firstRetry || waits[1] != 2*firstRetry || waits[7] != lastRetry || host.failures != 8 {
		t.Errorf("%v, %d failures", waits, host.failures)
	}
}

// The policy stands by itself, should the map before it ever be passed by.
func TestACMEPolicy(t *testing.T) {
	a := &ACME{hosts: map[string]*acmeHost{"app.example": {}}}
	for host, want := range map[string]bool{"app.example": true, "app.example.": true, "x.app.example": false, "evil.example": false, "": false} {
		if got := a.policy(t.Context(), host) == nil; got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}
