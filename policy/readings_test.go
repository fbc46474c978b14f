package policy

import (
	"slices"
	"strings"
	"testing"
)

// decidePath compiles rules and judges a request for a path.
func decidePath(t *testing.T, source, path string) Decision {
	t.Helper()
	f := ordinary()
	f.Request.Path, f.Request.PathFolded = path, FoldPath(path)
	return mustCompile(t, source).Decide(&f)
}

// A rule that names a path is not escaped by spelling it in a way that some tool folds.
func TestAttackPathSpelledPastARule(t *testing.T) {
	for _, when := range []string{
		`request.path == "/transactions/7/approve"`, `request.path == "/Transactions/7/Approve"`, `request.path == "/transactions/7/approve/"`,
		`request.path_folded == "/transactions/7/approve"`, `request.path.startsWith("/transactions/")`, `request.path.startsWith("/TRANSACTIONS/")`,
		`request.path.endsWith("/approve")`, `request.path.contains("/7/Approve")`, `request.path.matches("^/transactions/[0-9]+/approve$")`,
		`request.path.matches("^/Transactions/[0-9]+/Approve$")`, `request.path in ["/x", "/Transactions/7/approve"]`, `request.path in lists.paths`,
		`lists.paths.exists(p, request.path == p)`, `lists.begin.exists(p, request.path.startsWith(p))`, `request.method == "GET" && !(request.path != "/transactions/7/Approve")`,
		`request.path.lowerAscii() == "/transactions/7/approve"`, `"/transactions" + "/7/Approve" == request.path`,
	} {
		lists := ""
		if strings.Contains(when, "lists.") {
			lists = "lists: {paths: [/Transactions/7/Approve], begin: [/Transactions/]}\n"
		}
		source := lists + "rules: [{name: a, when: '" + when + "', then: block}]"
		for _, path := range []string{"/transactions/7/approve", "/Transactions/7/approve", "/TRANSACTIONS/7/APPROVE/", "/transactions./7/approve", "/transact\u0131ons/7/approve",
			"/transactions/7/approve.json", "/Transactions/7/Approve.XML", "/transactions/7/approve ", "/tran%73actions/7/approve", "/tran\u017factions/7/approve"} {
			if d := decidePath(t, source, path); d.Action != Block {
				t.Errorf("%s: %q passes", when, path)
			}
		}
		if d := decidePath(t, source, "/harmless"); d.Action != Allow {
			t.Errorf("%s: /harmless gets %v", when, d.Action)
		}
	}
}

// An exception for a path holds in the reading in which the rule is asked, and no spelling
// that some tool reads otherwise gets it.
func TestAttackPathSpelledIntoAnException(t *testing.T) {
	const source = `rules: [{name: a, when: 'ip.vpn || request.path.startsWith("/")', unless: 'request.path.startsWith("/public/")', then: block}]`
	for path, want := range map[string]Action{"/public/x": Allow, "/private/x": Block, "/public": Block, "/PUBLIC/x": Block, "/public/x.json": Allow} {
		if d := decidePath(t, source, path); d.Action != want {
			t.Errorf("%s: %v", path, d.Action)
		}
	}
}

// Scores of rules over paths add up whichever reading each of them matches in.
func TestScoresOfFoldedPaths(t *testing.T) {
	const source = `
thresholds: {block: 50}
rules:
  - {name: approve, when: 'request.path.endsWith("/approve")', score: 30}
  - {name: money, when: 'request.path.startsWith("/Money/")', score: 30}
`
	for path, want := range map[string]int{"/money/approve": 60, "/MONEY/approve.json": 60, "/Money/x": 30, "/other": 0} {
		if d := decidePath(t, source, path); d.Score != want || (d.Action == Block) != (want >= 50) {
			t.Errorf("%s: %d, %v", path, d.Score, d.Action)
		}
	}
}

// The verdict is never weaker than that of a reading alone, and explain, batches and recorded facts
// without path_folded say the same.
func TestAllWaysToJudgeAgreeOnFoldedPaths(t *testing.T) {
	p := mustCompile(t, `
rules:
  - {name: a, when: 'request.path_folded == "/admin"', then: block}
  - {name: b, when: 'request.path != "/public" && request.path != "/admin"', then: step_up}
`)
	for _, path := range []string{"/admin", "/Admin", "/admin.json", "/public", "/PUBLIC", "/x"} {
		f := ordinary()
		f.Request.Path, f.Request.PathFolded = path, FoldPath(path)
		want := p.Decide(&f)
		for _, reading := range []string{path, FoldPath(path), DropSuffix(FoldPath(path))} {
			alone := f
			alone.Request.Path, alone.Request.PathFolded = reading, FoldPath(reading)
			if d := p.Decide(&alone); d.Action < want.Action && reading == FoldPath(reading) && DropSuffix(reading) == reading {
				t.Errorf("%s gets %v, and %v as %s", path, want.Action, d.Action, reading)
			}
		}
		recorded := f
		recorded.Request.PathFolded = ""
		if d := p.Decide(&recorded); d.Action != want.Action || !slices.Equal(d.Rules, want.Rules) {
			t.Errorf("%s: recorded %v, want %v", path, d.Rules, want.Rules)
		}
		if d := leastOf(p.NewBatch(nil), &recorded); d.Action != want.Action || !slices.Equal(d.Rules, want.Rules) {
			t.Errorf("%s: in a batch %v, want %v", path, d.Rules, want.Rules)
		}
		e := p.Explain(&recorded)
		for i, name := range []string{"a", "b"} {
			if got := e.Rules[i].Outcome == OutcomeMatched; got != slices.Contains(want.Rules, name) {
				t.Errorf("%s: %s is explained as %v", path, name, e.Rules[i].Outcome)
			}
		}
	}
	f := ordinary()
	f.Request.Path = "/Admin.json"
	if text := p.Explain(&f).Text(); !strings.Contains(text, "it matches the path as /admin, which some tools take it for") {
		t.Error(text)
	}
}

// An address inside the address may tighten a decision, and is no excuse from one: a person who can choose what is inside must
// not become a person of the office, of a good country, or of a relay.
func TestReadingsOnlyTighten(t *testing.T) {
	p, err := Compile(Config{Name: "policy.yaml", Source: []byte(`version: 1
lists: {embargoed: [KP], offices: [203.0.113.0/24]}
rules:
  - {name: embargoed, when: ip.country in lists.embargoed, then: block}
  - {name: vpn, when: ip.vpn, unless: ip.within(lists.offices), then: block}
  - {name: hosting, when: ip.hosting, unless: ip.relay, then: block}
  - {name: named, when: 'ip.within(["192.0.2.0/24"])', then: block}
  - {name: path, when: request.path == "/x" && ip.tor, then: block}
`)})
	if err != nil {
		t.Fatal(err)
	}
	outer := IP{Address: "2a00:1234::5efe:cb00:7109", Version: 6, Country: "DE"}
	for name, c := range map[string]struct {
		all, outer, inner IP
		want              []string
	}{
		"nothing":                       {outer, outer, IP{Address: "203.0.113.9", Version: 4, Country: "US"}, nil},
		"an embargoed country inside":   {outer, outer, IP{Address: "203.0.113.9", Version: 4, Country: "KP"}, []string{"embargoed"}},
		"an embargoed country outside":  {IP{Address: outer.Address, Country: "US"}, IP{Address: outer.Address, Country: "KP"}, IP{Address: "203.0.113.9", Country: "US"}, []string{"embargoed"}},
		"an office inside is no excuse": {IP{Address: outer.Address, Country: "DE", VPN: true}, IP{Address: outer.Address, VPN: true}, IP{Address: "203.0.113.9"}, []string{"vpn"}},
		"a relay inside is no excuse":   {IP{Address: outer.Address, Hosting: true, Relay: true}, IP{Address: outer.Address, Hosting: true}, IP{Address: "203.0.113.9", Relay: true}, []string{"hosting"}},
		"a network inside":              {outer, outer, IP{Address: "192.0.2.7"}, []string{"named"}},
		"a rule about the request":      {outer, outer, IP{Address: "198.51.100.7", Tor: true}, []string{"path"}},
	} {
		f := &Facts{IP: c.all, Session: Session{Level: "verified"}, Request: Request{Purpose: PurposeAccess, Path: "/x"}}
		f.IP.Readings = []IP{c.outer, c.inner}
		if got := p.Decide(f); !slices.Equal(got.Rules, c.want) {
			t.Errorf("%s: %v, want %v", name, got.Rules, c.want)
		}
		if got := leastOf(p.NewBatch(nil), f); !slices.Equal(got.Rules, c.want) {
			t.Errorf("%s, in a batch: %v, want %v", name, got.Rules, c.want)
		}
		for _, r := range p.Explain(f).Rules {
			if (r.Outcome == OutcomeMatched) != slices.Contains(c.want, r.Name) {
				t.Errorf("%s, explained: %s is %s (%s)", name, r.Name, r.Outcome, r.Why)
			}
		}
	}
}
