package rollout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/proxy/audit"
)

// Who may open a route (`allow`) stands in the configuration and not in the policy, but it
// locks people out, and lets them in, as rules do. So a reload with other grants is judged by
// the guard, and recorded by itself.

// grantsDiffer says what routes allow that they did not, or do not any more; nil: nothing. A
// route that is new or gone is said, and is no change of a grant.
func grantsDiffer(before, after map[string]policy.Grant) (list []string) {
	for _, route := range slices.Sorted(maps.Keys(after)) {
		was, had := before[route]
		is := after[route]
		var parts []string
		if had && was.Everyone != is.Everyone {
			parts = append(parts, map[bool]string{true: "allows everyone", false: "does not allow everyone any more"}[is.Everyone])
		}
		for _, kind := range []struct {
			name    string
			was, is []string
		}{{"group", was.Groups, is.Groups}, {"user", was.Emails, is.Emails}, {"domain", was.Domains, is.Domains}} {
			for _, name := range kind.is {
				if had && !slices.Contains(kind.was, name) {
					parts = append(parts, "allows "+kind.name+" "+name)
				}
			}
			for _, name := range kind.was {
				if !slices.Contains(kind.is, name) {
					parts = append(parts, "does not allow "+kind.name+" "+name+" any more")
				}
			}
		}
		if len(parts) > 0 {
			list = append(list, policy.Printable("route "+route+" "+strings.Join(parts, ", ")))
		}
	}
	return list
}

// routesDiffer says which routes are new or gone. It is no change of a grant, and yet a route
// that has another name, and allows more, is not to come into force without a record.
func routesDiffer(before, after map[string]policy.Grant) (list []string) {
	for _, route := range slices.Sorted(maps.Keys(after)) {
		if _, had := before[route]; had {
			continue
		}
		g := after[route]
		allows := slices.Concat(g.Groups, g.Emails, g.Domains)
		if g.Everyone {
			allows = append([]string{"everyone"}, allows...)
		}
		list = append(list, policy.Printable("route "+route+" is new, and allows "+some(allows, 50)))
	}
	for _, route := range slices.Sorted(maps.Keys(before)) {
		if _, has := after[route]; !has && after != nil {
			list = append(list, policy.Printable("route "+route+" is gone"))
		}
	}
	return list
}

// judgedGrants are those that the guard judges a reload by. Routes that are gone keep theirs:
// an operator who takes a route away means it, and says so by its name.
func judgedGrants(before, after map[string]policy.Grant) map[string]policy.Grant {
	if after == nil {
		return nil
	}
	all := maps.Clone(before)
	if all == nil {
		all = map[string]policy.Grant{}
	}
	maps.Copy(all, after)
	return all
}

// grants says what the candidate grants otherwise.
func (m *Manager) grants(c Configuration) []string {
	return grantsDiffer(m.now.Policies.Enforced.Grants, c.Policies.Enforced.Grants)
}

// recordGrants comes before the swap, as for policies.
func (m *Manager) recordGrants(ctx context.Context, changed []string, p *policy.Policy, o Origin, r Report) error {
	detail := r.people()
	detail["changes"], detail["origin"] = some(changed, 50), o.Kind
	err := m.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "grants_applied", User: o.By, Action: "applied", Policy: p.Hash(), Detail: detail})
	if err != nil {
		return fmt.Errorf("what routes allow could not be recorded, and does not come into force: %w", err)
	}
	m.config.Logger.Warn("routes allow other people", "changes", changed, "people_judged", r.People, "newly_blocked", usersOf(r.Blocked), "newly_allowed", usersOf(r.Allowed))
	return nil
}

// people says who is affected, for a record.
func (r Report) people() map[string]string {
	detail := map[string]string{"people_judged": fmt.Sprint(r.People)}
	for key, list := range map[string][]Person{"newly_blocked": r.Blocked, "newly_allowed": r.Allowed} {
		if len(list) > 0 {
			detail[key] = fmt.Sprintf("%d: %s", len(list), some(usersOf(list), 50))
		}
	}
	return detail
}

// refuseGrants records that the guard refused a reload for what its routes allow, and reports
// whether that is all that it would change. The caller holds the lock.
func (m *Manager) refuseGrants(ctx context.Context, c Configuration, o Origin, why error) bool {
	no, locks := errors.AsType[*LockOut](why)
	changed := m.grants(c)
	if !locks || len(changed) == 0 || textHash(c.Policies.Enforced.Source) != m.config.Gate.Current().Policy.Hash() || string(c.Policies.exceptions()) != string(m.now.Policies.exceptions()) {
		return false
	}
	detail := no.Report.people()
	detail["changes"], detail["origin"], detail["reason"] = some(changed, 50), o.Kind, reason(why.Error())
	err := m.config.Audit.Append(ctx, audit.Record{Time: time.Now(), Event: "grants_refused", User: o.By, Action: "refused", Policy: m.config.Gate.Current().Policy.Hash(), Detail: detail})
	if err != nil {
		m.config.Logger.Error("the refusal of what routes allow could not be recorded", "error", err)
	}
	return true
}
