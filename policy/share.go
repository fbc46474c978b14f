package policy

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// share says for whom a rule is enforced: members of groups, and a percentage of all people. It
// reports for the rest, and for whoever is not signed in, of whom it cannot be said.
type share struct {
	percent int
	groups  []string
}

func (s *source) readShare(n *yaml.Node) *share {
	f := s.fields(n, "enforce", shareKeys.names()...)
	if f == nil {
		return &share{}
	}
	out := &share{}
	if len(f) == 0 {
		s.at(n, Diagnostic{Message: "enforce does not say for whom", Expected: "enforce: {percent: 10}, or enforce: {groups: [security]}"})
	}
	if v := f["percent"]; v != nil {
		out.percent, _ = s.number(v, "percent", 0, 100)
	}
	if v := f["groups"]; v != nil {
		nodes := s.items(v, "groups")
		if v.Kind == yaml.SequenceNode && len(nodes) == 0 {
			s.at(v, Diagnostic{Message: "there is no group", Expected: "names of groups"})
		}
		for _, g := range nodes {
			if name, ok := s.text(g, "the name of a group"); ok {
				out.groups = append(out.groups, name)
			}
		}
	}
	return out
}

func (s *share) String() string {
	var parts []string
	if len(s.groups) > 0 {
		parts = append(parts, strings.Join(s.groups, ", "))
	}
	if s.percent > 0 || len(parts) == 0 {
		parts = append(parts, fmt.Sprintf("%d%%", s.percent))
	}
	return strings.Join(parts, " and ")
}

// includes reports whether the rule is enforced for u. Each person has a place from 0 to 99 for each
// rule, whatever else is in the policy: who is in it at 10 % stays in it at 20 %, and another rule begins
// with others. The place is keyed: an insider who reads the policy must not know that a rule only reports for them.
func (s *share) includes(key DrawKey, rule string, u User) bool {
	if slices.ContainsFunc(s.groups, func(g string) bool { return slices.Contains(u.Groups, g) }) {
		return true
	}
	person := u.Issuer + "\x00" + u.Subject
	if u.Subject == "" {
		if person = u.Email; person == "" {
			return false
		}
	}
	return key.draw("share", rule, person)%100 < uint64(s.percent)
}

// reports reports whether the rule only reports, for the person whom f is about.
func (p *Policy) reports(r *rule, f *Facts) bool {
	return r.report || r.share != nil && !r.share.includes(p.draws, r.name, f.User)
}
