package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/file"
	"sallyport/policy/strictyaml"
)

// constant is a text that a rule compares a fact with.
type constant struct {
	part
	expr.Comparison
	value expr.Value
	entry *file.Node // of a list; nil: it is written in the condition
}

// constants are the texts that rules compare a fact, or its entries, with.
func (l *linter) constants(facts ...string) (out []constant) {
	for _, p := range l.parts() {
		for _, c := range p.program.Comparisons() {
			if !slices.Contains(facts, c.Subject) {
				continue
			}
			for _, v := range c.Values {
				// Else that is what is wrong with it.
				if said, _ := odd(v.Text); said == "" && (c.How != expr.Equal || strings.TrimSpace(v.Text) == v.Text) {
					out = append(out, constant{p, c, v, nil})
				}
			}
			if list := l.document.Lists[c.List]; list != nil {
				for _, n := range list.Entries {
					if said, _ := odd(n.Value); said == "" {
						out = append(out, constant{p, c, expr.Value{Text: n.Value}, n})
					}
				}
			}
		}
	}
	return out
}

// compared adds a finding at a constant, with the same condition about another text as
// what to write; "": there is none.
func (l *linter) compared(c constant, instead string, f Finding) {
	if instead != "" {
		f.Fix = fmt.Sprintf("%q", instead)
	}
	if c.entry != nil {
		f.Rule = l.rules[c.rule].Name
		l.node(c.entry, f)
		return
	}
	if instead != "" {
		f.Write = c.program.Replace(c.value, instead)
	}
	l.in(c.rule, c.node, c.value.Offset, f)
}

// fits reports whether a comparison of this text holds.
func (c *constant) fits(text string) bool {
	switch c.Method {
	case "startsWith":
		return strings.HasPrefix(text, c.value.Text)
	case "endsWith":
		return strings.HasSuffix(text, c.value.Text)
	case "contains":
		return strings.Contains(text, c.value.Text)
	}
	return text == c.value.Text
}

// spells reports whether a comparison is with a text that something may be called, or with
// a part of one: not with an empty text, a pattern, or what comes before or after it.
func (c *constant) spells() bool {
	return c.value.Text != "" && c.Method != "matches" && (c.How == expr.Equal || c.How == expr.Method)
}

// names finds people that the roster does not have, groups that no route's allow names,
// and lists of either that are compared as a whole.
func (l *linter) names() {
	l.emails()
	l.groups()
	l.providers()
	l.wholeLists()
}

func (l *linter) emails() {
	if l.config.People == nil {
		return
	}
	people, domains := slices.Clone(l.config.People), []string{}
	for _, g := range l.config.Policy.Grants {
		for _, e := range g.Emails {
			people = append(people, strings.ToLower(e))
		}
		domains = append(domains, g.Domains...)
	}
	for _, c := range l.constants("user.email") {
		known := slices.ContainsFunc(people, c.fits) || !c.spells() ||
			c.Method != "" && slices.ContainsFunc(domains, func(d string) bool { return c.fits("@" + strings.ToLower(d)) })
		if known {
			continue
		}
		f := Finding{Code: "unknown-email", Severity: Warning, Fix: "the address as the roster has it, or the person in the roster",
			Message: fmt.Sprintf("no person in the roster has an address that %s %q, and no allow names one: this never holds for them", c.Asks(), c.value.Text)}
		instead := ""
		if c.Method == "" {
			f.Message = fmt.Sprintf("%q is not in the roster, and no allow names it: this never holds for the people there", c.value.Text)
			if instead = nearestAddress(c.value.Text, people); instead != "" {
				f.Message += fmt.Sprintf("; %q is", instead)
			}
		}
		if strings.Contains(c.value.Text, "*") {
			l.starred(c, f, append(people, domains...))
			continue
		}
		l.compared(c, instead, f)
	}
}

// starred adds a finding about an address with a star, which stands for itself.
func (l *linter) starred(c constant, f Finding, known []string) {
	f.Message = fmt.Sprintf("%q is no address: a star stands for itself", c.value.Text)
	f.Fix = "user.email.endsWith(\"@example.com\"), user.email.startsWith(\"...\") or user.groups"
	end := strings.TrimLeft(c.value.Text, "*")
	if domain := strings.TrimPrefix(end, "@"); strings.HasPrefix(end, "@") && !strings.Contains(domain, "*") &&
		slices.ContainsFunc(known, func(k string) bool { return strings.HasSuffix("@"+k, end) }) {
		f.Fix = fmt.Sprintf("user.email.endsWith(%q)", end)
		switch text := expr.OneLine(c.program.Text()); {
		case c.entry != nil:
		case c.Method == "endsWith":
			f.Write = c.program.Replace(c.value, end)
		case c.Method == "":
			for _, x := range c.program.Tree().Literals() {
				if x.Op == expr.Equal && x.Args[1].Value == c.value.Text && strings.Count(text, x.Text) == 1 {
					f.Write = strings.Replace(text, x.Text, f.Fix, 1)
				}
			}
		}
	}
	if c.entry != nil {
		f.Rule = l.rules[c.rule].Name
		l.node(c.entry, f)
		return
	}
	l.in(c.rule, c.node, c.value.Offset, f)
}

// nearestAddress is the one address that another is a misspelling of, and no other person's:
// of a long name one letter, of a very long one two, or of its domain alone.
func nearestAddress(address string, people []string) (nearest string) {
	local, domain, _ := strings.Cut(strings.ToLower(address), "@")
	for _, p := range people {
		name, at, _ := strings.Cut(p, "@")
		most := 0
		switch {
		case len(local) >= 9:
			most = 2
		case len(local) >= 5:
			most = 1
		}
		same := domain == at && strictyaml.Edits(local, name, most+1) <= most
		if !same && (local != name || strictyaml.Nearest(domain, []string{at}) == "") {
			continue
		}
		if nearest != "" && nearest != p {
			return "" // it may be either
		}
		nearest = p
	}
	return nearest
}

// groups finds groups that no allow names. People can have others too, for exceptions, so
// it is a note; but not if the name looks like one of those.
func (l *linter) groups() {
	if l.config.Policy.Grants == nil {
		return
	}
	named := map[string]bool{}
	for _, g := range l.config.Policy.Grants {
		for _, name := range g.Groups {
			named[name] = true
		}
	}
	known := slices.Sorted(maps.Keys(named))
	finding := func(name string) (f Finding, instead string) {
		f = Finding{Code: "unknown-group", Severity: Note, Fix: "the name as the identity provider spells it",
			Message: fmt.Sprintf("no route's allow names the group %q: nothing here says that there is one", name)}
		if instead = strictyaml.Nearest(name, known); instead != "" {
			f.Severity = Warning
			f.Message = fmt.Sprintf("no route's allow names the group %q, and %q is named", name, instead)
		}
		return f, instead
	}
	for _, c := range l.constants("user.groups") {
		if slices.ContainsFunc(known, c.fits) || !c.spells() {
			continue
		}
		f, instead := finding(c.value.Text)
		if c.Method != "" {
			f.Severity, instead = Note, ""
			f.Message = fmt.Sprintf("no route's allow names a group that %s %q", c.Asks(), c.value.Text)
		}
		l.compared(c, instead, f)
	}
	for i, r := range l.document.Rules {
		if r.Enforce == nil {
			continue
		}
		for _, name := range r.Enforce.Groups {
			if !named[name] {
				f, instead := finding(name)
				if instead != "" {
					f.Fix = fmt.Sprintf("%q", instead)
				}
				f.Message += "; the rule is enforced for it"
				l.rule(i, f)
			}
		}
	}
}

// wholeLists finds list facts that are compared as a whole: that holds for those alone
// who have these entries, in this order, and no other.
func (l *linter) wholeLists() {
	for _, p := range l.parts() {
		for _, x := range p.program.Tree().Literals() {
			if x.Op != expr.Equal && x.Op != expr.NotEqual {
				continue
			}
			fact, list := x.Args[0], x.Args[1]
			if fact.Op == expr.ValueOp {
				fact, list = list, fact
			}
			values, ok := list.Value.([]string)
			if fact.Op != expr.FactOp || !ok || len(values) == 0 {
				continue
			}
			var each []string
			for _, v := range values {
				each = append(each, fmt.Sprintf("%q in %s", v, fact.Name))
			}
			instead := strings.Join(each, " && ")
			if x.Op == expr.NotEqual {
				instead = "!(" + instead + ")"
			}
			f := Finding{Code: "whole-list", Severity: Warning, Fix: instead,
				Message: fmt.Sprintf("%s is compared as a whole: with one entry more, or in another order, it is another list", fact.Name)}
			if text := expr.OneLine(p.program.Text()); strings.Count(text, x.Text) == 1 {
				if len(each) > 1 && x.Op == expr.Equal && text != x.Text {
					instead = "(" + instead + ")"
				}
				f.Write = strings.Replace(text, x.Text, instead, 1)
			}
			l.in(p.rule, p.node, x.Offset, f)
		}
	}
}

// providers finds operators of VPNs that no IP source names. Names come and go with the
// data, so that it is no mistake in the policy itself; but a rule over a misspelt one
// never matches.
func (l *linter) providers() {
	if l.config.Policy.Provides == nil || l.config.Policy.Provides.Providers == nil {
		return
	}
	known := l.config.Policy.Provides.Providers
	for _, c := range l.constants("ip.provider") {
		names := known
		if c.Lower {
			names = make([]string, len(known))
			for i, n := range known {
				names[i] = strings.ToLower(n)
			}
		}
		if !c.spells() || slices.ContainsFunc(names, c.fits) {
			continue
		}
		f := Finding{Code: "unknown-provider", Severity: Warning, Fix: "a name as `data lookup` shows it, or ip.provider.lowerAscii().contains(...)",
			Message: fmt.Sprintf("no IP source names the operator of a VPN or proxy that %s %q: this never holds", c.Asks(), c.value.Text)}
		instead := ""
		if c.Method == "" {
			f.Message = fmt.Sprintf("no IP source names an operator of a VPN or proxy %q: this never holds", c.value.Text)
			instead = nearestProvider(c.value.Text, names)
		}
		l.compared(c, instead, f)
	}
}

// nearestProvider is the name that is like a text, or the only one that has it as a part.
func nearestProvider(text string, names []string) string {
	var with []string
	for _, n := range names {
		if strings.Contains(strings.ToLower(n), strings.ToLower(text)) {
			with = append(with, n)
		}
	}
	if len(with) == 1 {
		return with[0]
	}
	return strictyaml.Nearest(text, names)
}

// organisations finds comparisons of a whole ip.org with one word: of some organisations
// that is the name ("GOOGLE"), of others IP data have more ("M247 Europe SRL").
func (l *linter) organisations() {
	for _, p := range l.parts() {
		for _, c := range p.program.Comparisons() {
			if c.Subject != "ip.org" || c.How != expr.Equal || c.Lower {
				continue
			}
			for _, v := range c.Values {
				if said, _ := odd(v.Text); len(strings.Fields(v.Text)) > 1 || v.Text == "" || said != "" {
					continue
				}
				part := fmt.Sprintf("ip.org.lowerAscii().contains(%q)", strings.ToLower(v.Text))
				l.in(p.rule, p.node, v.Offset, Finding{Code: "whole-organisation", Severity: Note, Fix: part + ", or the number: ip.asn",
					Message: fmt.Sprintf("%q is compared with the whole of ip.org: an organisation that IP data call %q is another", v.Text, v.Text+" Ltd")})
			}
		}
	}
}
