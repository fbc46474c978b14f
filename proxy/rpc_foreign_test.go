package proxy_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"sallyport/proxy"
	"sallyport/proxy/streams"
)

// unread is a body that fails the test if anything reads it.
type unread struct{ testing.TB }

func (u unread) Read([]byte) (int, error) {
	u.Error("the body was read")
	return 0, errors.New("the body was read")
}

func (unread) Close() error { return nil }

// node is neighbours with a JSON-RPC node behind treasury, a budget in which no message has room, and a
// policy with rules about the request itself.
func node(t testing.TB, uri bool) (*harness, *streams.Budget) {
	t.Helper()
	budget := streams.NewBudget(1, 1)
	g := neighbours(t, func(p *setup) {
		p.policy = rpcPolicy + "  - {name: no-deletes, when: 'request.method == \"DELETE\"', then: block}\n" +
			"  - {name: admin-paths, when: 'request.path.startsWith(\"/admin\")', then: block}\n" +
			"  - {name: sockets, when: request.websocket, then: block}\n" +
			"  - {name: hosting, when: ip.hosting, then: block}\n"
		p.change = func(c *proxy.Config) { c.Streams = newStreams(streams.Config{Now: c.Now, Inspected: budget}) }
	})
	g.gate.Update(func(s proxy.Snapshot) proxy.Snapshot {
		s.Options = map[string]proxy.RouteOptions{"treasury": takesCalls(proxy.RouteOptions{RPCURI: uri})}
		return s
	})
	return g, budget
}

// Another origin's page cannot have a body read at the person's expense, nor bad requests and blocks
// written under their name: each attempt is recorded as the other page's.
func TestAttackForeignPageAccusesThePerson(t *testing.T) {
	for name, c := range map[string]struct {
		sent
		body bool
	}{
		"POST with a body":          {sent{"POST", treasury + "/", "same-site/no-cors/empty", wiki, nil}, true},
		"POST of Safari":            {sent{"POST", treasury + "/", "", wiki, nil}, true},
		"POST of a sandboxed frame": {sent{"POST", treasury + "/", "cross-site/navigate/iframe", "null", nil}, true},
		"a form":                    {sent{"POST", treasury + "/", "cross-site/navigate/document", "https://evil.example", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}, true},
		"a body that is encoded":    {sent{"POST", treasury + "/", "same-site/no-cors/empty", wiki, map[string]string{"Content-Encoding": "gzip"}}, true},
		"POST without a body":       {sent{"POST", treasury + "/", "same-site/no-cors/empty", wiki, nil}, false},
		"POST with a query":         {sent{"POST", treasury + "/?method=x", "same-site/no-cors/empty", wiki, nil}, true},
		"two origins":               {sent{"POST", treasury + "/", "", wiki + " " + treasury, nil}, true},
		"GET":                       {sent{"GET", treasury + "/status", "same-site/no-cors/image", "", nil}, false},
		"fetch":                     {sent{"GET", treasury + "/status", "same-site/cors/empty", wiki, nil}, false},
		"a prefetch":                {sent{"GET", treasury + "/status", "same-site/navigate/document", "", map[string]string{"Sec-Purpose": "prefetch"}}, false},
		"a link":                    {sent{"GET", treasury + "/status", "cross-site/navigate/document", "", nil}, false},
		"a link with a query":       {sent{"GET", treasury + "/status?tx=1", "same-site/navigate/document", "", nil}, false},
		"a WebSocket":               {sent{"GET", treasury + "/ws", "same-site/websocket/websocket", wiki, webSocket}, false},
		"a handshake that is none":  {sent{"GET", treasury + "/ws", "same-site/no-cors/empty", wiki, map[string]string{"Upgrade": "websocket"}}, false},
		"a method that is blocked":  {sent{"DELETE", treasury + "/", "same-site/cors/empty", wiki, nil}, true},
		"a path that is blocked":    {sent{"POST", treasury + "/admin", "same-site/no-cors/empty", wiki, nil}, true},
		"a call that is blocked":    {sent{"POST", treasury + "/admin_peers", "same-site/no-cors/empty", wiki, nil}, true},
	} {
		for _, uri := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				g, budget := node(t, uri)
				r := c.by(g, "alice")
				if c.body {
					r.Body, r.ContentLength = unread{t}, 1000
				}
				a := g.browser(home).do(r)
				if a.StatusCode/100 != 4 || len(g.tool.requests()) != 0 || budget.Refused() != 0 {
					t.Errorf("%d; there was no room %d times", a.StatusCode, budget.Refused())
				}
				recs := g.audit.take()
				if len(recs) != 1 || recs[0].Event != "cross_site_refused" || recs[0].Action != "block" || recs[0].Detail["site"] != r.Header.Get("Sec-Fetch-Site") {
					t.Errorf("recorded %s", jsonText(recs))
				}
			})
		}
	}
}

// What the person's own page, an allowed one and a program get wrong is theirs; and a network that is blocked
// is not hidden behind another origin.
func TestWhatIsThePersonsOwnIsRecordedAsSuch(t *testing.T) {
	for name, c := range map[string]struct {
		sent
		from, event string
	}{
		"own page":             {sent{"POST", treasury + "/", "same-origin/cors/empty", treasury, nil}, home, "bad_request"},
		"allowed origin":       {sent{"POST", treasury + "/", "same-site/cors/empty", partner, nil}, home, "bad_request"},
		"allowed origin, link": {sent{"GET", treasury + "/", "same-site/navigate/document", partner, nil}, home, "bad_request"},
		"program":              {sent{"POST", treasury + "/", "", "", nil}, home, "bad_request"},
		"typed":                {sent{"GET", treasury + "/", "none/navigate/document", "", nil}, home, "bad_request"},
		"own page, blocked":    {sent{"DELETE", treasury + "/", "same-origin/cors/empty", treasury, nil}, home, "bad_request"},
		"a blocked network":    {sent{"POST", treasury + "/", "same-site/no-cors/empty", wiki, nil}, hosting, "access"},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := node(t, false)
			r := c.by(g, "alice")
			r.RemoteAddr = c.from + ":4711"
			if r.Method == http.MethodPost && c.event == "bad_request" {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader("[]")), 2
			}
			a := g.browser(c.from).do(r)
			recs := g.audit.take()
			if a.StatusCode/100 != 4 || len(recs) != 1 || recs[0].Event != c.event || recs[0].Action != "block" {
				t.Errorf("%d, recorded %s", a.StatusCode, jsonText(recs))
			}
		})
	}
}

// With rpc_uri a link is a call. One that another page, a mail or a chat has made calls nothing; the node's own pages and
// programs do, and people get as far as the list of methods.
func TestAttackLinkCallsAMethod(t *testing.T) {
	const html = "text/html,*/*;q=0.8"
	for name, c := range map[string]struct {
		sent
		status int
		event  string
	}{
		"a link of another site":          {sent{"GET", treasury + "/unsafe_flush", "cross-site/navigate/document", "", nil}, 403, "cross_site_refused"},
		"with arguments alone":            {sent{"GET", treasury + "/?method=x", "cross-site/navigate/document", "", nil}, 403, "cross_site_refused"},
		"a link of another tool":          {sent{"GET", treasury + "/unsafe_flush", "same-site/navigate/document", "", nil}, 403, "cross_site_refused"},
		"HEAD":                            {sent{"HEAD", treasury + "/unsafe_flush", "cross-site/navigate/document", "", nil}, 403, "cross_site_refused"},
		"an image of another tool":        {sent{"GET", treasury + "/unsafe_flush", "same-site/no-cors/image", "", nil}, 403, "cross_site_refused"},
		"typed, or a link in a mail":      {sent{"GET", treasury + "/unsafe_flush", "none/navigate/document", "", nil}, 403, "bad_request"},
		"an old browser":                  {sent{"GET", treasury + "/unsafe_flush", "", "", map[string]string{"Accept": html, "Referer": "https://evil.example/"}}, 403, "cross_site_refused"},
		"one that does not say":           {sent{"GET", treasury + "/unsafe_flush", "", "", map[string]string{"Accept": html}}, 403, "cross_site_refused"},
		"an image in an old browser":      {sent{"GET", treasury + "/unsafe_flush", "", "", map[string]string{"Accept": "image/*", "Referer": "https://evil.example/"}}, 403, "cross_site_refused"},
		"the node's own page":             {sent{"GET", treasury + "/status?height=7", "same-origin/navigate/document", "", nil}, 200, "access"},
		"the script of that page":         {sent{"GET", treasury + "/status?height=7", "same-origin/cors/empty", "", nil}, 200, "access"},
		"that page in an old browser":     {sent{"GET", treasury + "/status", "", "", map[string]string{"Accept": html, "Referer": treasury + "/"}}, 200, "access"},
		"the script of an allowed page":   {sent{"GET", treasury + "/status", "same-site/cors/empty", partner, nil}, 200, "access"},
		"an extension":                    {sent{"GET", treasury + "/status", "none/cors/empty", "", nil}, 200, "access"},
		"a program":                       {sent{"GET", treasury + "/status?height=7", "", "", map[string]string{"Accept": "*/*"}}, 200, "access"},
		"the list of methods, typed":      {sent{"GET", treasury + "/", "none/navigate/document", "", nil}, 200, "access"},
		"the list of methods, on arrival": {sent{"GET", treasury + "/", "same-site/navigate/document", "", nil}, 200, "access"},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := node(t, true)
			a := g.browser(home).do(c.by(g, "alice"))
			recs := g.audit.take()
			if got := len(g.tool.requests()); a.StatusCode != c.status || got != 1 && c.status == 200 || got != 0 && c.status != 200 || len(recs) != 1 || recs[0].Event != c.event {
				t.Fatalf("%d, the node got %d; recorded %s\n%s", a.StatusCode, got, jsonText(recs), a.body)
			}
			var told struct {
				Error struct {
					Code    int
					Message string
					Data    struct{ Error string }
				}
			}
			byLink := jsonInto(a.body, &told) == nil && told.Error.Data.Error == "by_link" && told.Error.Code == -32600
			if want := c.status == 403 && c.metadata != "same-site/no-cors/image"; c.method == "GET" && byLink != want {
				t.Errorf("told %s", a.body)
			}
		})
	}
}
