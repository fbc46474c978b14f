package expr

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"sallyport/policy/strictyaml"
)

// foreignForms are constructs of other languages that do not parse, with what they stand for
// here; an operand is ${1} and so on.
var foreignForms = []struct {
	pattern *regexp.Regexp
	says    string // about ${0}
	meant   string // "": see foreignForm
}{
	{regexp.MustCompile(`(?i)^\s*select\s.+\swhere\s+(.+)$`), "a query of a database", `${1}`},
	{regexp.MustCompile(`^\s*some\s+(\w+)\s+in\s+([\w.]+)\s*;\s*(.+)$`), "a loop of Rego", `${2}.exists(${1}, ${3})`},
	{regexp.MustCompile(`\bany\((.+?)\s+for\s+(\w+)\s+in\s+([\w.]+)\)`), "a loop of Python", `${3}.exists(${2}, ${1})`},
	{regexp.MustCompile(`\ball\((.+?)\s+for\s+(\w+)\s+in\s+([\w.]+)\)`), "a loop of Python", `${3}.all(${2}, ${1})`},
	{regexp.MustCompile(`([\w.]+)\|(contains|startswith|endswith)\s*(?::|==?)\s*("[^"]*"|'[^']*')`), "a comparison of Sigma", `${1}.${2}(${3})`},
	{regexp.MustCompile(`([\w.]+)\|re\s*(?::|==?)\s*("[^"]*"|'[^']*')`), "a comparison of Sigma", `match(${1}, ${2})`},
	{regexp.MustCompile(`/((?:[^/\\\s]|\\.)+)/[a-z]*\.test\(\s*([\w.]+)\s*\)`), "a regular expression of JavaScript", ""},
	{regexp.MustCompile(`([\w.]+)\s*\?\?\s*(?:"[^"]*"|'[^']*'|[\w.]+)`), "a value for what is not known; a fact always has one", `${1}`},
	{regexp.MustCompile(`(\w+)\?\.(\w+)`), "a name of JavaScript; a fact always has a value", `${1}.${2}`},
	{regexp.MustCompile("f?[\"'`]?[$#]?\\{\\s*([a-z_]+\\.[\\w.]+)\\s*\\}[\"'`]?"), "a template", `${1}`},
	{regexp.MustCompile(`\b(\d+)\s?(ms|s|sec|m|min|h|hr|hours?|minutes?|d|days?|w|weeks?)\b`), "a duration without its function", ""},
	{regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?`), "an address without quotes", ""},
	{regexp.MustCompile(`^\s*if\s+(.+?)\s+then\s+true\s+else\s+false\s*$`), "a statement of another language", `${1}`},
	{regexp.MustCompile(`^\s*(?:if|when)\s+(.+?)(?:\s+then\s+\w+|\s*:)?\s*$`), "a statement of another language; what happens is said by then:", `${1}`},
	{regexp.MustCompile(`^(.+?)\s+then\s+(?:block|step_up|deny|allow)\s*$`), "a statement of another language; what happens is said by then:", `${1}`},
}

// foreignForm says what does the same as a construct of another language. nil: there is none
// that leads somewhere.
func (e *Env) foreignForm(text string) *Problem {
	for _, f := range foreignForms {
		m := f.pattern.FindStringSubmatchIndex(text)
		if m == nil || inside([]rune(text), utf8.RuneCountInString(text[:m[0]])) {
			continue
		}
		whole := text[m[0]:m[1]]
		meant := string(f.pattern.ExpandString(nil, f.meant, text, m))
		switch f.says {
		case "a regular expression of JavaScript":
			meant = fmt.Sprintf("match(%s, %s)", text[m[4]:m[5]], strconv.Quote(text[m[2]:m[3]]))
		case "a duration without its function":
			if d := strictyaml.DurationMeant(whole); d != "" {
				meant = fmt.Sprintf("duration(%q)", d)
			}
		case "an address without quotes":
			meant = strconv.Quote(whole)
		}
		at := utf8.RuneCountInString(text[:m[0]])
		p := Problem{Offset: at, Message: fmt.Sprintf("`%s` is %s", strings.TrimSpace(whole), f.says), Suggestion: meant,
			patch: span(at, at+utf8.RuneCountInString(whole), meant)}
		if meant == "" {
			continue
		}
		if whole, _ := e.repaired(text, []Problem{p}); whole != "" {
			return &p
		}
	}
	return nil
}

// badEscape is a backslash in a text that stands for nothing, with the character behind it;
// "": there is none.
func badEscape(text []rune) string {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if !strings.ContainsRune("abfnrtv\\'\"`?xXuU01234567", text[i+1]) {
			return string(text[i : i+2])
		}
		i++
	}
	return ""
}
