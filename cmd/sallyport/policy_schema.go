package main

import "sallyport/policy"

type policySchemaCmd struct{}

// Run needs no configuration: the format is the same everywhere.
func (policySchemaCmd) Run(std stdio) error {
	text, err := policy.Schema()
	if err != nil {
		return err
	}
	_, err = std.out.Write(text)
	return err
}
