package expr

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

type testIP struct {
	Country string   `cel:"country"`
	VPN     bool     `cel:"vpn"`
	ASN     int64    `cel:"asn"`
	Lists   []string `cel:"lists"`
	Speed   float64  `cel:"speed"`
	Ports   []int64  `cel:"ports"`
	Hidden  string   `cel:"-"`
	Untold  string
}

type testUser struct {
	Groups []string `cel:"groups"`
	Email  string   `cel:"email"`
}

type testSession struct {
	Age time.Duration `cel:"age"`
	Now time.Time     `cel:"now"`
}

type testFacts struct {
	IP      testIP      `cel:"ip"`
	User    testUser    `cel:"user"`
	Session testSession `cel:"session"`
	Other   string
}

func testEnv(t testing.TB) *Env {
	t.Helper()
	schema, err := NewSchema(reflect.TypeFor[testFacts]())
	if err != nil {
		t.Fatal(err)
	}
	env, err := NewEnv(Config{
		Facts: schema,
		Lists: map[string]List{
			"bad": {Strings: []string{"KP", "IR"}}, "asns": {Ints: []int64{1, 64500}}, "none": {},
			"long": {Strings: strings.Fields(strings.Repeat("entry ", 100_000))},
		},
		Functions: []Function{{
			Name: "ip.within", Params: []Kind{Strings, String}, Result: Bool, Reads: []string{"ip.country"},
			Bind: func(arg Constant) (Bound, error) {
				for i, s := range arg.Strings {
					if s == "wrong" {
						return nil, &EntryError{i, fmt.Errorf("%q is wrong", s)}
					}
				}
				return func(f any) (any, error) { return f.(*testFacts).IP.Country == "SE", nil }, nil
			},
		}, {
			Name: "session.hour", Params: []Kind{String}, Result: Int, Reads: []string{"session.now"},
			Bind: func(Constant) (Bound, error) { return func(any) (any, error) { return int64(3), nil }, nil },
			Dynamic: func(_, arg any) (any, error) {
				if arg == "" {
					return nil, fmt.Errorf("no zone")
				}
				return int64(4), nil
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func sample() *testFacts {
	return &testFacts{
		IP:      testIP{Country: "KP", VPN: true, ASN: 64500, Lists: []string{"a"}, Speed: 2.5, Ports: []int64{22, 443}},
		User:    testUser{Groups: []string{"ops", "infra"}, Email: "ann@example.com"},
		Session: testSession{Age: time.Hour, Now: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)},
	}
}

func compile(t testing.TB, e *Env, text string) *Program {
	t.Helper()
	p, problems := e.Compile(text)
	if len(problems) > 0 {
		t.Fatalf("%s: %v", text, problems)
	}
	return p
}

func eval(p *Program, facts any) (bool, error) {
	s := p.env.Acquire(facts)
	defer s.Release()
	return p.Eval(s)
}

// conditions that do not call the test's own functions, and what they are for the sample.
var conditions = map[string]bool{
	`ip.vpn && ip.country in lists.bad`:                              true,
	`ip.country in ["SE", "NO"]`:                                     false,
	`!(ip.country in ["SE", "NO"])`:                                  true,
	`ip.country in lists.none`:                                       false,
	`ip.asn in lists.asns`:                                           true,
	`ip.asn in [1, 2]`:                                               false,
	`64500 in lists.asns`:                                            true,
	`ip.country == "KP"`:                                             true,
	`"KP" != ip.country`:                                             false,
	`ip.country == user.email`:                                       false,
	`ip.country < "Z"`:                                               true,
	`ip.speed > 2.0`:                                                 true,
	`443 in ip.ports && ip.ports.all(p, p > 0)`:                      true,
	`"infra" in user.groups`:                                         true,
	`user.groups.exists(g, g.startsWith("in"))`:                      true,
	`user.groups.exists(g, g in lists.bad || g == "ops")`:            true,
	`user.groups.exists(g, ip.vpn && g == "ops")`:                    true,
	`user.groups.exists_one(g, g == "ops")`:                          true,
	`user.groups.all(g, g != ip.country)`:                            true,
	`user.groups.filter(g, g == "ops").size() == 1`:                  true,
	`user.groups.map(g, g + "!") == ["ops!", "infra!"]`:              true,
	`user.groups[1] == "infra" && size(user.groups) == 2`:            true,
	`user.groups == ["ops", "infra"]`:                                true,
	`session.age >= duration("1h") && session.age < duration("61m")`: true,
	`session.now > timestamp("2026-01-05T11:59:59Z")`:                true,
	`user.email.lowerAscii().endsWith("@example.com")`:               true,
	`user.email.matches("^[a-z]+@example[.]com$")`:                   true,
	`ip.vpn ? ip.asn > 5 : false`:                                    true,
	`int("5") == 5 && string(ip.asn) == "64500"`:                     true,
	`lists.bad.exists(c, c == ip.country) && size(lists.bad) == 2`:   true,
	`lists.bad == ["KP", "IR"] && lists.bad[0] == "KP"`:              true,
	"true": true,
}

func TestConditions(t *testing.T) {
	e := testEnv(t)
	for text, want := range conditions {
		p := compile(t, e, text)
		if got, err := eval(p, sample()); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
}

// Our nodes stand in for cel-go's in every program, so they have to agree with it: on values
// that match, that do not, and on empty ones.
func TestNodesAgreeWithCEL(t *testing.T) {
	e := testEnv(t)
	samples := []*testFacts{sample(), {}, {IP: testIP{Country: "SE", ASN: 2}, User: testUser{Groups: []string{"SE", "ops!"}}}}
	for text := range conditions {
		p := compile(t, e, text)
		plain, err := e.cel.Program(p.ast)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range samples {
			s := e.Acquire(f)
			want, _, wantErr := plain.Eval(cel.Activation(s))
			got, gotErr := p.Eval(s)
			limited, limitedErr := p.evalLimited(s)
			s.Release()
			if (wantErr != nil) != (gotErr != nil) || wantErr == nil && got != (want == types.True) {
				t.Errorf("%s, sample %d: got %v, %v; CEL says %v, %v", text, i, got, gotErr, want, wantErr)
			}
			if got != limited || (gotErr != nil) != (limitedErr != nil) {
				t.Errorf("%s, sample %d: %v, %v; under a limit %v, %v", text, i, got, gotErr, limited, limitedErr)
			}
		}
	}
}

func TestFunctions(t *testing.T) {
	e := testEnv(t)
	for text, want := range map[string]bool{
		`ip.within(lists.bad)`: true, `ip.within("x")`: true, `ip.within(["x"])`: true,
		`session.hour("x") == 3`: true, `session.hour(user.email) == 4`: true,
		`user.groups.exists(g, ip.within(lists.bad) && session.hour(g) == 4)`: true,
	} {
		f := sample()
		f.IP.Country = "SE"
		p := compile(t, e, text)
		if got, err := eval(p, f); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	p := compile(t, e, `session.hour(user.email) == 4`)
	if want := []string{"user.email", "session.now"}; !reflect.DeepEqual(p.Reads(), want) {
		t.Errorf("reads %v, want %v", p.Reads(), want)
	}
	if _, err := eval(p, &testFacts{}); err == nil || !strings.Contains(err.Error(), "no zone") {
		t.Errorf("error of a function was lost: %v", err)
	}
}

func TestEvaluationErrors(t *testing.T) {
	e := testEnv(t)
	for text, want := range map[string]string{
		`user.groups[9] == "x"`:                 "index out of bounds",
		`1 / (ip.asn - 64500) > 1`:              "division by zero",
		`!ip.vpn || user.groups[9] == ""`:       "index out of bounds",
		`duration(user.email) > duration("1s")`: "Duration",
		`ip.asn * 9223372036854775807 > 0`:      "overflow",
	} {
		got, err := eval(compile(t, e, text), sample())
		if got || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestProblems(t *testing.T) {
	e := testEnv(t)
	tests := []struct {
		text       string
		at         int // the character, from 1
		message    string
		suggestion string
	}{
		{`ip.contry == "x"`, 4, "no fact ip.contry", "ip.country"},
		{`ip.vpn && user.country == "x"`, 16, "no fact user.country", "ip.country"},
		{`country == "x"`, 1, "unknown name country", "ip.country"},
		{`usr.email == "x"`, 1, "unknown name usr", "user"},
		{`ip.hidden == "x"`, 4, "no fact ip.hidden", ""},
		{`ip == "x"`, 1, "a group of names", ""},
		{`ip.country in lists.bda`, 21, "no list lists.bda", "lists.bad"},
		{`ip.vpn()`, 4, "a fact, not a function", "ip.vpn"},
		{`ip.within`, 4, "is a function", ""},
		{`ip.witin(lists.bad)`, 4, "unknown function ip.witin()", "ip.within()"},
		{`user.email.endWith("x")`, 12, "unknown function endWith()", "endsWith()"},
		{`user.groups.exists("x")`, 13, "takes a name", ""},
		{`user.groups.exists(ip, ip == "x")`, 20, "already names a group", ""},
		{`has(ip.country)`, 1, "not needed", ""},
		{`dyn(1) == 1`, 1, "unknown function dyn()", ""},
		{`session.now.getHours() > 1`, 13, "unknown function getHours()", ""},
		{`ip.country = "x"`, 12, "does not compare", "=="},
		{`ip.vpn and ip.vpn`, 8, "not an operator", "&&"},
		{`ip.vpn & ip.vpn`, 8, "not an operator", "&&"},
		{`not ip.vpn`, 1, "not an operator", "!"},
		{`ip.country <> "x"`, 12, "not an operator", "!="},
		{`ip.country === "x"`, 12, "not an operator", "=="},
		{`ip.country =~ "x"`, 12, "not an operator", `fact.matches("^...$")`},
		{`ip.country == “x”`, 15, "typographic", `ip.country == "x"`},
		{"ip.vpn\u00a0|| ip.tor", 7, "U+00A0", "a space"},
		{"ip.vpn \u200b|| ip.tor", 8, "U+200B", "a space"},
		{`(ip.vpn`, 1, "never closed", ""},
		{`ip.vpn)`, 7, "not opened", ""},
		{`ip.country == "x`, 15, "never closed", ""},
		{`ip.vpn ||`, 8, "nothing on the right of ||", ""},
		{`ip.country == 5`, 12, "cannot compare ip.country (text) with 5 (a whole number)", `ip.country == "5"`},
		{`session.age > "8h"`, 13, "cannot compare session.age (a duration)", `session.age > duration("8h")`},
		{`ip.country == lists.bad`, 12, "cannot compare", "ip.country in lists.bad"},
		{`session.age > duration("8 hours")`, 24, "not a duration", `duration("8h")`},
		{`session.now > timestamp("today")`, 25, "not a timestamp", ""},
		{`!ip.country in lists.bad`, 1, "negates a condition", "!(ip.country in lists.bad)"},
		{`ip.country in user.email`, 12, "cannot look for ip.country (text) in user.email (text)", "user.email.contains(ip.country)"},
		{`ip.asn in lists.bad`, 8, "cannot look for ip.asn (a whole number)", ""},
		{`ip.country && ip.vpn`, 1, "this is ip.country (text), where a condition has to be", ""},
		{`ip.asn.foo == 1`, 7, "ip.asn (a whole number) has no field foo", ""},
		{`ip.country.contains(5)`, 12, "contains() does not go with ip.country (text) and 5", `ip.country.contains("5")`},
		{`ip.country.exists(c, c == "x")`, 1, "go through a list", ""},
		{`ip.country`, 1, "gives a string", ""},
		{`{"a": 1}.size() == 1`, 1, "cannot be built", ""},
		{`ip.within(user.groups)`, 11, "when the policy is loaded", ""},
		{`ip.within(["a", "wrong"])`, 17, `"wrong" is wrong`, ""},
		{`user.email.matches(ip.country)`, 20, "written out", ""},
		{`user.email.matches("^[$")`, 20, "missing closing ]", ""},
		{strings.Repeat("(", 300) + "ip.vpn" + strings.Repeat(")", 300), 1, "too deeply nested", ""},
		{strings.Repeat("ip.vpn||", 600) + "ip.vpn", 1, "4806 characters", ""},
		{`user.groups.exists(g, user.groups.exists(h, g == h))`, 1, "worst case", ""},
		{`user.groups.exists(a, user.groups.exists(b, user.groups.exists(c, a == b)))`, 0, "nest", ""},
		{`lists.long.exists(l, l == ip.country)`, 1, "worst case", ""},
	}
	for _, tt := range tests {
		p, problems := e.Compile(tt.text)
		if p != nil || len(problems) == 0 {
			t.Errorf("%.60s: accepted", tt.text)
			continue
		}
		q := problems[0]
		if !strings.Contains(q.Message, tt.message) || q.Suggestion != tt.suggestion || tt.at > 0 && q.Offset+1 != tt.at {
			t.Errorf("%.60s:\n got %d: %s (suggestion %q)\nwant %d: %s (suggestion %q)", tt.text, q.Offset+1, q, q.Suggestion, tt.at, tt.message, tt.suggestion)
		}
	}
}

func TestEveryProblemIsReported(t *testing.T) {
	_, problems := testEnv(t).Compile(`ip.contry == "x" && user.emial == "y" && ip.asn == "z"`)
	if len(problems) != 3 {
		t.Errorf("got %v", problems)
	}
}

// RE2 matches anywhere unless told otherwise.
func TestAttackPatternWithoutAnchors(t *testing.T) {
	e := testEnv(t)
	for pattern, ok := range map[string]bool{
		"^admin$": true, "^(a|b)$": true, "^a$|^b$": true, "^(?:a|b)+$": true, `\\A(a)\\z`: true, "^a.*$": true, "(^a$)": true,
		"admin": false, "^admin": false, "admin$": false, "^a|b$": false, "^a|^b$": false, "(?m)^a$": false, "(^a$)*": false, "(^a$)?": false, "": false,
	} {
		_, problems := e.Compile(`user.email.matches("` + pattern + `")`)
		if ok != (len(problems) == 0) {
			t.Errorf("%q: %v", pattern, problems)
		}
		if !ok && len(problems) > 0 && !strings.Contains(problems[0].Message, "not anchored") {
			t.Errorf("%q: %v", pattern, problems)
		}
	}
}

func TestComparisons(t *testing.T) {
	e := testEnv(t)
	p := compile(t, e, `ip.country == "US" || "KP" != ip.country || ip.country in ["A", "B"] || ip.country in lists.bad ||
		user.groups.exists(g, g == "x") || "y" in user.groups || session.hour("z") == 5 || ip.country.contains("no") ||
		7 > session.hour("z") || lists.bad.exists(b, ip.country.startsWith(b)) || ip.country.lowerAscii() == "us"`)
	var got []string
	for _, c := range p.Comparisons() {
		s := c.Subject + " " + c.List
		if c.How != Equal {
			s = fmt.Sprintf("%s%d %s", c.Method, c.How, s)
		}
		if c.Lower {
			s = "lower " + s
		}
		for _, v := range c.Values {
			s += " " + v.Text
		}
		got = append(got, s)
	}
	want := []string{"ip.country  US", "ip.country  KP", "ip.country  A B", "ip.country bad", "user.groups  x", "user.groups  y", "session.hour  5",
		"contains17 ip.country  no", "10 session.hour  7", "startsWith17 ip.country bad", "lower ip.country  us"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestTrace(t *testing.T) {
	e := testEnv(t)
	p := compile(t, e, `ip.country == "US" || (ip.vpn && !("ops" in user.groups)) || user.groups[9] == "x"`)
	s := e.Acquire(sample())
	defer s.Release()
	steps, err := p.Trace(s)
	if err == nil {
		t.Error("the error of the evaluation was lost")
	}
	want := []Step{{`ip.country == "US"`, "false"}, {"ip.vpn", "true"}, {`"ops" in user.groups`, "true"}, {`user.groups[9] == "x"`, "error: index out of bounds: 9"}}
	if !reflect.DeepEqual(steps, want) {
		t.Errorf("got %q", steps)
	}
}

func TestSchemaRefusesWhatExpressionsCannotSay(t *testing.T) {
	type group struct {
		M map[string]string `cel:"m"`
	}
	type root struct {
		G group `cel:"g"`
	}
	if _, err := NewSchema(reflect.TypeFor[root]()); err == nil {
		t.Error("a map was taken for a fact")
	}
	type flat struct {
		G string `cel:"g"`
	}
	if _, err := NewSchema(reflect.TypeFor[flat]()); err == nil {
		t.Error("a group that is not a struct was accepted")
	}
}
