package proxy_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// kept is the link of a page that keeps its address.
var kept = regexp.MustCompile(`<a class="button" href="([^"]*)" data-way="(keep|back)"`)

// A browser whose address is too long to be a part of another one keeps it in every case: it goes on with a short way
// back, and without script to the page without its query.
func TestLongAddressStaysInTheBrowser(t *testing.T) {
	g := newHarness(t)
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
	g := newHarness(t)
	b := g.browser(home)
	for _, to := range []string{"", "//evil.example", "/\\evil.example", "https://evil.example/", wiki + "/wiki", login + "/", "javascript:alert(1)", "data:text/html,x", "/\t/evil.example",
		"/.sallyport/sign-in?return_to=/transfer", "/.sallyport/way?to=/transfer", "/%2Esallyport/sign-in?return_to=/transfer",
		"/shown/../transfer", "/shown/%2E%2e/transfer", "/./transfer"} {
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
	g := newHarness(t)
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

// A link of another page is not made one of the tool's own by the pages on the way: where it leads is shown, and the person
// presses the button.
func TestAttackLinkBecomesTheToolsOwn(t *testing.T) {
	type site map[string]string
	for name, c := range map[string]struct {
		from    site
		to      string
		presses bool
	}{
		"typed":                          {site{"Sec-Fetch-Site": "none"}, "/transfer?to=x", false},
		"the tool's own link":            {site{"Sec-Fetch-Site": "same-origin"}, "/transfer?to=x", false},
		"another site":                   {site{"Sec-Fetch-Site": "cross-site"}, "/transfer?to=x", true},
		"another tool":                   {site{"Sec-Fetch-Site": "same-site"}, "/transfer?to=x", true},
		"another site, the start page":   {site{"Sec-Fetch-Site": "cross-site"}, "/", false},
		"another site, by our own page":  {site{"Sec-Fetch-Site": "cross-site"}, "/.sallyport/sign-in?return_to=/transfer?to=x", true},
		"another site, by two of them":   {site{"Sec-Fetch-Site": "cross-site"}, "/.sallyport/sign-in?return_to=" + url.QueryEscape("/.sallyport/step-up?return_to="+treasury+"/transfer?to=x"), true},
		"another site, by two spelled":   {site{"Sec-Fetch-Site": "cross-site"}, "/.sallyport/sign-in?return_to=" + url.QueryEscape("/%2Esallyport/sign-in?x="+strings.Repeat("x", 200)+"&return_to=/transfer?to=x"), true},
		"something else":                 {site{"Sec-Fetch-Site": "moon"}, "/transfer?to=x", true},
		"an old browser, own link":       {site{"Referer": treasury + "/books"}, "/transfer?to=x", false},
		"an old browser, another site":   {site{"Referer": treasury + ".evil.example/"}, "/transfer?to=x", true},
		"an old browser that says no":    {nil, "/transfer?to=x", true},
		"an old browser, the start page": {nil, "/", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newHarness(t)
			b := g.browser(home).enroll("alice")
			open := func(to string) answer {
				r := b.request("GET", treasury+to, "")
				r.Header.Set("Accept", "text/html")
				if c.from["Sec-Fetch-Site"] != "" {
					r.Header.Set("Sec-Fetch-Mode", "navigate")
					r.Header.Set("Sec-Fetch-Dest", "document")
				}
				for k, v := range c.from {
					r.Header.Set(k, v)
				}
				return b.do(r)
			}
			begun := open(c.to)
			// A form takes the code to a tool of another site. The page that answers it is of the tool's origin. For a
			// double click and a lost cookie as well.
			made, _ := b.makeCode(b.atHandoff(begun.location()).handoff(b), false)
			for range 2 {
				a := b.show(treasury+"/.sallyport/callback", made.Code, func(r *http.Request) {
					r.Header.Set("Accept", "text/html")
					r.Header.Set("Sec-Fetch-Mode", "navigate")
					r.Header.Set("Sec-Fetch-Dest", "document")
				})
				press := strings.Contains(a.body, " data-press")
				if a.StatusCode != 200 || press != c.presses || press == strings.Contains(a.body, "http-equiv") || press != strings.Contains(a.body, "This leads to /transfer?to=x.") {
					t.Errorf("waits for a press: %t\n%s", press, a.body)
				}
			}
			// An address that is too long for another one.
			b = g.browser(home)
			a := open("/transfer?to=" + strings.Repeat("x", 2000))
			if linked := strings.Contains(a.body, ` data-way="keep" data-linked`); c.to != "/" && linked != c.presses || !strings.Contains(a.body, `data-way="keep"`) {
				t.Errorf("kept as another page's: %t\n%s", linked, a.body)
			}
		})
	}
	// Who lost the cookie begins again, which must not make it the tool's own either.
	g := newHarness(t)
	b := g.browser(home).enroll("alice")
	r := b.request("GET", treasury+"/transfer?to=x", "")
	for k, v := range map[string]string{"Accept": "text/html", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
		r.Header.Set(k, v)
	}
	made, _ := b.makeCode(b.atHandoff(b.do(r).location()).handoff(b), false)
	b.loseNonces("treasury.example.test")
	a := b.show(treasury+"/.sallyport/callback", made.Code, func(r *http.Request) {
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
	})
	if a.StatusCode != 200 || !strings.Contains(a.body, " data-press") || !strings.Contains(a.body, "again=1") || !strings.Contains(a.body, "This leads to /transfer?to=x.") {
		t.Errorf("begins again: %d\n%s", a.StatusCode, a.body)
	}
}
