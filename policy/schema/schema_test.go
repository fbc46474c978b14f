package schema

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"sallyport/policy"
	"sallyport/policy/load"
)

func compiledSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := Policy()
	if err != nil {
		t.Fatal(err)
	}
	return schemaOf(t, text)
}

func schemaOf(t testing.TB, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("policy.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("policy.json") // also validates it against its own meta-schema
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON reads YAML as an editor's language server does: timestamps are text.
func asJSON(t testing.TB, source []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(source, &v); err != nil {
		t.Fatal(err)
	}
	var plain func(any) any
	plain = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				v[k] = plain(x)
			}
		case []any:
			for i, x := range v {
				v[i] = plain(x)
			}
		case time.Time:
			return v.Format(time.RFC3339)
		}
		return v
	}
	return plain(v)
}

// Every policy of the repository, and of the reference, is right by the schema too.
func TestSchemaAcceptsPolicies(t *testing.T) {
	s := compiledSchema(t)
	files, err := filepath.Glob("../../examples/*/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string][]byte{"enforce": []byte("version: 1\nrules: [{name: a, when: ip.vpn, then: block, enforce: {percent: 5, groups: [ops]}}]"),
		"every": []byte("version: 1\nrules: [{name: a, when: ip.vpn, then: step_up, every: 4h, jitter: 2h, hours: '09:00-18:00'}, {name: b, when: ip.vpn, score: 5}]\nthresholds: {block: 5}")}
	for _, f := range append(files, "../../cmd/sallyport/starter/policy.yaml", "../../cmd/sallyport/internal/demo/files/policy.yaml") {
		if sources[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"README.md", "reference.md"} {
		text, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range regexp.MustCompile("(?s)```yaml\n(version: 1.*?)```").FindAllSubmatch(text, -1) {
			sources[fmt.Sprint(name, " ", i)] = m[1]
		}
	}
	if len(sources) < 10 {
		t.Errorf("%d policies were found", len(sources))
	}
	for name, source := range sources {
		if err := s.Validate(asJSON(t, source)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The schema of files of tests is a schema, and takes one.
func TestTestFileSchema(t *testing.T) {
	text, err := Tests()
	if err != nil {
		t.Fatal(err)
	}
	s := schemaOf(t, text)
	if err := s.Validate(asJSON(t, []byte("policy: p.yaml\ntests: [{name: t, given: {time: {now: 2026-01-05T08:00:00Z}}, expect: {action: allow}}]"))); err != nil {
		t.Error(err)
	}
	if s.Validate(asJSON(t, []byte("rules: []\ntests: [{name: t, expect: {action: allow}}]"))) == nil || s.Validate(asJSON(t, []byte("policy: p.yaml"))) == nil {
		t.Error("it takes rules, or no tests")
	}
}

// What the reader refuses for its shape, the schema refuses.
func TestSchemaRefuses(t *testing.T) {
	s := compiledSchema(t)
	ok := "rules: [{name: a, when: ip.vpn, then: block}]\n"
	rule := func(s string) string { return "version: 1\nrules: [{" + s + "}]\n" }
	test := func(s string) string { return "version: 1\n" + ok + "tests: [{" + s + "}]\n" }
	if err := s.Validate(asJSON(t, []byte("version: 1\n"+ok))); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{
		ok, "version: 2\n" + ok, "version: '1'\n" + ok, "version: 1\n", "version: 1\nrules: []\n", "version: 1\nrules: {}\n", "[]", "version: 1\nrule: []\n" + ok,
		"version: 1\nlists: {a: [x, 5]}\n" + ok, "version: 1\nlists: {a: [1.5]}\n" + ok, "version: 1\nlists: {a-b: [x]}\n" + ok, "version: 1\nlists: {a: x}\n" + ok,
		"version: 1\nthresholds: {}\n" + ok, "version: 1\nthresholds: {step_up: 0}\n" + ok, "version: 1\nthresholds: {max_age: 5m}\n" + ok, "version: 1\nmissing_data: ignore\n" + ok,
		rule("when: ip.vpn, then: block"), rule("name: A b, when: ip.vpn, then: block"), rule("name: baseline-x, when: ip.vpn, then: block"), rule("name: 12, when: ip.vpn, then: block"),
		rule("name: a, then: block"), rule("name: a, when: '', then: block"), rule("name: a, when: true, then: block"), rule("name: a, when: ip.vpn"),
		rule("name: a, when: ip.vpn, then: block, score: 5"), rule("name: a, when: ip.vpn, then: allow"), rule("name: a, when: ip.vpn, then: block, max_age: 5m"),
		rule("name: a, when: ip.vpn, score: 5, max_age: 5m"), rule("name: a, when: ip.vpn, then: block, require: [attested]"), rule("name: a, when: ip.vpn, then: step_up, max_age: 300"),
		rule("name: a, when: ip.vpn, then: step_up, max_age: 1d"), rule("name: a, when: ip.vpn, then: step_up, require: [atested]"), rule("name: a, when: ip.vpn, then: block, mode: dry-run"),
		rule("name: a, when: ip.vpn, then: block, routes: []"), rule("name: a, when: ip.vpn, then: block, routes: wiki"), rule("name: a, when: ip.vpn, score: -5"), rule("name: a, when: ip.vpn, score: 1001"),
		rule("name: a, when: ip.vpn, then: block, unles: ip.tor"), rule("name: a, when: ip.vpn, then: block, every: 4h"), rule("name: a, when: ip.vpn, then: step_up, jitter: 4h"),
		rule("name: a, when: ip.vpn, then: step_up, every: 4h, max_age: 1h"), rule("name: a, when: ip.vpn, then: step_up, every: 4h, hours: 9-18"), rule("name: a, when: ip.vpn, then: step_up, hours: '09:00-18:00'"),
		rule("name: a, when: ip.vpn, then: block, enforce: {}"), rule("name: a, when: ip.vpn, then: block, enforce: {percent: 101}"), rule("name: a, when: ip.vpn, then: block, enforce: {percent: 5}, mode: report"),
		test("expect: {action: allow}"), test("name: t"), test("name: t, expect: {rules: [a]}"), test("name: t, expect: {action: deny}"), test("name: t, given: {ipp: {}}, expect: {action: allow}"),
		test("name: t, given: {ip: {vnp: true}}, expect: {action: allow}"), test("name: t, given: {ip: {vpn: 5}}, expect: {action: allow}"), test("name: t, given: {user: {groups: ops}}, expect: {action: allow}"),
		test("name: t, given: {ip: {country: us}}, expect: {action: allow}"), test("name: t, given: {session: {level: verifed}}, expect: {action: allow}"), test("name: t, given: {session: {age: 5}}, expect: {action: allow}"),
	} {
		if err := s.Validate(asJSON(t, []byte(source))); err == nil {
			t.Errorf("the schema accepts\n%s", source)
		}
		if _, err := load.Read(policy.Config{Source: []byte(source)}); err == nil {
			t.Errorf("the reader accepts\n%s", source)
		}
	}
}

// Every key of the schema is one that the reader takes, and the reader takes no other, wherever in the file.
func TestSchemaAndReaderKnowTheSameKeys(t *testing.T) {
	text, err := Policy()
	if err != nil {
		t.Fatal(err)
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	var visit func(schema map[string]any, wrap func(string) string)
	known := func(source, name string) bool {
		_, err := load.Read(policy.Config{Source: []byte(source)})
		return err == nil || !strings.Contains(err.Error(), fmt.Sprintf("has no key %q", name))
	}
	visit = func(s map[string]any, wrap func(string) string) {
		if ref, ok := s["$ref"].(string); ok {
			s = root.(map[string]any)["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		}
		if items, ok := s["items"].(map[string]any); ok {
			visit(items, func(inner string) string { return wrap("[" + inner + "]") })
		}
		properties, ok := s["properties"].(map[string]any)
		if !ok {
			return
		}
		if s["additionalProperties"] != false {
			t.Errorf("%v takes any key", slices.Sorted(maps.Keys(properties)))
		}
		if source := wrap("{zz_zz: 1}"); known(source, "zz_zz") {
			t.Errorf("the reader takes an unknown key: %s", source)
		}
		for name, value := range properties {
			keys++
			inside := func(inner string) string { return wrap("{" + name + ": " + inner + "}") }
			if source := inside("1"); !known(source, name) {
				t.Errorf("the reader does not know %s: %s", name, source)
			}
			if value.(map[string]any)["description"] == "" {
				t.Errorf("%s has no description", name)
			}
			visit(value.(map[string]any), inside)
		}
	}
	// The reader looks into tests only where the rest is there.
	visit(root.(map[string]any), func(inner string) string {
		if strings.HasPrefix(inner, "{tests: [{expect:") {
			inner = strings.Replace(inner, "[{", "[{name: t, ", 1)
		} else if strings.HasPrefix(inner, "{tests: [{given:") {
			inner = strings.Replace(inner, "[{", "[{name: t, expect: {action: allow}, ", 1)
		}
		return strings.Replace(inner, "{tests:", "{version: 1, rules: [{name: a, when: ip.vpn, then: block}], tests:", 1)
	})
	if facts := len(factDocs) - reflect.TypeFor[policy.Facts]().NumField(); keys < facts+20 {
		t.Errorf("%d keys were looked at, and there are %d facts alone", keys, facts)
	}
}

// What the schema of exceptions says and what the reader takes is the same.
func TestSchemaOfExceptions(t *testing.T) {
	text, err := Exceptions()
	if err != nil {
		t.Fatal(err)
	}
	s := schemaOf(t, text)
	const rest = "approved_by: b@c.d, why: x"
	for source, right := range map[string]bool{
		"exceptions: []": true,
		"version: 1\nexceptions: [{id: a-1, user: a@c.d, rules: [r], routes: [x], networks: [10.0.0.0/8], countries: [PT], from: 2026-01-01, until: 2026-12-31T18:00:00+01:00, " + rest + "}]": true,
		"exceptions: [{user: a@c.d, rules: [r], until: 2026-12-31, " + rest + "}]":                                                                                                             true,
		"exceptions: [{user: a@c.d, rules: [], until: 2026-12-31, " + rest + "}]":                                                                                                              false,
		"exceptions: [{user: a@c.d, rules: [r], " + rest + "}]":                                                                                                                                false,
		"exceptions: [{user: a@c.d, rules: [r], until: tomorrow, " + rest + "}]":                                                                                                               false,
		"exceptions: [{user: a@c.d, rules: [r], until: 2026-12-31, unless: x, " + rest + "}]":                                                                                                  false,
		"exceptions: [{user: a@c.d, rules: [r], countries: [], until: 2026-12-31, " + rest + "}]":                                                                                              false,
		"rules: []": false,
	} {
		if err := s.Validate(asJSON(t, []byte(source))); (err == nil) != right {
			t.Errorf("%s: %v", source, err)
		}
		if _, err := policy.ReadExceptions(policy.Exceptions{Name: "x.yaml", Source: []byte(source)}); (err == nil) != right {
			t.Errorf("%s: %v", source, err)
		}
	}
}
