package policy

import (
	"encoding/json"
	"fmt"
	"reflect"

	"sallyport/policy/internal/expr"
)

// Schema returns the JSON Schema (2020-12) of a policy file, for editors. It accepts every file that
// [Compile] accepts, and describes its shape: what stands in conditions, and whether
// names exist, only Compile can tell.
func Schema() ([]byte, error) {
	return policyKeys.document("Sallyport policy", "What happens to a request: allow, step up (prove yourself with your passkey, now) or block. Reference: policy/README.md.",
		schema{"rule": ruleSchema(), "test": testKeys.schema(), "invariant": invariantSchema()})
}

// TestFileSchema returns that of a file of tests beside a policy.
func TestFileSchema() ([]byte, error) {
	return testFileKeys.document("Tests of a Sallyport policy", "What a policy is expected to do. Reference: policy/README.md.", schema{"test": testKeys.schema()})
}

// PinnedSchema returns that of a file of invariants that every policy has to fulfil.
func PinnedSchema() ([]byte, error) {
	return pinnedKeys.document("Invariants of Sallyport policies", "What has to hold whatever the policy says. Reference: policy/README.md.", schema{"invariant": invariantSchema()})
}

func (o object) document(title, description string, defs schema) ([]byte, error) {
	root := o.schema()
	root["$schema"], root["title"], root["description"], root["$defs"] = "https://json-schema.org/draft/2020-12/schema", title, description, defs
	out, err := json.MarshalIndent(root, "", "  ")
	return append(out, '\n'), err
}

func (o object) schema() schema {
	properties, required := schema{}, []string{}
	for _, k := range o {
		value := k.value()
		value["description"] = k.doc
		properties[k.name] = value
		if k.required {
			required = append(required, k.name)
		}
	}
	out := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// ruleSchema says besides which keys go together.
func ruleSchema() schema {
	o := ruleKeys.schema()
	o["oneOf"] = []schema{{"required": []string{"then"}}, {"required": []string{"score"}}}
	asks := schema{"required": []string{"then"}, "properties": schema{"then": schema{"const": "step_up"}}}
	every := schema{"required": []string{"every"}}
	o["dependentSchemas"] = schema{"max_age": schema{"allOf": []schema{asks, {"not": every}}}, "every": asks, "require": asks,
		"jitter": every, "hours": every, "enforce": schema{"not": schema{"required": []string{"mode"}}}}
	return o
}

func invariantSchema() schema {
	o := invariantKeys.schema()
	o["oneOf"] = []schema{{"required": []string{"never"}}, {"required": []string{"always"}}}
	return o
}

// givenSchema lists the facts, with what facts.go says of them.
func givenSchema() schema {
	facts, err := expr.NewSchema(reflect.TypeFor[Facts]())
	if err != nil {
		panic(fmt.Sprintf("facts: %v", err)) // Compile fails with it too, and so do all tests
	}
	words, groups := newVocabulary(Config{}), schema{}
	for _, g := range facts.Groups() {
		groups[g] = schema{"type": "object", "properties": schema{}, "additionalProperties": false, "description": factDocs[g]}
	}
	for _, f := range facts.Facts() {
		value := factSchema(f, words)
		value["description"] = factDocs[f.Name]
		groups[f.Group].(schema)["properties"].(schema)[f.Field] = value
	}
	return schema{"type": "object", "properties": groups, "additionalProperties": false}
}

func factSchema(f expr.Fact, words *vocabulary) schema {
	one := schema{"type": "string"}
	if enum := words.enums[f.Name]; enum != nil && f.Kind == expr.String {
		one = schema{"enum": enum}
	}
	switch f.Name {
	case "ip.country", "user.countries":
		one["pattern"] = "^[A-Z]{2}$"
	case "ip.subdivisions":
		one["pattern"] = subdivisionPattern.String()
	case "credential.aaguid":
		one["pattern"] = aaguidPattern.String()
	}
	switch f.Kind {
	case expr.Bool:
		return schema{"type": "boolean"}
	case expr.Int:
		return schema{"type": "integer"}
	case expr.Double:
		return schema{"type": "number"}
	case expr.Duration:
		return schema{"anyOf": []schema{{"type": "string", "pattern": `^[+-]?` + durationText}, {"enum": []any{0, "0"}}}}
	case expr.Time:
		return schema{"type": "string", "format": "date-time"}
	case expr.Strings:
		return schema{"type": "array", "items": one}
	}
	return one
}
