package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sallyport/proxy"
)

// A tool is told the groups that it was named for, in header and assertion alike, and no
// more than its server takes.
func TestToolsAreToldTheirGroupsOnly(t *testing.T) {
	many := []string{"treasury", "staff"}
	for i := range 200 {
		many = append(many, fmt.Sprintf("group-%03d-with-a-name-as-directories-have-them", i))
	}
	for name, c := range map[string]struct {
		sent  proxy.SentGroups
		has   []string
		least int
		most  int
		want  string // exactly; "": least and most count
	}{
		"none":             {proxy.SentGroups{}, many, 0, 0, ""},
		"named":            {proxy.SentGroups{Named: []string{"treasury"}}, many, 1, 1, "treasury"},
		"named, in order":  {proxy.SentGroups{Named: []string{"staff", "treasury", "other"}}, many, 2, 2, "treasury,staff"},
		"named like it":    {proxy.SentGroups{Named: []string{"Treasury", "treasur"}}, many, 0, 0, ""},
		"all of few":       {proxy.SentGroups{All: true}, []string{"treasury", "staff"}, 2, 2, "treasury,staff"},
		"all of too many":  {proxy.SentGroups{All: true}, many, 80, 120, ""},
		"named of no more": {proxy.SentGroups{Named: many}, many[:2], 2, 2, "treasury,staff"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newHarness(t, func(p *setup) { p.options = map[string]proxy.RouteOptions{"treasury": {Groups: c.sent}} })
			person, _ := g.idp.Person("alice")
			person.Groups = c.has
			g.idp.SetPerson(person)
			b := g.enrolled("alice", home)
			g.tool.requests()
			if a := b.get(treasury + "/"); a.StatusCode != 200 {
				t.Fatal(a.StatusCode, a.body)
			}
			h := g.tool.requests()[0].Header
			told := h.Get("X-Sallyport-Groups")
			n := len(strings.FieldsFunc(told, func(r rune) bool { return r == ',' }))
			if n < c.least || n > c.most || c.want != "" && told != c.want || len(told) > 4<<10 {
				t.Errorf("%d groups, %d bytes: %.80q", n, len(told), told)
			}
			if signed := h.Get("X-Sallyport-Assertion"); len(signed) > 7<<10 {
				t.Errorf("the assertion has %d bytes", len(signed))
			}
		})
	}
}

// An upstream's 431 comes without a word, and reloading does not help.
func TestToolThatTakesNoSuchHeaders(t *testing.T) {
	g := newHarness(t)
	b := g.enrolled("alice", home)
	g.tool.answer = func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusRequestHeaderFieldsTooLarge, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	a := b.get(treasury + "/")
	if a.StatusCode != 502 || !strings.Contains(a.body, "could not take the request&#39;s headers") || a.Header.Get("Retry-After") != "" {
		t.Errorf("%d %v %s", a.StatusCode, a.Header, a.body)
	}
}
