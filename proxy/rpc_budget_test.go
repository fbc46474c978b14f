package proxy_test

import (
	"strings"
	"testing"
	"time"

	"sallyport/proxy/proxytest"
	"sallyport/proxy/streams"
)

// TestRPCBodiesAreWithinTheBudget: what a session may not hold is refused before it is read, nothing of it reaches the node, and
// what a request took is given back when it is over.
func TestRPCBodiesAreWithinTheBudget(t *testing.T) {
	budget := streams.NewBudget(1500, proxytest.Inspected)
	l, alice := newNode(t, func(p *setup) { p.inspected = budget })
	large := strings.Replace(number, "[]", `["`+strings.Repeat("x", 2000)+`"]`, 1)
	for range 3 {
		if a := l.post(alice, large); a.StatusCode != 429 || !strings.Contains(string(a.body), "no_room") {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		if n := len(l.forwarded()); n > 0 {
			t.Fatal("it reached the node")
		}
		if a := l.post(alice, number); a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		l.forwarded()
	}
	for end := time.Now().Add(5 * time.Second); budget.Used() != 0; {
		if time.Now().After(end) {
			t.Fatalf("%d bytes are not given back", budget.Used())
		}
		<-time.After(time.Millisecond)
	}
}
