package file

import "slices"

// A policy file is described once: what the reader accepts and what the Schema for
// editors ([Schema]) offers are the same tables, so that neither can know a key that the
// other does not.

// Object is a mapping of the file, its keys in their canonical order.
type Object []entry

type entry struct {
	name, doc string
	value     func() Schema
	required  bool
}

// Schema is a part of a JSON Schema.
type Schema map[string]any

func (o Object) Names() (names []string) {
	for _, k := range o {
		names = append(names, k.name)
	}
	return names
}

// Rank returns where a key stands in the canonical order; unknown ones come last.
func (o Object) Rank(name string) int {
	if i := slices.Index(o.Names(), name); i >= 0 {
		return i
	}
	return len(o)
}

// DurationText is the pattern of a duration behind its sign. Patterns accept what the
// reader does.
const DurationText = `((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$`

const hostileText = `^[^\x00-\x08\x0b\x0c\x0e-\x1f]*$`

func textOf(doc string) func() Schema {
	return func() Schema {
		return Schema{"type": "string", "minLength": 1, "pattern": hostileText, "description": doc}
	}
}

func oneText(of ...string) func() Schema { return func() Schema { return Schema{"enum": of} } }

func wholeNumber(least, most int) func() Schema {
	return func() Schema { return Schema{"type": "integer", "minimum": least, "maximum": most} }
}

func listOf(items func() Schema, least int) func() Schema {
	return func() Schema { return Schema{"type": "array", "items": items(), "minItems": least} }
}

// anyValue stands for the facts of a test: [PolicySchema] is given their schema.
func anyValue() Schema { return Schema{} }

func expression() Schema {
	return Schema{"type": "string", "minLength": 1, "maxLength": 4096, "examples": []string{"ip.vpn || ip.country in lists.embargoed"}}
}

func positiveDuration() Schema {
	return Schema{"type": "string", "pattern": `^\+?` + DurationText, "examples": []string{"30s", "5m", "1h30m"}}
}

var PolicyKeys = Object{
	{"version", "The version of this format: 1.", func() Schema { return Schema{"const": 1} }, true},
	{"lists", "Constants, visible to conditions as lists.NAME: text or whole numbers, not both in one list.", listsSchema, false},
	{"thresholds", "What the sum of the scores of all matching rules does. Only for rules with a score.", func() Schema {
		o := thresholdKeys.schema()
		o["anyOf"] = []Schema{{"required": []string{"step_up"}}, {"required": []string{"block"}}}
		return o
	}, false},
	{"missing_data", "When a configured IP source could not be loaded at all. Default: step_up.", oneText("block", "step_up", "allow"), false},
	{"rules", "All of them are looked at, and the strictest verdict wins: block, then step_up, then allow. Rules only tighten.",
		func() Schema {
			return Schema{"type": "array", "items": Schema{"$ref": "#/$defs/rule"}, "minItems": 1, "maxItems": MaxRules}
		}, true},
	{"invariants", "What has to hold for every request there can be. Proven before the policy is loaded; what is not proven is a mistake in the file.",
		func() Schema {
			return Schema{"type": "array", "items": Schema{"$ref": "#/$defs/invariant"}, "maxItems": maxInvariants}
		}, false},
	{"tests", "What these rules are expected to do. They run when the file is loaded: a failing test is a mistake in the file.",
		func() Schema {
			return Schema{"type": "array", "items": Schema{"$ref": "#/$defs/test"}, "maxItems": maxTests}
		}, false},
}

func listsSchema() Schema {
	return Schema{"type": "object", "propertyNames": Schema{"pattern": listPattern.String()},
		"additionalProperties": Schema{"anyOf": []Schema{
			{"type": "array", "items": Schema{"type": "string", "minLength": 1}},
			{"type": "array", "items": Schema{"type": "integer"}},
		}}}
}

var thresholdKeys = Object{
	{"step_up", "A sum of this or more asks for a passkey.", wholeNumber(1, MaxRules*MaxScore), false},
	{"block", "A sum of this or more blocks.", wholeNumber(1, MaxRules*MaxScore), false},
	{"max_age", "How old a passkey assertion may be to answer the question that the sum asks. Default: 15m.", positiveDuration, false},
}

var RuleKeys = Object{
	{"name", "By which decisions, audit records and tests refer to the rule: lower-case letters, digits and -; unique.", func() Schema {
		return Schema{"type": "string", "pattern": wordPattern.String(), "maxLength": 64, "not": Schema{"pattern": "^baseline"}}
	}, true},
	{"when", "The rule matches when this condition (CEL) is true, or cannot be evaluated ...", expression, true},
	{"unless", "... and this one, if given, is not true.", expression, false},
	{"routes", "Names of routes that the rule is limited to. It then says nothing about signing in or enrolling.",
		listOf(textOf("The name of a route in sallyport.yaml."), 1), false},
	{"then", "What happens when the rule matches. Either this or score.", oneText("block", "step_up"), false},
	{"score", "What a match adds to the sum that `thresholds` acts on. Either this or then.", wholeNumber(1, MaxScore), false},
	{"max_age", "With step_up: how old a passkey assertion may be and still answer. Default: 15m.", positiveDuration, false},
	{"every", "With step_up, instead of max_age: ask again this long after the last passkey assertion, give or take jitter.", positiveDuration, false},
	{"jitter", "With every: by how much earlier or later, drawn anew for each assertion. Less than every. Default: 0.", positiveDuration, false},
	{"hours", "With every: ask only at these hours of the day in user.time_zone; at any hour where that is not known.", func() Schema {
		return Schema{"type": "string", "pattern": hoursPattern.String(), "examples": []string{"09:00-18:00"}}
	}, false},
	{"require", "With step_up: what the passkey has to be. device_bound: it cannot be copied to another device; attested: and its make is proven.",
		listOf(oneText(DeviceBound, Attested), 0), false},
	{"mode", "report: the rule changes nothing, and decisions say what it would have done. Default: enforce.", oneText("report", "enforce"), false},
	{"enforce", "Enforce the rule for some, and report what it would have done to the rest.", func() Schema {
		o := enforceKeys.schema()
		o["minProperties"] = 1
		return o
	}, false},
	{"reason", "For the audit log and explain; the person never sees it.", textOf("One line."), false},
}

var invariantKeys = Object{
	{"name", "What it is about; unique.", textOf("A sentence."), false},
	{"never", "allow: the verdict is not allow, however fresh the person's passkey assertion is. block: no rule blocks, but for those in except. Either this or always.", oneText("allow", "block"), false},
	{"always", "step_up: it is blocked, or at least a question is asked. block: it is blocked. Either this or never.", oneText("step_up", "block"), false},
	{"except", "With never: block: the names of rules that may block all the same.", listOf(textOf("The name of a rule."), 1), false},
	{"when", "The requests that it is about: a condition as in rules.", expression, true},
}

var enforceKeys = Object{
	{"percent", "For this share of the people; who is in it at 10 is in it at 20.", wholeNumber(0, 100), false},
	{"groups", "For members of one of these groups.", listOf(textOf("The name of a group."), 1), false},
}

// pinnedKeys are those of a file of invariants that every policy has to fulfil.
var pinnedKeys = Object{
	{"version", "The version of this format: 1.", func() Schema { return Schema{"const": 1} }, true},
	{"lists", "Constants, as in a policy. Rules of the policy may use them too, and cannot declare others of the name.", listsSchema, false},
	{"invariants", "As in a policy file. No policy that breaks one comes into force.",
		func() Schema {
			return Schema{"type": "array", "items": Schema{"$ref": "#/$defs/invariant"}, "minItems": 1, "maxItems": maxInvariants}
		}, true},
}

// exceptionsKeys are those of a file of exceptions.
var exceptionsKeys = Object{
	{"version", "The version of this format: 1. May be left out.", func() Schema { return Schema{"const": 1} }, false},
	{"exceptions", "Rules that are suspended for one person each, until a day. [] for none.", func() Schema {
		return Schema{"type": "array", "items": Schema{"$ref": "#/$defs/exception"}, "maxItems": MaxExceptions}
	}, true},
}

var exceptionKeys = Object{
	{"id", "By which records and commands refer to it: lower-case letters, digits and -; unique. Default: made from what it suspends.", func() Schema {
		return Schema{"type": "string", "pattern": wordPattern.String(), "maxLength": 64}
	}, false},
	{"user", "The person, by the e-mail address that rules see in user.email. One person: no pattern, no group.", textOf("ana@corp.example"), true},
	{"subject", "And by ISSUER|SUBJECT, the account that has the address: it does not hold for another one that is given the address later. Default: for each account that has it.", textOf("https://accounts.corp.example|00u1abcd"), false},
	{"rules", "The rules of the policy that are suspended. Never the baseline, and never a route's allow.", partOf("The name of a rule."), true},
	{"routes", "Only for requests to these routes. It then says nothing about signing in or enrolling.", partOf("The name of a route in sallyport.yaml."), false},
	{"networks", "Only from these addresses or networks.", partOf("198.51.100.0/24"), false},
	{"countries", "Only from these countries (ip.country).", partOf("PT"), false},
	{"from", "From the beginning of this day in UTC, or from this time, on. Default: at once.", momentText, false},
	{"until", "To the end of this day in UTC, or to this time. It then ends by itself.", momentText, true},
	{"approved_by", "The e-mail address of the one who answers for it; not the person's own.", textOf("ciso@corp.example"), true},
	{"why", "For the audit log and explain.", textOf("One line."), true},
}

func partOf(doc string) func() Schema {
	return func() Schema {
		return Schema{"type": "array", "items": textOf(doc)(), "minItems": 1, "maxItems": maxExceptionPart}
	}
}

// momentText is what [ParseMoment] reads.
func momentText() Schema {
	return Schema{"type": "string", "pattern": `^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2}))?$`, "examples": []string{"2026-12-31", "2026-12-31T18:00:00+01:00"}}
}

// TestFileKeys are those of a file of tests (*_test.yaml) beside a policy.
var TestFileKeys = Object{
	{"policy", "The policy file beside this one that the tests are about. Default: the one whose name this file's name begins with.",
		textOf("policy.yaml"), false},
	{"tests", "As in a policy file. They run with `policy test` and `policy lint`, and not when the policy is loaded.",
		func() Schema {
			return Schema{"type": "array", "items": Schema{"$ref": "#/$defs/test"}, "minItems": 1, "maxItems": maxTests}
		}, true},
}

var TestKeys = Object{
	{"name", "What the test shows; unique.", textOf("A sentence."), true},
	{"given", "Facts; the others are those of an ordinary, verified person.", anyValue, false},
	{"expect", "The verdict.", func() Schema { return ExpectKeys.schema() }, true},
}

var ExpectKeys = Object{
	{"action", "What happens.", oneText("allow", "step_up", "block"), true},
	{"rules", "Exactly these enforced rules decide, in any order; baseline.* rules count.", listOf(textOf("The name of a rule."), 0), false},
	{"score", "The sum of the scores.", wholeNumber(0, MaxRules*MaxScore), false},
	{"reported", "Exactly these report-only rules match.", listOf(textOf("The name of a rule."), 0), false},
}
