package policy

import (
	"fmt"
	"strings"
	"testing"
)

// benchPolicy has n rules of the usual kinds, of which none matches; one in ten reads the request itself.
func benchPolicy(b *testing.B, n int, perRequest bool) *Policy {
	conditions := []string{
		`ip.country in lists.embargoed`, `ip.vpn || ip.proxy || ip.tor`, `ip.country != "ZZ" && size(user.countries) > 0 && !(ip.country in user.countries)`,
		`ip.within(lists.offices)`, `"contractors" in user.groups && ip.hosting`, `ip.asn in lists.asns`, `credential.class == "synced"`,
		`session.age > duration("24h")`, `user.email.endsWith("@partner.example")`,
	}
	var s strings.Builder
	s.WriteString("lists: {embargoed: [KP, IR, CU], offices: [203.0.113.0/24, '2001:db8::/32'], asns: [64500, 64501]}\nrules:\n")
	for i := range n {
		when := conditions[i%len(conditions)]
		if perRequest && i%10 == 0 {
			when = `request.method == "POST" && request.path.startsWith("/admin/` + fmt.Sprint(i) + `")`
		}
		fmt.Fprintf(&s, "  - {name: r%d, when: '%s', then: block}\n", i, when)
	}
	return mustCompile(b, s.String())
}

func benchFacts() *Facts {
	return facts(country("US"), func(f *Facts) {
		f.User.Groups, f.User.Countries, f.IP.ASN = []string{"staff", "treasury", "ops", "oncall"}, []string{"US", "SE"}, 7018
		f.Session.Age = f.Session.VerifiedAge
	})
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		p, f := benchPolicy(b, n, true), benchFacts()
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p.Decide(f).Action != Allow {
					b.Fatal("a rule matched")
				}
			}
		})
	}
}

// With the stable part remembered, as the gate does it.
func BenchmarkFinish(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		for name, perRequest := range map[string]bool{"stable": false, "mixed": true} {
			p, f := benchPolicy(b, n, perRequest), benchFacts()
			s := p.Partial(f)
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if p.Finish(f, s).Action != Allow {
						b.Fatal("a rule matched")
					}
				}
			})
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	source := []byte("version: 1\n" + judgePolicy)
	for b.Loop() {
		if _, err := Compile(Config{Name: "p.yaml", Source: source}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExplain(b *testing.B) {
	p, f := mustCompile(b, judgePolicy), benchFacts()
	for b.Loop() {
		p.Explain(f)
	}
}

// The hot path allocates nothing when the remembered part decides.
func TestFinishDoesNotAllocate(t *testing.T) {
	p := mustCompile(t, "rules: [{name: a, when: 'ip.vpn || \"x\" in user.groups', then: block}]")
	f := facts()
	s := p.Partial(f)
	if n := testing.AllocsPerRun(100, func() { p.Finish(f, s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
