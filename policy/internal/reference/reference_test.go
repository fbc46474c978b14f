package reference_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/policy"
	"sallyport/policy/internal/file"
	"sallyport/policy/internal/reference"
	"sallyport/policy/prove"
)

var (
	worlds = flag.Int("policy.worlds", 100, "how many random policies TestRandomPolicies judges, each in a world of its own")
	seed   = flag.Uint64("policy.seed", 1, "where its random numbers begin")
)

// requests is how many requests a random world has at most.
const requests = 700

// harness compares one policy, as the evaluator and the prover have it, with the reference.
type harness struct {
	t        testing.TB
	ref      *reference.Policy
	source   string
	compiled *policy.Policy // draws by the key of tests
	keyed    *policy.Policy
	asked    *policy.Policy // Unanswered
	batch    *policy.Batch
	key      policy.DrawKey
	jitter   bool
	places   *places
	excepted int // how often an exception let through
}

// newHarness compiles the policy; nil: it is one of the few that are refused, such as one that blocks
// every person.
func newHarness(t testing.TB, ref *reference.Policy, key policy.DrawKey, in *places) *harness {
	source := ref.Source()
	p, err := policy.Compile(policy.Config{Name: "policy.yaml", Source: []byte(source), Routes: []string{"wiki", "vault"}, Grants: ref.Grants,
		Exceptions: &policy.Exceptions{Name: "exceptions.yaml", Source: []byte(ref.ExceptionsSource())}})
	if err != nil {
		return nil
	}
	r := &harness{t: t, ref: ref, source: source + ref.ExceptionsSource(), compiled: p, keyed: p.Keyed(key), key: key, places: in}
	r.asked, r.batch = r.keyed.Unanswered(), r.keyed.NewBatch(nil)
	r.jitter = slices.ContainsFunc(ref.Rules, func(r reference.Rule) bool { return r.Jitter > 0 })
	return r
}

func (r *harness) fatal(f *policy.Facts, format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("%s\n%s\n%+v", fmt.Sprintf(format, args...), r.source, *f)
}

// draws are what the policy draws for a request: places are measured, and explanations say when a
// rule asks again.
func (r *harness) draws(p *policy.Policy, key policy.DrawKey, f *policy.Facts) reference.Draws {
	d := reference.Draws{Place: func(rule string) int { return r.places.of(r.t, key, rule, f.User) }}
	if !r.jitter || f.Session.Level != "verified" {
		return d
	}
	explain := sync.OnceValue(func() policy.Explanation { return p.Explain(f) })
	d.Due = func(rule string) time.Duration {
		e := explain()
		i := slices.IndexFunc(e.Rules, func(o policy.RuleOutcome) bool { return o.Name == rule })
		due := e.Rules[i].Due.Sub(f.Time.Now.Add(-f.Session.VerifiedAge).Round(time.Second))
		if of := r.ref.Rules[i]; due < of.Every-of.Jitter || due > of.Every+of.Jitter {
			r.fatal(f, "%s asks after %s", rule, due)
		}
		return due
	}
	return d
}

// verdict is what a decision says that the reference says too.
func verdict(d policy.Decision) reference.Verdict {
	v := reference.Verdict{Action: d.Action, Rules: slices.Sorted(slices.Values(d.Rules)), Score: d.Score, Reported: map[string]policy.Action{}, Excepted: map[string]string{}}
	for _, x := range d.Excepted {
		v.Excepted[x.Rule] = x.Exception
	}
	if d.Action == policy.StepUp {
		v.MaxAge, v.Require = d.MaxAge, slices.Sorted(slices.Values(d.Require))
	}
	for _, rep := range d.Reported {
		v.Reported[rep.Rule] = rep.Action
	}
	return v
}

func same(a, b reference.Verdict) bool {
	return a.Action == b.Action && a.MaxAge == b.MaxAge && a.Score == b.Score && slices.Equal(a.Rules, b.Rules) && slices.Equal(a.Require, b.Require) && maps.Equal(a.Reported, b.Reported) &&
		maps.Equal(a.Excepted, b.Excepted)
}

// judge compares every way to evaluate one request.
func (r *harness) judge(f *policy.Facts) reference.Case {
	r.t.Helper()
	c := reference.Case{Policy: r.ref, Facts: f, Draws: r.draws(r.keyed, r.key, f)}
	want := c.Judge()
	r.excepted += len(want.Excepted)
	is := func(what string, d policy.Decision, want reference.Verdict) {
		r.t.Helper()
		if got := verdict(d); !same(got, want) {
			r.fatal(f, "%s says %+v, the reference %+v", what, got, want)
		}
	}
	is("Decide", r.keyed.Decide(f), want)
	kept := r.kept(f)
	is("Finish", r.keyed.Finish(f, kept), want)
	least, most, _ := r.batch.Bounds(f)
	is("Batch", least, want)
	is("Batch", most, want)
	session := c
	session.Session = true
	is("DecideSession", r.keyed.DecideSession(f, kept), session.Judge())
	unanswered := c
	unanswered.Unanswered = true
	is("Unanswered", r.asked.Decide(f), unanswered.Judge())
	return c
}

// kept is a Partial that was made of another request of the same session at the same address; of an
// earlier one, unless it says that it is bound to the clock.
func (r *harness) kept(f *policy.Facts) policy.Partial {
	other := *f
	other.Request.Method, other.TLS.ClientCert, other.Session.UAChanged = "PUT", !f.TLS.ClientCert, !f.Session.UAChanged
	earlier := other
	const ago = 7*time.Hour + 7*time.Minute
	earlier.Time.Now, earlier.Session.VerifiedAge = f.Time.Now.Add(-ago), f.Session.VerifiedAge-ago
	if kept := r.keyed.Partial(&earlier); !kept.ClockBound() {
		return kept
	}
	return r.keyed.Partial(&other)
}

// check compares the policy with the reference in a whole world: what is decided, and what is proven.
func (r *harness) check(w reference.World, counts map[string]int) {
	r.t.Helper()
	idle, err := prove.Idle(r.compiled)
	if err != nil {
		r.t.Fatal(err)
	}
	results := prove.Check(r.compiled)
	unruled := *r.ref
	unruled.Rules = nil
	w.Each(func(f *policy.Facts) bool {
		counts["requests"]++
		c := r.judge(f)
		for i, v := range r.ref.Invariants {
			without := c
			without.Policy = &unruled
			switch res := results[i]; {
			case res.Status == prove.Proven && c.Breaks(v):
				r.fatal(f, "proven, and broken: %s, when: %s", v.Claim, v.When.Text)
			case res.Status == prove.Vacuous && c.Meant(v):
				r.fatal(f, "vacuous, and it speaks of this: %s, when: %s", v.Claim, v.When.Text)
			case res.Status == prove.Proven && res.Vacuous && without.Breaks(v):
				r.fatal(f, "vacuous, and it needs a rule: %s, when: %s", v.Claim, v.When.Text)
			}
		}
		for _, x := range idle {
			if len(x.By) == 0 && c.Matches(r.ref.Rules[x.Rule]) {
				r.fatal(f, "%s is called unreachable, and matches", r.ref.Rules[x.Rule].Name)
			}
		}
		return true
	})
	for i, res := range results {
		counts[res.Status.String()]++
		if r.ref.Invariants[i].Claim == policy.NeverBlock {
			counts["never block "+res.Status.String()]++
		}
		if res.Status == prove.Proven && res.Vacuous {
			counts["proven without rules"]++
		}
		if res.Status == prove.Refuted {
			r.refuted(r.ref.Invariants[i], res)
		}
	}
}

// refuted checks a counter-example: evaluator and reference agree on it.
func (r *harness) refuted(v reference.Invariant, res prove.Result) {
	r.t.Helper()
	judge := r.compiled.Ungranted()
	c := reference.Case{Policy: r.ref, Facts: res.Facts, Draws: r.draws(r.compiled, policy.DrawKey{}, res.Facts)}
	if !c.Breaks(v) {
		r.fatal(res.Facts, "refuted, and not by this: %s, when: %s", v.Claim, v.When.Text)
	}
	granted := *r.ref
	granted.Grants = nil
	c.Policy = &granted
	d := judge.Decide(res.Facts)
	if got, want := verdict(d), c.Judge(); !same(got, want) || d.Action != res.Decision.Action {
		r.fatal(res.Facts, "the counter-example gets %+v, and by the reference %+v", got, want)
	}
	kept := d.Action != policy.Allow
	switch v.Claim {
	case policy.AlwaysBlock:
		kept = d.Action == policy.Block
	case policy.NeverBlock:
		kept = d.Action != policy.Block
	}
	if kept {
		r.fatal(res.Facts, "the counter-example of %s gets %s", v.Claim, d.Action)
	}
}

// places are those of people in percentages, measured: the least percentage that they are in, in a
// policy of one rule.
type places struct {
	policies map[string][]*policy.Policy
	known    map[string]int
}

func (p *places) of(t testing.TB, key policy.DrawKey, rule string, u policy.User) int {
	id := fmt.Sprintf("%x %s %q %q", key, rule, u.Issuer, u.Subject)
	if place, ok := p.known[id]; ok {
		return place
	}
	if p.policies[rule] == nil {
		for percent := range 101 {
			source := fmt.Sprintf("version: 1\nrules: [{name: %s, when: ip.vpn, then: block, enforce: {percent: %d}}]\n", rule, percent)
			one, err := policy.Compile(policy.Config{Name: "one.yaml", Source: []byte(source)})
			if err != nil {
				t.Fatal(err)
			}
			p.policies[rule] = append(p.policies[rule], one)
		}
	}
	f := policy.Ordinary("verified")
	f.IP.VPN, f.User = true, u
	for percent, one := range p.policies[rule] {
		if one.Keyed(key).Decide(&f).Action == policy.Block {
			p.known[id] = percent - 1
			return percent - 1
		}
	}
	t.Fatalf("%s is not enforced at 100 %%", rule)
	return 0
}

func newPlaces() *places { return &places{map[string][]*policy.Policy{}, map[string]int{}} }

// Random policies, each in a random world: the evaluator, the prover and the reference agree. For an
// hour, for it ends in time:
//
//	go test ./policy/internal/reference -run RandomPolicies -v -timeout 1h -args -policy.worlds 1000000 -policy.seed 7
func TestRandomPolicies(t *testing.T) {
	counts, in := map[string]int{}, newPlaces()
	defer func() { t.Logf("seed %d: %v", *seed, counts) }()
	end, limited := t.Deadline()
	for n := range *worlds {
		if limited && time.Until(end) < 10*time.Second {
			break
		}
		counts["worlds"]++
		r := rand.New(rand.NewPCG(*seed, uint64(n)))
		w := reference.RandomWorld(r)
		h := newHarness(t, reference.Random(r, w), policy.DrawKey{byte(n % 3)}, in)
		if h == nil {
			continue
		}
		counts["policies"]++
		h.check(w.Thin(r, requests), counts)
		counts["excepted"] += h.excepted
	}
	if all := counts["proven"] + counts["refuted"] + counts["undecided"] + counts["vacuous"]; counts["proven"] < all/20 || counts["refuted"] < all/4 || counts["undecided"] > all/4 || counts["excepted"] < counts["requests"]/200 || counts["policies"] < counts["worlds"]/2 || 5*min(counts["never block proven"], counts["never block refuted"]) < counts["never block proven"]+counts["never block refuted"]+counts["never block undecided"] {
		t.Errorf("of little worth: %v", counts)
	}
}

// One rule of every kind, for every extent, under every claim: all requests around what it asks.
func TestEveryRule(t *testing.T) {
	counts, in, n := map[string]int{}, newPlaces(), 0
	world := reference.World{reference.Age(), reference.Network()[0], reference.Here()[0], reference.Passkey(), reference.Person(), reference.Groups(), reference.Missing()}
	world = append(append(world, reference.Clock()...), reference.Stage())
	vpn := reference.Network()[0].Conditions[0]
	clock, stage := reference.Clock()[1].Conditions, reference.Stage().Conditions
	for _, outcome := range reference.Outcomes() {
		for _, extent := range reference.Extents() {
			r := rand.New(rand.NewPCG(uint64(n), 3))
			n++
			rule := outcome
			rule.Name, rule.When, rule.Report, rule.Enforce = "r0", vpn, extent.Report, extent.Enforce
			p := &reference.Policy{MissingData: policy.Action(n % 3), StepUpAt: 30, Block: 90, ScoreMaxAge: time.Minute, Rules: []reference.Rule{rule}}
			if n%2 == 0 {
				p.Exceptions = []reference.Exception{{ID: "x0", User: "ann@example.com", Rules: []string{"r0"}, Until: policy.OrdinaryTime}}
			}
			for _, claim := range []policy.Claim{policy.NeverAllow, policy.AlwaysStepUp, policy.AlwaysBlock, policy.NeverBlock} {
				for _, when := range []reference.Condition{vpn, clock[0], clock[2], stage[2], reference.Age().Conditions[2]} {
					p.Invariants = append(p.Invariants, reference.Invariant{Claim: claim, When: when}, reference.Invariant{Claim: claim, When: reference.And(vpn, when)})
				}
			}
			h := newHarness(t, p, policy.DrawKey{1}, in)
			if h == nil {
				t.Fatal(p.Source())
			}
			h.check(world.Thin(r, 250), counts)
		}
	}
	t.Log(counts)
}

// The generator writes every key that a rule can have: one that is added to the format is to be
// added to the reference too.
func TestEveryKeyOfARuleIsWritten(t *testing.T) {
	var all strings.Builder
	for n := range uint64(300) {
		r := rand.New(rand.NewPCG(n, 0))
		all.WriteString(reference.Random(r, reference.RandomWorld(r)).Source())
	}
	for _, key := range file.RuleKeys.Names() {
		if key != "reason" && !strings.Contains(all.String(), key+": ") {
			t.Errorf("no random policy has %s", key)
		}
	}
}
