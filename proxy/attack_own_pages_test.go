package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"testing"

	"sallyport/proxy"
)

// A tool is told some of a person's groups. Its script, in the person's browser, can ask our own page on
// its host for the rest.
func TestAttackToolReadsTheOtherGroups(t *testing.T) {
	g := newHarness(t, func(p *setup) {
		p.options = map[string]proxy.RouteOptions{"treasury": {Groups: proxy.SentGroups{Named: []string{"treasury"}}}, "wiki": {Groups: proxy.SentGroups{All: true}}}
	})
	person, _ := g.idp.Person("alice")
	person.Groups = []string{"key-holders", "treasury", "on-call"}
	g.idp.SetPerson(person)
	b := g.enrolled("alice", home)
	for origin, want := range map[string][]string{treasury: {"treasury"}, desk: {}, wiki: person.Groups, login: person.Groups} {
		var who struct{ Groups []string }
		a := b.fetch("GET", origin+"/.sallyport/whoami", nil)
		g.must(json.Unmarshal([]byte(a.body), &who))
		if a.StatusCode != 200 || !slices.Equal(who.Groups, want) {
			t.Errorf("%s: %s", origin, a.body)
		}
	}
}

// The record of a removal is a line of the log even if there are many already, because it comes before the passkey is
// gone. A person who removes nothing, again and again, must not fill the disk with such lines.
func TestAttackRemovalsOfNothingFillTheLog(t *testing.T) {
	change, written := withLog(t)
	g := newHarness(t, change)
	b := g.browser(home).enroll("alice")
	b64 := base64.RawURLEncoding.EncodeToString
	written()
	for i := range 400 {
		id := []string{b64(b.key.Credentials()[0]), b64([]byte{byte(i), byte(i >> 8)})}[i%2]
		if a := b.submit(account, url.Values{"do": {"remove-passkey"}, "credential": {id}}); a.StatusCode != 409 && a.StatusCode != 404 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	lines := map[string]int{}
	for _, r := range written() {
		lines[r.Event]++
	}
	if lines["passkey_remove"] != 0 || lines["passkey_remove_refused"] == 0 || lines["passkey_remove_refused"] > 70 {
		t.Errorf("%v", lines)
	}
}
