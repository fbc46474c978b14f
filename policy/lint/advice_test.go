package lint

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"sallyport/policy"
	"sallyport/policy/internal/file"
	"sallyport/policy/load"
)

// checkAdvice applies what a finding says to write, and fails unless that compiles, ends the finding and leads to no
// error or warning that was not there. lintOf calls it for every finding of every test.
func checkAdvice(t testing.TB, c Config, found []Finding) {
	t.Helper()
	for _, f := range found {
		if f.Write == "" {
			continue
		}
		before := c.Policy
		c.Policy.Source = rewritten(t, c, f)
		after, err := Check(c)
		if err != nil {
			t.Errorf("%s: what it says to write does not compile: %s\n%v", f.Code, f.Write, err)
			c.Policy = before
			continue
		}
		checkMeaning(t, before, c.Policy, f)
		c.Policy = before
		for _, g := range after {
			same := g.Code == f.Code && g.Rule == f.Rule && g.Message == f.Message
			worse := g.Severity < Note && g.Rule == f.Rule && !slices.ContainsFunc(found, func(h Finding) bool { return h.Code == g.Code && h.Rule == g.Rule })
			if same || worse {
				t.Errorf("%s: after what it says to write, %s, there is\n%s", f.Code, f.Write, g.Text())
			}
		}
	}
}

// rewritten is the policy with what a finding says to write.
func rewritten(t testing.TB, c Config, f Finding) []byte {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Load(c.Policy.Source, &doc); err != nil {
		t.Fatal(err)
	}
	var in *yaml.Node // the condition of the rule that the finding stands in
	for i, r := range value(doc.Content[0], "rules").Content {
		if value(r, "name").Value != f.Rule {
			continue
		}
		for _, key := range []string{"when", "unless"} {
			n := value(doc.Content[0], "rules").Content[i]
			if v := value(n, key); v != nil && (v.Line < f.Line || v.Line == f.Line && v.Column <= f.Column) {
				in = v
			}
		}
	}
	if in == nil { // at the name of the rule: it is about its condition
		for _, r := range value(doc.Content[0], "rules").Content {
			if value(r, "name").Value == f.Rule {
				in = value(r, "when")
			}
		}
	}
	in.Value, in.Style, in.LineComment = f.Write, yaml.DoubleQuotedStyle, ""
	out, err := yaml.Dump(&doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// What a fix says in words is tried too: the rule that it would add, or the text that it would put in the place of another.
func TestAdviceInWords(t *testing.T) {
	const stale = `, {name: stale, when: ip.data_age_hours > 400, then: step_up}`
	for _, tt := range []struct{ code, rules, says, old, by string }{
		{"unknown-country-passes", `{name: a, when: 'ip.country == "KP"', then: block}`, `when: ip.country == "ZZ" && !ip.internal, and then: step_up`, "]", `, {name: b, when: 'ip.country == "ZZ" && !ip.internal', then: step_up}]`},
		{"data-age-unconsidered", `{name: a, when: ip.vpn, then: block}`, "when: ip.data_age_hours > 24 * 14, and then: step_up", "}]", `}, {name: b, when: ip.data_age_hours > 24 * 14, then: step_up}]`},
		{"history-unconsidered", `{name: a, when: seen.countries_1h > 3, then: block}`, "when: '!seen.known', and then: step_up", "}]", `}, {name: b, when: '!seen.known', then: step_up}]`},
		{"unused-signal", `{name: a, when: ip.tor, then: block}` + stale, "a rule over ip.vpn; mode: report", "}]", `}, {name: b, when: ip.vpn, then: block, mode: report}]`},
		{"always-matches", `{name: a, when: ip.asn >= 0, then: step_up}`, "when: true", "ip.asn >= 0", "true"},
		{"always-matches", `{name: a, when: ip.asn >= 0, then: block, routes: [wiki]}`, "when: true", "ip.asn >= 0", "true"},
		{"dead-condition", `{name: a, when: 'ip.vpn && (ip.asn != 5 || ip.asn != 6)', then: block}`, "!(ip.asn in [5, 6])", "ip.asn != 5 || ip.asn != 6", "ip.asn != 0 && !(ip.asn in [5, 6])"},
		{"country-without-zz", `{name: a, when: 'ip.vpn && ip.country != "US"', then: block}`, `ip.country == "ZZ" || in front`, `ip.vpn && ip.country != "US"`, `ip.country == "ZZ" || (ip.vpn && ip.country != "US")`},
		{"newcomer-refused", `{name: a, when: seen.new_device, then: step_up}`, "seen.first_days > 0 && in front", "seen.new_device", "seen.first_days > 0 && seen.new_device"},
		{"rpc-route", `{name: a, when: '"eth_sign" in request.rpc_methods', routes: [wiki], then: block}`, "routes: [node]", "routes: [wiki]", "routes: [node]"},
		{"can-fail", `{name: a, when: 'int(user.subject) > 5', then: block}`, "with &&", "int(user.subject) > 5", `user.subject.matches("^[0-9]{1,9}$") && int(user.subject) > 5`},
		{"empty-list", `{name: a, when: ip.country in lists.none, then: block}`, "entries", "none: []", "none: [KP]"},
		{"unreachable-threshold", `{name: a, when: ip.vpn, score: 40}`, "a step_up of at most 40", "step_up: 50", "step_up: 40"},
	} {
		t.Run(tt.code, func(t *testing.T) {
			source := "version: 1\nlists: {none: []}\nthresholds: {step_up: 50, block: 90}\nrules: [" + tt.rules + "]\n"
			c := Config{Policy: policy.Config{Name: "p.yaml", Source: []byte(source), Provides: &policy.Provides{Signals: map[string]bool{"vpn": true, "tor": true, "country": true, "asn": true}}}}
			installation(&c)
			at := slices.IndexFunc(check(t, c), func(f Finding) bool { return f.Code == tt.code && strings.Contains(f.Fix, tt.says) })
			if at < 0 || !strings.Contains(source, tt.old) {
				t.Fatalf("no such finding, or nothing to replace")
			}
			i := strings.LastIndex(source, tt.old)
			c.Policy.Source = []byte(source[:i] + tt.by + source[i+len(tt.old):])
			for _, f := range check(t, c) {
				// A threshold has two numbers, and each is a finding.
				if f.Code == tt.code && strings.Contains(f.Fix, tt.says) {
					t.Errorf("it is there again:\n%s", f.Text())
				}
			}
		})
	}
}

func check(t testing.TB, c Config) []Finding {
	t.Helper()
	found, err := Check(c)
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Policy.Source)
	}
	return found
}

var word = regexp.MustCompile(`[\p{L}\p{N}_.]+|"[^"]*"|[=!<>&|~]+|[“”„‘’]|\S`)

// What leads nowhere is not suggested.
func TestNothingIsSuggested(t *testing.T) {
	for _, when := range []string{`user.groups[_] == "ops"`, `local.embargoed`, `yes`, `no`, `1 of selection*`, `time.weekday("UTC") in [0, 6]`, `security.risk.level == "HIGH"`,
		`SELECT * FROM ip`, `ip.asn in [9009, asn]`} {
		_, err := load.Read(policy.Config{Name: "p.yaml", Source: []byte("version: 1\nrules:\n  - name: a\n    when: |-\n      " + when + "\n    then: step_up\n")})
		var found file.Diagnostics
		if !errors.As(err, &found) {
			t.Fatalf("%s: %v", when, err)
		}
		for _, d := range found {
			if d.Suggestion != "" {
				t.Errorf("%s: %q is suggested", when, d.Suggestion)
			}
		}
	}
}

// What a mistake suggests compiles in the place of what was written, and lint then has no error.
func TestSuggestionsOfMistakesCompile(t *testing.T) {
	for _, tt := range []struct{ when, want string }{
		{`ip.contry == "US"`, `ip.country == "US"`},
		{`contry == "US"`, `ip.country == "US"`},
		{`user.country == "US"`, `ip.country == "US"`},
		{`vpn`, `ip.vpn`},
		{`ip.vpn()`, `ip.vpn`},
		{`list.eu == user.groups`, `lists.eu == user.groups`},
		{`ip.country in lists.ue`, `ip.country in lists.eu`},
		{`ip.country = "US"`, `ip.country == "US"`},
		{`ip.country === "US"`, `ip.country == "US"`},
		{`ip.country <> "US"`, `ip.country != "US"`},
		{`ip.vpn and ip.tor`, `ip.vpn && ip.tor`},
		{`ip.vpn OR ip.tor`, `ip.vpn || ip.tor`},
		{`ip.vpn & ip.tor`, `ip.vpn && ip.tor`},
		{`ip.country == "us"`, `ip.country == "US"`},
		{`ip.country == "UK"`, `ip.country == "GB"`},
		{`ip.country == "PRK"`, `ip.country == "KP"`},
		{`"ua-43" in ip.subdivisions`, `"UA-43" in ip.subdivisions`},
		{`session.level == "verifed"`, `session.level == "verified"`},
		{`request.route == "tresury"`, `request.route == "treasury"`},
		{`request.method == "post"`, `request.method == "POST"`},
		{`request.host == "https://pay.example.com:8443"`, `request.host == "pay.example.com"`},
		{`request.path.startsWith("admin")`, `request.path.startsWith("/admin")`},
		{`request.path == "https://tool.example.com/admin"`, `request.path == "/admin"`},
		{`user.email == "Ann@Example.com"`, `user.email == "ann@example.com"`},
		{`user.email.endsWith("@Example.com")`, `user.email.endsWith("@example.com")`},
		{`user.time_zone == "europe/zurich"`, `user.time_zone == "Europe/Zurich"`},
		{`time.weekday("UTC") == "Monday"`, `time.weekday("UTC") == "Mon"`},
		{`ip.asn == "9009"`, `ip.asn == 9009`},
		{`ip.asn == "AS9009"`, `ip.asn == 9009`},
		{`user.email.endswith("@example.com")`, `user.email.endsWith("@example.com")`},
		{`ip.wihtin(lists.offices)`, `ip.within(lists.offices)`},
		{`ip.asn in [9009, AS1]`, `ip.asn in [9009, 1]`},
		{`ip.asn in [AS9009, AS1]`, `ip.asn in [9009, 1]`},
		{`ip.country !== "US"`, `ip.country != "US"`},
		{`input.ip.country == "KP"`, `ip.country == "KP"`},
		{`client.ip == "203.0.113.7"`, `ip.address == "203.0.113.7"`},
		{`ip.vpn == True`, `ip.vpn == true`},
		{`ip.vpn and not user.groups.contains("ops")`, `ip.vpn && !("ops" in user.groups)`},
		{`not ip.country in {"US","GB"}`, `!(ip.country in ["US", "GB"])`},
		{`any(g == "ops" for g in user.groups) and ip.vpn`, `user.groups.exists(g, g == "ops") && ip.vpn`},
		{`9 <= time.hour("UTC") < 17`, `9 <= time.hour("UTC") && time.hour("UTC") < 17`},
		{`user.groups.indexOf("ops") >= 0`, `"ops" in user.groups`},
	} {
		t.Run(tt.when, func(t *testing.T) {
			source := func(when string) []byte {
				return []byte("version: 1\nlists: {eu: [DE], offices: [203.0.113.0/24]}\nrules:\n  - name: a\n    when: |-\n      " + when + "\n    then: step_up\n")
			}
			c := Config{Policy: policy.Config{Name: "p.yaml", Source: source(tt.when)}}
			installation(&c)
			_, err := load.Read(c.Policy)
			var found file.Diagnostics
			if !errors.As(err, &found) || found[0].Suggestion == "" {
				t.Fatalf("no mistake that suggests something: %v", err)
			}
			d := found[0]
			got := suggested(tt.when, d.Column-7, d.Suggestion)
			if got != tt.want {
				t.Errorf("%q at %d makes %s", d.Suggestion, d.Column-7, got)
			}
			c.Policy.Source = source(got)
			for _, f := range check(t, c) {
				if f.Severity == Error {
					t.Error(f.Text())
				}
			}
		})
	}
}

// suggested puts a suggestion in the place of the word that a mistake is at: of a name with its group, of a text
// within its quotes. A suggestion of several words is the whole comparison.
func suggested(when string, at int, suggestion string) string {
	plain := strings.TrimSuffix(suggestion, "()")
	if strings.Contains(plain, " ") {
		return plain
	}
	for _, span := range word.FindAllStringIndex(when, -1) {
		from, to := span[0], span[1]
		if at < from || at >= to {
			continue
		}
		old := when[from:to]
		switch {
		case old[0] == '"':
			return when[:from] + `"` + strings.Trim(plain, `"`) + `"` + when[to:]
		case !strings.Contains(plain, ".") && strings.Contains(old, "."): // a method, or a group, of a longer name
			parts, offset := strings.Split(old, "."), from
			for i, p := range parts {
				if at <= offset+len(p) {
					parts[i] = plain
					break
				}
				offset += len(p) + 1
			}
			return when[:from] + strings.Join(parts, ".") + when[to:]
		}
		after := when[to:]
		if suggestion == plain {
			after = strings.TrimPrefix(after, "()")
		}
		return when[:from] + plain + after
	}
	return fmt.Sprint("nothing at ", at)
}
