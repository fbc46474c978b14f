package lint

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"sallyport/policy/internal/expr"
)

// paths finds texts that no canonical path has: proxy/upstream refuses a request with one,
// or writes it otherwise. What a route's `paths` allows is no finding for its rules.
func (l *linter) paths() {
	for _, c := range l.constants("request.path", "request.path_folded") {
		if c.How != expr.Equal && (c.How != expr.Method || c.Method == "matches") {
			continue
		}
		why, instead := l.impossiblePath(&c)
		if why == "" {
			continue
		}
		if instead == c.value.Text || instead == "" || c.Method == "" && instead[0] != '/' {
			instead = ""
		}
		l.compared(c, instead, Finding{Code: "impossible-path", Severity: Warning, Fix: "a text that the canonical path can have",
			Message: fmt.Sprintf("%s never %s %q: %s", c.Subject, c.Asks(), c.value.Text, why)})
	}
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// formOf are the characters that a path has only where a route's `paths` says so.
var formOf = []struct{ text, form, called string }{
	{"%252F", "twice_encoded_slash", "an encoded slash"},
	{"%2F", "encoded_slash", "an encoded slash"},
	{`\`, "encoded_backslash", "a backslash"},
	{"#", "encoded_hash", "a number sign"},
	{";", "semicolon", "a semicolon"},
	{"//", "double_slash", "two slashes in a row"},
}

// impossiblePath says why a path cannot be, or have a part, as a comparison asks, and what
// the author may have meant; "": it can.
func (l *linter) impossiblePath(c *constant) (why, instead string) {
	text := c.value.Text
	if dotSegment(c) {
		return "a request with a dot segment in its path is refused", cleaned(c)
	}
	if at := strings.IndexByte(text, '?'); at >= 0 {
		return "the query is no part of it, and no fact", text[:at]
	}
	left := inCapitals(text)
	for _, f := range formOf {
		if !strings.Contains(left, f.text) {
			continue
		}
		if l.config.Routes == nil && !strings.HasPrefix(text, "//") {
			continue // a route may allow it
		}
		if !l.formAllowed(c, f.form) {
			switch f.form {
			case "double_slash":
				return "a request with " + f.called + " in its path is refused", cleaned(c)
			case "encoded_slash", "twice_encoded_slash":
				return "a request with " + f.called + " in its path is refused", strings.ReplaceAll(inCapitals(text), f.text, "/")
			}
			return "a request with " + f.called + " in its path is refused", text[:strings.Index(text, f.text)]
		}
		left = strings.ReplaceAll(left, f.text, "")
	}
	if canonical := inCapitals(text); canonical != text && l.config.Routes != nil {
		return "what is encoded there is in capitals", canonical
	}
	for _, e := range escape.FindAllString(left, -1) {
		if strings.EqualFold(e, "%2f") || strings.EqualFold(e, "%25") {
			continue
		}
		if decoded, err := url.PathUnescape(text); err == nil {
			return "it is decoded: " + e + " is a character there", decoded
		}
	}
	return "", ""
}

// inCapitals is a text with encoded slashes as the canonical path has them.
func inCapitals(text string) string {
	return strings.NewReplacer("%2f", "%2F", "%252f", "%252F").Replace(text)
}

// formAllowed reports whether one of the routes that a rule is for allows a form.
func (l *linter) formAllowed(c *constant, form string) bool {
	if strings.HasPrefix(c.value.Text, "//") {
		return false // at the beginning it is never allowed
	}
	routes := l.rules[c.rule].Routes
	for name, r := range l.config.Routes {
		if (routes == nil || slices.Contains(routes, name)) && slices.Contains(r.PathForms, form) {
			return true
		}
	}
	return false
}

// dotSegment reports whether a text has "." or ".." between slashes, or at an end at which
// the path ends too.
func dotSegment(c *constant) bool {
	segments := strings.Split(c.value.Text, "/")
	for i, s := range segments {
		whole := (i > 0 || c.Method == "" || c.Method == "startsWith") && (i < len(segments)-1 || c.Method == "" || c.Method == "endsWith")
		if (s == ".." || s == ".") && whole {
			return true
		}
		// What is looked for with contains("../") is a way up, and not a name that ends in dots.
		if s == ".." && len(segments) > 1 && (c.Method == "contains" || i == 0) {
			return true
		}
	}
	return false
}

// cleaned is a whole path without empty and dot segments, or a part of one without empty
// segments; "": nothing can be meant by the part.
func cleaned(c *constant) string {
	text := c.value.Text
	switch {
	case c.Method != "" && dotSegment(c):
		return ""
	case c.Method != "":
		for strings.Contains(text, "//") {
			text = strings.ReplaceAll(text, "//", "/")
		}
		return text
	}
	out := path.Clean(text)
	if strings.HasSuffix(text, "/") && out != "/" {
		out += "/"
	}
	return out
}
