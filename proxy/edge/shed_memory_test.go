package edge

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestStrangersAreShedBeforePeopleWhoAreIn: as memory runs short, requests that prove nothing wait first, then everything, and
// connections too.
func TestStrangersAreShedBeforePeopleWhoAreIn(t *testing.T) {
	used := 0.0
	s, err := NewShedder(ShedConfig{Requests: 1, Streams: 1, QueueFor: time.Second, RetryAfter: time.Second, Memory: func() float64 { return used }, Verified: func(r *http.Request) bool { return r.Header.Get("Cookie") != "" }})
	if err != nil {
		t.Fatal(err)
	}
	stranger, person := httptest.NewRequest("GET", "/", nil), httptest.NewRequest("GET", "/", nil)
	person.Header.Set("Cookie", "session")
	for _, c := range []struct {
		used                    float64
		stranger, person, conns bool
	}{{0.5, true, true, true}, {0.9, false, true, true}, {0.97, false, false, false}, {0.2, true, true, true}} {
		used = c.used
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // Run looks once
		s.Run(ctx)
		for r, want := range map[*http.Request]bool{stranger: c.stranger, person: c.person} {
			p, ok := s.enter(r)
			if ok != want || p.short == ok {
				t.Errorf("at %g: %v admitted: %v", c.used, r.Header, ok)
			}
			p.leave()
		}
		if s.closed() == c.conns {
			t.Errorf("at %g: new connections: %v", c.used, !c.conns)
		}
	}
}
