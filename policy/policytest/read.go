package policytest

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
	"sallyport/policy/internal/vocabulary"
	"sallyport/policy/ipv4in6"
	"sallyport/policy/strictyaml"
)

// reader reads the tests of one file.
type reader struct {
	*file.Document
	names  []string // of rules
	words  *vocabulary.Vocabulary
	schema *expr.Schema
}

// Read reads the tests of a document, for a policy with rules of these names. What is
// wrong with a test is added to the document.
func Read(d *file.Document, rules []string, words *vocabulary.Vocabulary) []Test {
	r := &reader{Document: d, names: append(policy.BaselineRules(), rules...), words: words, schema: policy.FactSchema()}
	out := make([]Test, len(d.Tests))
	for i, t := range d.Tests {
		out[i] = r.test(t)
	}
	return out
}

// addDiagnostic records a mistake if there is one.
func (r *reader) addDiagnostic(n *file.Node, d *file.Diagnostic) {
	if d != nil {
		r.At(n, *d)
	}
}

func (r *reader) test(t *file.Test) Test {
	out := Test{name: t.Name, line: t.Node.Line, column: t.Node.Column, given: policy.Ordinary("verified")}
	if t.Given != nil {
		r.given(t.Given, &out.given)
	}
	r.expect(t.Expect, &out)
	return out
}

func (r *reader) given(n *file.Node, f *policy.Facts) {
	values := map[string]*file.Node{}
	groups := r.Fields(n, "given", r.schema.Groups()...)
	for _, group := range r.schema.Groups() {
		if groups[group] == nil {
			continue
		}
		var known []string
		for _, fact := range r.schema.Facts() {
			if fact.Group == group {
				known = append(known, fact.Field)
			}
		}
		for field, value := range r.Fields(groups[group], group, known...) {
			values[group+"."+field] = value
		}
	}
	if v := values["session.level"]; v != nil {
		policy.Lower(f, v.Value)
	}
	for group := range groups {
		// What a test does not say of a group that is not known is what the proxy has then.
		known := true
		if v := values[group+".known"]; v != nil && v.Decode(&known) == nil && !known {
			policy.Forget(f, group)
		}
	}
	for _, fact := range r.schema.Facts() {
		if v := values[fact.Name]; v != nil {
			r.fact(fact, v, r.schema.Field(f, fact))
		}
	}
	r.derive(values, f)
}

// derive derives from the address, the subdivisions and the path what follows from them.
func (r *reader) derive(values map[string]*file.Node, f *policy.Facts) {
	if values["ip.region"] == nil { // a test may say that there is none
		f.IP.DeriveRegion()
	}
	if values["request.path_folded"] == nil {
		f.Request.PathFolded = policy.FoldPath(f.Request.Path)
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
		f.IP.Private = ipv4in6.Private(addr)
	}
	if values["ip.private"] == nil && values["ip.address"] == nil {
		f.IP.Private = f.IP.Internal // what is ours is private
	}
}

// fact reads one value of a test's given.
func (r *reader) fact(fact expr.Fact, n *file.Node, to reflect.Value) {
	check := func(n *file.Node) { r.addDiagnostic(n, r.words.Check(fact.Name, n.Value)) }
	wrong := func(expected string) {
		r.At(n, file.Diagnostic{Message: fmt.Sprintf("%s cannot be %q", fact.Name, n.Value), Expected: expected})
	}
	switch fact.Kind {
	case expr.Duration:
		if d, ok := r.Duration(n, fact.Name); ok {
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
		} else if text, ok := r.Text(n, fact.Name); ok {
			check(n)
			to.SetString(text)
		}
	case expr.Strings:
		var list []string
		for _, e := range r.Items(n, fact.Name) {
			if text, ok := r.Text(e, "an entry of "+fact.Name); ok {
				check(e)
				list = append(list, text)
			}
		}
		to.Set(reflect.ValueOf(list))
	default:
		// To YAML, no value at all is a number and a boolean, and 010 is 8.
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!int" && !strictyaml.PlainNumber(n.Value) || n.Decode(to.Addr().Interface()) != nil {
			wrong(fact.Kind.String())
			return
		}
		check(n)
	}
}

func (r *reader) expect(n *file.Node, t *Test) {
	f := r.Fields(n, "expect", file.ExpectKeys.Names()...)
	if f == nil {
		return
	}
	if f["action"] == nil {
		r.At(n, file.Diagnostic{Message: "the test expects no action", Expected: "action: allow, step_up or block"})
	} else {
		t.action = r.action(f["action"])
	}
	read := func(key string) []string {
		if f[key] == nil {
			return nil
		}
		out := []string{}
		for _, e := range r.Items(f[key], key) {
			if !slices.Contains(r.names, e.Value) {
				r.At(e, file.Diagnostic{Message: fmt.Sprintf("there is no rule %q", e.Value), Expected: vocabulary.OneOf(r.names), Suggestion: strictyaml.Nearest(e.Value, r.names)})
			}
			out = append(out, e.Value)
		}
		return out
	}
	t.rules, t.reported = read("rules"), read("reported")
	if f["score"] != nil {
		score, _ := r.Number(f["score"], "score", 0, file.MaxRules*file.MaxScore)
		t.score = &score
	}
}

func (r *reader) action(n *file.Node) policy.Action {
	var a policy.Action
	if err := a.UnmarshalText([]byte(n.Value)); err != nil || n.Kind != yaml.ScalarNode {
		known := []string{policy.Allow.String(), policy.StepUp.String(), policy.Block.String()}
		r.At(n, file.Diagnostic{Message: fmt.Sprintf("there is no action %q", n.Value), Expected: strings.Join(known, ", "), Suggestion: strictyaml.Nearest(n.Value, known)})
	}
	return a
}
