package load_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/policy/format"
	"sallyport/policy/lint"
	"sallyport/policy/load"
	"sallyport/policy/policytest"
	"sallyport/policy/strictyaml"
)

// bombs are files that mean harm: small ones that want much, and ones as large as may be.
func bombs() map[string]string {
	rule := "rules: [{name: a, when: ip.vpn, then: block}]\n"
	when := func(expression string) string {
		return "version: 1\nrules: [{name: a, then: block, when: '" + strings.ReplaceAll(expression, "'", "''") + "'}]\n"
	}
	aliases := "version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 12 {
		aliases += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	many := func(entry string, n int) string { return strings.Repeat(entry, n) }
	return map[string]string{
		"aliases":                aliases + rule,
		"aliases in a list":      "version: 1\nlists: {a: &a [x], b: [*a, *a]}\n" + rule,
		"an alias to itself":     "version: 1\nlists: &l {a: *l}\n" + rule,
		"merge keys":             "version: 1\nx: &x {then: block}\nrules: [{name: a, when: ip.vpn, <<: *x}]\n",
		"deep flow":              "version: 1\nlists: " + many("[", 500_000) + "\n",
		"deep mappings":          "version: 1\nlists: " + many("{a: ", 100_000) + "\n",
		"deep blocks":            "version: 1\nlists:\n  a:\n    " + many("- ", 100_000) + "x\n",
		"deep brackets":          when(many("(", 2000) + "ip.vpn" + many(")", 2000)),
		"deep ternaries":         when(many("ip.vpn ? ip.tor : ", 200) + "ip.vpn"),
		"loops in loops":         when("user.groups.exists(a, user.groups.exists(b, user.groups.exists(c, a == b + c)))"),
		"a loop over two lists":  when("user.groups.all(a, user.countries.all(b, user.groups.all(c, a != b)))"),
		"lists of lists":         when("user.groups.map(a, user.groups.map(b, user.groups.map(c, c))) == []"),
		"growing text":           when("user.groups.map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).exists(a, a.matches(\"^(a|b)*$\"))"),
		"a pattern that repeats": when("user.name.matches(\"^((a{1,100}){1,100}){1,100}$\")"),
		"a long expression":      when(many("ip.vpn || ", 500) + "ip.vpn"),
		"many mistakes":          "version: 1\nrules:\n" + many("  - {x: y}\n", 80_000),
		"many keys":              "version: 1\n" + many("a: 1\n", 150_000),
		"many entries":           "version: 1\nlists: {a: [" + many("x,", 200_000) + "]}\n" + rule,
		"many tests":             "version: 1\n" + rule + "tests:\n" + many("  - {name: t}\n", 50_000),
		"a long line":            "version: 1\n" + rule + "x: " + many("\"", 900_000),
		"nothing but NUL":        many("\x00", 1<<20),
		"too long":               "version: 1\n" + rule + many("#\n", 1<<20),
	}
}

// An insider who may edit policies: a hostile file is refused, in bounded time and memory, by everything that
// reads one.
func TestHostilePolicies(t *testing.T) {
	const mostTime, mostMemory = time.Minute, 1 << 30 // generous: the machine may be busy; what is quadratic takes many minutes
	p, err := load.Read(policy.Config{Source: []byte("version: 1\nrules: [{name: a, when: ip.vpn, then: block}]\n")})
	if err != nil {
		t.Fatal(err)
	}
	for name, source := range bombs() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, err := load.Tested(policy.Config{Name: "p.yaml", Source: []byte(source)})
			var d policy.Diagnostics
			if !errors.As(err, &d) || len(d) > strictyaml.MaxDiagnostics+1 || len(err.Error()) > 100_000 {
				t.Errorf("not refused with a bounded answer: %.300v", err)
			}
			if _, err := lint.Check(lint.Config{Policy: policy.Config{Source: []byte(source)}}); err == nil {
				t.Error("lint accepts it")
			}
			tests := policytest.File{Name: "p_test.yaml", Source: []byte(source)}
			if _, err := p.Test(tests); err == nil {
				t.Error("it is taken for a file of tests")
			}
			_ = tests.About()
			if text, err := format.File("p.yaml", []byte(source)); err == nil && len(text) > strictyaml.MaxBytes+len(source) {
				t.Errorf("formatted to %d bytes", len(text))
			}
			runtime.ReadMemStats(&after)
			if took := time.Since(began); took > mostTime {
				t.Errorf("it took %s", took)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > mostMemory {
				t.Errorf("it took %d MiB", used>>20)
			}
		})
	}
}
