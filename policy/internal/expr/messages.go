package expr

import (
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
)

var (
	overloadMessage  = regexp.MustCompile(`^found no matching overload for '(.*)' applied to '(.*)'$`)
	mismatchMessage  = regexp.MustCompile(`^expected type '(.*)' but found '(.*)'$`)
	selectionMessage = regexp.MustCompile(`^type '(.*)' does not support field selection$`)
	rangeMessage     = regexp.MustCompile(`^expression of type '(.*)' cannot be range`)
)

// explainTypes turns the type checker's errors into problems. Unknown names are left
// out: [names] has reported those, and better.
func explainTypes(text []rune, info *ast.SourceInfo, issues *cel.Issues) []Problem {
	var out []Problem
	for _, e := range issues.Errors() {
		if strings.HasPrefix(e.Message, "undeclared reference") {
			continue
		}
		p := explainType(e.Message)
		p.Offset = offsetAt(text, e.Location.Line(), e.Location.Column())
		if mismatchMessage.MatchString(e.Message) || rangeMessage.MatchString(e.Message) {
			p.Offset = startOfName(text, p.Offset)
		}
		if m := overloadMessage.FindStringSubmatch(e.Message); m != nil && isWord(m[1]) {
			p.Offset = findWord(text, info, e.ExprID, m[1][strings.LastIndexByte(m[1], '.')+1:])
		}
		if p.Suggestion == "" && strings.Contains(p.Message, "int") {
			p.Suggestion = asNumber(text, p.Offset)
		}
		out = append(out, p)
	}
	return out
}

// textNumber is a number that is written as text, or an autonomous system as people write
// it: "9009", "AS9009".
var textNumber = regexp.MustCompile(`["'](?i:AS)?([0-9]{1,18})["']`)

// asNumber returns the numbers that the comparison at offset has as texts, without
// quotes; "": it has none.
func asNumber(text []rune, offset int) string {
	before, after := string(text[:offset]), string(text[offset:])
	after, _, _ = strings.Cut(after, "&&")
	after, _, _ = strings.Cut(after, "||")
	found := textNumber.FindAllStringSubmatch(after, 20)
	if at := max(strings.LastIndex(before, "&&"), strings.LastIndex(before, "||")); found == nil {
		found = textNumber.FindAllStringSubmatch(before[max(at, 0):], 20)
	}
	var numbers []string
	for _, m := range found {
		numbers = append(numbers, m[1])
	}
	if len(numbers) > 1 {
		return "[" + strings.Join(numbers, ", ") + "]"
	}
	return strings.Join(numbers, "")
}

func explainType(message string) Problem {
	if m := overloadMessage.FindStringSubmatch(message); m != nil {
		return explainOverload(m[1], m[2])
	}
	if m := mismatchMessage.FindStringSubmatch(message); m != nil {
		return Problem{Message: fmt.Sprintf("this is %s where %s has to be", article(m[2]), article(m[1]))}
	}
	if m := selectionMessage.FindStringSubmatch(message); m != nil {
		return Problem{Message: fmt.Sprintf("%s has no fields", article(m[1]))}
	}
	if m := rangeMessage.FindStringSubmatch(message); m != nil {
		return Problem{Message: fmt.Sprintf("exists(), all(), filter() and map() go through a list; this is %s", article(m[1]))}
	}
	if strings.Contains(message, "regex") {
		return Problem{Message: message, Expected: "a shorter pattern"}
	}
	if strings.Contains(message, "invalid duration argument") {
		return Problem{Message: "this is not a duration", Expected: `hours, minutes and seconds, such as "8h" or "1h30m"`}
	}
	if strings.Contains(message, "invalid timestamp argument") {
		return Problem{Message: "this is not a timestamp, or no such day or hour exists", Expected: `RFC 3339, such as "2026-01-31T09:00:00Z"`}
	}
	if strings.Contains(message, "nesting limit") {
		return Problem{Message: "loops (exists, all, filter, map) are nested too deeply", Expected: "at most one inside another"}
	}
	return Problem{Message: message}
}

func explainOverload(fn, signature string) Problem {
	operator := strings.Trim(fn, "_@")
	types := strings.Split(inner(signature), ", ")
	two := func() (string, string) {
		if len(types) == 2 {
			return types[0], types[1]
		}
		return signature, ""
	}
	switch fn {
	case "!_":
		p := Problem{Message: fmt.Sprintf("! negates a condition; this is %s", article(inner(signature)))}
		p.Expected = "bool; to negate a comparison put it in brackets: !(a in b)"
		return p
	case "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_":
		a, b := two()
		p := Problem{Message: fmt.Sprintf("%s cannot compare %s with %s", operator, a, b), Expected: "two values of one type"}
		if (a == "duration") != (b == "duration") {
			p.Suggestion = `duration("8h")`
		} else if a == "timestamp" || b == "timestamp" {
			p.Suggestion = `timestamp("2026-01-31T09:00:00Z")`
		} else if strings.HasPrefix(a, "list(") != strings.HasPrefix(b, "list(") {
			p.Suggestion = "in"
		}
		return p
	case "@in":
		a, b := two()
		p := Problem{Message: fmt.Sprintf("`in` cannot look for %s in %s", a, b), Expected: "a list of " + a}
		if b == "string" {
			p.Expected, p.Suggestion = "a list on the right", "contains(), for a part of a text"
		}
		return p
	case "_?_:_":
		return Problem{Message: "the three parts of ?: do not fit: " + signature,
			Expected: "a condition, and two values of one type"}
	}
	if target, args, ok := strings.Cut(signature, ".("); ok {
		return Problem{Message: fmt.Sprintf("%s() is not a function of %s with (%s)", fn, article(target), strings.TrimSuffix(args, ")"))}
	}
	if len(operator) < 3 {
		return Problem{Message: fmt.Sprintf("%s cannot be applied to %s", operator, signature)}
	}
	return Problem{Message: fmt.Sprintf("%s() does not take %s", fn, signature)}
}

// inner takes the brackets off a signature: (int, list(string)).
func inner(signature string) string {
	return strings.TrimSuffix(strings.TrimPrefix(signature, "("), ")")
}

func article(kind string) string {
	if strings.HasPrefix(kind, "int") {
		return "an " + kind
	}
	return "a " + kind
}
