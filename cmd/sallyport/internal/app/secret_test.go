package app

import (
	"bytes"
	"context"
	"encoding/json"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/authntest"
	"sallyport/authn/enroll"
	"sallyport/authn/session"
	"sallyport/cmd/sallyport/internal/sqlstore"
)

// visitor is a browser at the gate of a product in this process, and a shell beside it.
type visitor struct {
	*harness
	db      *sqlstore.DB // of commands
	cookies map[string]string
}

func (v *visitor) ok(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v *visitor) do(method, target, body string) *httptest.ResponseRecorder {
	v.t.Helper()
	r := httptest.NewRequestWithContext(v.t.Context(), method, target, strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost:8080", "127.0.0.1:4711"
	r.Header.Set("X-Forwarded-For", "198.51.100.7")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if body != "" {
		r.Header.Set("Sec-Fetch-Mode", "cors")
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	v.front.gate.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		} else {
			v.cookies[c.Name] = c.Value
		}
	}
	return w
}

// goes wants a redirect.
func (v *visitor) goes(target string) string {
	v.t.Helper()
	w := v.do("GET", target, "")
	if w.Code != 302 {
		v.t.Fatalf("%s answers %d: %s", target, w.Code, w.Body)
	}
	return w.Header().Get("Location")
}

// holds reports whether any file of the harness's state holds text: the database,
// its log of writes, the audit log.
func (v *visitor) holds(text string) (files []string) {
	v.t.Helper()
	all, err := filepath.Glob(filepath.Join(v.dir, "state", "*"))
	v.ok(err)
	for _, name := range all {
		content, err := os.ReadFile(name)
		v.ok(err)
		if bytes.Contains(content, []byte(text)) {
			files = append(files, filepath.Base(name))
		}
	}
	return files
}

func newVisitor(t *testing.T) (*visitor, *authntest.IdP) {
	t.Helper()
	v := &visitor{cookies: map[string]string{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	issuer := "http://" + l.Addr().String()
	idp, err := authntest.NewIdP(authntest.IdPConfig{Issuer: issuer,
		Clients: []authntest.IdPClient{{ID: "sallyport", Secret: "a-client-secret", RedirectURIs: []string{"http://localhost:8080/.sallyport/callback"}}},
		People:  []authntest.IdPPerson{{Sub: "a-1", Email: "alice@example.com", Verified: true}}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(idp)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(func() { server.Close(); idp.Close() })
	v.harness = newHarness(t, [3]string{"sallyport.yaml", "http://127.0.0.1:${IDP}", issuer})
	t.Cleanup(v.closeApp)
	v.db, err = sqlstore.Open(t.Context(), v.config.Store, sqlstore.Options{})
	v.ok(err)
	t.Cleanup(func() { v.db.Close() })
	v.ok(v.identity.provider.Discover(t.Context()))
	return v, idp
}

// TestTicketIsInNoFile: the secret of a ticket goes through the server twice and
// stays nowhere, at no moment of the way from the link to the passkey.
func TestTicketIsInNoFile(t *testing.T) {
	v, idp := newVisitor(t)
	_, secret, err := v.Tickets().Mint(t.Context(), enroll.MintRequest{Email: "alice@example.com", By: "root"})
	v.ok(err)
	tickets, err := v.db.ListTickets(t.Context(), "")
	v.ok(err)
	nowhere := func(when string) {
		t.Helper()
		if files := v.holds(secret); files != nil {
			t.Fatalf("%s the secret is in %q", when, files)
		}
		if v.holds(tickets[0].ID) == nil {
			t.Fatalf("%s not even the ticket's id was found: the search finds nothing", when)
		}
	}
	nowhere("once minted")
	signIn := v.goes("/.sallyport/enroll?ticket=" + secret)
	provider := v.goes(signIn + "&go=1")
	nowhere("during the sign-in")
	if strings.Contains(signIn+provider, secret) {
		t.Errorf("an address holds the secret: %s, %s", signIn, provider)
	}
	back, err := idp.SignIn(provider, "a-1")
	v.ok(err)
	page := v.do("GET", v.goes(back.RequestURI()), "")
	data := func(name string) string {
		m := regexp.MustCompile(`data-` + name + `="([^"]*)"`).FindStringSubmatch(page.Body.String())
		if m == nil {
			t.Fatalf("no enrolment page: %d %s", page.Code, page.Body)
		}
		return html.UnescapeString(m[1])
	}
	post := func(to string, body map[string]any) *httptest.ResponseRecorder {
		t.Helper()
		text, err := json.Marshal(body)
		v.ok(err)
		w := v.do("POST", to, string(text))
		if w.Code != 200 {
			t.Fatalf("%s answers %d: %s", to, w.Code, w.Body)
		}
		return w
	}
	var begun struct {
		Ceremony string
		Options  json.RawMessage
	}
	v.ok(json.Unmarshal(post(data("begin"), map[string]any{"ticket": data("ticket")}).Body.Bytes(), &begun))
	nowhere("during the ceremony")
	credential, err := authntest.NewAuthenticator("http://localhost:8080").Create(begun.Options)
	v.ok(err)
	post(data("finish"), map[string]any{"ticket": data("ticket"), "ceremony": begun.Ceremony, "credential": json.RawMessage(credential)})
	nowhere("after the enrolment")
	if v.cookies["sallyport-ticket"] != "" {
		t.Error("the cookie of a spent ticket is kept")
	}
}

// TestServerFollowsCommands: a process that serves learns within a second of a session
// that another process revoked, and has what operators did in the audit log, what they did
// before it served included.
func TestServerFollowsCommands(t *testing.T) {
	v, _ := newVisitor(t)
	did := func(event string) {
		t.Helper()
		v.ok(v.db.AddOperatorEvent(t.Context(), sqlstore.OperatorEvent{At: time.Now(), By: "root", Event: event}))
	}
	now := time.Now()
	v.ok(v.db.CreateSession(t.Context(), session.Record{ID: "s1", Person: authn.Person{Subject: authn.Subject{Issuer: "https://idp", ID: "a-1"}, Email: "alice@example.com"}, CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour)},
		session.Token{Digest: session.Digest{1}, SessionID: "s1", Host: "localhost", CreatedAt: now}))
	did("ticket_create") // before the server runs
	ended := make(chan string, 10)
	v.identity.sessions.OnEnd(func(id string) { ended <- id })
	ctx, stop := context.WithCancel(t.Context())
	wait := v.background(ctx)
	defer func() { stop(); wait() }()

	did("session_revoke")
	n, err := v.db.RevokeSessions(t.Context(), session.Filter{ID: "s1"})
	if err != nil || len(n) != 1 {
		t.Fatal(n, err)
	}
	limit := time.After(10 * time.Second) // far more than promised, for a busy machine
	for id := ""; id != "s1"; {
		select {
		case id = <-ended:
		case <-limit:
			t.Fatal("the server did not follow")
		}
	}
	if list, err := v.identity.sessions.List(t.Context(), session.Filter{}); err != nil || len(list) != 0 {
		t.Errorf("%d sessions, %v", len(list), err)
	}
	for {
		events := audited(t, filepath.Join(v.dir, "state", "audit.jsonl"))
		if len(events) == 2 {
			if events[0] != "operator.ticket_create" || events[1] != "operator.session_revoke" {
				t.Errorf("audit log: %q", events)
			}
			return
		}
		select {
		case <-limit:
			t.Fatalf("audit log: %q", events)
		case <-time.After(20 * time.Millisecond): // a file: there is nothing to wait on
		}
	}
}

// audited lists the operators' events in an audit log.
func audited(t *testing.T, file string) (events []string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(content)) {
		var r struct{ Event, User string }
		if json.Unmarshal([]byte(line), &r) == nil && strings.HasPrefix(r.Event, "operator.") && r.User == "root" {
			events = append(events, r.Event)
		}
	}
	return events
}
