package prove

import (
	"errors"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/policy/internal/file"
	"sallyport/policy/policytest"
)

// compile compiles a policy; `version: 1` need not be said.
func compile(t testing.TB, source string, change ...func(*policy.Config)) *policy.Policy {
	t.Helper()
	c := policy.Config{Name: "policy.yaml", Source: []byte("version: 1\n" + source)}
	for _, f := range change {
		f(&c)
	}
	p, err := policy.Compile(c)
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	return p
}

func (c checkCase) source() string { return c.rules + "\ninvariants: [{" + c.invariant + "}]\n" }

// one checks a policy with one invariant.
func one(t testing.TB, rules, invariant string, change ...func(*policy.Config)) Result {
	t.Helper()
	r := Check(compile(t, checkCase{rules: rules, invariant: invariant}.source(), change...))
	if len(r) != 1 {
		t.Fatalf("%d results", len(r))
	}
	return r[0]
}

const lists = "lists: {embargoed: [KP, IR, CU], regions: [UA-43, UA-14], offices: [203.0.113.0/24, '2001:db8:40::/48'], asns: [64500, 64501]}\n"

func routes(names ...string) func(*policy.Config) {
	return func(c *policy.Config) { c.Routes = names }
}

type checkCase struct {
	rules, invariant string
	want             Status
	change           []func(*policy.Config)
}

func TestCheck(t *testing.T) {
	for name, c := range checkCases() {
		t.Run(name, func(t *testing.T) {
			r := one(t, c.rules, c.invariant, c.change...)
			if r.Status != c.want {
				t.Errorf("%s, want %s: %s\n%s", r.Status, c.want, r.Reason, r.Test)
			}
			confirm(t, c.rules, r, c.change...)
		})
	}
}

// All that is known about facts is needed: without it, something that can be proven no longer is. And
// what is then called proven still is.
func TestEveryTheoryIsNeeded(t *testing.T) {
	cases := checkCases()
	for _, kind := range []theory{intervals, sets, enums, patterns, prefixes, networks, entries, relations, knowledge} {
		lost := 0
		for name, c := range cases {
			switch got := check(compile(t, c.source(), c.change...), map[theory]bool{kind: true})[0].Status; {
			case got == Proven && c.want != Proven:
				t.Errorf("without %s, %q is called proven", kind, name)
			case got != Proven && c.want == Proven:
				lost++
			}
		}
		if lost == 0 {
			t.Errorf("nothing needs %s", kind)
		}
	}
}

func checkCases() map[string]checkCase {
	embargo := lists + "rules: [{name: embargo, when: ip.country in lists.embargoed, then: block}]"
	vpn := "rules: [{name: vpn, when: ip.vpn, then: step_up}]"
	const (
		pauses      = "rules: [{name: a, when: 'request.route == \"desk\"', then: step_up, every: 4h, hours: '09:00-18:30'}]"
		pausesHere  = "rules: [{name: a, when: ip.vpn, then: step_up, every: 4h, hours: '09:00-18:00'}]"
		pausesBound = "rules: [{name: a, when: 'request.route == \"desk\"', then: step_up, every: 4h, hours: '09:00-18:00', require: [device_bound]}]"
	)
	rule := func(when string, more ...string) string {
		return lists + "rules: [{name: a, when: '" + when + "', " + strings.Join(append(more, "then: block"), ", ") + "}]"
	}
	return map[string]checkCase{
		"the embargo is final":              {embargo, "never: allow, when: ip.country in lists.embargoed", Proven, nil},
		"one country of the embargo":        {embargo, `never: allow, when: ip.country == "KP"`, Proven, nil},
		"another country":                   {embargo, `never: allow, when: 'ip.country in ["KP", "US"]'`, Refuted, nil},
		"an exception opens it":             {rule("ip.country in lists.embargoed", "unless: ip.within(lists.offices)"), "never: allow, when: ip.country in lists.embargoed", Refuted, nil},
		"an exception that is excluded":     {rule("ip.country in lists.embargoed", "unless: ip.within(lists.offices)"), `never: allow, when: 'ip.country == "KP" && ip.within("10.0.0.0/8")'`, Proven, nil},
		"report only enforces nothing":      {rule("ip.vpn", "mode: report"), "never: allow, when: ip.vpn", Refuted, nil},
		"a step-up can be answered":         {vpn, "never: allow, when: ip.vpn", Refuted, nil},
		"but it is asked":                   {vpn, "always: step_up, when: ip.vpn", Proven, nil},
		"it is no block":                    {vpn, "always: block, when: ip.vpn", Refuted, nil},
		"a block is at least a step-up":     {rule("ip.vpn"), "always: step_up, when: ip.vpn", Proven, nil},
		"not asked while signing in":        {vpn, `always: step_up, when: 'ip.vpn && request.purpose == "sign_in"'`, Refuted, nil},
		"nobody signed in is asked":         {rule("ip.tor"), `always: step_up, when: 'ip.vpn && session.level != "verified"'`, Proven, nil},
		"a rule about the user at no level": {rule(`!("ops" in user.groups)`), `never: allow, when: 'session.level == "none" && request.purpose == "sign_in" && !("ops" in user.groups)'`, Refuted, nil},
		"a route of the rule":               {rule("ip.vpn", "routes: [signing]"), `never: allow, when: 'ip.vpn && request.route == "signing"'`, Proven, nil},
		"another route":                     {rule("ip.vpn", "routes: [signing]"), "never: allow, when: ip.vpn", Refuted, nil},
		"every route there is":              {rule("ip.vpn", "routes: [signing, wiki]"), "never: allow, when: ip.vpn", Proven, []func(*policy.Config){routes("signing", "wiki")}},

		"a longer age":            {rule(`session.age > duration("8h")`), `never: allow, when: session.age > duration("12h")`, Proven, nil},
		"a shorter age":           {rule(`session.age > duration("8h")`), `never: allow, when: session.age > duration("7h59m")`, Refuted, nil},
		"whole numbers":           {rule(`ip.asn >= 5`), `never: allow, when: ip.asn > 4`, Proven, nil},
		"a list of numbers":       {rule(`ip.asn in lists.asns`), `never: allow, when: ip.asn > 64499 && ip.asn < 64502`, Proven, nil},
		"doubles are not whole":   {rule(`travel.speed_kmh >= 5.0`), `never: allow, when: travel.speed_kmh > 4.0`, Refuted, nil},
		"a double and an int":     {rule(`travel.speed_kmh > 900.0`), `never: allow, when: travel.speed_kmh > 1000.0`, Proven, nil},
		"a count is not negative": {rule(`seen.countries_1h >= 0`), `never: allow, when: ip.vpn`, Proven, nil},
		"time":                    {rule(`time.now > timestamp("2026-01-01T00:00:00Z")`), `never: allow, when: 'time.now > timestamp("2027-01-01T00:00:00Z")'`, Proven, nil},
		"times before":            {rule(`time.now > timestamp("2026-01-01T00:00:00Z")`), `never: allow, when: ip.vpn`, Refuted, nil},
		"hours cover the day":     {lists + "rules: [{name: a, when: 'time.hour(\"UTC\") < 8', then: block}, {name: b, when: 'time.hour(\"UTC\") >= 8', then: block}]", "never: allow, when: ip.vpn", Proven, nil},
		"an hour of a day":        {rule(`time.hour("Europe/Zurich") != 3`), `never: allow, when: 'time.weekday("Europe/Zurich") == "Sun"'`, Refuted, nil},
		"the days of the week":    {rule(`time.weekday("UTC") in ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]`), `never: allow, when: ip.vpn`, Proven, nil},

		"versions of IP":              {lists + "rules: [{name: a, when: ip.version == 4, then: block}, {name: b, when: ip.version == 6, then: block}]", "never: allow, when: ip.vpn", Proven, nil},
		"classes of passkeys":         {rule(`credential.class != "synced"`), `never: allow, when: 'credential.class in ["unattested", "attested"]'`, Proven, nil},
		"all classes of passkeys":     {rule(`credential.class in ["synced", "unattested", "attested"]`), `never: allow, when: ip.vpn`, Proven, nil},
		"a network in a network":      {rule(`ip.within("10.0.0.0/8")`), `never: allow, when: 'ip.within(["10.1.0.0/16", "10.3.0.0/16"])'`, Proven, nil},
		"a network around one":        {rule(`ip.within("10.1.0.0/16")`), `never: allow, when: 'ip.within("10.0.0.0/8")'`, Refuted, nil},
		"two halves of a network":     {lists + `rules: [{name: a, when: 'ip.within("10.0.0.0/9")', then: block}, {name: b, when: 'ip.within("10.128.0.0/9")', then: block}]`, `never: allow, when: 'ip.within("10.0.0.0/8")'`, Proven, nil},
		"what is ours is private":     {rule(`ip.private`), `never: allow, when: ip.internal`, Proven, nil},
		"what is private is not ours": {rule(`ip.internal`), `never: allow, when: ip.private`, Refuted, nil},
		"a network is private":        {rule(`ip.private`), `never: allow, when: 'ip.within("10.1.0.0/16")'`, Proven, nil},
		"a network has a version":     {rule(`ip.version == 6`), `never: allow, when: 'ip.within("2001:db8::/32")'`, Proven, nil},
		"one address":                 {rule(`ip.within("10.0.0.0/8")`), `never: allow, when: ip.address == "10.2.3.4"`, Proven, nil},
		"an entry of a list":          {rule(`size(user.groups) > 0`), `never: allow, when: '"ops" in user.groups'`, Proven, nil},
		"two entries of a list":       {rule(`size(user.groups) > 1`), `never: allow, when: '"ops" in user.groups && "infra" in user.groups'`, Proven, nil},
		"one entry of two":            {rule(`size(user.groups) > 1`), `never: allow, when: '"ops" in user.groups'`, Refuted, nil},
		"no entry":                    {rule(`!("ops" in user.groups)`), `never: allow, when: 'user.groups == []'`, Proven, nil},
		"exists":                      {rule(`ip.subdivisions.exists(s, s in lists.regions)`), `never: allow, when: '"UA-14" in ip.subdivisions'`, Proven, nil},
		"exists, of a pattern":        {rule(`user.groups.exists(g, g.startsWith("ops-"))`), `never: allow, when: '"ops-eu" in user.groups'`, Proven, nil},
		"exists another":              {rule(`user.groups.exists(g, g.startsWith("ops-"))`), `never: allow, when: 'user.groups.exists(g, g.endsWith("-eu"))'`, Refuted, nil},
		"all":                         {rule(`user.groups.all(g, g == "staff")`), `never: allow, when: '!user.groups.exists(g, g != "staff")'`, Proven, nil},
		"a fact in a fact":            {rule(`!(ip.country in user.countries)`), `never: allow, when: 'ip.country == "KP" && !("KP" in user.countries)'`, Proven, nil},
		"a fact that is in a fact":    {rule(`ip.country in user.countries`), `never: allow, when: 'ip.country == "KP" && "KP" in user.countries'`, Proven, nil},
		"two facts that are equal":    {rule(`user.name == user.subject`), `never: allow, when: 'user.name == "a" && user.subject == "a"'`, Proven, nil},
		"a fact in an empty fact":     {rule(`!(ip.country in user.countries)`), `never: allow, when: size(user.countries) == 0`, Proven, nil},
		"a fact in a fact, or not":    {rule(`!(ip.country in user.countries)`), `never: allow, when: 'ip.country == "KP"'`, Refuted, nil},
		"one fact and another":        {rule(`user.name != user.subject`), `never: allow, when: 'user.name == "a" && user.subject == "b"'`, Proven, nil},

		"a pattern of constants":     {rule(`request.path.startsWith("/admin")`), `never: allow, when: 'request.path in ["/admin/a", "/admin/b"]'`, Proven, nil},
		"a longer beginning":         {rule(`request.path.startsWith("/admin")`), `never: allow, when: 'request.path.startsWith("/admin/users")'`, Proven, nil},
		"a shorter beginning":        {rule(`request.path.startsWith("/admin/users")`), `never: allow, when: 'request.path.startsWith("/admin")'`, Refuted, nil},
		"beginnings exclude":         {rule(`!request.path.startsWith("/api")`), `never: allow, when: 'request.path.startsWith("/admin")'`, Proven, nil},
		"a longer ending":            {rule(`request.host.endsWith(".example.com")`), `never: allow, when: 'request.host.endsWith("a.example.com")'`, Proven, nil},
		"a regular expression":       {rule(`user.email.matches("^[a-z]+@example.com$")`), `never: allow, when: 'user.email == "ann@example.com"'`, Proven, nil},
		"a regular expression alone": {rule(`user.email.matches("^[a-z]+@example.com$")`), `never: allow, when: 'user.email.endsWith("@example.com")'`, Refuted, nil},
		"letters in lower case":      {rule(`user.name.lowerAscii() == "root"`), `never: allow, when: 'user.name == "Root"'`, Proven, nil},

		"who cannot answer":                       {lists + "rules: [{name: a, when: ip.vpn, then: step_up, require: [device_bound]}]", `never: allow, when: 'ip.vpn && credential.class == "synced"'`, Proven, nil},
		"who can":                                 {lists + "rules: [{name: a, when: ip.vpn, then: step_up, require: [device_bound]}]", `never: allow, when: 'ip.vpn && credential.class == "unattested"'`, Refuted, nil},
		"who is not attested":                     {lists + "rules: [{name: a, when: ip.vpn, then: step_up, require: [attested]}]", `never: allow, when: 'ip.vpn && credential.class != "attested"'`, Proven, nil},
		"who is attested":                         {lists + "rules: [{name: a, when: ip.vpn, then: step_up, require: [attested]}]", `never: allow, when: 'ip.vpn && credential.class == "attested"'`, Refuted, nil},
		"an assertion from the future":            {lists + "rules: [{name: a, when: ip.vpn, then: step_up}]", `never: allow, when: 'ip.vpn && session.verified_age < duration("-1m")'`, Proven, nil},
		"another browser":                         {lists + "rules: [{name: a, when: session.ua_changed, then: step_up}]", `never: allow, when: session.ua_changed`, Proven, nil},
		"the same browser":                        {lists + "rules: [{name: a, when: ip.vpn || session.ua_changed, then: step_up}]", `never: allow, when: ip.vpn && !session.ua_changed`, Refuted, nil},
		"an assertion too old":                    {lists + "rules: [{name: a, when: ip.vpn, then: step_up, max_age: 5m}]", `never: allow, when: 'ip.vpn && session.verified_age > duration("6m")'`, Proven, nil},
		"an assertion elsewhere":                  {lists + "rules: [{name: a, when: ip.vpn, then: step_up}]", `never: allow, when: ip.vpn && !session.verified_here`, Proven, nil},
		"the sum blocks":                          {"thresholds: {step_up: 50, block: 100}\nrules: [{name: a, when: ip.vpn, score: 60}, {name: b, when: ip.tor, score: 40}, {name: c, when: ip.relay, score: 10}]", "always: block, when: ip.vpn && ip.tor", Proven, nil},
		"the sum is not enough":                   {"thresholds: {step_up: 50, block: 100}\nrules: [{name: a, when: ip.vpn, score: 60}, {name: b, when: ip.tor, score: 39}, {name: c, when: ip.relay, score: 10}]", "always: block, when: ip.vpn && ip.tor", Refuted, nil},
		"the sum asks":                            {"thresholds: {step_up: 50, block: 100}\nrules: [{name: a, when: ip.vpn, score: 30}, {name: b, when: ip.tor, score: 20}]", "always: step_up, when: ip.vpn && ip.tor", Proven, nil},
		"a pause asks nothing":                    {pauses, `always: step_up, when: 'request.route == "desk"'`, Refuted, nil},
		"nor does one that asks of the place":     {pausesHere, `always: step_up, when: ip.vpn`, Refuted, nil},
		"but it asks for the place":               {pausesHere, `always: step_up, when: ip.vpn && !session.verified_here`, Proven, nil},
		"and for the passkey":                     {pausesBound, `always: step_up, when: 'request.route == "desk" && credential.class == "synced"'`, Proven, nil},
		"and of another passkey nothing":          {pausesBound, `always: step_up, when: 'request.route == "desk" && credential.class == "unattested"'`, Refuted, nil},
		"in the hours it asks":                    {pauses, `always: step_up, when: 'request.route == "desk" && time.hour(user.time_zone) >= 9 && time.hour(user.time_zone) < 18'`, Proven, nil},
		"as the reference spells it":              {pausesHere, `always: step_up, when: 'ip.vpn && (user.time_zone == "" || time.hour(user.time_zone) >= 9 && time.hour(user.time_zone) < 18)'`, Proven, nil},
		"in an hour in which it asks at times":    {pauses, `always: step_up, when: 'request.route == "desk" && time.hour(user.time_zone) == 18'`, Refuted, nil},
		"without a zone it asks":                  {pauses, `always: step_up, when: 'request.route == "desk" && user.time_zone == ""'`, Proven, nil},
		"a rule without hours asks":               {"rules: [{name: a, when: ip.vpn, then: step_up, every: 4h, jitter: 1h}]", "always: step_up, when: ip.vpn", Proven, nil},
		"too old whatever is drawn":               {"rules: [{name: a, when: ip.vpn, then: step_up, every: 4h, jitter: 1h}]", `never: allow, when: 'ip.vpn && session.verified_age > duration("5h")'`, Proven, nil},
		"perhaps too old":                         {"rules: [{name: a, when: ip.vpn, then: step_up, every: 4h, jitter: 1h}]", `never: allow, when: 'ip.vpn && session.verified_age > duration("4h")'`, Undecided, nil},
		"too old in a pause":                      {pauses, `never: allow, when: 'request.route == "desk" && session.verified_age > duration("2000000h")'`, Refuted, nil},
		"enforced for all people":                 {rule("ip.vpn", "enforce: {percent: 100}"), "never: allow, when: ip.vpn", Proven, nil},
		"enforced for all people, not for nobody": {rule("ip.vpn", "enforce: {percent: 100}"), `always: block, when: 'ip.vpn && session.level == "none"'`, Refuted, nil},
		"enforced for no people":                  {rule("ip.vpn", "enforce: {percent: 0}"), "never: allow, when: ip.vpn", Refuted, nil},
		"enforced for some people":                {rule("ip.vpn", "enforce: {percent: 99}"), "never: allow, when: ip.vpn", Refuted, nil},
		"enforced for a group":                    {rule("ip.vpn", "enforce: {percent: 0, groups: [ops, infra]}"), `never: allow, when: 'ip.vpn && "infra" in user.groups'`, Proven, nil},
		"enforced for another group":              {rule("ip.vpn", "enforce: {groups: [ops]}"), `never: allow, when: 'ip.vpn && "infra" in user.groups'`, Refuted, nil},
		"an enforced score":                       {"thresholds: {block: 50}\nrules: [{name: a, when: ip.vpn, score: 50, enforce: {percent: 100}}]", "always: block, when: ip.vpn", Proven, nil},

		"missing data ask":          {vpn, "always: step_up, when: size(ip.data_missing) > 0", Proven, nil},
		"missing data do not block": {vpn, "always: block, when: size(ip.data_missing) > 0", Refuted, nil},
		"missing data block":        {"missing_data: block\n" + vpn, "never: allow, when: size(ip.data_missing) > 0", Proven, nil},

		"an index that is an error":      {rule(`user.groups[0] == "ops"`), "never: allow, when: 'user.groups == []'", Undecided, nil},
		"what cannot be evaluated":       {rule(`user.groups[0] == "ops" && ip.vpn`), "never: allow, when: ip.vpn", Refuted, nil},
		"an opaque condition, the same":  {rule(`user.started_days * 2 > 100`), "never: allow, when: user.started_days * 2 > 100", Proven, nil},
		"an opaque condition, found":     {rule(`user.started_days * 2 > 100`), "never: allow, when: ip.vpn", Refuted, nil},
		"arithmetic":                     {rule(`user.started_days * 2 > 100`), "never: allow, when: user.started_days > 60", Undecided, nil},
		"two facts":                      {rule(`session.age > session.verified_age`), `never: allow, when: 'session.age > duration("2h") && session.verified_age < duration("1h")'`, Undecided, nil},
		"a contradiction claims nothing": {rule(`ip.vpn`), `never: allow, when: 'ip.country == "KP" && ip.country == "US"'`, Vacuous, nil},
	}
}

// confirm pastes the counter-example into the policy: it has to get what the result says, and not
// what is wanted.
func confirm(t *testing.T, rules string, r Result, change ...func(*policy.Config)) {
	t.Helper()
	if (r.Status == Refuted) != (r.Facts != nil && r.Decision != nil && r.Test != "") || (r.Status == Undecided || r.Vacuous) != (r.Reason != "") {
		t.Fatalf("%+v", r)
	}
	if r.Status != Refuted {
		return
	}
	got := pasted(t, compile(t, rules, change...), rules, r.Test)
	if got.Passed || got.Got.Action != r.Decision.Action {
		t.Errorf("%s\nis %s, not %s", r.Test, got.Got.Action, r.Decision.Action)
	}
}

// pasted runs the entry as a test of the policy with these rules.
func pasted(t *testing.T, p *policy.Policy, rules, entry string) policytest.Result {
	t.Helper()
	source := "version: 1\n" + rules + "\ntests:\n  " + strings.ReplaceAll(strings.TrimSpace(entry), "\n", "\n  ") + "\n"
	d, err := file.ReadPolicy("policy.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, rule := range p.Rules() {
		names = append(names, rule.Name)
	}
	report, err := policytest.Run(p, policytest.Read(d, names, p.Vocabulary()))
	if err := errors.Join(err, d.Err()); err != nil {
		t.Fatal(err)
	}
	return report.Results[0]
}
