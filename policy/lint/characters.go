package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

// characters finds texts with characters that are not seen, or that look like others: the
// fact they are compared with has none of them, so that the comparison never holds.
func (l *linter) characters() {
	for _, p := range l.written() {
		for _, v := range p.program.Texts() {
			said, clean := odd(v.Text)
			if said == "" {
				continue
			}
			f := Finding{Code: "invisible-character", Severity: Warning, Fix: fmt.Sprintf("%q", clean), Write: p.program.Replace(v, clean),
				Message: fmt.Sprintf("the text %+q has %s", v.Text, said)}
			if clean == "" {
				f.Fix, f.Write = "the text that is meant", ""
			}
			l.in(p.rule, p.node, v.Offset, f)
		}
		for _, c := range p.program.Comparisons() {
			l.spaces(p, c)
		}
	}
	for _, list := range l.document.Lists {
		for _, n := range list.Entries {
			said, clean := odd(n.Value)
			if said == "" && strings.TrimSpace(n.Value) != n.Value {
				said, clean = "a space at an end", strings.TrimSpace(n.Value)
			}
			if said != "" {
				l.node(n, Finding{Code: "invisible-character", Severity: Warning, Fix: fmt.Sprintf("%q", clean), Message: fmt.Sprintf("the entry %+q has %s", n.Value, said)})
			}
		}
	}
	for i, r := range l.document.Rules {
		if r.Enforce == nil {
			continue
		}
		for _, name := range r.Enforce.Groups {
			if said, clean := odd(name); said != "" {
				l.rule(i, Finding{Code: "invisible-character", Severity: Warning, Fix: fmt.Sprintf("%q", clean), Message: fmt.Sprintf("the group %+q has %s", name, said)})
			}
		}
	}
}

// spaces finds a space at an end of what a whole fact is compared with.
func (l *linter) spaces(p part, c expr.Comparison) {
	for _, v := range c.Values {
		if trimmed := strings.TrimSpace(v.Text); c.How == expr.Equal && trimmed != v.Text && trimmed != "" {
			if said, _ := odd(v.Text); said == "" {
				l.in(p.rule, p.node, v.Offset, Finding{Code: "invisible-character", Severity: Warning, Fix: fmt.Sprintf("%q", trimmed), Write: p.program.Replace(v, trimmed),
					Message: fmt.Sprintf("the text %+q has a space at an end", v.Text)})
			}
		}
	}
}

// blanks are letters and symbols that show as nothing.
const blanks = "\u115f\u1160\u3164\uffa0\u2800\u034f"

// lookalikes are letters of other scripts that look like Latin ones.
var lookalikes = map[rune]rune{
	'а': 'a', 'с': 'c', 'ԁ': 'd', 'е': 'e', 'һ': 'h', 'і': 'i', 'ј': 'j', 'ӏ': 'l', 'о': 'o', 'р': 'p', 'ԛ': 'q', 'ѕ': 's', 'ԝ': 'w', 'х': 'x', 'у': 'y',
	'А': 'A', 'В': 'B', 'С': 'C', 'Е': 'E', 'Н': 'H', 'І': 'I', 'Ј': 'J', 'К': 'K', 'М': 'M', 'О': 'O', 'Р': 'P', 'Ѕ': 'S', 'Т': 'T', 'Х': 'X', 'У': 'Y',
	'ο': 'o', 'α': 'a', 'ν': 'v', 'ι': 'i', 'ρ': 'p', 'Α': 'A', 'Β': 'B', 'Ε': 'E', 'Ζ': 'Z', 'Η': 'H', 'Ι': 'I', 'Κ': 'K', 'Μ': 'M', 'Ν': 'N', 'Ο': 'O', 'Ρ': 'P', 'Τ': 'T', 'Υ': 'Y', 'Χ': 'X',
}

// odd says which character of a text is not what it seems, and returns the text without
// such; "": there is none.
func odd(text string) (said, clean string) {
	add := func(s string) {
		if said == "" {
			said = s
		}
	}
	var out strings.Builder
	for _, word := range split(text) {
		mixed := strings.ContainsFunc(word, func(r rune) bool { return lookalikes[r] != 0 }) &&
			!strings.ContainsFunc(word, func(r rune) bool { return r >= 0x80 && lookalikes[r] == 0 && unicode.IsLetter(r) })
		for _, r := range word {
			latin := lookalikes[r]
			switch {
			case unicode.Is(unicode.Cf, r), strings.ContainsRune(blanks, r), r >= 0xfe00 && r <= 0xfe0f:
				add(fmt.Sprintf("a character that is not seen, %U", r))
			case unicode.IsControl(r):
				add(fmt.Sprintf("a control character, %U", r))
			case r != ' ' && unicode.IsSpace(r), r != ' ' && unicode.Is(unicode.Zs, r):
				add(fmt.Sprintf("a space that is none of the keyboard's, %U", r))
				out.WriteByte(' ')
			case r >= 0xff01 && r <= 0xff5e:
				add(fmt.Sprintf("a character of full width, %U", r))
				out.WriteRune(r - 0xff01 + '!')
			case mixed && latin != 0:
				add(fmt.Sprintf("a letter of another script, %U, that looks like %c", r, latin))
				out.WriteRune(latin)
			default:
				out.WriteRune(r)
			}
		}
	}
	return said, out.String()
}

// split cuts a text into words and what is between them.
func split(text string) (out []string) {
	runes, from := []rune(text), 0
	for i := 1; i <= len(runes); i++ {
		if i == len(runes) || unicode.IsLetter(runes[i]) != unicode.IsLetter(runes[i-1]) {
			out = append(out, string(runes[from:i]))
			from = i
		}
	}
	return out
}

// brackets finds && beside || without brackets, and a part of a condition behind #.
func (l *linter) brackets() {
	for _, p := range l.written() {
		name := "the invariant"
		if p.rule >= 0 {
			name = l.rules[p.rule].Name
		}
		if at, text := p.program.Unbracketed(); len(at) > 0 {
			l.in(p.rule, p.node, at[0], Finding{Code: "ambiguous-brackets", Severity: Warning, Write: expr.OneLine(text),
				Message: fmt.Sprintf("%s has && beside || without brackets: a || b && c means a || (b && c)", name),
				Fix:     "brackets around what belongs together"})
		}
		if comment := strings.TrimSpace(strings.TrimLeft(p.node.LineComment, "#")); l.cut(comment) {
			l.in(p.rule, p.node, 0, Finding{Code: "commented-out", Severity: Warning,
				Message: fmt.Sprintf("what follows # is a comment, and no part of the condition of %s: %s", name, comment),
				Fix:     "quotes around the whole condition, if it is meant; else no comment that reads like one"})
		}
	}
}

// A comment that begins as what a condition goes on with, or a rule.
var (
	cutOff = regexp.MustCompile(`(?i)^(?:!|&|\||in\s*[\[(]|==|!=|[<>]=?\s)|&&|\|\|`)
	cutIn  = regexp.MustCompile(`(?i)^(?:and|or|not|unless:?|except)\s`)
)

// cut reports whether a comment reads like a part of a condition: it joins one, or is one.
func (l *linter) cut(comment string) bool {
	if cutOff.MatchString(comment) {
		return true
	}
	if cutIn.MatchString(comment) && slices.ContainsFunc(policy.FactSchema().Facts(), func(f expr.Fact) bool { return strings.Contains(comment, f.Name) }) {
		return true
	}
	program, _ := l.policy.Model().Env.Compile(comment)
	return program != nil && len(program.Reads()) > 0
}
