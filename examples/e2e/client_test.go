package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/authn/authntest"
)

// client is a person with a browser of plain HTTP and a software authenticator: quick,
// and able to do what a browser does not.
type client struct {
	t    *testing.T
	s    *harness
	http *http.Client
	from string // the address it connects from
	keys *authntest.Authenticator
}

func newClient(t *testing.T, s *harness, from string) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, s: s, from: from, keys: authntest.NewAuthenticator(s.base)}
	c.http = &http.Client{
		Jar: jar, Transport: newDialer(t, func() string { return c.from }), Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// answer is a response, read to its end.
type answer struct {
	status   int
	header   http.Header
	body     string
	location string
}

// do sends a request from this person's address, with their cookies.
func (c *client) do(r *http.Request) (answer, error) {
	res, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	_, faults := setCookies(r.URL.String(), res.Header["Set-Cookie"])
	for _, fault := range faults {
		c.t.Error(fault)
	}
	a := answer{status: res.StatusCode, header: res.Header, body: string(body)}
	if to, err := res.Location(); err == nil {
		a.location = to.String()
	}
	return a, nil
}

func (c *client) must(r *http.Request, err error) answer {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	a, err := c.do(r)
	if err != nil {
		c.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return a
}

// navigate opens an address as a browser does, up to the first answer.
func (c *client) navigate(to string) answer {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodGet, to, nil)
	if err == nil {
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
	}
	return c.must(r, err)
}

// follow opens an address and goes where it is sent, within the product.
func (c *client) follow(to string) answer {
	c.t.Helper()
	for range 10 {
		a := c.navigate(to)
		if isHandoff(a) {
			if to = c.deliver(a); to == "" {
				return a
			}
			continue
		}
		if a.location == "" || !strings.Contains(a.location, ":"+c.s.port+"/") {
			return a
		}
		to = a.location
	}
	c.t.Fatalf("going round in circles at %s", to)
	return answer{}
}

// isHandoff reports whether a page takes its browser over to a tool by itself.
func isHandoff(a answer) bool { return strings.Contains(a.body, " data-auto") }

// handoff is what the script of a hand-off page has: where to post what.
type handoff struct{ to, returnTo, bind, code, how, next string }

var handoffData = regexp.MustCompile(`data-(to|return-to|bind)="([^"]*)"`)

// handoffOf asks for a code, as the script of a hand-off page does.
func (c *client) handoffOf(page answer) (h handoff) {
	c.t.Helper()
	for _, m := range handoffData.FindAllStringSubmatch(page.body, -1) {
		*map[string]*string{"to": &h.to, "return-to": &h.returnTo, "bind": &h.bind}[m[1]] = html.UnescapeString(m[2])
	}
	a, err := c.post("handoff", map[string]any{"return_to": h.returnTo, "bind": h.bind})
	if err != nil || a.status != http.StatusOK {
		c.t.Fatalf("no code: %v, %d %s", err, a.status, a.body)
	}
	var made struct{ Code, How, Next string }
	if err := json.Unmarshal([]byte(a.body), &made); err != nil {
		c.t.Fatal(err)
	}
	h.code, h.how, h.next = made.Code, made.How, made.Next
	return h
}

// show posts a code to a tool's host, the way that its script or its form would.
func (c *client) show(h handoff) answer {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodPost, h.to, strings.NewReader(url.Values{"code": {h.code}}.Encode()))
	if err == nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", c.s.base)
		r.Header.Set("Sec-Fetch-Mode", map[string]string{"fetch": "cors", "form": "navigate"}[h.how])
		r.Header.Set("Sec-Fetch-Site", map[string]string{"fetch": "same-site", "form": "cross-site"}[h.how])
	}
	return c.must(r, err)
}

var refresh = regexp.MustCompile(`http-equiv="refresh" content="0; url=([^"]*)"`)

// deliver plays a hand-off page to its end, and returns where it leads; "" if it is refused.
func (c *client) deliver(page answer) string {
	c.t.Helper()
	h := c.handoffOf(page)
	if h.code == "" {
		return h.next
	}
	a := c.show(h)
	if m := refresh.FindStringSubmatch(a.body); m != nil {
		return html.UnescapeString(m[1])
	}
	var done struct{ Next string }
	if a.status != http.StatusOK || json.Unmarshal([]byte(a.body), &done) != nil {
		return ""
	}
	return done.Next
}

// api calls an address as a program does.
func (c *client) api(to string, edit ...func(*http.Request)) answer {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodGet, to, nil)
	if err == nil {
		r.Header.Set("Accept", "application/json")
		for _, e := range edit {
			e(r)
		}
	}
	return c.must(r, err)
}

// post sends JSON to the sign-in host, as the script of its pages does.
func (c *client) post(page string, body any) (answer, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	r, err := http.NewRequest(http.MethodPost, c.s.base+"/.sallyport/"+page, bytes.NewReader(data))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", c.s.base)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	return c.do(r)
}

var signInLink = regexp.MustCompile(`href="([^"]+)" data-action="sign-in"`)

// signIn starts at an address that leads to the sign-in page, and ends where the
// product goes after the provider: on the page for the passkey.
func (c *client) signIn(from, sub string) answer {
	c.t.Helper()
	back := c.callback(from, sub)
	a := c.navigate(back)
	if a.location == "" {
		c.t.Fatalf("after the provider: %d %s", a.status, a.body)
	}
	return c.follow(a.location)
}

// callback goes through the provider, and returns the address it would send the browser to.
func (c *client) callback(from, sub string) string {
	c.t.Helper()
	page := c.follow(from)
	link := signInLink.FindStringSubmatch(page.body)
	if link == nil {
		c.t.Fatalf("%s does not lead to the sign-in page: %d %s", from, page.status, page.body)
	}
	a := c.navigate(c.s.base + html.UnescapeString(link[1]))
	back, err := c.s.idp.SignIn(a.location, sub)
	if err != nil {
		c.t.Fatal(err)
	}
	return back.String()
}

// begun is what the product answers when a ceremony begins.
type begun struct {
	Ceremony string          `json:"ceremony"`
	Options  json.RawMessage `json:"options"`
}

func (b *begun) unwrap(data []byte) error {
	if err := json.Unmarshal(data, b); err != nil {
		return err
	}
	var inner struct {
		PublicKey json.RawMessage `json:"publicKey"`
	}
	if json.Unmarshal(b.Options, &inner) == nil && inner.PublicKey != nil {
		b.Options = inner.PublicKey
	}
	return nil
}

// ceremony begins and answers one, and returns what to finish it with.
func (c *client) ceremony(page string, context map[string]any, answer func([]byte) ([]byte, error)) (map[string]any, error) {
	a, err := c.post(page+"/begin", context)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("%s/begin: %d %s", page, a.status, a.body)
	}
	var b begun
	if err := b.unwrap([]byte(a.body)); err != nil {
		return nil, err
	}
	credential, err := answer(b.Options)
	if err != nil {
		return nil, err
	}
	finish := map[string]any{"ceremony": b.Ceremony, "credential": json.RawMessage(credential)}
	for k, v := range context {
		finish[k] = v
	}
	return finish, nil
}

// enrol makes a passkey with a ticket; the person is signed in already.
func (c *client) enrol(ticketURL string) {
	c.t.Helper()
	finish, err := c.ceremony("enroll", map[string]any{"ticket": secretOf(c.t, ticketURL)}, c.keys.Create)
	if err == nil {
		err = c.finish("enroll/finish", finish, nil)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// verify proves the person, and returns where the product sends them.
func (c *client) verify(context map[string]any) string {
	c.t.Helper()
	var next string
	finish, err := c.ceremony("step-up", context, c.keys.Get)
	if err == nil {
		err = c.finish("step-up/finish", finish, &next)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return next
}

func (c *client) finish(page string, body map[string]any, next *string) error {
	a, err := c.post(page, body)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s: %d %s", page, a.status, a.body)
	}
	var done struct {
		Next string `json:"next"`
	}
	if err := json.Unmarshal([]byte(a.body), &done); err != nil {
		return err
	}
	if next != nil {
		*next = done.Next
	}
	return nil
}

// getIn signs a person in, from nothing to inside the treasury, with a new ticket.
func (c *client) getIn(p authntest.IdPPerson) {
	c.t.Helper()
	ticket := c.s.ticket(p.Email)
	c.signIn(ticket, p.Sub)
	c.enrol(ticket)
	c.open()
}

// open goes to the treasury as a person who is signed in, proving themselves on the way.
func (c *client) open() {
	c.t.Helper()
	to := c.navigate(c.s.treasury + "/").location
	if to == "" {
		return
	}
	u, err := url.Parse(to)
	if err != nil {
		c.t.Fatal(err)
	}
	if q := u.Query(); strings.HasSuffix(u.Path, "/step-up") || strings.HasSuffix(u.Path, "/sign-in") {
		to = c.verify(map[string]any{"return_to": q.Get("return_to"), "bind": q.Get("bind")})
	}
	if a := c.follow(to); a.status != http.StatusOK || !strings.Contains(a.body, "Treasury of") {
		c.t.Fatalf("the treasury: %d %s", a.status, a.body)
	}
}

// cookie returns the value of this person's session cookie on an origin, if they have one.
func (c *client) cookie(origin string) string {
	c.t.Helper()
	u, err := url.Parse(origin)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, k := range c.http.Jar.Cookies(u) {
		if k.Name == c.s.cookieName("sallyport") {
			return k.Value
		}
	}
	return ""
}

// whoamiWith asks who a cookie value stands for, from a browser that has nothing else.
func (c *client) whoamiWith(origin, cookies string) answer {
	c.t.Helper()
	return newClient(c.t, c.s, c.from).api(origin+"/.sallyport/whoami", func(r *http.Request) { r.Header.Set("Cookie", cookies) })
}

func secretOf(t *testing.T, ticketURL string) string {
	t.Helper()
	u, err := url.Parse(ticketURL)
	if err != nil || u.Query().Get("ticket") == "" {
		t.Fatalf("%q is not an enrolment link", ticketURL)
	}
	return u.Query().Get("ticket")
}
