package vocabulary

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
)

// lowerFacts and upperFacts are the facts that are spelled in one case alone.
var (
	lowerFacts = []string{"user.email", "request.host", "handoff.host", "ip.address", "credential.aaguid"}
	upperFacts = []string{"ip.subdivisions", "ip.region", "user.region", "request.method"}
)

// Compared says so if a comparison with value never holds.
func (v *Vocabulary) Compared(c expr.Comparison, value string) *file.Diagnostic {
	switch {
	case c.Lower:
		return comparedLower(c, value)
	case c.How == expr.Equal:
		return v.Check(c.Subject, value)
	case c.How == expr.Method && c.Method == "matches":
		return v.matches(c.Subject, value)
	case c.How == expr.Method:
		return v.part(c, value)
	}
	return beyond(c, value)
}

func neverSo(c expr.Comparison, value, expected, suggestion string) *file.Diagnostic {
	d := &file.Diagnostic{Message: fmt.Sprintf("%s never %s %q", c.Subject, c.Asks(), value), Expected: expected}
	if suggestion != value {
		d.Suggestion = suggestion
	}
	return d
}

// comparedLower is about subject.lowerAscii(), which has no ASCII capitals for any
// subject.
func comparedLower(c expr.Comparison, value string) *file.Diagnostic {
	lower := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, value)
	if lower == value || c.Method == "matches" || c.How != expr.Equal && c.How != expr.Method {
		return nil
	}
	return neverSo(c, value, "lower case, as lowerAscii() gives it", lower)
}

// holds says whether a text is related to value as c asks.
func holds(c expr.Comparison, text, value string) bool {
	switch c.Method {
	case "startsWith":
		return strings.HasPrefix(text, value)
	case "endsWith":
		return strings.HasSuffix(text, value)
	}
	return strings.Contains(text, value)
}

// values returns all that a fact can be, where they can be counted.
func (v *Vocabulary) values(subject string) []string {
	switch subject {
	case "ip.country", "user.countries", "handoff.country":
		return countryCodes
	case "request.route":
		if v.routes != nil {
			return append([]string{""}, v.routes...)
		}
	}
	return v.enums[subject]
}

// part says so if no value of the subject begins or ends with, or contains, a text.
func (v *Vocabulary) part(c expr.Comparison, value string) *file.Diagnostic {
	lower, upper := strings.ToLower(value), strings.ToUpper(value)
	if all := v.values(c.Subject); all != nil {
		some := func(value string) bool {
			return slices.ContainsFunc(all, func(text string) bool { return holds(c, text, value) })
		}
		switch {
		case some(value):
			return nil
		case some(upper):
			return neverSo(c, value, "upper case", upper)
		case some(lower):
			return neverSo(c, value, "lower case", lower)
		}
		return neverSo(c, value, "a part of one of its values; "+OneOf(all), "")
	}
	switch {
	case slices.Contains(lowerFacts, c.Subject) && value != lower:
		return neverSo(c, value, "lower case: "+c.Subject+" has no capitals", lower)
	case slices.Contains(upperFacts, c.Subject) && value != upper:
		return neverSo(c, value, "upper case: "+c.Subject+" has no small letters", upper)
	}
	switch c.Subject {
	case "request.path", "request.path_folded":
		if c.Method == "startsWith" && value != "" && value[0] != '/' {
			return neverSo(c, value, "a path that begins with /", "/"+value)
		}
	case "user.time_zone":
		if title := titled(value); title != value && (c.Method == "startsWith" || strings.HasPrefix(value, "/")) {
			return neverSo(c, value, "IANA's spelling: each part begins with a capital", title)
		}
	case "user.email":
		if partly := func(text string) bool { return IsEmail("x" + strings.ReplaceAll(text, "@", "") + "@x") }; !partly(value) {
			meant := strings.TrimSpace(value)
			if !partly(meant) {
				meant = ""
			}
			return neverSo(c, value, "a part of an address: letters, digits and signs of ASCII, without spaces", meant)
		}
		if c.Method == "startsWith" && strings.HasPrefix(value, "@") || c.Method == "endsWith" && strings.HasSuffix(value, "@") {
			return neverSo(c, value, "a part of an address such as \"ann@example.com\"; its domain is at its end, .endsWith(\"@example.com\")", "")
		}
	case "request.host", "handoff.host":
		return partOfHost(c, value)
	}
	return nil
}

// titled is a time zone with a capital at the beginning and after each slash.
func titled(zone string) string {
	parts := strings.Split(zone, "/")
	for i, p := range parts {
		if p != "" {
			parts[i] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "/")
}

// portAtEnd is what a host would end with if the fact had the port.
var portAtEnd = regexp.MustCompile(`:[0-9]+$`)

func partOfHost(c expr.Comparison, value string) *file.Diagnostic {
	const expected = "a part of a host name, without scheme, port and path"
	port := c.Method == "endsWith" && portAtEnd.MatchString(value)
	// Of hosts only an IPv6 address has a colon, and that has nothing but digits besides.
	if !port && strings.Contains(value, ":") {
		port = strings.Trim(value, "0123456789abcdef:.") != ""
	}
	if port || strings.ContainsAny(value, "/[]") {
		return neverSo(c, value, expected, portAtEnd.ReplaceAllString(value, ""))
	}
	return nil
}

// bareHost is a host as the facts have it: in lower case, without scheme, port, path,
// brackets and dot at the end.
func bareHost(value string) string {
	host := strings.ToLower(value)
	if _, rest, ok := strings.Cut(host, "://"); ok {
		host = rest
	}
	host, _, _ = strings.Cut(host, "/")
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.String()
	}
	if at := strings.LastIndexByte(host, ':'); at >= 0 {
		host = host[:at]
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}

func isHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host != "" && !strings.ContainsAny(host, "@ /:")
}

// matches says so if a pattern matches no value of the subject.
func (v *Vocabulary) matches(subject, pattern string) *file.Diagnostic {
	c := expr.Comparison{Subject: subject, Method: "matches"}
	if all := v.values(subject); all != nil {
		re, err := regexp.Compile(pattern)
		if err != nil || slices.ContainsFunc(all, re.MatchString) {
			return nil
		}
		return neverSo(c, pattern, "a pattern for one of its values; "+OneOf(all), "")
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	switch {
	case slices.Contains(lowerFacts, subject) && needs(re, unicode.IsUpper):
		return neverSo(c, pattern, "lower case: "+subject+" has no capitals", "")
	case slices.Contains(upperFacts, subject) && needs(re, unicode.IsLower):
		return neverSo(c, pattern, "upper case: "+subject+" has no small letters", "")
	case (subject == "request.path" || subject == "request.path_folded") && beginsWithout(re, '/'):
		return neverSo(c, pattern, "^/ in front: a path begins with /", "")
	}
	return nil
}

// needs reports whether every text that re matches has a character in it that is, written
// out.
func needs(re *syntax.Regexp, is func(rune) bool) bool {
	switch re.Op {
	case syntax.OpLiteral:
		return re.Flags&syntax.FoldCase == 0 && slices.ContainsFunc(re.Rune, is)
	case syntax.OpConcat:
		return slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return needs(sub, is) })
	case syntax.OpCapture, syntax.OpPlus:
		return needs(re.Sub[0], is)
	case syntax.OpRepeat:
		return re.Min > 0 && needs(re.Sub[0], is)
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !needs(sub, is) {
				return false
			}
		}
		return true
	}
	return false
}

// beginsWithout reports whether every text that re matches, being anchored, begins with
// another character, written out.
func beginsWithout(re *syntax.Regexp, first rune) bool {
	switch re.Op {
	case syntax.OpLiteral:
		return re.Rune[0] != first
	case syntax.OpConcat:
		rest := slices.IndexFunc(re.Sub, func(sub *syntax.Regexp) bool { return sub.Op != syntax.OpBeginText })
		return rest >= 0 && beginsWithout(re.Sub[rest], first)
	case syntax.OpCapture, syntax.OpPlus:
		return beginsWithout(re.Sub[0], first)
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !beginsWithout(sub, first) {
				return false
			}
		}
		return true
	}
	return false
}

// beyond says so for an hour that no day has. Other numbers that are never so large are
// found by package prove.
func beyond(c expr.Comparison, value string) *file.Diagnostic {
	n, err := strconv.Atoi(value)
	if c.Subject != "time.hour" || err != nil {
		return nil
	}
	for hour := range 24 {
		if c.How.Holds(cmp.Compare(hour, n)) {
			return nil
		}
	}
	words := map[expr.Op]string{expr.Less: "less than", expr.LessEqual: "at most", expr.Greater: "more than", expr.GreaterEqual: "at least"}
	return &file.Diagnostic{Message: fmt.Sprintf("%s goes from 0 to 23: it is never %s %s", c.Subject, words[c.How], value), Expected: "an hour of the day, 0 to 23"}
}
