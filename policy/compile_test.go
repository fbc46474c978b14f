package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sallyport/policy/internal/file"
	"sallyport/policy/strictyaml"
)

// diagnose compiles a policy that must not compile.
func diagnose(t testing.TB, source string, with ...func(*Config)) Diagnostics {
	t.Helper()
	c := Config{Name: "p.yaml", Source: []byte(source), Routes: []string{"treasury", "wiki"}}
	for _, f := range with {
		f(&c)
	}
	p, err := Compile(c)
	var d Diagnostics
	if p != nil || !errors.As(err, &d) || len(d) == 0 {
		t.Fatalf("accepted, or not refused with diagnostics (%v):\n%s", err, source)
	}
	return d
}

func TestDiagnostics(t *testing.T) {
	rule := func(s string) string { return "version: 1\nrules:\n  - " + s + "\n" }
	when := func(expression string) string {
		return rule("{name: a, then: block, when: '" + strings.ReplaceAll(expression, "'", "''") + "'}")
	}
	ok := "rules: [{name: a, when: ip.vpn, then: block}]\n"
	tests := []struct {
		name, source string
		at           string // line:column; "" is not compared
		message      string
		hint         string // in Expected or Suggestion
	}{
		{"no version", ok, "1:1", "does not say which version", "version: 1"},
		{"other version", "version: 2\n" + ok, "1:10", "no version 2", "1"},
		{"unknown key", "version: 1\nrule: []\n" + ok, "2:1", `no key "rule"`, "rules"},
		{"key given twice", "version: 1\n" + ok + ok, "3:1", `"rules" is given twice in the policy`, ""},
		{"two documents", "version: 1\n" + ok + "---\nversion: 1\n", "3:1", "more than one YAML document", "---"},
		{"two documents, as Helm writes one", "# Source: a/b.yaml\n---\nversion: 1\n" + ok + "---\n", "5:1", "more than one YAML document", "---"},
		{"version in quotes", "version: \"1\"\n" + ok, "1:10", "version is in quotes", "1"},
		{"percent with its sign", "version: 1\nrules: [{name: a, when: ip.vpn, then: block, enforce: {percent: 10%}}]\n", "2:65", "percent has to be a whole number", "10"},
		{"half a percent", "version: 1\nrules: [{name: a, when: ip.vpn, then: block, enforce: {percent: 0.5}}]\n", "2:65", "percent has to be a whole number", "0 to 100"},
		{"a template that was not rendered", "version: 1\nrules: [{name: a, when: ip.vpn, then: {{ .Values.then }}}]\n", "2:39", "then has to be one word", "block"},
		{"hours until midnight", rule("{name: a, when: ip.vpn, then: step_up, every: 4h, hours: '09:00-24:00'}"), "3:62", "hours cannot be", `"09:00-00:00"`},
		{"hours with a dash", rule("{name: a, when: ip.vpn, then: step_up, every: 4h, hours: 9:00 – 18:00}"), "3:62", "hours cannot be", `"09:00-18:00"`},
		{"hours in two spans", rule("{name: a, when: ip.vpn, then: step_up, every: 4h, hours: [09:00-12:00, 13:00-18:00]}"), "3:62", "hours has to be one span", ""},
		{"not a mapping", "- a\n", "1:1", "has to be a mapping", "version"},
		{"not yaml", "version: [1\n", "1:10", "not YAML", ""},
		{"comment that U+2028 ends", "version: 1\n# a\u2028rules: []\n", "2:4", "the character U+2028", ""},
		{"tab", "version: 1\n\trules: []\n", "2:1", "tab", ""},
		{"alias", "version: &v 1\n" + ok, "1:10", "anchors and aliases", ""},
		{"merge", "version: 1\nrules:\n  - {<<: {name: a}, when: ip.vpn, then: block}\n", "3:5", "has no name", ""},
		{"tag on an expression", "version: 1\nrules:\n  - name: a\n    when: !ip.vpn\n    then: block\n", "4:11", "for a tag", `'!ip.vpn'`},
		{"negation that YAML takes for an empty tag", "version: 1\nrules:\n  - name: a\n    when: ! ip.vpn\n    then: block\n", "4:11", "for a tag", `'! ip.vpn'`},
		{"empty tag on a folded condition", "version: 1\nrules:\n  - name: a\n    when: ! >-\n      ip.vpn\n    then: block\n", "4:11", "for a tag", `'! ip.vpn'`},
		{"text cut by a comment", "version: 1\nrules:\n  - name: a\n    when: user.name == \"a #b\"\n    then: block\n", "4:24", "never closed", `'user.name == "a #b"'`},
		{"quoted beginning", "version: 1\nrules:\n  - name: a\n    when: \"ops\" in user.groups\n    then: block\n", "4:11", "needs quotes", `'"ops" in user.groups'`},
		{"too deep", strings.Repeat("[", 100), "", "not YAML", ""},
		{"a comment in folded lines", "version: 1\nrules:\n  - name: a\n    when: >-\n      ip.tor // exits\n      || ip.vpn\n    then: block\n", "5:14", "`|| ip.vpn` is gone", "above the rule, with #"},
		{"a comment in folded lines that end there", "version: 1\nrules:\n  - name: a\n    when: >\n      ip.tor\n      || ip.proxy //\n      || ip.vpn\n    then: block\n", "6:19", "`|| ip.vpn` is gone", ""},
		{"a comment in plain lines", "version: 1\nrules:\n  - name: a\n    when: ip.tor // exits\n      || ip.vpn\n    then: block\n", "4:18", "`|| ip.vpn` is gone", ""},
		{"a comment in quoted lines", "version: 1\nrules:\n  - name: a\n    when: \"ip.tor // exits\n      || ip.vpn\"\n    then: block\n", "4:19", "`|| ip.vpn` is gone", "|"},
		{"a comment in the lines of an exception", "version: 1\nrules:\n  - name: a\n    when: ip.vpn\n    unless: >-\n      ip.tor // exits\n      && ip.internal\n    then: block\n", "6:14", "`&& ip.internal` is gone", ""},
		{"a comment in the lines of an invariant", "version: 1\n" + ok + "invariants:\n  - never: allow\n    when: >-\n      ip.vpn // exits\n      || ip.tor\n", "6:14", "`|| ip.tor` is gone", ""},
		{"a YAML comment in folded lines", "version: 1\nrules:\n  - name: a\n    when: >-\n      ip.tor\n      # exits\n      || ip.vpn\n    then: block\n", "6:7", "`#` does not begin a comment", "outside of it"},
		{"a YAML comment in plain lines", "version: 1\nrules:\n  - name: a\n    when: ip.tor ||\n      # exits\n      ip.vpn\n    then: block\n", "6:7", "not YAML", "no comment inside a value"},

		{"invariant without a claim", "version: 1\n" + ok + "invariants: [{when: ip.vpn}]\n", "3:14", "claims nothing", "never: allow"},
		{"invariant with two claims", "version: 1\n" + ok + "invariants: [{when: ip.vpn, never: allow, always: block}]\n", "3:51", "either never or always", ""},
		{"invariant without a condition", "version: 1\n" + ok + "invariants: [{never: allow}]\n", "3:14", "has no condition", "when"},
		{"invariant that is never asked", "version: 1\n" + ok + "invariants: [{never: step_up, when: ip.vpn}]\n", "3:22", "cannot rule out step_up", "never: allow"},
		{"exception from another claim", "version: 1\n" + ok + "invariants: [{never: allow, except: [a], when: ip.vpn}]\n", "3:37", "except goes with never: block alone", ""},
		{"exception that is no rule", "version: 1\n" + ok + "invariants: [{never: block, except: [aa], when: ip.vpn}]\n", "3:38", "there is no rule \"aa\"", "a"},
		{"invariant that lets in", "version: 1\n" + ok + "invariants: [{always: allow, when: ip.vpn}]\n", "3:23", "cannot promise to let a person in", "always: block"},
		{"invariant with a wrong fact", "version: 1\n" + ok + "invariants: [{always: block, when: ip.vnp}]\n", "3:39", "no fact ip.vnp", "ip.vpn"},
		{"invariant with another key", "version: 1\n" + ok + "invariants: [{always: block, when: ip.vpn, unless: ip.tor}]\n", "3:44", `no key "unless"`, ""},
		{"two invariants of a name", "version: 1\n" + ok + "invariants: [{name: x, always: block, when: ip.vpn}, {name: x, always: block, when: ip.tor}]\n", "3:61", "another invariant", "its own"},

		{"no name", rule("{when: ip.vpn, then: block}"), "3:5", "has no name", ""},
		{"bad name", rule("{name: A b, when: ip.vpn, then: block}"), "3:12", "cannot name a rule", "lower-case"},
		{"baseline name", rule("{name: baseline-x, when: ip.vpn, then: block}"), "3:12", "cannot name a rule", "baseline"},
		{"number as name", rule("{name: 12, when: ip.vpn, then: block}"), "3:12", "YAML reads 12 as something else", `"12"`},
		{"two of a name", rule("{name: a, when: ip.vpn, then: block}\n  - {name: a, when: ip.tor, then: block}"), "4:12", "another rule a, in line 3", ""},
		{"no when", rule("{name: a, then: block}"), "3:5", "has no condition", "when"},
		{"empty when", rule("{name: a, when: , then: block}"), "", "has to be an expression", ""},
		{"no then", rule("{name: a, when: ip.vpn}"), "3:5", "does nothing", "then: block"},
		{"then and score", rule("{name: a, when: ip.vpn, then: block, score: 5}"), "3:49", "either then or score", ""},
		{"unknown action", rule("{name: a, when: ip.vpn, then: stepup}"), "3:35", `"stepup"`, "step_up"},
		{"max_age on block", rule("{name: a, when: ip.vpn, then: block, max_age: 5m}"), "3:51", "belongs to then: step_up", ""},
		{"max_age on score", "version: 1\nthresholds: {block: 5}\nrules: [{name: a, when: ip.vpn, score: 5, max_age: 5m}]", "3:52", "belongs to then: step_up", "of their own"},
		{"require on block", rule("{name: a, when: ip.vpn, then: block, require: [attested]}"), "3:51", "belongs to then: step_up", ""},
		{"no unit", rule("{name: a, when: ip.vpn, then: step_up, max_age: 300}"), "3:53", "has to be a duration", "300s"},
		{"days", rule("{name: a, when: ip.vpn, then: step_up, max_age: 1d}"), "3:53", "has to be a duration", "24h"},
		{"no time at all", rule("{name: a, when: ip.vpn, then: step_up, max_age: 0s}"), "3:53", "as fresh as that", "1s"},
		{"unknown requirement", rule("{name: a, when: ip.vpn, then: step_up, require: [atested]}"), "3:54", `"atested"`, "attested"},
		{"unknown mode", rule("{name: a, when: ip.vpn, then: block, mode: dry-run}"), "3:48", `no mode "dry-run"`, "report"},
		{"unknown route", rule("{name: a, when: ip.vpn, then: block, routes: [tresury]}"), "3:51", `no route "tresury"`, "treasury"},
		{"no routes", rule("{name: a, when: ip.vpn, then: block, routes: []}"), "3:50", "never applies", ""},
		{"negative score", "version: 1\nthresholds: {block: 5}\nrules: [{name: a, when: ip.vpn, score: -5}]", "3:40", "cannot be negative", "1 to 1000"},
		{"score that YAML reads as octal", "version: 1\nthresholds: {block: 5}\nrules: [{name: a, when: ip.vpn, score: 010}]", "3:40", "score cannot be 010", "10"},
		{"threshold in hexadecimal", "version: 1\nthresholds: {block: 0x10}\n" + ok, "2:21", "block cannot be 0x10", ""},
		{"threshold with an underscore", "version: 1\nthresholds: {block: 1_000}\n" + ok, "2:21", "block cannot be 1_000", ""},
		{"share that YAML reads as octal", rule("{name: a, when: ip.vpn, then: block, enforce: {percent: 0o10}}"), "3:61", "percent cannot be 0o10", ""},
		{"number with a sign", "version: 1\nlists: {a: [+5]}\n" + ok, "2:13", "not a plain whole number", ""},
		{"score without thresholds", rule("{name: a, when: ip.vpn, score: 5}"), "3:5", "nothing acts on", "thresholds"},
		{"thresholds without any", "version: 1\nthresholds: {}\n" + ok, "2:13", "do nothing", ""},
		{"thresholds the wrong way round", "version: 1\nthresholds: {step_up: 9, block: 5}\n" + ok, "2:23", "comes before", "lower"},
		{"unknown missing_data", "version: 1\nmissing_data: ignore\n" + ok, "2:15", "cannot be", "allow"},

		{"mixed list", "version: 1\nlists: {a: [x, 5]}\n" + ok, "2:16", "mixes text and numbers", "quotes"},
		{"list of floats", "version: 1\nlists: {a: [1.5]}\n" + ok, "2:13", "something else", `"1.5"`},
		{"list of octals", "version: 1\nlists: {a: [0123]}\n" + ok, "2:13", "not a plain whole number", ""},
		{"list name", "version: 1\nlists: {a-b: [x]}\n" + ok, "2:9", "cannot name a list", "lists.NAME"},
		{"not a list", "version: 1\nlists: {a: x}\n" + ok, "2:12", "has to be a list", ""},

		{"unknown fact", when(`ip.contry == "US"`), "3:38", "no fact ip.contry", "ip.country"},
		{"unknown list", when(`ip.country in lists.x`), "3:55", "no list lists.x", "lists"},
		{"unknown zone", when(`time.hour("Europe/Zurch") > 5`), "3:45", "no time zone", ""},
		{"the machine's zone", when(`time.hour("Local") > 5`), "3:45", "not a time zone", ""},
		{"not a network", when(`ip.within(["203.0.113.0/24", "10.0.0.0/33"])`), "3:64", "no such length", "the length of the network"},
		{"host bits", when(`ip.within("203.0.113.7/24")`), "3:45", "203.0.113.0/24", ""},
		{"mapped network", when(`ip.within("::ffff:10.0.0.0/104")`), "3:45", "as IPv4", ""},
		{"zone in address", when(`ip.within("fe80::1%eth0")`), "3:45", "has a zone", ""},
		{"network list", "version: 1\nlists:\n  offices:\n    - 203.0.113.0/24\n    - office\nrules: [{name: a, when: ip.within(lists.offices), then: block}]", "5:7", "not an address or a network", ""},
		{"numbers as networks", "version: 1\nlists: {asns: [1]}\nrules: [{name: a, when: ip.within(lists.asns), then: block}]", "", "list(int)", ""},
		{"a constant that blocks all", when(`1 == 1`), "3:34", "depends on nothing", "routes"},

		{"lower-case country", when(`ip.country == "us"`), "3:49", `never "us"`, "US"},
		{"no such country", when(`ip.country in ["US", "UK"]`), "3:56", `never "UK"`, "GB"},
		{"alpha-3", when(`ip.country != "PRK"`), "3:49", `never "PRK"`, "KP"},
		{"country in a list", "version: 1\nlists: {embargoed: [KP, uk]}\nrules: [{name: a, when: ip.country in lists.embargoed, then: block}]", "2:25", `never "uk"`, "GB"},
		{"declared country", when(`"sweden" in user.countries`), "3:35", `never "sweden"`, "ISO 3166-1"},
		{"declared country, in a loop", when(`user.countries.exists(c, c == "se")`), "3:65", `never "se"`, "SE"},
		{"subdivision", when(`"ua-43" in ip.subdivisions`), "3:35", `never "ua-43"`, "UA-43"},
		{"level", when(`session.level == "verifed"`), "3:52", `never "verifed"`, "verified"},
		{"class", when(`credential.class == "passkey"`), "3:55", `never "passkey"`, "synced"},
		{"purpose", when(`request.purpose == "signin"`), "3:54", `never "signin"`, "sign_in"},
		{"version", when(`ip.version == 5`), "3:49", `never "5"`, "4, 6"},
		{"weekday", when(`time.weekday("UTC") in ["Sat", "Sunday"]`), "3:66", `never "Sunday"`, "Sun"},
		{"hour", when(`time.hour("UTC") == 24`), "3:55", `never "24"`, "0 to 23"},
		{"e-mail", when(`user.email == "Ann@Example.com"`), "3:49", "never", "ann@example.com"},
		{"address", when(`ip.address == "10.0.0.0/8"`), "3:49", "never", "ip.within"},
		{"aaguid", when(`credential.aaguid == "08987058-CADC-4B81-B6E1-30DE50DCBE96"`), "3:56", "never", "08987058-cadc-4b81-b6e1-30de50dcbe96"},
		{"method", when(`request.method == "post"`), "3:53", "never", "POST"},
		{"host", when(`request.host == "Treasury.example.com"`), "3:51", "never", "lower case"},
		{"path", when(`request.path == "admin"`), "3:51", "never", "/admin"},
		{"route in an expression", when(`request.route == "wki"`), "3:52", `no route "wki"`, "wiki"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := diagnose(t, tt.source)[0]
			if !strings.Contains(d.Message, tt.message) || !strings.Contains(d.Expected+" "+d.Suggestion, tt.hint) {
				t.Errorf("got %s\nwant %q, hint %q", d.Error(), tt.message, tt.hint)
			}
			if at := fmt.Sprintf("%d:%d", d.Line, d.Column); tt.at != "" && at != tt.at {
				t.Errorf("at %s, want %s\n%s", at, tt.at, d.Error())
			}
			if d.File != "p.yaml" || d.Line > 0 && d.Line <= strings.Count(tt.source, "\n") && d.Excerpt == "" {
				t.Errorf("no file or no excerpt: %#v", d)
			}
		})
	}
}

func TestDiagnosticText(t *testing.T) {
	d := diagnose(t, "version: 1\nrules:\n  - name: a\n    when: ip.contry == \"US\"\n    then: block\n")
	want := `p.yaml:4:14: there is no fact ip.contry
    4 |     when: ip.contry == "US"
      |              ^
    did you mean: ip.country`
	if got := d.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What a policy file says ends on terminals and in logs.
func TestDiagnosticsAreSafeToPrint(t *testing.T) {
	d := diagnose(t, "version: 1\nrules:\n  - {name: a, when: \"ip.vpn\u202e\\e[31m\", then: block, \"\\e]0;x\\a\": 1}\n")
	if strings.ContainsAny(d.Error(), "\x1b\x07\u202e") {
		t.Errorf("control characters in %q", d.Error())
	}
}

func TestLongLinesAreCut(t *testing.T) {
	d := diagnose(t, "version: 1\nrules:\n  - {name: a, then: block, when: '"+strings.Repeat("ip.vpn || ", 100)+"ip.tro'}\n")
	line, caret, _ := strings.Cut(d[0].Excerpt, "\n")
	if len(line) > 200 || !strings.HasPrefix(line[strings.IndexByte(caret, '^'):], "tro") {
		t.Errorf("got\n%s", d[0].Excerpt)
	}
}

func TestPositionsInScalars(t *testing.T) {
	head := "version: 1\nrules:\n  - name: a\n    then: block\n    when: "
	tests := []struct{ name, scalar, at string }{
		{"plain", `ip.vpn || ip.tro`, "5:24"},
		{"plain after a wide letter", `ip.org == "é" || ip.tro`, "5:31"},
		{"plain, folded", "ip.vpn ||\n      ip.tor ||\n      ip.tro", "7:10"},
		{"single quotes", `'ip.org == ''x'' || ip.tro'`, "5:34"},
		{"single quotes, folded", "'ip.vpn ||\n\n\n      ip.tro'", "8:10"},
		{"double quotes", `"ip.org == \"x\" || ip.tro"`, "5:34"},
		{"double quotes, escapes", `"ip.org == \"\x41\u00e9\" ||\n\tip.tro"`, "5:46"},
		{"double quotes, line continued", "\"ip.vpn || \\\n      ip.tro\"", "6:10"},
		{"literal", "|\n      ip.vpn ||\n        ip.tro", "7:12"},
		{"literal, stripped, with a comment", "|-  # why\n      ip.vpn || // why\n      ip.tro", "7:10"},
		{"folded", ">-\n      ip.vpn ||\n      ip.tor ||\n\n      ip.tro", "9:10"},
		{"literal with an indentation", "|2\n      ip.tro", "6:10"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := diagnose(t, head+tt.scalar+"\n")
			if at := fmt.Sprintf("%d:%d", d[0].Line, d[0].Column); len(d) != 1 || at != tt.at || !strings.Contains(d[0].Message, "ip.tro") {
				t.Errorf("at %s, want %s\n%v", at, tt.at, d)
			}
		})
	}
	d := diagnose(t, strings.ReplaceAll(head, "\n", "\r\n")+"ip.tro\r\n")
	if d[0].Line != 5 || d[0].Column != 14 {
		t.Errorf("with CRLF at %d:%d", d[0].Line, d[0].Column)
	}
}

func TestProvides(t *testing.T) {
	some := func(c *Config) {
		c.Provides = &Provides{Signals: map[string]bool{"country": true, "vpn": true}, Lists: map[string]bool{"partners": true}}
	}
	for expression, message := range map[string]string{
		`ip.tor`:                "no configured IP source provides ip.tor",
		`ip.vpn || ip.asn == 5`: "ip.asn",
		`handoff.known && !handoff.same_provider`: "the asn of addresses, so handoff.same_provider",
		`handoff.asn != ip.asn`:                   "handoff.asn",
		`travel.known`:                            "the location of addresses, so travel.known",
		`seen.asns_24h > 3`:                       "the asn of addresses, so seen.asns_24h",
		`"parners" in ip.lists`:                   `no address list "parners"`,
		`ip.lists.exists(l, l == "own")`:          `no address list "own"`,
	} {
		source := "version: 1\nrules: [{name: a, then: block, when: '" + expression + "'}]\n"
		if d := diagnose(t, source, some); !strings.Contains(d[0].Message, message) || d[0].Line != 2 || d[0].Column < 39 {
			t.Errorf("%s: %v", expression, d)
		}
	}
	mustCompile(t, `rules: [{name: a, then: block, when: 'ip.vpn && ip.country != "ZZ" && !ip.private && "partners" in ip.lists && ip.data_age_hours > 5 && seen.countries_1h > 1 && device.known'}]`, some)
}

func TestLimits(t *testing.T) {
	var rules, entries strings.Builder
	for i := range file.MaxRules + 1 {
		fmt.Fprintf(&rules, "  - {name: r%d, when: ip.vpn, then: block}\n", i)
	}
	for range 100_001 {
		entries.WriteString("x,")
	}
	var loops strings.Builder
	for i := range 500 {
		fmt.Fprintf(&loops, "  - {name: r%d, when: 'user.groups.exists(g, g.matches(\"^[a-z]+-admin$\"))', then: block}\n", i)
	}
	for name, tt := range map[string]struct{ source, message string }{
		"bytes":   {"version: 1\n#" + strings.Repeat("x", strictyaml.MaxBytes), "bytes"},
		"rules":   {"version: 1\nrules:\n" + rules.String(), "more than 2000 rules"},
		"entries": {"version: 1\nlists: {a: [" + entries.String() + "]}\nrules: [{name: a, when: ip.vpn, then: block}]", "more than 100000 entries"},
		"cost":    {"version: 1\nrules:\n" + loops.String(), "together take too long"},
	} {
		if d := diagnose(t, tt.source); !strings.Contains(d[0].Message, tt.message) {
			t.Errorf("%s: %v", name, d[0])
		}
	}
	d := diagnose(t, "version: 1\nrules:\n"+strings.Repeat("  - {nme: x}\n", 500))
	if len(d) != strictyaml.MaxDiagnostics+1 || !strings.Contains(d[strictyaml.MaxDiagnostics].Message, "more mistakes") {
		t.Errorf("%d diagnostics; the last: %v", len(d), d[len(d)-1])
	}
}

func TestLargeListsAreFast(t *testing.T) {
	var b strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&b, "10.%d.%d.%d, ", i>>16, i>>8&255, i&255)
	}
	p := mustCompile(t, "lists: {many: ["+b.String()+"]}\nrules: [{name: a, when: 'ip.address in lists.many', then: block}, {name: b, when: ip.within(lists.many), then: block}]")
	if d := p.Decide(facts(func(f *Facts) { f.IP.Address = "10.0.2.1" })); len(d.Rules) != 1 { // Addr still says 192.0.2.1
		t.Errorf("%+v", d)
	}
}

func TestHash(t *testing.T) {
	a, b := mustCompile(t, judgePolicy), mustCompile(t, judgePolicy+"\n")
	if len(a.Hash()) != 64 || a.Hash() == b.Hash() || a.Name() != "policy.yaml" {
		t.Errorf("%s %s %s", a.Hash(), b.Hash(), a.Name())
	}
}

// A comment that ends with its line, or with the condition, is one.
func TestCommentsInConditions(t *testing.T) {
	for _, when := range []string{"|\n      ip.tor // exits\n      || ip.vpn", "|-\n      // exits\n      ip.tor", "ip.tor // exits", "\"ip.tor // exits\"", ">-\n      ip.tor\n      || ip.vpn // exits",
		">-\n      user.name == \"http://x\"\n      || ip.vpn", ">-\n      ip.tor // exits\n\n      || ip.vpn", "ip.tor # exits"} {
		source := "version: 1\nrules:\n  - name: a\n    when: " + when + "\n    then: block\n"
		if _, err := Compile(Config{Name: "p.yaml", Source: []byte(source)}); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}
