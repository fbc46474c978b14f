package policy

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/policy/internal/policygen"
)

func randomFacts(r *rand.Rand) *Facts {
	flag := func() bool { return r.IntN(3) == 0 }
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	f := ordinary()
	f.IP.Address = pick("192.0.2.1", "203.0.113.7", "2001:db8::1")
	f.IP.Addr = netip.MustParseAddr(f.IP.Address)
	f.IP.VPN, f.IP.Tor, f.IP.Proxy, f.IP.ASN = flag(), flag(), flag(), int64(r.IntN(10))
	f.IP.Country, f.IP.DataAgeHours = pick("US", "KP", "ZZ"), int64(r.IntN(96))
	if r.IntN(8) == 0 {
		f.IP.DataMissing = []string{"x"}
	}
	f.User.Groups, f.User.Countries = [][]string{nil, {"ops"}, {"a", "ops"}}[r.IntN(3)], [][]string{nil, {"US"}}[r.IntN(2)]
	f.User.Subject, f.User.TimeZone = pick("someone", "other", "third"), pick("", "Asia/Tokyo")
	f.Session.VerifiedAge, f.Session.VerifiedHere = time.Duration(r.IntN(120))*time.Minute, flag()
	f.Credential.Class = pick("synced", "unattested", "attested")
	f.Credential.BackupEligible = f.Credential.Class == "synced"
	f.Request.Purpose = pick(PurposeAccess, PurposeAccess, PurposeSignIn, PurposeEnroll, PurposeStepUp)
	f.Request.Route, f.Request.Path, f.Request.Method = pick("", "wiki", "vault"), pick("/", "/admin/x"), pick("GET", "POST")
	f.Time.Now = OrdinaryTime.Add(time.Duration(r.IntN(24)) * time.Hour)
	if l := pick("verified", "verified", "signed_in", "none"); l != "verified" {
		f.Session.Level = l
		Lower(&f, l)
		f.Session.Level = l
	}
	return &f
}

func policyOf(t testing.TB, rules []string) *Policy {
	return mustCompile(t, "thresholds: {step_up: 50, block: 100}\nrules:\n  - "+strings.Join(rules, "\n  - ")+"\n",
		func(c *Config) {
			c.Grants = map[string]Grant{"wiki": {Everyone: true}, "vault": {Groups: []string{"ops"}}}
		})
}

// rounds of the property tests: policies, and facts for each.
const policies, factsEach = 60, 60

// Decide is Finish over Partial, also if Partial saw another request of the same kind.
func TestPropertyDecideIsFinishOfPartial(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range policies {
		p := policyOf(t, policygen.Rules(r, 1+r.IntN(12)))
		for range factsEach {
			f := randomFacts(r)
			want := p.Decide(f)
			if diff := cmp.Diff(want, p.Finish(f, p.Partial(f))); diff != "" {
				t.Fatalf("(-Decide +Finish):\n%s", diff)
			}
			other := *f
			other.Request = Request{Purpose: f.Request.Purpose, Route: f.Request.Route, Method: "PUT", Path: "/other", UserAgent: "x"}
			if diff := cmp.Diff(want, p.Finish(f, p.Partial(&other))); diff != "" {
				t.Fatalf("(-Decide +Finish with the Partial of another request):\n%s", diff)
			}
		}
	}
}

// The order of rules changes the order of names, and nothing else.
func TestPropertyOrderChangesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	sorted := func(d Decision) Decision {
		d.Rules, d.Require = slices.Sorted(slices.Values(d.Rules)), slices.Sorted(slices.Values(d.Require))
		d.Reasons, d.Reported = slices.Sorted(slices.Values(d.Reasons)), slices.Clone(d.Reported)
		slices.SortFunc(d.Reported, func(a, b Reported) int { return strings.Compare(a.Rule, b.Rule) })
		return d
	}
	for range policies {
		rules := policygen.Rules(r, 2+r.IntN(10))
		p := policyOf(t, rules)
		r.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
		q := policyOf(t, rules)
		for range factsEach {
			f := randomFacts(r)
			if diff := cmp.Diff(sorted(p.Decide(f)), sorted(q.Decide(f))); diff != "" {
				t.Fatalf("(-in order +shuffled):\n%s", diff)
			}
		}
	}
}

// A rule more never makes a verdict milder.
func TestPropertyAnotherRuleNeverLoosens(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range policies {
		rules := policygen.Rules(r, 2+r.IntN(10))
		p, q := policyOf(t, rules[:len(rules)-1]), policyOf(t, rules)
		for range factsEach {
			f := randomFacts(r)
			a, b := p.Decide(f), q.Decide(f)
			if b.Action > a.Action || b.Action == StepUp && a.Action == StepUp && a.MaxAge > 0 && (b.MaxAge == 0 || b.MaxAge > a.MaxAge) {
				t.Fatalf("%+v, and with %s: %+v", a, rules[len(rules)-1], b)
			}
			for _, want := range a.Require {
				if b.Action == StepUp && !slices.Contains(b.Require, want) {
					t.Fatalf("%+v, and with %s: %+v", a, rules[len(rules)-1], b)
				}
			}
		}
	}
}

// A rule whose condition is false changes nothing, and nor does an exception that is never made.
func TestPropertyFalseChangesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	never := []string{"false", "1 == 2", "!(2 in [1, 2])", `"a" == "b" && ip.vpn`}
	for range policies {
		rules := policygen.Rules(r, 1+r.IntN(8))
		with := slices.Clone(rules)
		for i, rule := range with {
			if !strings.Contains(rule, "unless: ") {
				// Without a fact in it: one about the network would change what answers the question.
				with[i] = strings.TrimSuffix(rule, "}") + ", unless: '" + never[r.IntN(3)] + "'}"
			}
		}
		does := []string{"then: block, routes: [wiki]", "then: step_up, max_age: 1s", "score: 1000"}[r.IntN(3)]
		with = slices.Insert(with, r.IntN(len(with)+1), "{name: never, when: '"+never[r.IntN(len(never))]+"', "+does+"}")
		p, q := policyOf(t, rules), policyOf(t, with)
		for range factsEach {
			f := randomFacts(r)
			if diff := cmp.Diff(p.Decide(f), q.Decide(f)); diff != "" {
				t.Fatalf("(-without +with the false conditions):\n%s\n%s", diff, strings.Join(with, "\n"))
			}
		}
	}
}

// Stepping up as asked satisfies the question: no one is sent round in circles.
func TestPropertySteppingUpSatisfies(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range policies {
		p := policyOf(t, policygen.Rules(r, 1+r.IntN(10)))
		for range factsEach {
			f := randomFacts(r)
			f.Request.Purpose = PurposeAccess
			if p.Decide(f).Action != StepUp {
				continue
			}
			after := *f
			after.Session = Session{ID: "s", Level: "verified", Age: f.Session.Age, VerifiedHere: true}
			after.Credential = Credential{Class: "attested"}
			if after.User.Email == "" {
				after.User = ordinary().User
			}
			// Facts that were unknown before may speak against the person now; a question must not remain.
			if d := p.Decide(&after); d.Action == StepUp {
				t.Fatalf("%+v, and after stepping up %+v", p.Decide(f), d)
			}
		}
	}
}

// An explanation gives Decide's verdict, and its outcomes name exactly the rules of the verdict.
func TestPropertyExplanationAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range policies {
		p := policyOf(t, policygen.Rules(r, 1+r.IntN(10)))
		for range 20 {
			f := randomFacts(r)
			e := p.Explain(f)
			if diff := cmp.Diff(p.Decide(f), e.Decision); diff != "" {
				t.Fatalf("(-decided +explained):\n%s", diff)
			}
			var matched, reported []string
			for _, o := range append(slices.Clone(e.Baseline), e.Rules...) {
				switch o.Outcome {
				case OutcomeMatched:
					matched = append(matched, o.Name)
				case OutcomeReported:
					reported = append(reported, o.Name)
				}
			}
			if !slices.Equal(matched, e.Decision.Rules) {
				t.Fatalf("matched %v\n%s", matched, e.Text())
			}
			var decided []string
			for _, rep := range e.Decision.Reported {
				decided = append(decided, rep.Rule)
			}
			if !slices.Equal(reported, decided) {
				t.Fatalf("reported %v\n%s", reported, e.Text())
			}
		}
	}
}
