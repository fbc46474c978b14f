package lint

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
	"sallyport/policy/load"
)

// checkMeaning fails unless what a finding says to write means the same as before wherever what the finding is about does not hold: it may
// take matches away from a rule for that alone. Both policies judge requests that are drawn.
func checkMeaning(t testing.TB, before, after policy.Config, f Finding) {
	t.Helper()
	old, rewritten := model(t, before), model(t, after)
	i := slices.IndexFunc(old.Rules, func(r policy.ModelRule) bool { return r.Name == f.Rule })
	was, is := &old.Rules[i], &rewritten.Rules[i]
	same := concerns(f, &old, was, is)
	if same == nil {
		return
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		facts := drawn(random, &old, was, is)
		a, b := matches(&old, was, facts), matches(&rewritten, is, facts)
		if a != b && same(facts) {
			t.Errorf("%s: %s\nmatched %t, and matches %t after what it says to write, %s, for\n%+v", f.Code, was.When.Text(), a, b, f.Write, *facts)
			return
		}
	}
}

// concerns returns whether a rule has to match as before for a request: nil if the finding changes its meaning.
func concerns(f Finding, m *policy.Model, was, is *policy.ModelRule) func(*policy.Facts) bool {
	holds := func(condition string) func(*policy.Facts) bool {
		program, problems := m.Env.Compile(condition)
		if program == nil {
			panic(fmt.Sprint(condition, problems))
		}
		return func(f *policy.Facts) bool {
			yes, err := m.Holds(program, f)
			return err == nil && yes
		}
	}
	switch f.Code {
	case "ambiguous-brackets":
		return func(*policy.Facts) bool { return true }
	case "unknown-holds", "country-without-zz":
		for _, u := range unknowables {
			if strings.Contains(f.Write, u.guard) && !strings.Contains(was.When.Text(), u.guard) {
				return holds(u.guard)
			}
		}
		panic(f.Write + " has no guard")
	case "can-fail":
		return func(f *policy.Facts) bool {
			for _, x := range was.When.Tree().Literals() {
				if text := x.Text; text != "" {
					part, _ := m.Env.Compile(text)
					if _, err := m.Holds(part, f); err != nil {
						return false
					}
				}
			}
			return was.Unless == nil
		}
	case "newcomer-refused":
		return func(f *policy.Facts) bool {
			return f.Request.Purpose != policy.PurposeEnroll || f.User.StartedDays > 90 && !f.Seen.NewCountry && !f.Seen.NewASN && !f.Seen.NewDevice && f.Seen.FirstDays > 365
		}
	}
	return nil
}

func model(t testing.TB, c policy.Config) policy.Model {
	t.Helper()
	loaded, err := load.Read(c)
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Policy.Model()
}

// matches reports whether a rule matches on any route: what cannot be evaluated does.
func matches(m *policy.Model, r *policy.ModelRule, f *policy.Facts) bool {
	if when, err := m.Holds(r.When, f); err == nil && !when {
		return false
	}
	if r.Unless == nil {
		return true
	}
	exempt, err := m.Holds(r.Unless, f)
	return err != nil || !exempt
}

// drawn is a request in which what the rules read is one of what they compare it with, or something else.
func drawn(random *rand.Rand, m *policy.Model, rules ...*policy.ModelRule) *policy.Facts {
	f := policy.Ordinary("verified")
	var constants []any
	for _, r := range rules {
		for _, p := range []*expr.Program{r.When, r.Unless} {
			if p != nil {
				constants = append(constants, p.Tree().Constants...)
			}
		}
	}
	for _, fact := range m.Schema.Facts() {
		if !slices.ContainsFunc(rules, func(r *policy.ModelRule) bool { return slices.Contains(r.Reads.Facts, fact.Name) }) {
			continue
		}
		field := m.Schema.Field(&f, fact)
		var values []any
		switch fact.Kind {
		case expr.Bool:
			values = []any{true, false}
		case expr.Int:
			values = []any{int64(-1), int64(0), int64(1), int64(1000)}
		case expr.String:
			values = []any{"", "ZZ", "US", "other", "UTC"}
		case expr.Strings:
			values = []any{[]string(nil), []string{"other"}, []string{"US", "other"}}
		case expr.Duration:
			values = []any{time.Duration(0), time.Hour, 1000 * time.Hour}
		case expr.Double:
			values = []any{0.0, 1e6}
		}
		for _, c := range constants {
			switch c := c.(type) {
			case int64:
				values = append(values, c, c-1, c+1)
			case string:
				values = append(values, c, []string{c}, []string{c, "x"})
			case []string:
				for _, v := range c {
					values = append(values, v, []string{v})
				}
			default:
				values = append(values, c)
			}
		}
		values = slices.DeleteFunc(values, func(v any) bool {
			return reflect.TypeOf(v).Kind() != field.Kind() || !reflect.TypeOf(v).ConvertibleTo(field.Type())
		})
		if len(values) > 0 && fact.Name != "ip.address" {
			field.Set(reflect.ValueOf(values[random.IntN(len(values))]).Convert(field.Type()))
		}
	}
	return &f
}

// A guard stands in front of what it is for, and of nothing that holds for another reason: lintOf tries what is to be written.
func TestGuardsStandAtTheirPart(t *testing.T) {
	for _, tt := range []struct{ when, code, want string }{
		{`ip.tor || !(ip.country in ["US"])`, "country-without-zz", `ip.tor || (ip.country != "ZZ" && !(ip.country in ["US"]))`},
		{`!(ip.country in ["US"]) || ip.tor`, "country-without-zz", `(ip.country != "ZZ" && !(ip.country in ["US"])) || ip.tor`},
		{`ip.vpn && !(ip.country in ["US"]) || ip.tor`, "country-without-zz", `(ip.country != "ZZ" && ip.vpn && !(ip.country in ["US"])) || ip.tor`},
		{`!(ip.tor && ip.country in ["US"])`, "country-without-zz", `!(ip.tor && (!(ip.country != "ZZ") || ip.country in ["US"]))`},
		{`!(ip.tor || ip.country in ["US"])`, "country-without-zz", `ip.country != "ZZ" && !(ip.tor || ip.country in ["US"])`},
		{`ip.vpn && (ip.tor || ip.country != "US")`, "country-without-zz", `ip.vpn && (ip.tor || (ip.country != "ZZ" && ip.country != "US"))`},
		{`ip.vpn ? ip.country != "US" : ip.tor`, "", ""},
		{`ip.tor || user.groups[0] == "x"`, "can-fail", `ip.tor || (size(user.groups) > 0 && user.groups[0] == "x")`},
		{`ip.tor || user.groups[0] == "x" || user.groups[0] == "y"`, "can-fail", `ip.tor || (size(user.groups) > 0 && user.groups[0] == "x") || (size(user.groups) > 0 && user.groups[0] == "y")`},
		{`ip.tor || time.hour(user.time_zone) < 6`, "can-fail", `ip.tor || (user.time_zone != "" && time.hour(user.time_zone) < 6)`},
		{`ip.tor || user.started_days < 90`, "unknown-holds", `ip.tor || (user.started_days >= 0 && user.started_days < 90)`},
		{`ip.tor || user.started_days < 90`, "newcomer-refused", `ip.tor || (request.purpose != "enroll" && user.started_days < 90)`},
		{`ip.tor || ip.asn != 64500`, "unknown-holds", `ip.tor || (ip.asn != 0 && ip.asn != 64500)`},
		{`ip.tor || device.people_30d < 3`, "unknown-holds", `ip.tor || (device.known && device.people_30d < 3)`},
		{`ip.tor || !ip.org.contains("Acme") || "ops" in user.groups`, "unknown-holds", `ip.tor || (ip.org != "" && !ip.org.contains("Acme")) || "ops" in user.groups`},
		{`ip.tor && seen.new_device || seen.new_device`, "newcomer-refused", `(ip.tor && seen.new_device) || (request.purpose != "enroll" && seen.new_device)`},
	} {
		t.Run(tt.when, func(t *testing.T) {
			var got []string
			for _, f := range lintOf(t, "rules: [{name: a, when: '"+tt.when+"', then: block}]") {
				if f.Code == tt.code && f.Write != "" {
					got = append(got, f.Write)
				}
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got %s\nwant %s", strings.Join(got, "\n"), tt.want)
			}
		})
	}
}
