package proxy_test

import (
	"slices"
	"strings"
	"testing"
)

// The whole way of a newcomer: ticket, sign-in, passkey, step-up, hand-off, tool.
func TestFromTicketToTool(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home)
	if a := b.get(treasury + "/books?year=2026"); a.StatusCode != 302 || !strings.HasPrefix(a.location(), login+"/.sallyport/sign-in?") {
		t.Fatalf("a stranger got %d %q", a.StatusCode, a.location())
	}
	b.enroll("alice")
	if got := g.tool.requests(); len(got) != 0 {
		t.Fatalf("%d requests reached the tool before anybody asked for it", len(got))
	}
	want := []string{"sign_in", "enroll_verified", "enroll", "step_up"}
	if got := g.audit.events(); !slices.Equal(got, want) {
		t.Fatalf("events %q, want %q", got, want)
	}
	a := b.follow(treasury + "/books?year=2026")
	if a.StatusCode != 200 || a.body != "the tool" || a.at != treasury+"/books?year=2026" {
		t.Fatalf("got %d at %s: %s", a.StatusCode, a.at, a.body)
	}
	if got := g.audit.events(); !slices.Equal(got, []string{"handoff", "access"}) {
		t.Fatalf("events %q", got)
	}
	r := g.tool.requests()[0]
	for name, want := range map[string]string{
		"X-Sallyport-User": "alice@example.test", "X-Sallyport-Email": "alice@example.test", "X-Sallyport-Groups": "treasury",
		"X-Forwarded-For": home, "X-Forwarded-Host": "treasury.example.test", "X-Forwarded-Proto": "https", "Cookie": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if r.Host != "treasury.example.test" || r.URL.RequestURI() != "/books?year=2026" {
		t.Errorf("forwarded %s %s", r.Host, r.URL.RequestURI())
	}
}
