package file

import "encoding/json"

// PolicySchema returns the JSON Schema (2020-12) of a policy file. given is that of a
// test's facts, of which this package knows nothing.
func PolicySchema(given Schema) ([]byte, error) {
	return PolicyKeys.document("Sallyport policy", "What happens to a request: allow, step up (prove yourself with your passkey, now) or block. Reference: policy/reference.md.",
		Schema{"rule": ruleSchema(), "test": testSchema(given), "invariant": invariantSchema()})
}

// TestsSchema returns that of a file of tests beside a policy.
func TestsSchema(given Schema) ([]byte, error) {
	return TestFileKeys.document("Tests of a Sallyport policy", "What a policy is expected to do. Reference: policy/reference.md.", Schema{"test": testSchema(given)})
}

// PinnedSchema returns that of a file of invariants that every policy has to fulfil.
func PinnedSchema() ([]byte, error) {
	return pinnedKeys.document("Invariants of Sallyport policies", "What has to hold for every policy. Reference: policy/reference.md.", Schema{"invariant": invariantSchema()})
}

// ExceptionsSchema returns that of a file of exceptions.
func ExceptionsSchema() ([]byte, error) {
	return exceptionsKeys.document("Exceptions from a Sallyport policy", "Rules that are suspended for one person each, until a day. Reference: policy/reference.md.", Schema{"exception": exceptionKeys.schema()})
}

func (o Object) document(title, description string, defs Schema) ([]byte, error) {
	root := o.schema()
	root["$schema"], root["title"], root["description"], root["$defs"] = "https://json-schema.org/draft/2020-12/schema", title, description, defs
	out, err := json.MarshalIndent(root, "", "  ")
	return append(out, '\n'), err
}

func (o Object) schema() Schema {
	properties, required := Schema{}, []string{}
	for _, k := range o {
		value := k.value()
		value["description"] = k.doc
		properties[k.name] = value
		if k.required {
			required = append(required, k.name)
		}
	}
	out := Schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

func testSchema(given Schema) Schema {
	given["description"] = TestKeys[TestKeys.Rank("given")].doc
	o := TestKeys.schema()
	o["properties"].(Schema)["given"] = given
	return o
}

// ruleSchema says besides which keys go together.
func ruleSchema() Schema {
	o := RuleKeys.schema()
	o["oneOf"] = []Schema{{"required": []string{"then"}}, {"required": []string{"score"}}}
	asks := Schema{"required": []string{"then"}, "properties": Schema{"then": Schema{"const": "step_up"}}}
	every := Schema{"required": []string{"every"}}
	o["dependentSchemas"] = Schema{"max_age": Schema{"allOf": []Schema{asks, {"not": every}}}, "every": asks, "require": asks,
		"jitter": every, "hours": every, "enforce": Schema{"not": Schema{"required": []string{"mode"}}}}
	return o
}

func invariantSchema() Schema {
	o := invariantKeys.schema()
	o["oneOf"] = []Schema{{"required": []string{"never"}}, {"required": []string{"always"}}}
	return o
}
