package proxy_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"

	"sallyport/authn"
	"sallyport/authn/authntest"
)

// browser is a person's browser: cookies for each host, an address, and an
// authenticator. It holds the server to what browsers insist on.
type browser struct {
	addrs map[string]string // by host, where it is not addr
	*harness
	addr    string
	cookies map[string]map[string]string // host, name
	key     *authntest.Authenticator
	agent   string
	last    answer // of the last hand-off
	proxied bool   // through a proxy at 10.0.0.1 that ends TLS
}

func (b *browser) viaProxy() *browser {
	b.proxied = true
	return b
}

func (g *harness) browser(addr string) *browser {
	return &browser{harness: g, addr: addr, cookies: map[string]map[string]string{}, key: authntest.NewAuthenticator(login), agent: "Mozilla/5.0 (X11; Linux x86_64)"}
}

// answer is a response, read.
type answer struct {
	*http.Response
	body string
	at   string // the URL that was asked for
}

func (a answer) location() string { return a.Header.Get("Location") }

// code is the error code of a JSON refusal.
func (a answer) code() string {
	var p struct{ Error string }
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Error
}

// request makes a request as net/http would hand it to the gate.
func (b *browser) request(method, to string, body string) *http.Request {
	b.Helper()
	u, err := url.Parse(to)
	b.must(err)
	// The target in origin form, byte for byte as the test wrote it.
	_, rest, _ := strings.Cut(to, "://")
	target := "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		target = "/" + strings.TrimPrefix(rest[i:], "/")
	}
	r := httptest.NewRequestWithContext(b.Context(), method, target, strings.NewReader(body))
	addr := b.addr
	if seen := b.addrs[u.Hostname()]; seen != "" {
		addr = seen
	}
	r.Host, r.RemoteAddr = u.Host, net.JoinHostPort(addr, "4711")
	if u.Scheme == "https" {
		r.TLS = &tls.ConnectionState{ServerName: u.Hostname()}
	}
	if b.proxied {
		r.TLS, r.RemoteAddr = nil, "10.0.0.1:4711"
		r.Header.Set("X-Forwarded-For", b.addr)
		r.Header.Set("X-Forwarded-Proto", u.Scheme)
	}
	for name, value := range b.cookies[u.Host] {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

// do sends r and keeps the cookies of the answer.
func (b *browser) do(r *http.Request) answer {
	b.Helper()
	w := httptest.NewRecorder()
	scheme := "http://"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https://"
	}
	b.gate.ServeHTTP(w, r)
	a := answer{Response: w.Result(), body: w.Body.String(), at: scheme + r.Host + r.RequestURI}
	for _, c := range a.Cookies() {
		b.keep(r.Host, c, a)
	}
	return a
}

// keep stores a cookie if a browser would, and fails the test for what no answer
// of ours may do.
func (b *browser) keep(host string, c *http.Cookie, a answer) {
	b.Helper()
	if strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Path != "/" || c.Domain != "") {
		b.Errorf("a browser refuses this cookie: %s", c)
	}
	if strings.Contains(c.Name, "sallyport") && !strings.HasPrefix(c.Name, "__Host-Http-") {
		b.Errorf("a script can plant this cookie: %s", c)
	}
	if strings.Contains(c.Name, "sallyport") && (!c.HttpOnly || c.SameSite != http.SameSiteLaxMode) {
		b.Errorf("a weak cookie: %s", c)
	}
	if a.StatusCode >= 400 && c.Name == b.sessions.CookieName() && c.Value != "" {
		b.Errorf("%s answered %d and hands out a session", a.at, a.StatusCode)
	}
	if b.cookies[host] == nil {
		b.cookies[host] = map[string]string{}
	}
	if c.MaxAge < 0 {
		delete(b.cookies[host], c.Name)
		return
	}
	b.cookies[host][c.Name] = c.Value
}

// get navigates to an address, and follows nothing.
func (b *browser) get(to string) answer {
	b.Helper()
	r := b.request("GET", to, "")
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("User-Agent", b.agent)
	return b.do(r)
}

// follow navigates and goes along with redirects between our hosts. It stops at a
// page, at a refusal, and at the door of the OpenID provider.
func (b *browser) follow(to string) answer {
	b.Helper()
	for range 12 {
		a := b.get(to)
		next := a.location()
		if a.isHandoff() {
			if next = b.deliver(a); next == "" {
				return b.last
			}
		}
		if next == "" || strings.HasPrefix(next, b.idp.Issuer()) {
			return a
		}
		to = absolute(to, next)
	}
	b.Fatalf("redirected without end, last to %s", to)
	return answer{}
}

// isHandoff reports whether a page takes its browser over to a tool's host by itself.
func (a answer) isHandoff() bool { return strings.Contains(a.body, " data-auto") }

// handoff is what the script of a hand-off page finds.
type handoffForm struct{ make, to, returnTo, bind string }

func (a answer) handoff(b *browser) handoffForm {
	b.Helper()
	data := func(name string) string {
		m := regexp.MustCompile(`data-` + name + `="([^"]*)"`).FindStringSubmatch(a.body)
		if m == nil {
			b.Fatalf("%s is no hand-off page: %d %q %s", a.at, a.StatusCode, a.location(), a.body)
		}
		return html.UnescapeString(m[1])
	}
	return handoffForm{absolute(a.at, data("handoff")), data("to"), data("return-to"), data("bind")}
}

type handoffAnswer struct{ Code, How, Next string }

// makeCode asks the sign-in host for a code, as the script does.
func (b *browser) makeCode(f handoffForm, confirmed bool) (handoffAnswer, answer) {
	b.Helper()
	a := b.fetch("POST", f.make, map[string]any{"return_to": f.returnTo, "bind": f.bind, "confirmed": confirmed})
	var made handoffAnswer
	if a.StatusCode == 200 {
		b.must(json.Unmarshal([]byte(a.body), &made))
	}
	return made, a
}

// show posts a code to a tool's host, as the script does from the sign-in host.
func (b *browser) show(to, code string, edit ...func(*http.Request)) answer {
	b.Helper()
	r := b.request("POST", to, url.Values{"code": {code}}.Encode())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Origin", login)
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Dest", "empty")
	r.Header.Set("Sec-Fetch-Site", "same-site")
	r.Header.Set("User-Agent", b.agent)
	for _, e := range edit {
		e(r)
	}
	return b.do(r)
}

// deliver plays a hand-off page to its end, and returns where it leads; "" if it was
// refused: then last is the answer.
func (b *browser) deliver(page answer) (next string) {
	b.Helper()
	f := page.handoff(b)
	made, a := b.makeCode(f, false)
	if made.Code == "" {
		b.last = a
		return made.Next
	}
	a = b.show(f.to, made.Code)
	b.last = a
	var done handoffAnswer
	if a.StatusCode == 200 {
		b.must(json.Unmarshal([]byte(a.body), &done))
	}
	return done.Next
}

// code goes from a tool's address as far as a code for it.
func (b *browser) code(to string) (code string, f handoffForm) {
	b.Helper()
	for range 5 {
		a := b.get(to)
		if a.isHandoff() {
			f = a.handoff(b)
			made, a := b.makeCode(f, false)
			if made.Code == "" {
				b.Fatalf("no code: %d %s", a.StatusCode, a.body)
			}
			return made.Code, f
		}
		if a.location() == "" {
			b.Fatalf("no hand-off: %d %s", a.StatusCode, a.body)
		}
		to = absolute(a.at, a.location())
	}
	b.Fatalf("no hand-off, last at %s", to)
	return "", f
}

func absolute(base, ref string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ref
	}
	v, err := u.Parse(ref)
	if err != nil {
		return ref
	}
	return v.String()
}

// fetch asks for JSON, as a script on the page does.
func (b *browser) fetch(method, to string, body any) answer {
	b.Helper()
	var text []byte
	if body != nil {
		var err error
		text, err = json.Marshal(body)
		b.must(err)
	}
	r := b.request(method, to, string(text))
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", to[:strings.Index(to, "/.sallyport/")+0]) // our pages only
	return b.do(r)
}

// submit posts a form of one of our pages.
func (b *browser) submit(to string, form url.Values) answer {
	b.Helper()
	r := b.request("POST", to, form.Encode())
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

// provider signs in at the OpenID provider that a asks to go to, and returns where
// the provider sends the browser back to.
func (b *browser) provider(a answer, sub string) string {
	b.Helper()
	if !strings.HasPrefix(a.location(), b.idp.Issuer()) {
		b.Fatalf("%s answered %d %q, not a redirect to the provider: %s", a.at, a.StatusCode, a.location(), a.body)
	}
	back, err := b.idp.SignIn(a.location(), sub)
	b.must(err)
	return back.String()
}

// signIn goes from an address as far as the passkey page, or wherever the sign-in
// leads.
func (b *browser) signIn(to, sub string) answer {
	b.Helper()
	page := b.follow(to)
	link := regexp.MustCompile(`href="([^"]*)" data-action="sign-in"`).FindStringSubmatch(page.body)
	if link == nil {
		b.Fatalf("%s is no sign-in page: %d %s", page.at, page.StatusCode, page.body)
	}
	return b.follow(b.provider(b.get(absolute(page.at, html.UnescapeString(link[1]))), sub))
}

// ceremony is what the script finds in the form of a ceremony page.
type ceremony struct{ kind, begin, finish, ticket, returnTo, bind string }

func (a answer) ceremony(b *browser) ceremony {
	b.Helper()
	data := func(name string) string {
		m := regexp.MustCompile(`data-` + name + `="([^"]*)"`).FindStringSubmatch(a.body)
		if m == nil {
			b.Fatalf("%s is no ceremony page: %d %q %s", a.at, a.StatusCode, a.location(), a.body)
		}
		return html.UnescapeString(m[1])
	}
	return ceremony{data("ceremony"), absolute(a.at, data("begin")), absolute(a.at, data("finish")), data("ticket"), data("return-to"), data("bind")}
}

type begun struct {
	Ceremony string
	Options  json.RawMessage
}

// begin posts what the script posts first.
func (b *browser) begin(c ceremony) (begun, answer) {
	b.Helper()
	a := b.fetch("POST", c.begin, map[string]any{"ticket": c.ticket, "return_to": c.returnTo, "bind": c.bind})
	var o begun
	if a.StatusCode == 200 {
		b.must(json.Unmarshal([]byte(a.body), &o))
	}
	return o, a
}

// finish posts what the authenticator says.
func (b *browser) finish(c ceremony, o begun, credential []byte) answer {
	b.Helper()
	return b.fetch("POST", c.finish, map[string]any{"ticket": c.ticket, "return_to": c.returnTo, "bind": c.bind,
		"ceremony": o.Ceremony, "credential": json.RawMessage(credential), "name": "My key"})
}

// press does what pressing the button of a ceremony page does, and returns the
// answer to the last post.
func (b *browser) press(page answer) answer {
	b.Helper()
	c := page.ceremony(b)
	o, a := b.begin(c)
	if a.StatusCode != 200 {
		return a
	}
	do := b.key.Get
	if c.kind == "enroll" {
		do = b.key.Create
	}
	credential, err := do(o.Options)
	b.must(err)
	return b.finish(c, o, credential)
}

// pressAndGo presses, and goes where the answer says.
func (b *browser) pressAndGo(page answer) answer {
	b.Helper()
	a := b.press(page)
	var done struct{ Next string }
	if a.StatusCode != 200 || json.Unmarshal([]byte(a.body), &done) != nil {
		b.Fatalf("the ceremony at %s was refused: %d %s", page.at, a.StatusCode, a.body)
	}
	return b.follow(absolute(page.at, done.Next))
}

// proposed makes a further passkey with a new authenticator, up to where another one has to
// confirm it, and returns that authenticator and the answer to the last post.
func (b *browser) proposed() (*authntest.Authenticator, answer) {
	b.Helper()
	added := authntest.NewAuthenticator(login)
	c := b.get(login + "/.sallyport/enroll").ceremony(b)
	o, a := b.begin(c)
	if a.StatusCode != 200 {
		return added, a
	}
	credential, err := added.Create(o.Options)
	b.must(err)
	return added, b.finish(c, o, credential)
}

// proposalOf is the id in the answer to a passkey that was made.
func (a answer) proposalOf(b *browser) string {
	b.Helper()
	var made struct{ Proposal string }
	if a.StatusCode != 200 || json.Unmarshal([]byte(a.body), &made) != nil || made.Proposal == "" {
		b.Fatalf("no proposal: %d %s", a.StatusCode, a.body)
	}
	return made.Proposal
}

const confirm = login + "/.sallyport/enroll/confirm"

// confirms vouches for a proposal with an authenticator, and returns the answer to the last post.
func (b *browser) confirms(proposal string, key *authntest.Authenticator) answer {
	b.Helper()
	a := b.fetch("POST", confirm+"/begin", map[string]any{"proposal": proposal})
	if a.StatusCode != 200 {
		return a
	}
	var o begun
	b.must(json.Unmarshal([]byte(a.body), &o))
	credential, err := key.Get(o.Options)
	b.must(err)
	return b.fetch("POST", confirm+"/finish", map[string]any{"ceremony": o.Ceremony, "credential": json.RawMessage(credential), "time_zone": "Europe/Zurich"})
}

// adds a further passkey: made with a new authenticator, which it returns, and confirmed
// with the browser's own.
func (b *browser) adds() (*authntest.Authenticator, answer) {
	b.Helper()
	added, a := b.proposed()
	if a.StatusCode != 200 {
		return added, a
	}
	return added, b.confirms(a.proposalOf(b), b.key)
}

// enroll takes a person without a passkey through a ticket to a verified session
// on the sign-in host.
func (b *browser) enroll(sub string) *browser {
	b.Helper()
	page := b.signIn(login+"/.sallyport/enroll?ticket="+b.ticket(authn.Email(sub+"@example.test")), sub)
	stepUp := b.pressAndGo(page)
	if account := b.pressAndGo(stepUp); account.StatusCode != 200 || !strings.Contains(account.body, "Your passkeys") {
		b.Fatalf("enrolling ended at %s: %d %s", account.at, account.StatusCode, account.body)
	}
	return b
}

// enrolled is a person's browser with a verified session on every host.
func (g *harness) enrolled(sub, addr string) *browser {
	g.Helper()
	b := g.browser(addr).enroll(sub)
	for _, tool := range []string{treasury + "/", wiki + "/wiki", desk + "/app"} {
		if a := b.follow(tool); a.StatusCode != 200 && a.StatusCode != 405 && sub != "carol" { // 405: a JSON-RPC node has no pages
			g.Fatalf("%s cannot open %s: %d %s", sub, tool, a.StatusCode, a.body)
		}
	}
	g.audit.reset()
	g.tool.requests()
	return b
}

// clone is a thief's copy of the cookies.
func (b *browser) clone(addr string) *browser {
	c := b.harness.browser(addr)
	for host, list := range b.cookies {
		c.cookies[host] = map[string]string{}
		for name, value := range list {
			c.cookies[host][name] = value
		}
	}
	c.key = b.key
	return c
}

// handedTo gives the browser another name, and a new session for a host under it.
func (b *browser) handedTo(agent, to string) {
	b.Helper()
	b.agent = agent
	delete(b.cookies[strings.TrimPrefix(treasury, "https://")], b.sessions.CookieName())
	if a := b.follow(to); a.StatusCode != 200 {
		b.Fatalf("%s: %d %s", to, a.StatusCode, a.body)
	}
}

// session is the value of the session cookie for a host.
func (b *browser) session(origin string) string {
	return b.cookies[strings.TrimPrefix(origin, "https://")][b.sessions.CookieName()]
}

func jsonInto(text string, v any) error { return json.Unmarshal([]byte(text), v) }

func jsonText(v any) string {
	var s bytes.Buffer
	_ = json.NewEncoder(&s).Encode(v)
	return s.String()
}
