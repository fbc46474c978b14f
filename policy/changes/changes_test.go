package changes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const before = `version: 1
lists: {embargoed: [KP, IR], asns: [64496]}
missing_data: block
rules:
  - name: embargo
    when: ip.country in lists.embargoed
    then: block
  - {name: vpn, when: ip.vpn, then: step_up, max_age: 5m}
tests:
  - {name: home, expect: {action: allow}}
invariants:
  - {name: final, never: allow, when: ip.country in lists.embargoed}
`

func TestBetween(t *testing.T) {
	replace := func(pairs ...string) string {
		text := strings.NewReplacer(pairs...).Replace(before)
		if text == before {
			t.Fatal("nothing was replaced", pairs)
		}
		return text
	}
	for name, c := range map[string]struct{ is, want string }{
		"the same":              {before, ""},
		"comments":              {"# ours\n" + before + "# end\n", ""},
		"another layout":        {replace("- {name: vpn, when: ip.vpn, then: step_up, max_age: 5m}", "- name: vpn\n    max_age: \"5m\"\n    then: step_up\n    when: >-\n      ip.vpn\n"), ""},
		"another order":         {replace("[KP, IR]", "[IR, KP]"), ""},
		"an age":                {replace("max_age: 5m", "max_age: 8h"), "1 rule changed\n  ~ rule vpn\n      max_age: 5m -> 8h\n"},
		"an exception":          {replace("when: ip.vpn,", "when: ip.vpn, unless: ip.within(lists.x),"), "1 rule changed\n  ~ rule vpn\n      unless: (none) -> ip.within(lists.x)\n"},
		"a key less":            {replace(", max_age: 5m", ""), "1 rule changed\n  ~ rule vpn\n      max_age: 5m -> (none)\n"},
		"a rule more":           {replace("tests:", "  - {name: tor, when: ip.tor, then: block}\ntests:"), "1 rule added\n  + rule tor\n      when: ip.tor\n      then: block\n"},
		"a rule less":           {replace("  - {name: vpn, when: ip.vpn, then: step_up, max_age: 5m}\n", ""), "1 rule removed\n  - rule vpn\n      when: ip.vpn\n      then: step_up\n      max_age: 5m\n"},
		"another name":          {replace("name: vpn", "name: vpns"), "1 rule added, 1 removed\n  + rule vpns\n      when: ip.vpn\n      then: step_up\n      max_age: 5m\n  - rule vpn\n      when: ip.vpn\n      then: step_up\n      max_age: 5m\n"},
		"a test less":           {replace("tests:\n  - {name: home, expect: {action: allow}}\n", ""), "1 test removed\n  - test home\n"},
		"a test softer":         {replace("{action: allow}", "{action: allow, rules: []}"), "1 test changed\n  ~ test home\n      expect: {action: allow} -> {action: allow, rules: []}\n"},
		"an invariant softer":   {replace("never: allow", "always: step_up"), "1 invariant changed\n  ~ invariant final\n      always: (none) -> step_up\n      never: allow -> (none)\n"},
		"a list":                {replace("[KP, IR]", "[SY, KP]"), "1 list changed\n  ~ list embargoed  + SY  - IR\n"},
		"a list more":           {replace("asns: [64496]", "asns: [64496], more: [a]"), "1 list added\n  + list more  + a\n"},
		"a list less":           {replace(", asns: [64496]", ""), "1 list removed\n  - list asns  - 64496\n"},
		"text is no number":     {replace("[64496]", `["64496"]`), "1 list changed\n  ~ list asns  + \"64496\"  - 64496\n"},
		"a setting":             {replace("missing_data: block", "missing_data: allow"), "1 setting changed\n  ~ setting missing_data: block -> allow\n"},
		"a setting less":        {replace("missing_data: block\n", ""), "1 setting removed\n  - setting missing_data: block\n"},
		"a setting with parts":  {replace("missing_data: block\n", "missing_data: block\nthresholds: {block: 3}\n"), "1 setting added\n  + setting thresholds\n      block: 3\n"},
		"two of one name":       {replace("tests:", "  - {name: vpn, when: ip.tor, then: block}\ntests:"), "1 rule added\n  + rule vpn (2)\n      when: ip.tor\n      then: block\n"},
		"escapes are not shown": {replace("when: ip.vpn", `when: "ip.\x1b[2Jvpn"`), "1 rule changed\n  ~ rule vpn\n      when: ip.vpn -> ip.\ufffd[2Jvpn\n"},
		"an entry is no rule":   {replace("tests:", "  - what\ntests:"), "1 rule added\n  + rule number 3: what\n"},
	} {
		list, err := Between([]byte(before), []byte(c.is))
		if d := cmp.Diff(c.want, Text(list)); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
		back, err := Between([]byte(c.is), []byte(before))
		if err != nil || len(back) != len(list) {
			t.Errorf("%s: %d changes, and %d back", name, len(list), len(back))
		}
		if want := !strings.Contains(c.want, "removed") && !strings.Contains(c.want, "changed"); AddsOnly(list) != want {
			t.Errorf("%s: adds only: %v", name, AddsOnly(list))
		}
	}
	for _, wrong := range []string{"", "version: 1\nrules: [", "\x00"} {
		if _, err := Between([]byte(before), []byte(wrong)); err == nil {
			t.Errorf("%q was compared", wrong)
		}
	}
}

// What the policy reads otherwise is a change, however alike it is written.
func TestAttackChangeThatReadsAlike(t *testing.T) {
	rule := func(rest string) string {
		return "version: 1\nrules: [{name: a, when: ip.vpn, then: block, " + rest + "}]\n"
	}
	list := func(entries string) string { return "version: 1\nlists: {x: [" + entries + "]}\n" }
	for _, c := range [][2]string{
		{rule(`enforce: {groups: [staff, ops]}`), rule(`enforce: {groups: ["staff, ops"]}`)},
		{rule(`routes: [a, b]`), rule(`routes: ["a, b"]`)},
		{rule(`enforce: {groups: [a], percent: 1}`), rule(`enforce: {groups: ["a], percent: 1, x: [b"]}`)},
		{list(`contractors`), list(`"contractors "`)},
		{list(`contractors`), list(`" contractors"`)},
		{list(`"1"`), list(`'"1"'`)},
		{"version: 1\ntests: [{name: a, given: {user: {groups: [a, b]}}}]", "version: 1\ntests: [{name: a, given: {user: {groups: ['a, b']}}}]"},
		{"version: 1\ntests: [{name: a, given: {user: {name: 'x, region: y'}}}]", "version: 1\ntests: [{name: a, given: {user: {name: x, region: y}}}]"},
	} {
		changed, err := Between([]byte(c[0]), []byte(c[1]))
		if err != nil || len(changed) != 1 {
			t.Errorf("%s is taken for %s: %v %+v", c[1], c[0], err, changed)
		}
	}
}

func TestLongListsAreShortened(t *testing.T) {
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprint("a", i))
	}
	list, err := Between([]byte(before), []byte(strings.Replace(before, "[KP, IR]", "["+strings.Join(many, ", ")+"]", 1)))
	if err != nil || !strings.Contains(Text(list), "a19 and 280 more  - KP, IR") {
		t.Errorf("%v\n%s", err, Text(list))
	}
}

func FuzzBetween(f *testing.F) {
	f.Add([]byte(before), []byte("version: 1\nrules: [a, {b: c}, {name: [x]}]\nlists: [1]\ntests: {a: b}\n"))
	f.Add([]byte("a: &a [*a]\n"), []byte("{[x]: y}"))
	f.Fuzz(func(t *testing.T, was, is []byte) {
		list, err := Between(was, is)
		if err != nil {
			return
		}
		_ = Text(list)
		if same, err := Between(is, is); err != nil || same != nil {
			t.Errorf("it differs from itself: %v %v", same, err)
		}
	})
}
