package schema

import (
	"sallyport/policy"
	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
	"sallyport/policy/internal/vocabulary"
)

// Policy returns the JSON Schema (2020-12) of a policy file, for editors. It accepts
// every file that the compiler accepts, and describes its shape: what stands in
// conditions, and whether names exist, only the compiler can tell.
func Policy() ([]byte, error) { return file.PolicySchema(givenSchema()) }

// Tests returns that of a file of tests beside a policy.
func Tests() ([]byte, error) { return file.TestsSchema(givenSchema()) }

// Pinned returns that of a file of invariants that every policy has to fulfil.
func Pinned() ([]byte, error) { return file.PinnedSchema() }

// Exceptions returns that of a file of exceptions.
func Exceptions() ([]byte, error) { return file.ExceptionsSchema() }

// givenSchema lists the facts, with what facts.go says of them.
func givenSchema() file.Schema {
	facts, words, groups := policy.FactSchema(), vocabulary.New(nil, nil, nil), file.Schema{}
	for _, g := range facts.Groups() {
		groups[g] = file.Schema{"type": "object", "properties": file.Schema{}, "additionalProperties": false, "description": factDocs[g]}
	}
	for _, f := range facts.Facts() {
		value := factSchema(f, words)
		value["description"] = factDocs[f.Name]
		groups[f.Group].(file.Schema)["properties"].(file.Schema)[f.Field] = value
	}
	return file.Schema{"type": "object", "properties": groups, "additionalProperties": false}
}

func factSchema(f expr.Fact, words *vocabulary.Vocabulary) file.Schema {
	one := file.Schema{"type": "string"}
	if enum := words.Enum(f.Name); enum != nil && f.Kind == expr.String {
		one = file.Schema{"enum": enum}
	}
	switch f.Name {
	case "ip.country", "user.countries":
		one["pattern"] = "^[A-Z]{2}$"
	case "ip.region", "user.region":
		one["pattern"] = "^$|" + vocabulary.SubdivisionPattern.String()
	case "ip.subdivisions":
		one["pattern"] = vocabulary.SubdivisionPattern.String()
	case "credential.aaguid":
		one["pattern"] = vocabulary.AAGUIDPattern.String()
	}
	switch f.Kind {
	case expr.Bool:
		return file.Schema{"type": "boolean"}
	case expr.Int:
		return file.Schema{"type": "integer"}
	case expr.Double:
		return file.Schema{"type": "number"}
	case expr.Duration:
		return file.Schema{"anyOf": []file.Schema{{"type": "string", "pattern": `^[+-]?` + file.DurationText}, {"enum": []any{0, "0"}}}}
	case expr.Time:
		return file.Schema{"type": "string", "format": "date-time"}
	case expr.Strings:
		return file.Schema{"type": "array", "items": one}
	}
	return one
}
