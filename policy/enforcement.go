package policy

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/policy/internal/file"
)

// enforcement is the people that a rule is enforced for: members of groups, and a
// percentage of all people. The rule reports for the rest, and for a request without a
// person.
type enforcement struct {
	percent int
	groups  []string
}

func newEnforcement(f *file.Enforcement) *enforcement {
	if f == nil {
		return nil
	}
	return &enforcement{f.Percent, f.Groups}
}

func (s *enforcement) String() string {
	var parts []string
	if len(s.groups) > 0 {
		parts = append(parts, strings.Join(s.groups, ", "))
	}
	if s.percent > 0 || len(parts) == 0 {
		parts = append(parts, fmt.Sprintf("%d%%", s.percent))
	}
	return strings.Join(parts, " and ")
}

// includes reports whether the rule is enforced for u. Each person has a place from 0 to
// 99 for each rule, independent of the rest of the policy: a person who is included at 10
// % stays included at 20 %, and another rule begins with other people. The place is
// keyed: an insider who reads the policy must not learn that a rule only reports for
// them.
func (s *enforcement) includes(key DrawKey, rule string, u User) bool {
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

// reports says whether the rule only reports, for the person of f.
func (p *Policy) reports(r *rule, f *Facts) bool {
	return r.report || r.enforce != nil && !r.enforce.includes(p.draws, r.name, f.User)
}
