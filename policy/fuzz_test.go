package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sallyport/policy/strictyaml"
)

// FuzzCompile: for every file, Compile answers in bounded time with a policy or with
// diagnostics that point into the file; and a policy judges without panic.
func FuzzCompile(f *testing.F) {
	f.Add("version: 1\n" + judgePolicy)
	f.Add("version: 1\nlists: {a: [x]}\nrules: [{name: a, when: ip.country in lists.a, then: block}]\ntests: [{name: t, given: {ip: {country: US}}, expect: {action: allow}}]")
	f.Add("version: 1\nrules:\n  - name: a\n    when: >-\n      user.groups.exists(g,\n        g.matches(\"^a$\"))\n    then: step_up\n")
	for _, when := range []string{
		"ip.vpn", "'''x'' in user.groups'", `"\x41\u0041\n"`, "|\n  ip.within([\"10.0.0.0/8\"])", `time.hour("UTC") > 5`, "!ip.vpn", "*a", "&a b",
		"ip.country in lists.x", "user.groups.exists(a, a.exists(b, b))", strings.Repeat("(", 200), strings.Repeat("[", 50), "{1: 2}", "a.b{c: 1}",
		"ip.country.matches(\"^(a|b){1000}$\")", "\"\\ud800\"", "1/0 == 1", "ip[\"country\"] == ip.?country", "`ip`.vpn", "user.groups.map(x, [x, x]).map(x, x + x) == []",
	} {
		f.Add("version: 1\nrules:\n  - name: a\n    when: " + when + "\n    then: block\n")
	}
	f.Fuzz(func(t *testing.T, source string) {
		began := time.Now()
		p, err := Compile(Config{Name: "p.yaml", Source: []byte(source), Routes: []string{"wiki"}})
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("compiled for %s", took)
		}
		if err != nil {
			checkDiagnostics(t, source, err)
			return
		}
		began = time.Now()
		for _, facts := range []*Facts{{}, facts(), facts(vpn, stale, route("wiki"))} {
			p.Decide(facts)
			_ = p.Explain(facts).Text()
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("judged for %s", took)
		}
	})
}

func checkDiagnostics(t *testing.T, source string, err error) {
	var all Diagnostics
	if !errors.As(err, &all) || len(all) == 0 || len(all) > strictyaml.MaxDiagnostics+1 {
		t.Fatalf("not refused with diagnostics: %v", err)
	}
	lines := strings.Count(source, "\n") + 2 // one past the end, where something is missing
	for _, d := range all {
		if d.Line < 1 || d.Line > lines || d.Column < 1 || d.Message == "" || len(d.Excerpt) > 2000 {
			t.Errorf("%#v", d)
		}
	}
}
