package main

import "sallyport/policy"

type policySchemaCmd struct {
	Tests bool `help:"That of files of tests (*_test.yaml) instead."`
}

// Run needs no configuration: the format is the same everywhere.
func (p policySchemaCmd) Run(std stdio) error {
	of := policy.Schema
	if p.Tests {
		of = policy.TestFileSchema
	}
	text, err := of()
	if err != nil {
		return err
	}
	_, err = std.out.Write(text)
	return err
}
