package main

import "sallyport/policy/schema"

type policySchemaCmd struct {
	Tests      bool `xor:"of" help:"That of files of tests (*_test.yaml) instead."`
	Invariants bool `xor:"of" help:"That of policy_invariants instead."`
	Exceptions bool `xor:"of" help:"That of policy_exceptions instead."`
}

// Run needs no configuration: the format is the same everywhere.
func (p policySchemaCmd) Run(std stdio) error {
	of := schema.Policy
	switch {
	case p.Tests:
		of = schema.Tests
	case p.Invariants:
		of = schema.Pinned
	case p.Exceptions:
		of = schema.Exceptions
	}
	text, err := of()
	if err != nil {
		return err
	}
	_, err = std.out.Write(text)
	return err
}
