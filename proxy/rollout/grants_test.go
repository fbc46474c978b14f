package rollout

import (
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/proxy/audit"
)

// granting reloads the configuration with other grants.
func (b *bench) granting(grants map[string]policy.Grant, source string) error {
	_, err := b.Apply(b.t.Context(), func(c Configuration) (Configuration, error) {
		c.Policies.Enforced.Grants = grants
		c.Policies.Enforced.Source = []byte(source)
		c.Policies.Enforced.Routes = nil
		return c, nil
	}, Origin{Kind: "signal"})
	return err
}

// A reload whose routes allow other people is judged by the guard like a policy, and recorded
// by itself.
func TestGrantsAreJudged(t *testing.T) {
	staff, ops, all := policy.Grant{Groups: []string{"staff"}}, policy.Grant{Groups: []string{"ops"}}, policy.Grant{Everyone: true}
	treasury := func(g policy.Grant) map[string]policy.Grant { return map[string]policy.Grant{"treasury": g} }
	for name, c := range map[string]struct {
		was, is map[string]policy.Grant
		guard   Guard
		source  string
		refused string
		remedy  string
		changes string
		names   map[string]string
	}{
		"people lose access":         {treasury(staff), treasury(ops), Guard{MaxNewlyBlocked: 0.2, MaxNewlyAllowed: 1}, first, "newly block 1 of 1", "set policy_guard.max_newly_blocked for it", "route treasury allows group ops, does not allow group staff any more", map[string]string{"newly_blocked": "1: alice@example.com"}},
		"people lose access, meant":  {treasury(staff), treasury(policy.Grant{Groups: []string{"ops"}, Emails: []string{"zed@example.com"}}), Guard{MaxNewlyBlocked: 1, MaxNewlyAllowed: 1}, first, "close the route", "if it is meant, restart", "", nil},
		"of the break-glass group":   {treasury(staff), treasury(ops), Guard{MaxNewlyBlocked: 1, MaxNewlyAllowed: 1, BreakGlassGroup: "staff"}, first, "of the break-glass group", "leave policy_guard.break_glass_group out for it", "route treasury allows group ops, does not allow group staff any more", map[string]string{"newly_blocked": "1: alice@example.com"}},
		"people gain access":         {treasury(ops), treasury(all), Guard{MaxNewlyBlocked: 0.2, MaxNewlyAllowed: 0.5}, first, "newly allow", "set policy_guard.max_newly_allowed for it", "route treasury allows everyone", map[string]string{"newly_allowed": "1: alice@example.com"}},
		"people gain access, meant":  {treasury(ops), treasury(all), Guard{MaxNewlyBlocked: 0.2, MaxNewlyAllowed: 1}, first, "", "", "route treasury allows everyone", map[string]string{"newly_allowed": "1: alice@example.com"}},
		"with another policy":        {treasury(ops), treasury(all), Guard{MaxNewlyBlocked: 0.2, MaxNewlyAllowed: 1}, second, "", "", "route treasury allows everyone", map[string]string{"newly_allowed": "1: alice@example.com"}},
		"no one is concerned":        {treasury(staff), treasury(policy.Grant{Groups: []string{"staff"}, Domains: []string{"partner.example"}}), Guard{}, first, "", "", "route treasury allows domain partner.example", nil},
		"a route goes, as was meant": {treasury(staff), map[string]policy.Grant{"wiki": all}, Guard{}, first, "", "", "route wiki is new, and allows everyone, route treasury is gone", nil},
		"nothing":                    {treasury(staff), treasury(staff), Guard{}, first, "", "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.now.Policies.Enforced.Grants, b.now.Policies.Enforced.Routes = c.was, nil
			p, err := policy.Compile(b.now.Policies.Enforced)
			if err != nil {
				t.Fatal(err)
			}
			b.current.Policy = p
			b.live = []*policy.Facts{alice(), alice()}
			b.live[1].User.Email = "bob@example.com"
			if c.refused != "close the route" {
				b.live = b.live[:1]
			}
			b.now.Guard = c.guard
			before := b.current
			err = b.granting(c.is, c.source)
			if (err != nil) != (c.refused != "") || err != nil && (!strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), c.remedy)) {
				t.Fatal(err)
			}
			if c.refused != "" && (b.current != before || b.Problem() != nil || len(b.versions) != 0) {
				t.Errorf("%+v: the policy was not refused", b.Problem())
			}
			want := map[bool]string{true: "grants_applied", false: "grants_refused"}[err == nil]
			var found []audit.Record
			for _, r := range b.records {
				if strings.HasPrefix(r.Event, "grants_") {
					found = append(found, r)
				}
			}
			if c.changes == "" && c.refused == "" {
				if len(found) > 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Event != want || !strings.Contains(found[0].Detail["changes"], c.changes) {
				t.Fatalf("%+v", b.records)
			}
			for key, value := range c.names {
				if found[0].Detail[key] != value {
					t.Errorf("%s: %q", key, found[0].Detail[key])
				}
			}
			if c.source == second && (len(b.versions) != 1 || b.versions[0].Outcome != "applied") {
				t.Errorf("%+v", b.versions)
			}
		})
	}
}

// What routes allow comes into force only if it was recorded.
func TestGrantsThatAreNotRecorded(t *testing.T) {
	b := newBench(t)
	b.broken = "audit"
	before := b.current
	if err := b.granting(map[string]policy.Grant{"treasury": {Everyone: true}}, first); err == nil || b.current != before {
		t.Error("a new route was not recorded, and is in force:", err)
	}
	b.broken = ""
	if err := b.granting(map[string]policy.Grant{"treasury": {Everyone: true}}, first); err != nil {
		t.Fatal(err)
	}
	b.broken = "audit"
	before = b.current
	if err := b.granting(map[string]policy.Grant{"treasury": {Groups: []string{"ops"}}}, first); err == nil || b.current != before {
		t.Error("not recorded, and in force:", err)
	}
	b.broken = ""
	if err := b.granting(map[string]policy.Grant{"treasury": {Groups: []string{"ops"}}}, first); err != nil || b.current == before {
		t.Error(err)
	}
}

// A route that goes and comes back with a wider grant, at once by another name or one reload
// later, is recorded with those that it allows.
func TestAttackRouteByAnotherName(t *testing.T) {
	b := newBench(t)
	for _, grants := range []map[string]policy.Grant{{"treasury": {Groups: []string{"ops"}}}, {"vault": {Everyone: true}}, {}, {"treasury": {Groups: []string{"ops"}, Emails: []string{"mallory@example.com"}}}} {
		if err := b.granting(grants, first); err != nil {
			t.Fatal(err)
		}
	}
	var changes []string
	for _, r := range b.records {
		if r.Event == "grants_applied" {
			changes = append(changes, r.Detail["changes"])
		}
	}
	want := []string{"route treasury is new, and allows ops", "route vault is new, and allows everyone, route treasury is gone", "route vault is gone",
		"route treasury is new, and allows ops, mallory@example.com"}
	if !slices.Equal(changes, want) {
		t.Errorf("%q", changes)
	}
}
