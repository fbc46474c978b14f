package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/policy/internal/policygen"
)

// mustCompile compiles rules given without the version line.
func mustCompile(t testing.TB, source string, with ...func(*Config)) *Policy {
	t.Helper()
	c := Config{Name: "policy.yaml", Source: []byte("version: 1\n" + source)}
	for _, f := range with {
		f(&c)
	}
	p, err := Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// facts returns somebody verified a minute ago, from here, whom nothing speaks against.
func facts(change ...func(*Facts)) *Facts {
	f := ordinary()
	f.Session.VerifiedAge, f.Session.VerifiedHere = time.Minute, true
	f.IP.Addr = netip.MustParseAddr(f.IP.Address)
	for _, c := range change {
		c(&f)
	}
	return &f
}

func nobody(f *Facts) { Lower(f, "none"); f.Session.Level = "none" }
func signedIn(f *Facts) {
	Lower(f, "signed_in")
	f.Session.Level = "signed_in"
	f.Session.VerifiedHere = false
}
func vpn(f *Facts)                   { f.IP.VPN = true }
func tor(f *Facts)                   { f.IP.Tor = true }
func elsewhere(f *Facts)             { f.Session.VerifiedHere = false }
func stale(f *Facts)                 { f.Session.VerifiedAge = 24 * time.Hour }
func synced(f *Facts)                { f.Credential.Class, f.Credential.BackupEligible = "synced", true }
func country(c string) func(*Facts)  { return func(f *Facts) { f.IP.Country = c } }
func purposed(p string) func(*Facts) { return func(f *Facts) { f.Request.Purpose = p } }
func route(r string) func(*Facts)    { return func(f *Facts) { f.Request.Route = r } }
func missing(f *Facts)               { f.IP.DataMissing = []string{"country.mmdb"} }

const judgePolicy = policygen.Many

func TestDecide(t *testing.T) {
	p := mustCompile(t, judgePolicy, func(c *Config) {
		c.Grants = map[string]Grant{"treasury": {Groups: []string{"treasury"}, Emails: []string{"someone@example.com"}}, "wiki": {Everyone: true}, "broken": {Everyone: true}}
	})
	type change = func(*Facts)
	tests := []struct {
		name    string
		changes []change
		want    string // action rules causes, and what else there is
	}{
		{"nothing speaks against", nil, "allow"},
		{"nobody", []change{nobody}, "step_up [baseline.sign-in] [sign_in]"},
		{"the zero facts", []change{func(f *Facts) { *f = Facts{} }}, "step_up [baseline.sign-in] [sign_in]"},
		{"not verified", []change{signedIn}, "step_up [baseline.verify] [unverified]"},
		{"an unknown level is nobody", []change{func(f *Facts) { f.Session.Level = "admin" }}, "step_up [baseline.sign-in] [sign_in]"},
		{"an unknown purpose is access", []change{signedIn, purposed("other")}, "step_up [baseline.verify] [unverified]"},
		{"block beats sign-in", []change{nobody, country("KP")}, "block [baseline.sign-in embargoed] [network] reasons[embargoed country]"},
		{"signing in needs nobody", []change{nobody, purposed(PurposeSignIn)}, "allow"},
		{"enrolling needs somebody", []change{nobody, purposed(PurposeEnroll)}, "step_up [baseline.sign-in] [sign_in]"},
		{"enrolling", []change{signedIn, purposed(PurposeEnroll)}, "allow"},
		{"stepping up", []change{signedIn, purposed(PurposeStepUp)}, "allow"},

		{"satisfied step-up", []change{vpn}, "allow"},
		{"too old", []change{vpn, stale}, "step_up [anonymised] [network] max5m0s reasons[anonymised network]"},
		{"exactly as old as allowed", []change{vpn, func(f *Facts) { f.Session.VerifiedAge = 5 * time.Minute }}, "allow"},
		{"a moment older", []change{vpn, func(f *Facts) { f.Session.VerifiedAge = 5*time.Minute + 1 }}, "step_up [anonymised] [network] max5m0s reasons[anonymised network]"},
		{"asserted at home, now on a VPN", []change{vpn, elsewhere}, "step_up [anonymised] [network] max5m0s reasons[anonymised network]"},
		{"a clock a little ahead", []change{vpn, func(f *Facts) { f.Session.VerifiedAge = -time.Second }}, "allow"},
		{"an assertion from the future", []change{vpn, func(f *Facts) { f.Session.VerifiedAge = -time.Hour }}, "step_up [anonymised] [network] max5m0s reasons[anonymised network]"},
		{"a step-up question and nobody", []change{vpn, nobody}, "step_up [baseline.sign-in anonymised] [sign_in network] max5m0s reasons[anonymised network]"},
		{"signing in through a VPN", []change{vpn, nobody, purposed(PurposeSignIn)}, "allow"},
		{"stepping up through a VPN", []change{vpn, stale, purposed(PurposeStepUp)}, "allow"},
		{"enrolling through a VPN stands", []change{vpn, signedIn, purposed(PurposeEnroll)}, "step_up [anonymised] [network] max5m0s reasons[anonymised network]"},
		{"signing in from an embargoed country", []change{country("KP"), nobody, purposed(PurposeSignIn)}, "block [embargoed] [network] reasons[embargoed country]"},
		{"enrolling from an embargoed country", []change{country("KP"), signedIn, purposed(PurposeEnroll)}, "block [embargoed] [network] reasons[embargoed country]"},

		{"device bound", []change{func(f *Facts) { f.Request.Path = "/sign/1" }}, "allow"},
		{"device bound, elsewhere: not about the network", []change{elsewhere, func(f *Facts) { f.Request.Path = "/sign/1" }}, "allow"},
		{"a synced key is not device bound", []change{synced, func(f *Facts) { f.Request.Path = "/sign/1" }}, "step_up [bound] [credential request] max15m0s require[device_bound]"},
		{"an unattested key is not attested", []change{func(f *Facts) { f.Request.Path = "/root" }}, "step_up [proven] [credential request] max1m0s require[attested]"},
		{"attested", []change{func(f *Facts) { f.Request.Path = "/root"; f.Credential.Class = "attested" }}, "allow"},
		{"credential rules wait for a credential", []change{signedIn, func(f *Facts) { f.Credential.Class = "synced" }}, "step_up [baseline.verify] [unverified]"},
		{"the shortest age counts", []change{vpn, stale, func(f *Facts) { f.Request.Path = "/root" }},
			"step_up [anonymised proven] [network credential request] max1m0s require[attested] reasons[anonymised network]"},

		{"granted", []change{route("treasury")}, "allow"},
		{"granted to everyone", []change{route("wiki")}, "allow"},
		{"not granted", []change{route("treasury"), func(f *Facts) { f.User.Email = "other@example.com"; f.User.Groups = []string{"ops"} }}, "block [baseline.grant] [grant]"},
		{"a route without a grant", []change{route("unheard-of")}, "block [baseline.grant] [grant]"},
		{"no grant of nobody", []change{route("unheard-of"), nobody}, "step_up [baseline.sign-in] [sign_in]"},
		{"no grant needed to step up", []change{route("unheard-of"), purposed(PurposeStepUp)}, "allow"},
		{"limited to its route", []change{route("treasury"), func(f *Facts) { f.IP.Hosting = true }}, "block [treasury-only] [network]"},
		{"not on another", []change{route("wiki"), func(f *Facts) { f.IP.Hosting = true }}, "allow"},
		{"not for another purpose", []change{route("treasury"), purposed(PurposeStepUp), func(f *Facts) { f.IP.Hosting = true }}, "allow"},

		{"rules over the user do not judge nobody", []change{nobody, func(f *Facts) { f.User.Countries = []string{"SE"}; f.IP.Country = "NO" }}, "step_up [baseline.sign-in] [sign_in]"},
		{"third country", []change{country("NO"), func(f *Facts) { f.User.Countries = []string{"SE"} }}, "block [third-country] [network person]"},
		{"unless", []change{func(f *Facts) { f.User.Email = "x@example.com"; f.User.Groups = []string{"ops"} }}, "allow"},
		{"no unless", []change{func(f *Facts) { f.User.Email = "x@example.com" }}, "block [nobodys-group] [person]"},

		{"a score that asks", []change{tor, stale}, "step_up [tor-score] [network] max10m0s score60"},
		{"a score that is answered", []change{tor}, "allow score60"},
		{"a score answered elsewhere", []change{tor, elsewhere}, "step_up [tor-score] [network] max10m0s score60"},
		{"a score that blocks", []change{tor, func(f *Facts) { f.IP.Relay = true }}, "block [tor-score relay-score] [network] score110"},
		{"a score while signing in", []change{tor, nobody, purposed(PurposeSignIn)}, "allow score60"},
		{"a blocking score while signing in", []change{tor, nobody, purposed(PurposeSignIn), func(f *Facts) { f.IP.Relay = true }}, "block [tor-score relay-score] [network] score110"},

		{"report changes nothing", []change{func(f *Facts) { f.IP.ASN = 64500 }}, "allow reported[watch:block watch-score:allow40]"},
		{"report says what it would have done", []change{tor, stale, func(f *Facts) { f.IP.ASN = 64500 }},
			"step_up [tor-score] [network] max10m0s score60 reported[watch:block watch-step:step_up watch-score:block40]"},

		{"missing data asks", []change{missing, stale}, "step_up [baseline.ip-data] [network] max15m0s"},
		{"missing data answered", []change{missing}, "allow"},
		{"missing data answered elsewhere", []change{missing, elsewhere}, "step_up [baseline.ip-data] [network] max15m0s"},
		{"missing data while signing in", []change{missing, nobody, purposed(PurposeSignIn)}, "allow"},

		{"an error matches", []change{func(f *Facts) { f.IP.Private = true }},
			"block [unless-error] [network person] reasons[(unless-error could not be evaluated, so it counts as matching: index out of bounds: 7)]"},
		{"no error while the rule does not apply", []change{route("wiki")}, "allow"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := facts(tt.changes...)
			if got := describe(p.Decide(f)); got != tt.want {
				t.Errorf("got  %s\nwant %s\n%s", got, tt.want, p.Explain(f).Text())
			}
		})
	}
}

func describe(d Decision) string {
	s := d.Action.String()
	if len(d.Rules) > 0 {
		s += fmt.Sprintf(" %v %v", d.Rules, d.Causes)
	}
	if d.MaxAge > 0 {
		s += " max" + d.MaxAge.String()
	}
	if len(d.Require) > 0 {
		s += fmt.Sprintf(" require%v", d.Require)
	}
	if d.Score > 0 {
		s += fmt.Sprintf(" score%d", d.Score)
	}
	if len(d.Reasons) > 0 {
		s += fmt.Sprintf(" reasons%v", d.Reasons)
	}
	if len(d.Reported) > 0 {
		var parts []string
		for _, r := range d.Reported {
			part := r.Rule + ":" + r.Action.String()
			if r.Score > 0 {
				part += fmt.Sprint(r.Score)
			}
			parts = append(parts, part)
		}
		s += fmt.Sprintf(" reported%v", parts)
	}
	return s
}

func TestZeroValuesBlock(t *testing.T) {
	if (Decision{}).Action != Block || Action(0) != Block {
		t.Error("the zero decision does not block")
	}
	if (Grant{}).Permits(User{Email: "a@example.com", Groups: []string{""}}) {
		t.Error("the zero grant permits somebody")
	}
	// The zero Partial is not taken for "nothing matched".
	p := mustCompile(t, judgePolicy)
	if d := p.Finish(facts(country("KP")), Partial{}); d.Action != Block {
		t.Errorf("the zero Partial gave %s", describe(d))
	}
}

func TestMissingDataSetting(t *testing.T) {
	rules := "rules: [{name: a, when: ip.vpn, then: block}]\n"
	for setting, want := range map[string]string{
		"": "step_up [baseline.ip-data] [network] max15m0s", "missing_data: step_up\n": "step_up [baseline.ip-data] [network] max15m0s",
		"missing_data: block\n": "block [baseline.ip-data] [network]", "missing_data: allow\n": "allow",
	} {
		if got := describe(mustCompile(t, setting+rules).Decide(facts(missing, stale))); got != want {
			t.Errorf("%q: %s, want %s", setting, got, want)
		}
	}
}

// A memory made by another policy, or for another question, must not decide.
func TestFinishDoesNotTrustAForeignPartial(t *testing.T) {
	strict := mustCompile(t, "rules: [{name: a, when: ip.vpn, then: block}]")
	lax := mustCompile(t, "rules: [{name: a, when: ip.tor, then: block}]")
	f := facts(vpn)
	if d := strict.Finish(f, lax.Partial(f)); d.Action != Block {
		t.Errorf("after a reload the old policy's memory decided: %s", describe(d))
	}
	routed := mustCompile(t, "rules: [{name: a, when: ip.vpn, routes: [vault], then: block}]")
	if d := routed.Finish(facts(vpn, route("vault")), routed.Partial(facts(vpn, route("wiki")))); d.Action != Block {
		t.Errorf("the memory of another route decided: %s", describe(d))
	}
	if d := routed.Finish(facts(nobody), routed.Partial(facts())); d.Action != StepUp {
		t.Errorf("the memory of a signed-in session decided for nobody: %s", describe(d))
	}
}

func TestClockBound(t *testing.T) {
	for when, want := range map[string]bool{
		"ip.vpn": false, `session.age > duration("1h")`: true, `time.hour("UTC") > 20`: true, "ip.data_age_hours > 48": true,
		`credential.age < duration("1h")`: true, "session.verified_here": false,
	} {
		p := mustCompile(t, "rules: [{name: a, when: '"+when+"', then: block}]")
		if got := p.Partial(facts()).ClockBound(); got != want {
			t.Errorf("%s: clock bound %v", when, got)
		}
	}
	p := mustCompile(t, `rules: [{name: a, when: 'time.hour("UTC") > 20', routes: [vault], then: block}]`)
	if p.Partial(facts(route("wiki"))).ClockBound() {
		t.Error("a rule that does not apply binds to the clock")
	}
}

func TestReads(t *testing.T) {
	p := mustCompile(t, judgePolicy)
	got := map[string]Reads{}
	for _, r := range p.Rules() {
		got[r.Name] = r.Reads
	}
	if r := got["bound"]; !r.PerRequest || r.Clock || !slices.Equal(r.Facts, []string{"request.path"}) {
		t.Errorf("bound: %+v", r)
	}
	if r := got["unless-error"]; r.PerRequest || !slices.Equal(r.Facts, []string{"ip.private", "user.groups"}) {
		t.Errorf("unless-error: %+v", r)
	}
}

func TestWithinReadsRecordedFacts(t *testing.T) {
	p := mustCompile(t, "lists: {offices: [203.0.113.0/24, '2001:db8::/32', 198.51.100.7]}\nrules: [{name: outside, when: '!ip.within(lists.offices)', then: block}]")
	for address, want := range map[string]Action{
		"203.0.113.9": Allow, "203.0.114.1": Block, "2001:db8::1": Allow, "::ffff:203.0.113.9": Allow, "198.51.100.7": Allow, "198.51.100.8": Block,
	} {
		f := facts(func(f *Facts) { f.IP.Address, f.IP.Addr = address, netip.Addr{} })
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var recorded Facts
		if err := json.Unmarshal(b, &recorded); err != nil {
			t.Fatal(err)
		}
		if d := p.Decide(&recorded); d.Action != want {
			t.Errorf("%s recorded: %s", address, describe(d))
		}
		f.IP.Addr = netip.MustParseAddr(address)
		if d := p.Decide(f); d.Action != want {
			t.Errorf("%s: %s", address, describe(d))
		}
	}
	// Without any address the rule cannot be evaluated, and matches.
	if d := p.Decide(facts(func(f *Facts) { f.IP.Address, f.IP.Addr = "", netip.Addr{} })); d.Action != Block || !strings.Contains(strings.Join(d.Reasons, ""), "without a client address") {
		t.Errorf("no address: %s", describe(d))
	}
}

func TestTimeFunctions(t *testing.T) {
	p := mustCompile(t, `
rules:
  - {name: zurich, when: 'time.hour("Europe/Zurich") == 1 && time.weekday("Europe/Zurich") == "Tue"', then: block}
  - {name: own-zone, when: 'user.time_zone != "" && time.hour(user.time_zone) == 19', then: step_up}
`)
	at := func(zone string) *Facts {
		return facts(stale, func(f *Facts) { f.Time.Now = time.Date(2026, 6, 1, 23, 30, 0, 0, time.UTC); f.User.TimeZone = zone })
	}
	if got := describe(p.Decide(at(""))); got != "block [zurich] [time]" {
		t.Error(got)
	}
	if got := describe(p.Decide(at("America/New_York"))); got != "block [zurich own-zone] [time]" {
		t.Error(got)
	}
	for _, zone := range []string{"Local", "Mars/Olympus", "../../etc/passwd"} {
		if got := p.Decide(at(zone)); !slices.Contains(got.Rules, "own-zone") || len(got.Reasons) == 0 {
			t.Errorf("%s: an unknown zone did not count as a match: %s", zone, describe(got))
		}
	}
}

func TestDecideConcurrently(t *testing.T) {
	p := mustCompile(t, judgePolicy)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 200 {
				f, want := facts(), Allow
				if i%2 == 0 {
					f, want = facts(country("KP")), Block
				}
				if got := p.Decide(f); got.Action != want {
					t.Errorf("got %s", describe(got))
					return
				}
				p.Explain(f)
			}
		})
	}
	group.Wait()
}

func TestDecideDoesNotChangeFacts(t *testing.T) {
	p := mustCompile(t, judgePolicy)
	f, same := facts(vpn, tor, stale), facts(vpn, tor, stale)
	p.Decide(f)
	p.Explain(f)
	if !reflect.DeepEqual(f, same) {
		t.Error("the facts were changed")
	}
}

func TestGrantPermits(t *testing.T) {
	u := User{Email: "ann@example.com", Groups: []string{"treasury", "staff"}}
	tests := []struct {
		grant Grant
		user  User
		want  bool
	}{
		{Grant{}, u, false},
		{Grant{Everyone: true}, u, true},
		{Grant{Groups: []string{"treasury"}}, u, true},
		{Grant{Groups: []string{"Treasury", "treasur", "treasury2", ""}}, u, false},
		{Grant{Groups: []string{""}}, User{Groups: []string{""}}, false},
		{Grant{Emails: []string{"Ann@Example.com"}}, u, true},
		{Grant{Emails: []string{"nn@example.com", "ann@example.co"}}, u, false},
		{Grant{Emails: []string{"\u212ate@example.com"}}, User{Email: "kte@example.com"}, false}, // Kelvin sign
		{Grant{Domains: []string{"EXAMPLE.com"}}, u, true},
		{Grant{Domains: []string{"xample.com", "com", "n@example.com", ""}}, u, false},
		{Grant{Domains: []string{"example.com"}}, User{Email: "ann@sub.example.com"}, false},
		{Grant{Domains: []string{"example.com"}}, User{Email: "ann@example.com@evil.net"}, false},
		{Grant{Domains: []string{"example.com"}}, User{Email: "example.com"}, false},
		{Grant{Domains: []string{""}, Emails: []string{""}}, User{}, false},
	}
	for _, tt := range tests {
		if got := tt.grant.Permits(tt.user); got != tt.want {
			t.Errorf("%+v of %+v: %v", tt.grant, tt.user, got)
		}
	}
}
