package proxy_test

import (
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"sallyport/proxy"
	"sallyport/proxy/portal"
)

const acs = treasury + "/saml/acs"

// federated is neighbours, with a path of treasury that takes forms of other sites.
func federated(t testing.TB, changes ...func(*setup)) *harness {
	return neighbours(t, append(changes, func(p *setup) {
		p.options = map[string]proxy.RouteOptions{"treasury": {CrossSitePosts: []string{"/saml/acs"}}}
	})...)
}

// form is a request with a body, urlencoded unless more says otherwise.
func (s sent) form(g *harness, who, body string) *http.Request {
	r := s.by(g, who)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// fields are those of the page's form, encoded as a browser does.
func (a answer) fields() string {
	var pairs []string
	for _, m := range hidden.FindAllStringSubmatch(a.body, -1) {
		pairs = append(pairs, url.QueryEscape(html.UnescapeString(m[1]))+"="+url.QueryEscape(html.UnescapeString(m[2])))
	}
	return strings.Join(pairs, "&")
}

func (a answer) passesOn() bool { return a.StatusCode == 401 && strings.Contains(a.body, "resend.js") }

// The answer of a provider that is posted to a tool arrives there, with the same fields, as the person.
func TestFormOfAnotherSiteIsSentAgain(t *testing.T) {
	const body = "SAMLResponse=PD94%2Bbg%3D%3D%0D%0A&RelayState=%2Fx%3Fa%3D1%26b&name=%C3%A9+%22%3E%3Cscript%3E&SAMLResponse=2&submit=&name="
	for name, s := range map[string]sent{
		"a provider":                         {"POST", acs + "?tenant=7", "cross-site/navigate/document", "https://idp.example", nil},
		"one with Referrer-Policy":           {"POST", acs, "cross-site/navigate/document", "null", nil},
		"one that is allowed, but no cookie": {"POST", acs, "cross-site/navigate/document", partner, nil},
		"one of the same site":               {"POST", acs, "same-site/navigate/document", wiki, nil},
		"without Fetch metadata":             {"POST", acs, "", "https://idp.example", map[string]string{"Accept": "text/html"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := federated(t)
			b := g.browser(home)
			a := b.do(s.form(g, "", body))
			if !a.passesOn() || a.fields() != body {
				t.Fatalf("%d, fields %q\n%s", a.StatusCode, a.fields(), a.body)
			}
			if auto := strings.Contains(a.body, "data-auto"); auto != (s.metadata != "") {
				t.Errorf("goes on by itself: %t", auto)
			}
			h := a.Header
			if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "default-src 'none'; script-src 'self'") || strings.Contains(csp, "unsafe") ||
				h.Get("X-Frame-Options") != "DENY" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", h)
			}
			// The tool must see its own origin, and a window that a page of it opened must stay its.
			if h.Get("Referrer-Policy") != "strict-origin" || h.Get("Cross-Origin-Opener-Policy") != "unsafe-none" || strings.Contains(a.body, " action=") {
				t.Errorf("headers %v\n%s", h, a.body)
			}
			if len(g.tool.requests()) != 0 || len(g.audit.take()) != 0 {
				t.Error("the tool was asked, or something was recorded")
			}
			if strings.Contains(g.log.String(), "SAMLResponse") || strings.Contains(g.log.String(), "PD94") {
				t.Error("the form is in the log")
			}
			again := sent{"POST", s.to, "same-origin/navigate/document", treasury, nil}
			if a := b.do(again.form(g, "alice", a.fields())); a.StatusCode != 200 || a.body != "the tool" {
				t.Fatalf("the second time: %d %s", a.StatusCode, a.body)
			}
			if got := g.tool.requests(); len(got) != 1 || got[0].Header.Get("Origin") != treasury || got[0].URL.RequestURI() != strings.TrimPrefix(s.to, treasury) {
				t.Errorf("the tool got %v", got)
			}
		})
	}
}

// With a session that came along, a form of another origin of the same site takes the same way, and that of an allowed one the direct one.
func TestFormOfTheSameSiteIsSentAgain(t *testing.T) {
	g := federated(t)
	b := g.browser(home)
	if a := b.do(sent{"POST", acs, "same-site/navigate/document", wiki, nil}.form(g, "alice", "a=1")); !a.passesOn() || a.fields() != "a=1" || len(g.tool.requests()) != 0 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := b.do(sent{"POST", acs, "same-site/navigate/document", partner, nil}.form(g, "alice", "a=1")); a.body != "the tool" {
		t.Errorf("allowed: %d %s", a.StatusCode, a.body)
	}
}

// Nothing but a form that takes the whole window, for a path that is named, is sent again. No button of ours sends
// what another page wrote.
func TestAttackFormOfAnotherSiteElsewhere(t *testing.T) {
	const evil = "https://evil.example"
	for name, s := range map[string]sent{
		"another path":            {"POST", treasury + "/withdraw", "cross-site/navigate/document", evil, nil},
		"below the path":          {"POST", acs + "/x", "cross-site/navigate/document", evil, nil},
		"the path with a slash":   {"POST", acs + "/", "cross-site/navigate/document", evil, nil},
		"in other letters":        {"POST", treasury + "/SAML/acs", "cross-site/navigate/document", evil, nil},
		"another tool":            {"POST", wiki + "/saml/acs", "cross-site/navigate/document", evil, nil},
		"a frame":                 {"POST", acs, "cross-site/navigate/iframe", evil, nil},
		"an object":               {"POST", acs, "cross-site/navigate/object", evil, nil},
		"a fetch":                 {"POST", acs, "cross-site/no-cors/empty", evil, nil},
		"a fetch, cors":           {"POST", acs, "cross-site/cors/empty", evil, nil},
		"no destination":          {"POST", acs, "cross-site/navigate/", evil, nil},
		"another method":          {"PUT", acs, "cross-site/navigate/document", evil, nil},
		"text":                    {"POST", acs, "cross-site/navigate/document", evil, map[string]string{"Content-Type": "text/plain"}},
		"multipart":               {"POST", acs, "cross-site/navigate/document", evil, map[string]string{"Content-Type": "multipart/form-data; boundary=x"}},
		"JSON":                    {"POST", acs, "cross-site/navigate/document", evil, map[string]string{"Content-Type": "application/json"}},
		"an upgrade":              {"POST", acs, "cross-site/navigate/document", evil, webSocket},
		"metadata that is none":   {"POST", acs, "Cross-Site/navigate/document", evil, nil},
		"no metadata, no Accept":  {"POST", acs, "", evil, nil},
		"a command line":          {"POST", acs, "", "", map[string]string{"Accept": "text/html"}},
		"no Site beside the rest": {"POST", acs, "/navigate/document", evil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, who := range []string{"", "alice"} {
				g := federated(t)
				a := g.browser(home).do(s.form(g, who, "amount=1000000"))
				if a.passesOn() || a.fields() != "" || strings.Contains(a.body, "1000000") || a.StatusCode == 302 {
					t.Errorf("%q: %d %s", who, a.StatusCode, a.body)
				}
				if who == "" && len(g.tool.requests()) != 0 {
					t.Errorf("%q: the tool was asked", who)
				}
			}
		})
	}
	g := federated(t)
	r := sent{"POST", acs, "cross-site/navigate/document", evil, nil}.form(g, "", "a=1")
	r.Header.Add("Sec-Fetch-Site", "same-origin")
	if a := g.browser(home).do(r); a.passesOn() {
		t.Errorf("two values: %s", a.body)
	}
	r = sent{"POST", acs, "cross-site/navigate/document", evil, nil}.form(g, "", "a=1")
	r.RemoteAddr = hosting + ":1"
	if a := g.browser(hosting).do(r); a.StatusCode != 403 || a.passesOn() {
		t.Errorf("from a blocked network: %d", a.StatusCode)
	}
}

// What cannot be sent again as it was is refused with a page that says so.
func TestFormOfAnotherSiteThatCannotBeSentAgain(t *testing.T) {
	s := sent{"POST", acs, "cross-site/navigate/document", "https://idp.example", nil}
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"the largest":      {"a=" + strings.Repeat("x", 256<<10-2), 401},
		"too large":        {"a=" + strings.Repeat("x", 256<<10-1), 413},
		"too many":         {strings.Repeat("a&", 1001), 413},
		"Latin-1":          {"a=%E9", 400},
		"a NUL":            {"a=%00", 400},
		"no encoding":      {"a=%zz", 400},
		"nothing":          {"", 401},
		"empty pairs":      {"&&a=1&&", 401},
		"semicolons stay":  {"a=1;b=2", 401},
		"an equals sign =": {"a=b=c", 401},
	} {
		t.Run(name, func(t *testing.T) {
			for _, length := range []bool{true, false} {
				g := federated(t)
				r := s.form(g, "", c.body)
				if !length {
					r.ContentLength = -1
				}
				a := g.browser(home).do(r)
				if a.StatusCode != c.status || !strings.Contains(a.Header.Get("Content-Type"), "text/html") {
					t.Errorf("%d %s", a.StatusCode, a.body[:min(len(a.body), 2000)])
				}
				if len(g.tool.requests()) != 0 {
					t.Error("the tool was asked")
				}
			}
		})
	}
}

// What strangers can have held is bounded, and given back. One network has a share, regardless of its connections and, in IPv6, its
// addresses: the others' answers of their providers still pass.
func TestAttackFormsOfOneNetworkAreInNobodysWay(t *testing.T) {
	g := federated(t)
	s := sent{"POST", acs, "cross-site/navigate/document", "https://idp.example", nil}
	body := "a=" + strings.Repeat("x", 200<<10)
	started, finish, done := make(chan struct{}), make(chan struct{}), make(chan int)
	from := func(addr string, r *http.Request) answer {
		r.RemoteAddr = net.JoinHostPort(addr, "1")
		return g.browser(addr).do(r)
	}
	// hold has many forms on their way that do not come to their end, and says how many are refused.
	hold := func(many int, addr func(i int) string) (held, refused int) {
		for i := range many {
			r := s.form(g, "", "")
			r.ContentLength = -1
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(body), &gate{started, finish}))
			go func() { done <- from(addr(i), r).StatusCode }()
		}
		for held+refused < many {
			select {
			case <-started:
				held++
			case code := <-done:
				if code != 503 {
					t.Errorf("%d", code)
				}
				refused++
			}
		}
		return held, refused
	}
	held, refused := hold(50, func(int) string { return home })
	more, _ := hold(50, func(i int) string { return fmt.Sprintf("2001:db8:1:%x::7", i) })
	if refused == 0 || held > 15 || more > 15 {
		t.Errorf("one address holds %d forms of 200 KiB, one /48 %d", held, more)
	}
	if a := from(cafe, s.form(g, "", body)); !a.passesOn() {
		t.Errorf("a person elsewhere: %d", a.StatusCode)
	}
	all, refused := hold(200, func(i int) string { return fmt.Sprintf("203.0.113.%d", 100+i%100) })
	if refused == 0 {
		t.Error("forty megabytes are held")
	}
	close(finish)
	for range held + more + all {
		if code := <-done; code != 401 {
			t.Errorf("%d", code)
		}
	}
	if a := from(home, s.form(g, "", body)); !a.passesOn() {
		t.Errorf("afterwards: %d", a.StatusCode)
	}
}

// gate says that it is read, and ends when it is told to.
type gate struct{ started, finish chan struct{} }

func (g *gate) Read([]byte) (int, error) {
	g.started <- struct{}{}
	<-g.finish
	return 0, io.EOF
}

// A form never becomes an empty GET. The tool's own is kept, for the person to send it again; another page's is not.
func TestFormThatNeedsAProof(t *testing.T) {
	const body = "amount=12&note=%22%3E%3Cscript%3Ealert%281%29%3C%2Fscript%3E"
	own := sent{"POST", treasury + "/pay?x=1", "same-origin/navigate/document", treasury, map[string]string{"Referer": treasury + "/pay/new?draft=1"}}
	with := func(s sent, more ...string) sent {
		headers := map[string]string{}
		for k, v := range s.more {
			headers[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			headers[more[i]] = more[i+1]
		}
		s.more = headers
		return s
	}
	beside := url.QueryEscape("/.sallyport/send-again")
	for name, c := range map[string]struct {
		s          sent
		from, body string
		who        string
		kept       bool
		leads      string // where the person is brought afterwards
		step       string
	}{
		"nobody signed in":                 {own, home, body, "", true, beside, "sign-in"},
		"step-up":                          {own, vpn, body, "alice", true, beside, "step-up"},
		"step-up, Referrer-Policy":         {sent{"POST", own.to, own.metadata, "null", nil}, vpn, body, "alice", true, beside, "step-up"},
		"an old Safari":                    {with(sent{"POST", own.to, "", treasury, nil}, "Accept", "text/html"), vpn, body, "alice", true, beside, "step-up"},
		"a file":                           {with(own, "Content-Type", "multipart/form-data; boundary=x"), vpn, "--x--", "alice", false, url.QueryEscape("/pay/new?draft=1"), "step-up"},
		"a file, no Referer":               {sent{"POST", own.to, own.metadata, treasury, map[string]string{"Content-Type": "multipart/form-data; boundary=x"}}, vpn, "--x--", "alice", false, "%2F", "step-up"},
		"a file, the Referer is foreign":   {with(own, "Content-Type", "text/plain", "Referer", "https://evil.example/pay"), vpn, "a", "alice", false, "%2F", "step-up"},
		"a file, the Referer is ours":      {with(own, "Content-Type", "text/plain", "Referer", treasury+"/.sallyport/sign-out"), vpn, "a", "alice", false, "%2F", "step-up"},
		"a file, the Referer is no path":   {with(own, "Content-Type", "text/plain", "Referer", treasury+"//evil.example/"), vpn, "a", "alice", false, "%2F", "step-up"},
		"large":                            {own, vpn, "a=" + strings.Repeat("x", 64<<10), "alice", false, url.QueryEscape("/pay/new?draft=1"), "step-up"},
		"of another site":                  {sent{"POST", own.to, "cross-site/navigate/document", "https://evil.example", nil}, home, body, "", false, "%2F", "sign-in"},
		"of another site, through ours":    {sent{"POST", own.to, "cross-site/navigate/document", treasury, nil}, home, body, "", false, "%2F", "sign-in"},
		"of another tool, nobody":          {sent{"POST", own.to, "same-site/navigate/document", wiki, nil}, home, body, "", false, "%2F", "sign-in"},
		"of an allowed origin":             {sent{"POST", own.to, "same-site/navigate/document", partner, nil}, vpn, body, "alice", false, "%2F", "step-up"},
		"no Origin":                        {sent{"POST", own.to, "same-origin/navigate/document", "", nil}, vpn, body, "alice", false, "%2F", "step-up"},
		"null without Fetch metadata":      {with(sent{"POST", own.to, "", "null", nil}, "Accept", "text/html"), home, body, "", false, "%2F", "sign-in"},
		"sent again, and still not signed": {sent{"POST", acs, "same-origin/navigate/document", treasury, nil}, home, "SAMLResponse=" + strings.Repeat("x", 100<<10), "", true, beside, "sign-in"},
	} {
		t.Run(name, func(t *testing.T) {
			g := federated(t)
			r := c.s.form(g, c.who, c.body)
			r.RemoteAddr = c.from + ":1"
			a := g.browser(c.from).do(r)
			if a.StatusCode != 401 || a.location() != "" || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
				t.Fatalf("%d %v %s", a.StatusCode, a.Header, a.body[:min(len(a.body), 2000)])
			}
			if strings.Contains(a.body, "<script>alert") || strings.Contains(a.body, "data-auto") {
				t.Error("the form is not text, or goes by itself")
			}
			want := ""
			if c.kept {
				want = c.body
			}
			if a.fields() != want {
				t.Errorf("kept %q", a.fields())
			}
			link := html.UnescapeString(regexp.MustCompile(`href="(/\.sallyport/(?:sign-in|step-up)[^"]*)"`).FindStringSubmatch(a.body)[1])
			if !strings.HasPrefix(link, portal.Prefix+c.step+"?return_to="+c.leads) {
				t.Errorf("leads to %s", link)
			}
			if a := g.browser(c.from).get(treasury + link); a.StatusCode != 302 || !strings.HasPrefix(a.location(), login+portal.Prefix+c.step+"?") || !strings.Contains(a.location(), "bind=") {
				t.Errorf("which goes to %d %s %s", a.StatusCode, a.location(), a.body)
			}
			if len(g.tool.requests()) != 0 {
				t.Error("the tool was asked")
			}
		})
	}
	// A script is told as before.
	g := federated(t)
	r := sent{"POST", own.to, "same-origin/cors/empty", treasury, nil}.form(g, "alice", body)
	r.RemoteAddr = vpn + ":1"
	if a := g.browser(vpn).do(r); a.StatusCode != 401 || a.code() != "insufficient_user_authentication" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// The whole way: a form, a sign-in in another tab, and the form again.
func TestFormIsSentAfterSigningInBesideIt(t *testing.T) {
	g := newHarness(t)
	b := g.browser(home).enroll("alice")
	post := func(body string) answer {
		r := b.request("POST", treasury+"/pay", body)
		for k, v := range map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Origin": treasury} {
			r.Header.Set(k, v)
		}
		return b.do(r)
	}
	kept := post("amount=12")
	link := html.UnescapeString(regexp.MustCompile(`href="(/\.sallyport/sign-in[^"]*)"`).FindStringSubmatch(kept.body)[1])
	if a := b.follow(treasury + link); a.StatusCode != 200 || !strings.Contains(a.body, "Now send your form") {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if a := post(kept.fields()); a.body != "the tool" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}
