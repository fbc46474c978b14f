package rehearse

import (
	"testing"

	"sallyport/policy"
)

// What an exception does, or no longer does, is told apart from what the candidate does.
func TestADifferenceByExceptionsAloneIsNotTheCandidates(t *testing.T) {
	const exceptions = "version: 1\nexceptions:\n  - {user: ana@x.test, rules: [vpn], until: 2026-12-31, approved_by: ciso@x.test, why: trip}\n"
	with, err := policy.Compile(policy.Config{Name: "policy.yaml",
		Source:     []byte("version: 1\nrules:\n  - {name: vpn, when: ip.vpn, then: block}\n  - {name: kp, when: 'ip.country == \"KP\"', then: block}\n"),
		Grants:     map[string]policy.Grant{"wiki": {Everyone: true}},
		Exceptions: &policy.Exceptions{Name: "exceptions.yaml", Source: []byte(exceptions), AnyRules: true}})
	if err != nil {
		t.Fatal(err)
	}
	kp := func(r *Recorded) { r.Facts.IP.Country = "KP" }
	letThrough := func(r *Recorded) { r.Excepted = []policy.Excepted{{Rule: "vpn"}} }
	for name, tt := range map[string]struct {
		candidate  *policy.Policy
		rec        *Recorded
		exceptions Counts
		candidates Counts
	}{
		"it was blocked before there was the exception":     {with, recorded(1, "ana@x.test", overVPN, was(policy.Block, "vpn")), Counts{Allowed: 1}, Counts{}},
		"an exception let it through that is there no more": {with.Unexcepted(), recorded(1, "ana@x.test", overVPN, letThrough), Counts{Blocked: 1}, Counts{}},
		"the exception let it through then and now":         {with, recorded(1, "ana@x.test", overVPN, letThrough), Counts{}, Counts{}},
		"a rule is new beside it":                           {with, recorded(1, "ana@x.test", overVPN, letThrough, kp), Counts{}, Counts{Blocked: 1}},
		"a rule is gone beside it":                          {with, recorded(1, "ana@x.test", overVPN, was(policy.Block, "vpn", "gone")), Counts{}, Counts{Allowed: 1}},
		"it was blocked, and the rule is gone":              {compile(t, "  - {name: other, when: ip.tor, then: block}\n"), recorded(1, "ana@x.test", overVPN, was(policy.Block, "vpn")), Counts{}, Counts{Allowed: 1}},
		"a person is blocked that no exception names":       {with, recorded(1, "bo@x.test", overVPN), Counts{}, Counts{Blocked: 1}},
	} {
		r := New(tt.candidate, nil)
		r.Add(tt.rec)
		if r.ByExceptions != tt.exceptions || r.Counts != tt.candidates || r.Judged != 1 || r.After[policy.Allow]+r.After[policy.Block] != 1 {
			t.Errorf("%s: by exceptions %+v, by the candidate %+v", name, r.ByExceptions, r.Counts)
		}
		if (len(r.Rules) > 0) != (tt.candidates.Changed() > 0) {
			t.Errorf("%s: credited %v", name, r.Rules)
		}
		other := New(tt.candidate, nil)
		other.Merge(r)
		if other.ByExceptions != tt.exceptions {
			t.Errorf("%s: merged %+v", name, other.ByExceptions)
		}
	}
}
