package policy

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

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
			if got, want := leastOf(b, f), p.Decide(f); !reflect.DeepEqual(got, want) {
				t.Fatalf("%+v, not %+v for %+v", got, want, *f)
			}
		}
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
	if want := map[int]int{1: 48, 2: 28, 3: 7, 4: 8}; !reflect.DeepEqual(count, want) {
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
