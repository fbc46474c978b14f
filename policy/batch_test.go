package policy

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/policygen"
)

func leastOf(b *Batch, f *Facts) Decision {
	least, _, _ := b.Bounds(f)
	return least
}

// However requests follow one another, what is remembered of one never changes the
// verdict on another.
func TestBatchDecidesAsThePolicyDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		p := policyOf(t, policygen.Rules(r, 12))
		b := p.NewBatch(nil)
		for range 300 {
			f := randomFacts(r)
			switch r.IntN(12) {
			case 0: // ip.within() fails, and a rule that cannot be evaluated matches
				f.IP.Address, f.IP.Addr = "", netip.Addr{}
			case 1:
				f.User.Groups = []string{strings.Repeat("x", 2000)}
			}
			if got, want := leastOf(b, f), p.Decide(f); !reflect.DeepEqual(got, want) {
				t.Fatalf("%+v, not %+v for %+v", got, want, *f)
			}
		}
	}
}

// So it is for rules as people write them, with facts around what they compare with.
func TestBatchDecidesAsStrictTreasuryDoes(t *testing.T) {
	source, err := os.ReadFile("../examples/strict-treasury/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(Config{Name: "policy.yaml", Source: source})
	if err != nil {
		t.Fatal(err)
	}
	b, r := p.NewBatch(nil), rand.New(rand.NewPCG(7, 8))
	if len(b.atoms) > 4 {
		t.Errorf("rules have no direct form: they read %d kinds of facts", len(b.atoms))
	}
	constants := map[string][]any{
		"ip.country": {"US", "KP", "RU", "ZZ"}, "ip.subdivisions": {[]string{"UA-43"}, []string{"US-NY", "UA-09"}}, "ip.lists": {[]string{"vpn-named"}, []string{"x"}},
		"user.countries": {[]string{"US"}, []string{"SE", "RU"}}, "user.groups": {[]string{"travelling"}, []string{"a", "b"}}, "request.route": {"treasury", "signer"},
		"request.method": {"GET", "POST"}, "request.path": {"/transactions/7", "/"}, "request.purpose": {PurposeAccess, PurposeEnroll, PurposeStepUp},
		"credential.class": {"synced", "attested"}, "session.level": {"verified", "signed_in", "none"},
	}
	decisions := map[Action]int{}
	for range 20_000 {
		f := ordinary()
		f.IP.Country, f.User.Countries, f.User.StartedDays = "US", []string{"US"}, 400
		for range r.IntN(9) {
			fact := p.schema.Facts()[r.IntN(len(p.schema.Facts()))]
			to := p.schema.Field(&f, fact)
			if list := constants[fact.Name]; list != nil {
				to.Set(reflect.ValueOf(list[r.IntN(len(list))]))
				continue
			}
			switch fact.Kind {
			case expr.Bool:
				to.SetBool(r.IntN(2) == 0)
			case expr.Int:
				to.SetInt([]int64{-1, 0, 1, 2, 3, 5, 6, 16, 19, 20, 89, 90, 336, 337}[r.IntN(14)])
			case expr.Double:
				to.SetFloat([]float64{0, 499.5, 500, 900, 900.5}[r.IntN(5)])
			case expr.Duration:
				to.SetInt(int64([]time.Duration{time.Minute, 10 * time.Minute, time.Hour, time.Hour + 1, 3 * time.Hour, 4 * time.Hour, 4*time.Hour + 1}[r.IntN(7)]))
			}
		}
		want := p.Decide(&f)
		if got := leastOf(b, &f); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, not %+v for %+v", got, want, f)
		}
		decisions[want.Action]++
	}
	if decisions[Allow] < 1000 || decisions[StepUp] < 1000 || decisions[Block] < 1000 {
		t.Errorf("too few of a kind: %v", decisions)
	}
}

// For all values of the facts that are lacking, the verdict lies between the bounds.
func TestBoundsHoldWhateverIsLacking(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	open := 0
	for range 30 {
		p := policyOf(t, policygen.Rules(r, 12))
		lacking := []string{"ip.vpn", "user.groups", "time.now", "request.path"}[r.IntN(4):]
		b := p.NewBatch(lacking)
		for range 200 {
			f := randomFacts(r)
			want := p.Decide(f)
			hidden := *f
			for _, name := range lacking {
				if name == "user.groups" && p.grants != nil {
					continue // the grant reads it, and the grant can always be judged
				}
				fact, _ := p.schema.Lookup(name)
				p.schema.Field(&hidden, fact).SetZero()
			}
			least, most, unjudged := b.Bounds(&hidden)
			if want.Action > least.Action || want.Action < most.Action {
				t.Fatalf("%v is not between %v and %v", want.Action, least.Action, most.Action)
			}
			if len(unjudged) == 0 && !reflect.DeepEqual(least, want) {
				t.Fatalf("all was judged: %+v, not %+v", least, want)
			}
			if least.Action != most.Action {
				open++
			}
		}
	}
	if open == 0 {
		t.Error("nothing was ever open: the test shows nothing")
	}
}

// Facts that differ have keys that differ, wherever one ends and the next begins.
func TestBatchKeysAreUnambiguous(t *testing.T) {
	p := mustCompile(t, "rules: [{name: a, when: ip.vpn, then: block}]")
	key := func(f Facts) string {
		var k []byte
		for _, fact := range p.schema.Facts() {
			k = appendValue(k, fact.Kind, p.schema.Field(&f, fact))
		}
		return string(k)
	}
	var all []Facts
	for _, change := range []func(*Facts){
		func(f *Facts) {}, func(f *Facts) { f.IP.Country, f.IP.Org = "a", "bc" }, func(f *Facts) { f.IP.Country, f.IP.Org = "ab", "c" },
		func(f *Facts) { f.User.Groups = []string{""} }, func(f *Facts) { f.User.Groups, f.User.Countries = []string{"a"}, []string{"b"} },
		func(f *Facts) { f.User.Groups = []string{"a", "b"} }, func(f *Facts) { f.IP.VPN = true }, func(f *Facts) { f.IP.Hosting = true },
		func(f *Facts) { f.IP.ASN = 1 }, func(f *Facts) { f.IP.ASN = -1 }, func(f *Facts) { f.Travel.DistanceKM = 1.5 }, func(f *Facts) { f.Travel.SpeedKMH = 1.5 },
		func(f *Facts) { f.Session.Age = 1 }, func(f *Facts) { f.Time.Now = time.Unix(1, 0) }, func(f *Facts) { f.Time.Now = time.Unix(0, 1) },
	} {
		var f Facts
		change(&f)
		for _, other := range all {
			if key(f) == key(other) {
				t.Errorf("one key for %+v and %+v", f, other)
			}
		}
		all = append(all, f)
	}
}

// A rule that asks about the request itself says nothing about a session between
// requests, and everything else is as in a whole judgement.
func TestDecideSessionLeavesTheRequestOut(t *testing.T) {
	p := mustCompile(t, "rules:\n  - {name: writes, when: request.method != \"GET\", then: block}\n  - {name: vpn, when: ip.vpn, then: step_up}\n")
	f := facts(vpn, elsewhere, func(f *Facts) { f.Request.Method = "" })
	if d := p.DecideSession(f, Partial{}); d.Action != StepUp || !slices.Equal(d.Rules, []string{"vpn"}) {
		t.Errorf("%+v", d)
	}
	if d := p.Decide(f); d.Action != Block {
		t.Errorf("%+v", d)
	}
	other := mustCompile(t, "rules:\n  - {name: vpn, when: ip.vpn, then: block}\n")
	if d := p.DecideSession(f, other.Partial(f)); d.Action != StepUp {
		t.Errorf("another policy's memory was believed: %+v", d)
	}
}

// A new fact is part of a new version of the list: otherwise replay takes old records
// for ones that knew it. Add it to factsSince with FactsVersion + 1, raise FactsVersion, and
// then the number here.
func TestEveryFactHasAVersion(t *testing.T) {
	p := mustCompile(t, "rules: [{name: a, when: ip.vpn, then: block}]")
	count, known := map[int]int{}, strings.Join(append(p.FactNames(), p.schema.Groups()...), " ")
	for _, name := range p.FactNames() {
		count[Since(name)]++
	}
	if want := map[int]int{1: 48, 2: 28, 3: 7, 4: 8, 5: 1}; !reflect.DeepEqual(count, want) {
		t.Errorf("facts by version: %v, want %v", count, want)
	}
	for name, v := range factsSince {
		if !slices.Contains(strings.Fields(known), name) || v > FactsVersion {
			t.Errorf("factsSince: %s %d", name, v)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	for name, perRequest := range map[string]bool{"stable": false, "mixed": true} {
		b.Run(name, func(b *testing.B) {
			f := benchFacts()
			batch := benchPolicy(b, 20, perRequest).NewBatch(nil)
			b.ReportAllocs()
			for b.Loop() {
				leastOf(batch, f)
			}
		})
	}
}
