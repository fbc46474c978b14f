package lint

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sallyport/policy/internal/expr"
)

// silent finds comparisons that compile, and of which the text is read otherwise than it was
// meant: as it is written, letter by letter.
func (l *linter) silent() {
	for _, p := range l.parts() {
		for _, c := range p.program.Comparisons() {
			for _, v := range c.Values {
				if f, instead := l.misread(p, c, v); f.Message != "" {
					f.Code, f.Severity = "silent-comparison", max(f.Severity, Warning)
					if instead != "" {
						f.Write = p.program.Replace(v, instead)
						f.Fix = strconv.Quote(instead)
					}
					l.in(p.rule, p.node, v.Offset, f)
				}
			}
		}
		l.counted(p)
	}
}

var (
	starred  = regexp.MustCompile(`\*`)
	several  = regexp.MustCompile(`^[A-Z]+(?:\s*[,|/ ]\s*[A-Z]+)+$`)
	isDomain = regexp.MustCompile(`^(?:[a-z0-9-]+\.)+[a-z]{2,}$`)
)

// misread says what is wrong with one text that a fact is compared with, and what may be
// meant; its message is "" if nothing is.
func (l *linter) misread(p part, c expr.Comparison, v expr.Value) (f Finding, instead string) {
	text, name := v.Text, "an exception of "+l.rules[p.rule].Name
	exempts := p.unless
	ordered := c.How == expr.Less || c.How == expr.LessEqual || c.How == expr.Greater || c.How == expr.GreaterEqual
	switch {
	case c.Subject == "ip.address" && ordered:
		return Finding{Message: "addresses are compared as text: \"10.0.0.9\" comes after \"10.0.0.10\"", Fix: fmt.Sprintf("ip.within(%q), or the networks of the range", network(text))}, ""
	case c.Subject == "ip.address" && (c.Method == "startsWith" || c.Method == "contains"):
		f = Finding{Message: fmt.Sprintf("%q is looked for in the text of the address: others have it too, as 10.1 is in 10.199.0.1", text), Fix: fmt.Sprintf("ip.within(%q)", network(text))}
		if c.Method == "startsWith" && strings.HasSuffix(text, ".") {
			f.Severity, f.Message = Note, "the text of the address is compared: a network is checked when the policy is loaded"
		}
		return f, ""
	case (c.Subject == "request.path" || c.Subject == "request.path_folded") && starred.MatchString(text) && c.Method != "matches":
		return Finding{Message: fmt.Sprintf("a star in %q stands for itself: no request of that path is meant", text),
			Fix: fmt.Sprintf("%s.startsWith(%q)", c.Subject, text[:strings.Index(text, "*")])}, ""
	case c.Subject == "request.method" && several.MatchString(text):
		return Finding{Message: fmt.Sprintf("no request has the method %q: it is several", text),
			Fix: "request.method in [" + quoted(strings.FieldsFunc(text, func(r rune) bool { return r < 'A' || r > 'Z' })) + "]"}, ""
	case c.Subject == "user.email" && c.Method == "endsWith" && isDomain.MatchString(text):
		return Finding{Message: fmt.Sprintf("%q without @ also ends the addresses of other domains, such as x@not%[1]s", text), Fix: strconv.Quote("@" + text)}, "@" + text
	case c.Subject == "user.email" && c.Method == "contains" && (isDomain.MatchString(strings.TrimPrefix(text, "@"))):
		return Finding{Message: fmt.Sprintf("an address of another domain can have %q in it, such as x%[1]s.example.net", "@"+strings.TrimPrefix(text, "@")),
			Fix: fmt.Sprintf("user.email.endsWith(%q)", "@"+strings.TrimPrefix(text, "@"))}, ""
	case c.Subject == "request.user_agent" && exempts:
		return Finding{Message: fmt.Sprintf("%s is what a client says of itself: a client that adds %q to its name is excepted", name, text), Fix: "user.groups, tls.client_cert or a network, which a client cannot choose"}, ""
	case c.Subject == "ip.asn":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && (n < 0 || n > 1<<32-1) {
			return Finding{Message: fmt.Sprintf("no autonomous system has the number %s", text), Fix: "a number up to 4294967295"}, ""
		}
	case c.Subject == "request.host" && c.How == expr.Equal && l.config.Hosts != nil && !slices.Contains(l.config.Hosts, text):
		return Finding{Message: fmt.Sprintf("no route has the host %q: requests for others are refused", text), Fix: "one of " + shorten(l.config.Hosts)}, ""
	}
	return Finding{}, ""
}

func quoted(words []string) string {
	for i, w := range words {
		words[i] = strconv.Quote(w)
	}
	return strings.Join(words, ", ")
}

// network completes the beginning of an IPv4 address.
func network(text string) string {
	if strings.Contains(text, ":") {
		return "2001:db8::/32"
	}
	parts := strings.Split(strings.Trim(text, "."), ".")
	if _, err := netip.ParseAddr(text); err == nil && len(parts) == 4 {
		return strings.Join(parts[:3], ".") + ".0/24"
	}
	if len(parts) > 3 || strings.Trim(text, "0123456789.") != "" {
		return "203.0.113.0/24"
	}
	return strings.Join(parts, ".") + strings.Repeat(".0", 4-len(parts)) + fmt.Sprintf("/%d", 8*len(parts))
}

// counted finds map() whose entries are counted: it has as many as the list that it goes
// through.
func (l *linter) counted(p part) {
	text := p.program.Text()
	if m := mapped.FindStringIndex(text); m != nil {
		l.in(p.rule, p.node, len([]rune(text[:m[0]])), Finding{Code: "silent-comparison", Severity: Warning,
			Message: "map() gives an entry for each one of the list, true or false: the size says nothing of its condition", Fix: "exists(), or the size of filter()"})
	}
}

var mapped = regexp.MustCompile(`[\w.]+\.map\(\w+, [^()]*(?:==|!=|[<>]|\.\w+\()[^()]*\)*\.size\(\)|size\([\w.]+\.map\(\w+, [^()]*(?:==|!=|[<>])[^()]*\)\)`)
