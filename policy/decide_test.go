package policy

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// facts returns a person verified a minute ago, from here, against whose access nothing speaks.
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

// Decisions that several cases share.
var (
	allowed         = Decision{Action: Allow}
	asksSignIn      = Decision{Action: StepUp, Rules: []string{"baseline.sign-in"}, Causes: []Cause{CauseSignIn}}
	asksVerify      = Decision{Action: StepUp, Rules: []string{"baseline.verify"}, Causes: []Cause{CauseUnverified}}
	asksAnonymised  = Decision{Action: StepUp, Rules: []string{"anonymised"}, Causes: []Cause{CauseNetwork}, MaxAge: 5 * time.Minute, Reasons: []string{"anonymised network"}}
	asksTor         = Decision{Action: StepUp, Rules: []string{"tor-score"}, Causes: []Cause{CauseNetwork}, MaxAge: 10 * time.Minute, Score: 60}
	asksIPData      = Decision{Action: StepUp, Rules: []string{"baseline.ip-data"}, Causes: []Cause{CauseNetwork}, MaxAge: 15 * time.Minute}
	blocksGrant     = Decision{Action: Block, Rules: []string{"baseline.grant"}, Causes: []Cause{CauseGrant}}
	blocksEmbargoed = Decision{Action: Block, Rules: []string{"embargoed"}, Causes: []Cause{CauseNetwork}, Reasons: []string{"embargoed country"}}
	blocksScore     = Decision{Action: Block, Rules: []string{"tor-score", "relay-score"}, Causes: []Cause{CauseNetwork}, Score: 110}
)

func TestDecide(t *testing.T) {
	p := mustCompile(t, judgePolicy, func(c *Config) {
		c.Grants = map[string]Grant{"treasury": {Groups: []string{"treasury"}, Emails: []string{"someone@example.com"}}, "wiki": {Everyone: true}, "broken": {Everyone: true}}
	})
	type change = func(*Facts)
	tests := []struct {
		name    string
		changes []change
		want    Decision
	}{
		{"nothing speaks against", nil, allowed},
		{"nobody", []change{nobody}, asksSignIn},
		{"the zero facts", []change{func(f *Facts) { *f = Facts{} }}, asksSignIn},
		{"not verified", []change{signedIn}, asksVerify},
		{"an unknown level is nobody", []change{func(f *Facts) { f.Session.Level = "admin" }}, asksSignIn},
		{"an unknown purpose is access", []change{signedIn, purposed("other")}, asksVerify},
		{"block beats sign-in", []change{nobody, country("KP")}, Decision{
			Action: Block, Rules: []string{"baseline.sign-in", "embargoed"}, Causes: []Cause{CauseNetwork},
			Reasons: []string{"embargoed country"}}},
		{"signing in needs nobody", []change{nobody, purposed(PurposeSignIn)}, allowed},
		{"enrolling needs somebody", []change{nobody, purposed(PurposeEnroll)}, asksSignIn},
		{"enrolling", []change{signedIn, purposed(PurposeEnroll)}, allowed},
		{"stepping up", []change{signedIn, purposed(PurposeStepUp)}, allowed},

		{"satisfied step-up", []change{vpn}, allowed},
		{"too old", []change{vpn, stale}, asksAnonymised},
		{"exactly as old as allowed", []change{vpn, func(f *Facts) { f.Session.VerifiedAge = 5 * time.Minute }}, allowed},
		{"a moment older", []change{vpn, func(f *Facts) { f.Session.VerifiedAge = 5*time.Minute + 1 }}, asksAnonymised},
		{"asserted at home, now on a VPN", []change{vpn, elsewhere}, asksAnonymised},
		{"a clock a little ahead", []change{vpn, func(f *Facts) { f.Session.VerifiedAge = -time.Second }}, allowed},
		{"an assertion from the future", []change{vpn, func(f *Facts) { f.Session.VerifiedAge = -time.Hour }}, asksAnonymised},
		{"a step-up question and nobody", []change{vpn, nobody}, Decision{
			Action: StepUp, Rules: []string{"baseline.sign-in", "anonymised"},
			Causes: []Cause{CauseSignIn, CauseNetwork}, MaxAge: 5 * time.Minute,
			Reasons: []string{"anonymised network"}}},
		{"signing in through a VPN", []change{vpn, nobody, purposed(PurposeSignIn)}, allowed},
		{"stepping up through a VPN", []change{vpn, stale, purposed(PurposeStepUp)}, allowed},
		{"enrolling through a VPN stands", []change{vpn, signedIn, purposed(PurposeEnroll)}, asksAnonymised},
		{"signing in from an embargoed country", []change{country("KP"), nobody, purposed(PurposeSignIn)}, blocksEmbargoed},
		{"enrolling from an embargoed country", []change{country("KP"), signedIn, purposed(PurposeEnroll)}, blocksEmbargoed},

		{"device bound", []change{func(f *Facts) { f.Request.Path = "/sign/1" }}, allowed},
		{"device bound, elsewhere: not about the network", []change{elsewhere, func(f *Facts) { f.Request.Path = "/sign/1" }}, allowed},
		{"a synced key is not device bound", []change{synced, func(f *Facts) { f.Request.Path = "/sign/1" }}, Decision{
			Action: StepUp, Rules: []string{"bound"}, Causes: []Cause{CauseCredential, CauseRequest},
			MaxAge: 15 * time.Minute, Require: []string{"device_bound"}}},
		{"an unattested key is not attested", []change{func(f *Facts) { f.Request.Path = "/root" }}, Decision{
			Action: StepUp, Rules: []string{"proven"}, Causes: []Cause{CauseCredential, CauseRequest},
			MaxAge: time.Minute, Require: []string{"attested"}}},
		{"attested", []change{func(f *Facts) { f.Request.Path = "/root"; f.Credential.Class = "attested" }}, allowed},
		{"credential rules wait for a credential", []change{signedIn, func(f *Facts) { f.Credential.Class = "synced" }}, asksVerify},
		{"the shortest age counts", []change{vpn, stale, func(f *Facts) { f.Request.Path = "/root" }},
			Decision{Action: StepUp, Rules: []string{"anonymised", "proven"},
				Causes: []Cause{CauseNetwork, CauseCredential, CauseRequest}, MaxAge: time.Minute,
				Require: []string{"attested"}, Reasons: []string{"anonymised network"}}},

		{"granted", []change{route("treasury")}, allowed},
		{"granted to everyone", []change{route("wiki")}, allowed},
		{"not granted", []change{route("treasury"), func(f *Facts) { f.User.Email = "other@example.com"; f.User.Groups = []string{"ops"} }}, blocksGrant},
		{"a route without a grant", []change{route("unheard-of")}, blocksGrant},
		{"no grant of nobody", []change{route("unheard-of"), nobody}, asksSignIn},
		{"no grant needed to step up", []change{route("unheard-of"), purposed(PurposeStepUp)}, allowed},
		{"limited to its route", []change{route("treasury"), func(f *Facts) { f.IP.Hosting = true }}, Decision{
			Action: Block, Rules: []string{"treasury-only"}, Causes: []Cause{CauseNetwork}}},
		{"not on another", []change{route("wiki"), func(f *Facts) { f.IP.Hosting = true }}, allowed},
		{"not for another purpose", []change{route("treasury"), purposed(PurposeStepUp), func(f *Facts) { f.IP.Hosting = true }}, allowed},

		{"rules over the user do not judge nobody", []change{nobody, func(f *Facts) { f.User.Countries = []string{"SE"}; f.IP.Country = "NO" }}, asksSignIn},
		{"third country", []change{country("NO"), func(f *Facts) { f.User.Countries = []string{"SE"} }}, Decision{
			Action: Block, Rules: []string{"third-country"}, Causes: []Cause{CauseNetwork, CausePerson}}},
		{"unless", []change{func(f *Facts) { f.User.Email = "x@example.com"; f.User.Groups = []string{"ops"} }}, allowed},
		{"no unless", []change{func(f *Facts) { f.User.Email = "x@example.com" }}, Decision{
			Action: Block, Rules: []string{"nobodys-group"}, Causes: []Cause{CausePerson}}},

		{"a score that asks", []change{tor, stale}, asksTor},
		{"a score that is answered", []change{tor}, Decision{Action: Allow, Score: 60}},
		{"a score answered elsewhere", []change{tor, elsewhere}, asksTor},
		{"a score that blocks", []change{tor, func(f *Facts) { f.IP.Relay = true }}, blocksScore},
		{"a score while signing in", []change{tor, nobody, purposed(PurposeSignIn)}, Decision{Action: Allow, Score: 60}},
		{"a blocking score while signing in", []change{tor, nobody, purposed(PurposeSignIn), func(f *Facts) { f.IP.Relay = true }}, blocksScore},

		{"report changes nothing", []change{func(f *Facts) { f.IP.ASN = 64500 }}, Decision{
			Action:   Allow,
			Reported: []Reported{{Rule: "watch", Action: Block}, {Rule: "watch-score", Action: Allow, Score: 40}}}},
		{"report says what it would have done", []change{tor, stale, func(f *Facts) { f.IP.ASN = 64500 }},
			Decision{Action: StepUp, Rules: []string{"tor-score"}, Causes: []Cause{CauseNetwork},
				MaxAge: 10 * time.Minute, Score: 60,
				Reported: []Reported{{Rule: "watch", Action: Block}, {Rule: "watch-step", Action: StepUp}, {Rule: "watch-score", Action: Block, Score: 40}}}},

		{"missing data asks", []change{missing, stale}, asksIPData},
		{"missing data answered", []change{missing}, allowed},
		{"missing data answered elsewhere", []change{missing, elsewhere}, asksIPData},
		{"missing data while signing in", []change{missing, nobody, purposed(PurposeSignIn)}, allowed},

		{"an error matches", []change{func(f *Facts) { f.IP.Private = true }},
			Decision{Action: Block, Rules: []string{"unless-error"}, Causes: []Cause{CauseNetwork, CausePerson},
				Reasons: []string{"(unless-error could not be evaluated, so it counts as matching: index out of bounds: 7)"}}},
		{"no error while the rule does not apply", []change{route("wiki")}, allowed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := facts(tt.changes...)
			if diff := cmp.Diff(tt.want, p.Decide(f)); diff != "" {
				t.Errorf("(-want +got):\n%s\n%s", diff, p.Explain(f).Text())
			}
		})
	}
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
		t.Errorf("the zero Partial gave %+v", d)
	}
}

func TestMissingDataSetting(t *testing.T) {
	rules := "rules: [{name: a, when: ip.vpn, then: block}]\n"
	for setting, want := range map[string]Decision{
		"":                        asksIPData,
		"missing_data: step_up\n": asksIPData,
		"missing_data: block\n":   {Action: Block, Rules: []string{"baseline.ip-data"}, Causes: []Cause{CauseNetwork}},
		"missing_data: allow\n":   allowed,
	} {
		got := mustCompile(t, setting+rules).Decide(facts(missing, stale))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", setting, diff)
		}
	}
}

// A memory made by another policy, or for another question, must not decide.
func TestFinishDoesNotTrustAForeignPartial(t *testing.T) {
	strict := mustCompile(t, "rules: [{name: a, when: ip.vpn, then: block}]")
	lax := mustCompile(t, "rules: [{name: a, when: ip.tor, then: block}]")
	f := facts(vpn)
	if d := strict.Finish(f, lax.Partial(f)); d.Action != Block {
		t.Errorf("after a reload the old policy's memory decided: %+v", d)
	}
	routed := mustCompile(t, "rules: [{name: a, when: ip.vpn, routes: [vault], then: block}]")
	if d := routed.Finish(facts(vpn, route("vault")), routed.Partial(facts(vpn, route("wiki")))); d.Action != Block {
		t.Errorf("the memory of another route decided: %+v", d)
	}
	if d := routed.Finish(facts(nobody), routed.Partial(facts())); d.Action != StepUp {
		t.Errorf("the memory of a signed-in session decided for nobody: %+v", d)
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
			t.Errorf("%s recorded: %+v", address, d)
		}
		f.IP.Addr = netip.MustParseAddr(address)
		if d := p.Decide(f); d.Action != want {
			t.Errorf("%s: %+v", address, d)
		}
	}
	// Without any address the rule cannot be evaluated, and matches.
	if d := p.Decide(facts(func(f *Facts) { f.IP.Address, f.IP.Addr = "", netip.Addr{} })); d.Action != Block || !strings.Contains(strings.Join(d.Reasons, ""), "without a client address") {
		t.Errorf("no address: %+v", d)
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
	for zone, rules := range map[string][]string{"": {"zurich"}, "America/New_York": {"zurich", "own-zone"}} {
		want := Decision{Action: Block, Rules: rules, Causes: []Cause{CauseTime}}
		if diff := cmp.Diff(want, p.Decide(at(zone))); diff != "" {
			t.Errorf("zone %q (-want +got):\n%s", zone, diff)
		}
	}
	for _, zone := range []string{"Local", "Mars/Olympus", "../../etc/passwd"} {
		if got := p.Decide(at(zone)); !slices.Contains(got.Rules, "own-zone") || len(got.Reasons) == 0 {
			t.Errorf("%s: an unknown zone did not count as a match: %+v", zone, got)
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
					t.Errorf("got %+v", got)
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
