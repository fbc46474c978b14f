package policy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestExplain(t *testing.T) {
	p := mustCompile(t, judgePolicy, func(c *Config) { c.Grants = map[string]Grant{"treasury": {Groups: []string{"x"}}} })
	outcome := func(f *Facts, name string) (Outcome, string) {
		for _, o := range append(p.Explain(f).Baseline, p.Explain(f).Rules...) {
			if o.Name == name {
				return o.Outcome, o.Why
			}
		}
		return "", ""
	}
	asn := func(f *Facts) { f.IP.ASN = 64500 }
	for _, tt := range []struct {
		facts *Facts
		rule  string
		want  Outcome
		why   string
	}{
		{facts(country("KP")), "embargoed", OutcomeMatched, ""},
		{facts(), "embargoed", OutcomeNotMatched, ""},
		{facts(vpn), "anonymised", OutcomeSatisfied, "1m0s ago answers it"},
		{facts(vpn, stale), "anonymised", OutcomeMatched, "24h0m0s old, and 5m0s is allowed"},
		{facts(vpn, elsewhere), "anonymised", OutcomeMatched, "from another address"},
		{facts(vpn, nobody, purposed(PurposeSignIn)), "anonymised", OutcomeNoEffect, "about to prove"},
		{facts(synced, func(f *Facts) { f.Request.Path = "/sign" }), "bound", OutcomeMatched, "not device_bound"},
		{facts(nobody), "third-country", OutcomeNotApplicable, "no one is signed in"},
		{facts(signedIn), "synced-key", OutcomeNotApplicable, "no passkey"},
		{facts(), "treasury-only", OutcomeNotApplicable, "other routes"},
		{facts(route("treasury"), purposed(PurposeEnroll)), "treasury-only", OutcomeNotApplicable, "not a request for one"},
		{facts(tor), "tor-score", OutcomeNoEffect, "the score is 60"},
		{facts(tor, stale), "tor-score", OutcomeMatched, "the score is 60"},
		{facts(asn), "watch", OutcomeReported, "report mode"},
		{facts(), "nobodys-group", OutcomeExcepted, "unless"},
		{facts(func(f *Facts) { f.IP.Private = true }), "unless-error", OutcomeMatched, "could not be evaluated"},
		{facts(route("treasury")), "baseline.grant", OutcomeMatched, `"treasury"`},
		{facts(nobody), "baseline.sign-in", OutcomeMatched, "none"},
		{facts(missing, stale), "baseline.ip-data", OutcomeMatched, "country.mmdb"},
		{facts(missing), "baseline.ip-data", OutcomeNoEffect, "country.mmdb"},
	} {
		if got, why := outcome(tt.facts, tt.rule); got != tt.want || !strings.Contains(why, tt.why) {
			t.Errorf("%s: %s (%s), want %s (%s)", tt.rule, got, why, tt.want, tt.why)
		}
	}
}

// What an assertion answers is not reported: the explanation says no other than the record.
func TestExplainedReport(t *testing.T) {
	p := policyOf(t, []string{"{name: watch, when: ip.vpn, then: step_up, max_age: 5m, mode: report}", "{name: some, when: ip.vpn, then: step_up, max_age: 5m, enforce: {groups: [security]}}"})
	for name, c := range map[string]struct {
		facts *Facts
		want  Outcome
		why   string
	}{
		"answered": {facts(vpn), OutcomeSatisfied, "nothing to report: a passkey assertion 1m0s ago answers it"},
		"asked":    {facts(vpn, stale), OutcomeReported, ""},
	} {
		e := p.Explain(c.facts)
		for i, mode := range []string{"it is in report mode", "it is enforced for others (security)"} {
			if r := e.Rules[i]; r.Outcome != c.want || !strings.HasPrefix(r.Why, mode) || !strings.HasSuffix(r.Why, c.why) || (c.want == OutcomeReported) != (len(e.Decision.Reported) == 2) {
				t.Errorf("%s: %s: %s (%s), reported %v", name, r.Name, r.Outcome, r.Why, e.Decision.Reported)
			}
		}
	}
}

func TestExplanationText(t *testing.T) {
	p := mustCompile(t, judgePolicy)
	text := p.Explain(facts(vpn, stale)).Text()
	for _, want := range []string{
		"step_up\n  rules     anonymised\n  reasons   anonymised network\n  max age   5m0s\n",
		`  ip.country                 "ZZ"`,
		"  matched         anonymised (line 7: step_up 5m0s): the last passkey assertion is 24h0m0s old, and 5m0s is allowed\n" +
			"    when    true    ip.vpn\n    when    -       ip.proxy\n            ip.vpn = true\n            ip.proxy = false\n",
		"  not_applicable  treasury-only (line 12: block): it is limited to other routes\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("without %q:\n%s", want, text)
		}
	}
}

// The facts of an explanation are spelled as in the audit log.
func TestExplanationJSON(t *testing.T) {
	p := mustCompile(t, "rules:\n  - {name: anonymised, when: ip.vpn, then: step_up}\n")
	given := facts(vpn)
	b, err := json.Marshal(p.Explain(given))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Facts json.RawMessage
		Rules []struct{ Reads []string }
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Facts) != string(want) || len(got.Rules) != 1 || !slices.Equal(got.Rules[0].Reads, []string{"ip.vpn"}) {
		t.Errorf("got %s, want the facts %s", b, want)
	}
}

// A fact that the caller does not know says so, where it is listed and where a rule reads it.
func TestExplanationUnknown(t *testing.T) {
	e := mustCompile(t, "rules:\n  - {name: newcomer, when: user.started_days < 90, then: step_up}\n").Explain(facts())
	e.Unknown = map[string]string{"user.started_days": "no roster"}
	if n := strings.Count(e.Text(), "   (no roster)\n"); n != 2 {
		t.Errorf("%d times, want 2:\n%s", n, e.Text())
	}
}

// What the author of a policy wrote does nothing to the terminal of the person who reads it.
func TestExplanationTextIsPlain(t *testing.T) {
	p := mustCompile(t, "rules:\n  - {name: a, when: \"request.user_agent != '\\e[31m' &&\\n true\", then: block, reason: \"\\e]0;title\\a done\\n  allow\"}\n  - {name: b, when: 'int(request.user_agent) > 1', then: block}\n")
	text := p.Explain(facts(func(f *Facts) { f.Request.UserAgent = "\x1b[2J" })).Text()
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }) || strings.Contains(text, "\n  allow") {
		t.Errorf("%q", text)
	}
	if !strings.Contains(text, "title\ufffd done\ufffd  allow") {
		t.Errorf("%q", text)
	}
}

func TestExplanationOfARefusedPerson(t *testing.T) {
	p := mustCompile(t, judgePolicy, func(c *Config) { c.Grants = map[string]Grant{"treasury": {Groups: []string{"x"}}} })
	e := p.Explain(facts())
	e.Refused = "someone is blocked since\x1b[2J today"
	for _, text := range []string{e.Text(), e.Brief()} {
		first, rest, _ := strings.Cut(text, "\n")
		if first != "block (the policy alone: allow)" || !strings.Contains(rest, "someone is blocked since") || strings.Contains(rest, "\x1b") {
			t.Errorf("%q", text)
		}
	}
	e = p.Explain(facts(route("treasury")))
	const unsaid = "user.groups is not known   (no session says it)"
	for _, known := range []bool{true, false} {
		if !known {
			e.Unknown = map[string]string{"user.groups": "no session says it"}
		}
		for _, text := range []string{e.Text(), e.Brief()} {
			if strings.Contains(text, unsaid) == known {
				t.Errorf("known %v: %s", known, text)
			}
		}
	}
}
