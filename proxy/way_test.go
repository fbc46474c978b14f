package proxy_test

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// kept is the link of a page that keeps its address.
var kept = regexp.MustCompile(`<a class="button" href="([^"]*)" data-way="(keep|back)"`)

// A browser whose address is too long to be a part of another one keeps it, whatever it needs: it goes on with a short way
// back, and without script to the page without its query.
func TestLongAddressStaysInTheBrowser(t *testing.T) {
	g := newRig(t)
	alice := g.enrolled("alice", home)
	alice.follow(treasury + "/")
	other := alice.clone(home)
	other.agent = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15"
	long := "/books?q=" + strings.Repeat("%22%26", 1500)
	for name, tc := range map[string]struct {
		b             *browser
		at, page, way string
	}{
		"a stranger":       {g.browser(home), long, "sign-in", "/books"},
		"a step-up":        {alice.clone(vpn), long, "step-up", "/books"},
		"a long path":      {g.browser(home), "/" + strings.Repeat("x", 2001), "sign-in", "/"},
		"not quite so":     {g.browser(home), "/" + strings.Repeat("x", 1999), "", ""},
		"short, escaped":   {g.browser(home), long[:1998], "", ""},
		"a planted cookie": {other, long, "sign-in", "/books"},
	} {
		if tc.b == other {
			g.clock.Add(2 * time.Minute)
		}
		a := tc.b.get(treasury + tc.at)
		if tc.page == "" {
			if to, err := url.Parse(a.location()); err != nil || a.StatusCode != 302 || to.Query().Get("return_to") != treasury+tc.at || len(a.location()) > 8192 {
				t.Errorf("%s: %d, %d bytes: %.80s", name, a.StatusCode, len(a.location()), a.location())
			}
			continue
		}
		m := kept.FindStringSubmatch(a.body)
		if a.StatusCode != 401 || m == nil || m[2] != "keep" {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body[:min(600, len(a.body))])
			continue
		}
		link, err := url.Parse(html.UnescapeString(m[1]))
		g.must(err)
		back, err := url.Parse(link.Query().Get("return_to"))
		g.must(err)
		if link.Path != "/.sallyport/"+tc.page || back.Path != "/.sallyport/way" || back.Query().Get("to") != tc.way {
			t.Errorf("%s: leads to %s", name, link)
		}
		if a := tc.b.get(treasury + link.RequestURI()); a.StatusCode != 302 || !strings.HasPrefix(a.location(), login+"/.sallyport/"+tc.page+"?") {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.location())
		}
		m = kept.FindStringSubmatch(tc.b.get(treasury + back.RequestURI()).body)
		if m == nil || m[1] != tc.way || m[2] != "back" {
			t.Errorf("%s: back leads to %q", name, m)
		}
	}
	// What no person looks at gets no page.
	r := g.browser(home).request("GET", treasury+long, "")
	if a := g.browser(home).do(r); a.StatusCode != 401 || a.code() != "not_signed_in" {
		t.Errorf("a script: %d %s", a.StatusCode, a.body)
	}
}

// The page on the way back leads nowhere but to its own host.
func TestAttackWayBackToAnotherHost(t *testing.T) {
	g := newRig(t)
	b := g.browser(home)
	for _, to := range []string{"", "//evil.example", "/\\evil.example", "https://evil.example/", wiki + "/wiki", login + "/", "javascript:alert(1)", "data:text/html,x", "/\t/evil.example"} {
		a := b.get(treasury + "/.sallyport/way?" + url.Values{"to": {to}}.Encode())
		if a.StatusCode != 400 || strings.Contains(a.body, "evil") {
			t.Errorf("%q: %d %s", to, a.StatusCode, a.body)
		}
	}
	if a := b.get(login + "/.sallyport/way?to=/"); a.StatusCode != 404 {
		t.Errorf("on the sign-in host: %d", a.StatusCode)
	}
}

// Strangers who ask for long addresses without end cost the server nothing that stays.
func TestAttackLongAddressesWithoutEnd(t *testing.T) {
	g := newRig(t)
	b := g.browser(home)
	before := g.mem.Calls("Put")
	for i := range 200 {
		a := b.get(treasury + fmt.Sprintf("/%d?q=%s", i, strings.Repeat("x", 8000)))
		if a.StatusCode != 401 || len(a.body) > 4096 || len(a.Header["Set-Cookie"]) != 0 {
			t.Fatalf("%d, %d bytes, %v", a.StatusCode, len(a.body), a.Header)
		}
	}
	if after := g.mem.Calls("Put"); after != before {
		t.Errorf("%d things were put into the store", after-before)
	}
}
