package proxy_test

import (
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/proxy"
	"sallyport/proxy/proxytest"
	"sallyport/proxy/streams"
)

// holding is a harness with a JSON-RPC node that holds every request until its context or hold ends, and the
// sessions of alice (three) and bob.
func holding(t *testing.T, c streams.Config, hold <-chan struct{}, read bool) (*harness, chan struct{}) {
	t.Helper()
	reached := make(chan struct{}, 10)
	g, who := newCrowdHarness(t, func(p *setup) {
		p.options = map[string]proxy.RouteOptions{"treasury": takesCalls(proxy.RouteOptions{})}
		p.change = func(p *proxy.Config) { c.Now = p.Now; p.Streams = newStreams(c) }
	})
	for _, name := range []string{"alice", "alice2", "alice3", "bob"} {
		s := somebody(name, home, "treasury")
		s.Person.Subject = authn.Subject{Issuer: "https://idp.test", ID: strings.TrimRight(name, "23")}
		who.by[name] = s
	}
	g.tool.through = func(r *http.Request) (*http.Response, error) {
		if read {
			_, _ = io.ReadFull(r.Body, make([]byte, r.ContentLength)) // and does not look for the end
		}
		reached <- struct{}{}
		select {
		case <-hold:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	return g, reached
}

func (g *harness) call(who, body string) answer {
	ctx, cancel := context.WithTimeout(g.Context(), patience) // a node that is not let go of would hold the test
	defer cancel()
	r := g.ask(who, home, "POST", treasury+"/").WithContext(ctx)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return g.browser(home).do(r)
}

// TestInspectedBytesOfOnePersonAreBounded: a further session is no further share.
func TestInspectedBytesOfOnePersonAreBounded(t *testing.T) {
	hold := make(chan struct{})
	budget := streams.NewBudget(600, proxytest.Inspected) // each call takes 513
	g, reached := holding(t, streams.Config{Inspected: budget}, hold, true)
	answers := make(chan answer, 3)
	for _, who := range []string{"alice", "alice2"} {
		go func() { answers <- g.call(who, number) }()
		<-reached
	}
	if a := g.call("alice3", number); a.StatusCode != 429 || !strings.Contains(a.body, "no_room") {
		t.Errorf("a third session of the person: %d %s", a.StatusCode, a.body)
	}
	go func() { answers <- g.call("bob", number) }()
	<-reached
	close(hold)
	for range 3 {
		if a := <-answers; a.StatusCode != 200 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	if n := budget.Used(); n != 0 {
		t.Errorf("%d bytes are not given back", n)
	}
}

// The same holds for messages inside WebSockets.
func TestInspectedMessagesOfOnePersonAreBounded(t *testing.T) {
	budget := streams.NewBudget(500, proxytest.Inspected)
	l, alice := newNode(t, func(p *setup) { p.inspected = budget })
	browsers := []*browser{alice}
	for range 2 {
		b := l.browser(home)
		b.key = alice.key
		b.pressAndGo(b.signIn(treasury+"/", "alice"))
		b.follow(treasury + "/")
		browsers = append(browsers, b)
	}
	unfinished := wsFrame(0x81, strings.Repeat("x", 400), true)
	unfinished = unfinished[:len(unfinished)-1]
	for i, b := range browsers {
		s := l.open(b, "ws")
		_, err := s.conn.Write(unfinished)
		l.must(err)
		if i == 2 {
			if first, text := s.frame(); first != 0x88 || binary.BigEndian.Uint16([]byte(text)) != 1013 {
				t.Errorf("a frame %x %q, not a close frame with 1013", first, text)
			}
			return
		}
		for end := time.Now().Add(patience); budget.Used() < int64(i+1)*400; <-time.After(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("session %d holds nothing: %d bytes in all", i, budget.Used())
			}
		}
	}
}

// TestNodeThatDoesNotReadACall: what is held of the budget for it is not held for longer than a message may take. One
// that has read it may think for as long as the route allows.
func TestNodeThatDoesNotReadACall(t *testing.T) {
	hold := make(chan struct{})
	budget := streams.NewBudget(proxytest.InspectedPerSession, proxytest.Inspected)
	c := streams.Config{Inspected: budget, MessageTime: 300 * time.Millisecond}
	thinking, reached := holding(t, c, hold, true)
	answers := make(chan answer, 1)
	go func() { answers <- thinking.call("alice", number) }()
	<-reached
	deaf, _ := holding(t, c, nil, false)
	a := deaf.call("alice", number)
	if a.StatusCode != 504 || !strings.Contains(a.body, "not_taken") || a.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if log := deaf.log.String(); !strings.Contains(log, "did not read a message in time") || !strings.Contains(log, `"route":"treasury"`) {
		t.Errorf("the log has %s", log)
	}
	close(hold)
	if a := <-answers; a.StatusCode != 200 {
		t.Errorf("a node that thinks for longer: %d %s", a.StatusCode, a.body)
	}
	if n := budget.Used(); n != 0 {
		t.Errorf("%d bytes are not given back", n)
	}
}
