package prove

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

// A policy that is as hard as its author could make it is answered in bounded time, and what
// is not known is no pass.
func TestHostilePolicies(t *testing.T) {
	for name, source := range map[string]string{
		"scores of every kind": manyScores(),
		"a hard formula":       hardFormula(),
		"a long list":          longList(),
		"many networks":        manyNetworks(),
		"many invariants":      manyInvariants(),
	} {
		t.Run(name, func(t *testing.T) {
			p := compile(t, source)
			began := time.Now()
			results := Check(p)
			if took := time.Since(began); took > 4*maxTime {
				t.Errorf("took %s", took)
			}
			for _, r := range results {
				if r.Status == Undecided && r.Reason == "" {
					t.Errorf("%+v", r)
				}
			}
			t.Log(results[0].Status, results[0].Reason, time.Since(began))
			began = time.Now()
			found, err := Idle(p)
			if took := time.Since(began); took > 4*maxTime {
				t.Errorf("finding what can do nothing took %s", took)
			}
			t.Log(len(found), "can do nothing;", err, time.Since(began))
		})
	}
}

// manyScores have no common divisor and many sums.
func manyScores() string {
	var b strings.Builder
	b.WriteString("thresholds: {block: 300000}\nrules:\n")
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1500 {
		fmt.Fprintf(&b, "  - {name: r%d, when: 'user.name == \"a\" ? ip.asn > %d : \"g%d\" in user.groups', score: %d}\n", i, i, i, 1+r.IntN(1000))
	}
	return b.String() + "invariants: [{always: block, when: ip.vpn}]\n"
}

// hardFormula is that nine pigeons sit in eight holes.
func hardFormula() string {
	const holes = 9
	var b strings.Builder
	b.WriteString("rules:\n")
	in := func(pigeon, hole int) string { return fmt.Sprintf(`"%d-%d" in user.groups`, pigeon, hole) }
	for p := range holes + 1 {
		var any []string
		for h := range holes {
			any = append(any, in(p, h))
		}
		fmt.Fprintf(&b, "  - {name: p%d, when: '!(%s)', then: block}\n", p, strings.Join(any, " || "))
	}
	for h := range holes {
		for p := range holes + 1 {
			for q := range p {
				fmt.Fprintf(&b, "  - {name: h%d-%d-%d, when: '%s && %s', then: block}\n", h, p, q, in(p, h), in(q, h))
			}
		}
	}
	return b.String() + "invariants: [{always: block, when: ip.vpn}]\n"
}

func longList() string {
	var b strings.Builder
	b.WriteString("lists:\n  big:\n")
	for i := range 60_000 {
		fmt.Fprintf(&b, "    - n%d\n", i)
	}
	b.WriteString("rules:\n")
	for i := range 20 {
		fmt.Fprintf(&b, "  - {name: r%d, when: 'user.name in lists.big && !user.name.startsWith(\"n%d\")', then: block}\n", i, i)
	}
	return b.String() + "invariants: [{never: allow, when: user.name in lists.big && user.name in user.groups}]\n"
}

func manyNetworks() string {
	var b strings.Builder
	b.WriteString("lists:\n  nets:\n")
	for i := range 20_000 {
		fmt.Fprintf(&b, "    - 10.%d.%d.0/25\n", i/256, i%256)
	}
	b.WriteString("rules:\n  - {name: nets, when: ip.within(lists.nets), then: block}\n")
	for i := range 300 {
		fmt.Fprintf(&b, "  - {name: r%d, when: 'ip.within(\"10.%d.0.0/16\")', then: block}\n", i, i%256)
	}
	return b.String() + "invariants: [{never: allow, when: ip.within(lists.nets)}]\n"
}

func manyInvariants() string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 200 {
		fmt.Fprintf(&b, "  - {name: r%d, when: 'user.started_days * %d > 7 && session.age > session.verified_age', then: block}\n", i, i+2)
	}
	b.WriteString("invariants:\n")
	for i := range 200 {
		fmt.Fprintf(&b, "  - {never: allow, when: 'user.started_days * %d > 8'}\n", i+2)
	}
	return b.String()
}

// FuzzCheck: every policy is answered in bounded time, without panic, and a
// counter-example is one.
func FuzzCheck(f *testing.F) {
	f.Add(`user.groups.exists(g, g.startsWith("a"))`, `"ab" in user.groups`)
	f.Add(`ip.country in user.countries && size(user.countries) < 3`, `!(ip.country in ["KP"])`)
	f.Add(`time.hour(user.time_zone) < 6 || time.hour("UTC") in [1, 2]`, `time.now < timestamp("2026-01-01T00:00:00Z")`)
	f.Add(`ip.within(["10.0.0.0/8", "::/0"])`, `ip.address == "10.0.0.1" || ip.private`)
	f.Add(`travel.speed_kmh > -1e300 ? ip.vpn : user.name < user.email`, `session.age == duration("-1ns")`)
	f.Add(`user.groups.map(g, size(g)).exists(n, n > 3) == [1, 2].exists(x, x == ip.asn)`, `"x" + ip.org == user.name.lowerAscii()`)
	f.Add(`request.path.matches("^/(a|b)*$") != ("a" < request.path)`, `request.path.size() == 9223372036854775807`)
	f.Fuzz(func(t *testing.T, when, claim string) {
		source := fmt.Sprintf("version: 1\nlists: {a: [KP, US], b: [10.0.0.0/8]}\nrules: [{name: a, when: %s, unless: ip.tor, then: block}]\ninvariants: [{never: allow, when: %s}, {always: step_up, when: %s}]\n",
			quote(when), quote(claim), quote(when))
		p, err := policy.Compile(policy.Config{Name: "p.yaml", Source: []byte(source)})
		if err != nil {
			return
		}
		began := time.Now()
		m := p.Model()
		s := &solver{prover: newProver(&m, nil)}
		for i, r := range Check(p) {
			if r.Status == Refuted && !s.breaks(m.Invariants[i], r.Facts) {
				t.Errorf("not a counter-example: %s", r.Test)
			}
		}
		Idle(p)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// bench has rules of the usual kinds.
func benchPolicy(b *testing.B, n int) *policy.Policy {
	conditions := []string{
		`ip.country in lists.embargoed`, `ip.vpn || ip.proxy || ip.tor`, `ip.country != "ZZ" && size(user.countries) > 0 && !(ip.country in user.countries)`,
		`ip.within(lists.offices)`, `"contractors" in user.groups && ip.hosting`, `ip.asn in lists.asns`, `credential.class == "synced"`,
		`session.age > duration("%dh")`, `user.email.endsWith("@partner%d.example")`, `request.path.startsWith("/admin/%d/")`,
	}
	var s strings.Builder
	s.WriteString(lists + "thresholds: {step_up: 50, block: 100}\nrules:\n")
	for i := range n {
		when, then := conditions[i%len(conditions)], "then: block"
		if strings.Contains(when, "%d") {
			when = fmt.Sprintf(when, i)
		}
		switch i % 3 {
		case 1:
			then = "then: step_up"
		case 2:
			then = fmt.Sprintf("score: %d", 10*(1+i%5))
		}
		fmt.Fprintf(&s, "  - {name: r%d, when: '%s', %s}\n", i, when, then)
	}
	s.WriteString("invariants:\n  - {never: allow, when: ip.country in lists.embargoed}\n  - {always: step_up, when: 'ip.vpn && request.route == \"signing\"'}\n  - {always: block, when: ip.hosting}\n")
	return compile(b, s.String())
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		p := benchPolicy(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if r := Check(p); r[0].Status != Proven || r[1].Status != Proven || r[2].Status != Refuted {
					b.Fatal(r)
				}
			}
		})
	}
}

func BenchmarkIdle(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		p := benchPolicy(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Idle(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
