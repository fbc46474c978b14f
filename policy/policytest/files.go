package policytest

import (
	"slices"

	"go.yaml.in/yaml/v4"

	"sallyport/policy"
	"sallyport/policy/internal/file"
)

// File is a file of tests beside a policy (*_test.yaml): `tests:` as in a policy, and
// optionally `policy:`, the name of the policy file that it is about.
type File struct {
	Name   string // for messages
	Source []byte
}

// About returns what the file says with `policy:`, or "" if it does not say.
func (f File) About() string {
	// As nodes: decoding into a struct compares each key with each other.
	root := file.NewSource(f.Name, f.Source).Parse(f.Source, file.Tests)
	if root == nil || root.Kind != yaml.MappingNode {
		return "" // Run says what is wrong with it
	}
	if n := file.Key(root, "policy"); n != root {
		return root.Content[slices.Index(root.Content, n)+1].Value
	}
	return ""
}

// read reads a file of tests. Its error is policy.Diagnostics.
func (f File) read(p *policy.Policy) ([]Test, error) {
	d, err := file.ReadTests(f.Name, f.Source)
	if err != nil {
		return nil, err
	}
	var rules []string
	for _, r := range p.Rules() {
		rules = append(rules, r.Name)
	}
	tests := Read(d, rules, p.Vocabulary())
	return tests, d.Err()
}
