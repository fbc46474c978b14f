package policy

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/internal/expr"
)

// test is one compiled entry of `tests:`.
type test struct {
	name         string
	line, column int
	given        Facts
	action       Action
	rules        []string // nil: not compared
	reported     []string
	score        *int
}

// TestResult is the outcome of one entry of the policy's `tests:`.
type TestResult struct {
	Name    string   `json:"name"`
	Line    int      `json:"line"`
	File    string   `json:"file,omitempty"`
	Passed  bool     `json:"passed"`
	Message string   `json:"message,omitempty"` // what was expected and what came, when it did not pass
	Got     Decision `json:"got"`

	column int
}

// RunTests runs the policy's own tests, in file order. The grants of routes are taken as given.
func (p *Policy) RunTests() []TestResult { return p.run(p.name, p.tests) }

func (p *Policy) run(file string, tests []test) []TestResult {
	q := p.Ungranted()
	out := make([]TestResult, len(tests))
	for i, t := range tests {
		got := q.Decide(&t.given)
		message := t.compare(got)
		out[i] = TestResult{Name: t.name, Line: t.line, File: file, column: t.column, Passed: message == "", Message: message, Got: got}
	}
	return out
}

// Ungranted returns the policy without the grants of routes, for judging people who are made up.
// Never for a policy that is to be enforced.
func (p *Policy) Ungranted() *Policy {
	q := *p
	q.grants = nil
	return &q
}

func (t *test) compare(got Decision) string {
	var wrong []string
	differ := func(what string, expected, came any) {
		wrong = append(wrong, fmt.Sprintf("expected %s %v, got %v", what, expected, came))
	}
	if t.action != got.Action {
		came := got.Action.String()
		if len(got.Rules) > 0 {
			came += " (" + strings.Join(got.Rules, ", ") + ")"
		}
		differ("action", t.action, came)
	}
	if t.rules != nil && !sameSet(t.rules, got.Rules) {
		differ("rules", t.rules, got.Rules)
	}
	if t.reported != nil {
		var came []string
		for _, r := range got.Reported {
			came = append(came, r.Rule)
		}
		if !sameSet(t.reported, came) {
			differ("reported", t.reported, came)
		}
	}
	if t.score != nil && *t.score != got.Score {
		differ("score", *t.score, got.Score)
	}
	return strings.Join(wrong, "; ")
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// testTime is time.now in tests that do not say: a Monday noon.
var testTime = time.Date(2026, time.January, 5, 12, 0, 0, 0, time.UTC)

// notSaid is session.verified_age in tests that do not give one. Negative, and so never
// fresh: no step-up counts as answered. Nor is it old: a rule about stale assertions
// matches only in tests that say how old theirs is.
const notSaid = -24 * time.Hour

// testFacts is what a test begins with: somebody whom nothing speaks against, of whose last
// assertion nothing is said, so that it answers no question.
func testFacts() Facts {
	return Facts{
		IP:         IP{Address: "192.0.2.1", Version: 4, Country: "ZZ"},
		User:       User{Email: "someone@example.com", Subject: "someone", Issuer: "https://idp.example.com", StartedDays: 365},
		Session:    Session{ID: "test", Level: "verified", VerifiedAge: notSaid, Concurrent: 1},
		Credential: Credential{Class: "unattested", Age: 30 * 24 * time.Hour},
		Seen:       Seen{Known: true, Countries1h: 1, Countries24h: 1, ASNs24h: 1, Prefixes24h: 1, FirstDays: 365},
		Address:    Address{Known: true, People30d: 1},
		Device:     Device{Known: true, People30d: 1},
		Activity:   Activity{Known: true, ActiveHours24h: 4, LongestBreak48h: 14 * time.Hour},
		Request:    Request{Purpose: PurposeAccess, Method: "GET", Host: "example.com", Path: "/", PathFolded: "/"},
		Time:       Time{Now: testTime},
	}
}

func (b *builder) test(p *Policy, t *testSource) test {
	out := test{name: t.name, line: t.node.Line, column: t.node.Column, given: testFacts()}
	if t.given != nil {
		b.given(p, t.given, &out.given)
	}
	b.expect(p, t.expect, &out)
	return out
}

func (b *builder) given(p *Policy, n *yaml.Node, f *Facts) {
	values := map[string]*yaml.Node{}
	groups := b.fields(n, "given", p.schema.Groups()...)
	for _, group := range p.schema.Groups() {
		if groups[group] == nil {
			continue
		}
		var known []string
		for _, fact := range p.schema.Facts() {
			if fact.Group == group {
				known = append(known, fact.Field)
			}
		}
		for field, value := range b.fields(groups[group], group, known...) {
			values[group+"."+field] = value
		}
	}
	if v := values["session.level"]; v != nil {
		levelDefaults(f, v.Value)
	}
	for _, fact := range p.schema.Facts() {
		if v := values[fact.Name]; v != nil {
			b.fact(fact, v, p.schema.Field(f, fact))
		}
	}
	b.testAddress(values, f)
}

// levelDefaults takes away what somebody at a lower level does not have.
func levelDefaults(f *Facts, level string) {
	switch level {
	case "none":
		f.User, f.Session, f.Credential = User{StartedDays: -1}, Session{}, Credential{Class: "none"}
		f.Seen, f.Activity, f.Address, f.Device = Seen{}, Activity{}, Address{}, Device{}
	case "signed_in":
		f.Session.VerifiedAge, f.Credential = 0, Credential{Class: "none"}
	}
}

// testAddress derives from the address, and from the path, what follows from them.
func (b *builder) testAddress(values map[string]*yaml.Node, f *Facts) {
	if values["request.path_folded"] == nil {
		f.Request.PathFolded = FoldPath(f.Request.Path)
	}
	addr, err := netip.ParseAddr(f.IP.Address)
	if err != nil {
		return // the vocabulary has said so
	}
	f.IP.Addr = addr
	if values["ip.version"] == nil && addr.Is6() {
		f.IP.Version = 6
	}
	if values["ip.private"] == nil && values["ip.address"] != nil {
		f.IP.Private = Private(addr)
	}
	if values["ip.private"] == nil && values["ip.address"] == nil {
		f.IP.Private = f.IP.Internal // what is ours is private
	}
}

// fact reads one value of a test's given.
func (b *builder) fact(fact expr.Fact, n *yaml.Node, to reflect.Value) {
	check := func(n *yaml.Node) { b.at1(n, b.words.check(fact.Name, n.Value)) }
	wrong := func(expected string) {
		b.at(n, Diagnostic{Message: fmt.Sprintf("%s cannot be %q", fact.Name, n.Value), Expected: expected})
	}
	switch fact.Kind {
	case expr.Duration:
		if d, ok := b.duration(n, fact.Name); ok {
			to.SetInt(int64(d))
		}
	case expr.Time:
		at, err := time.Parse(time.RFC3339, n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			wrong("a time such as 2026-01-31T09:00:00Z")
			return
		}
		to.Set(reflect.ValueOf(at))
	case expr.String:
		if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Value == "" {
			to.SetString("")
		} else if text, ok := b.text(n, fact.Name); ok {
			check(n)
			to.SetString(text)
		}
	case expr.Strings:
		var list []string
		for _, e := range b.items(n, fact.Name) {
			if text, ok := b.text(e, "an entry of "+fact.Name); ok {
				check(e)
				list = append(list, text)
			}
		}
		to.Set(reflect.ValueOf(list))
	default:
		if n.Kind != yaml.ScalarNode || n.Decode(to.Addr().Interface()) != nil {
			wrong(fact.Kind.String())
			return
		}
		check(n)
	}
}

func (b *builder) expect(p *Policy, n *yaml.Node, t *test) {
	f := b.fields(n, "expect", expectKeys.names()...)
	if f == nil {
		return
	}
	if f["action"] == nil {
		b.at(n, Diagnostic{Message: "the test expects no action", Expected: "action: allow, step_up or block"})
	} else {
		t.action = b.expectedAction(f["action"])
	}
	names := []string{baselineSignIn, baselineVerify, baselineGrant, baselineData}
	for _, r := range p.rules {
		names = append(names, r.name)
	}
	read := func(key string) []string {
		if f[key] == nil {
			return nil
		}
		out := []string{}
		for _, e := range b.items(f[key], key) {
			if !slices.Contains(names, e.Value) {
				b.at(e, Diagnostic{Message: fmt.Sprintf("there is no rule %q", e.Value), Expected: oneOf(names), Suggestion: expr.Nearest(e.Value, names)})
			}
			out = append(out, e.Value)
		}
		return out
	}
	t.rules, t.reported = read("rules"), read("reported")
	if f["score"] != nil {
		score, _ := b.number(f["score"], "score", 0, maxRules*maxScore)
		t.score = &score
	}
}

func (b *builder) expectedAction(n *yaml.Node) Action {
	var a Action
	if err := a.UnmarshalText([]byte(n.Value)); err != nil || n.Kind != yaml.ScalarNode {
		known := []string{Allow.String(), StepUp.String(), Block.String()}
		b.at(n, Diagnostic{Message: fmt.Sprintf("there is no action %q", n.Value), Expected: strings.Join(known, ", "), Suggestion: expr.Nearest(n.Value, known)})
	}
	return a
}
