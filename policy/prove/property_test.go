package prove

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

// world is a part of all requests that is small enough to go through, and conditions that
// tell no two requests apart outside it: if one of all requests breaks an invariant, one in here does.
type world struct {
	conditions []string
	sizes      []int
	set        []func(f *policy.Facts, i int)
}

func (w *world) dimension(size int, set func(f *policy.Facts, i int)) {
	w.sizes, w.set = append(w.sizes, size), append(w.set, set)
}

// all calls f for every request of the world until it says no.
func (w *world) all(m *policy.Model, visit func(*policy.Facts) bool) {
	at := make([]int, len(w.sizes))
	for {
		level := "verified"
		f := policy.Ordinary(level)
		f.IP.Addr, f.Request.Route = netip.MustParseAddr(f.IP.Address), "wiki"
		for d, i := range at {
			w.set[d](&f, i)
		}
		if !visit(&f) {
			return
		}
		d := 0
		for ; d < len(at); d++ {
			if at[d]++; at[d] < w.sizes[d] {
				break
			}
			at[d] = 0
		}
		if d == len(at) {
			return
		}
	}
}

func durations(to func(*policy.Facts) *time.Duration, values ...time.Duration) (int, func(*policy.Facts, int)) {
	return len(values), func(f *policy.Facts, i int) { *to(f) = values[i] }
}

// worlds take turns, so that each stays small.
func worlds() []*world {
	level := func(w *world) {
		w.dimension(3, func(f *policy.Facts, i int) {
			if i > 0 {
				*f = ordinaryAt(f, []string{"", "signed_in", "none"}[i])
			}
		})
		w.conditions = append(w.conditions, `session.level == "verified"`, `session.level != "none"`, `session.level in ["none", "signed_in"]`)
	}
	purpose := func(w *world) {
		w.dimension(5, func(f *policy.Facts, i int) {
			f.Request.Purpose = []string{"access", "access", "sign_in", "enroll", "step_up"}[i]
			f.Request.Route = []string{"wiki", "vault", "", "", ""}[i]
		})
		w.conditions = append(w.conditions, `request.route == "wiki"`, `request.purpose == "access"`, `request.purpose in ["enroll", "sign_in"]`)
	}
	anyRoute := func(w *world) {
		w.dimension(2, func(f *policy.Facts, i int) { f.Request.Route = []string{"wiki", "vault"}[i] })
	}
	assertion := func(w *world) {
		w.dimension(durations(func(f *policy.Facts) *time.Duration { return &f.Session.VerifiedAge },
			-24*time.Hour, -time.Minute, 0, time.Minute, 2*time.Minute, time.Hour, 90*time.Minute, 40*time.Hour))
		w.dimension(2, func(f *policy.Facts, i int) { f.Session.VerifiedHere = i == 1 })
		w.dimension(4, func(f *policy.Facts, i int) {
			f.Credential.Class = []string{"unattested", "synced", "attested", "attested"}[i]
			f.Credential.BackupEligible = i%2 == 1
		})
		w.conditions = append(w.conditions, `session.verified_age > duration("1h")`, `session.verified_age <= duration("1m")`, `session.verified_here`,
			`credential.class == "synced"`, `credential.class in ["attested", "unattested"]`, `credential.backup_eligible`, `ip.vpn`)
		w.dimension(2, func(f *policy.Facts, i int) { f.IP.VPN = i == 1 })
	}
	var out []*world
	add := func(parts ...func(*world)) {
		w := &world{}
		for _, part := range parts {
			part(w)
		}
		out = append(out, w)
	}
	countries := func(w *world) {
		home := []string{"KP", "IR", "US", "SE"}
		w.dimension(len(home), func(f *policy.Facts, i int) { f.IP.Country = home[i] })
		w.dimension(8, func(f *policy.Facts, i int) { // any of KP, US and another
			f.User.Countries = nil
			for bit, c := range []string{"KP", "US", "SE"} {
				if i&(1<<bit) != 0 {
					f.User.Countries = append(f.User.Countries, c)
				}
			}
		})
		w.dimension(2, func(f *policy.Facts, i int) { // twice the same is as long as two
			if i == 1 && len(f.User.Countries) == 1 {
				f.User.Countries = append(f.User.Countries, f.User.Countries[0])
			}
		})
		w.conditions = append(w.conditions, `ip.country == "KP"`, `ip.country in lists.embargoed`, `ip.country != "US"`, `ip.country in user.countries`,
			`!(ip.country in user.countries)`, `size(user.countries) > 0`, `size(user.countries) < 2`, `size(user.countries) == 1`, `"US" in user.countries`,
			`user.countries.exists(c, c in ["KP", "US"])`, `user.countries.all(c, c == "KP")`, `user.countries.exists(c, c != "US")`, `user.countries == []`,
			`user.countries[0] == "US"`)
	}
	numbers := func(w *world) {
		w.dimension(7, func(f *policy.Facts, i int) { f.IP.ASN = int64(i) })
		w.dimension(durations(func(f *policy.Facts) *time.Duration { return &f.Session.Age }, 0, time.Hour-1, time.Hour, 2*time.Hour, 3*time.Hour))
		w.dimension(5, func(f *policy.Facts, i int) { f.Travel.SpeedKMH = []float64{0, 2.5, 3, 3.5, 4}[i] })
		w.conditions = append(w.conditions, `ip.asn > 2`, `ip.asn <= 3`, `ip.asn in [1, 3, 5]`, `ip.asn == 3`, `ip.asn != 4`, `3 < ip.asn`, `ip.asn >= 0`,
			`session.age >= duration("1h")`, `session.age < duration("1h")`, `session.age == duration("2h")`, `session.age > duration("2h")`,
			`travel.speed_kmh > 3.0`, `travel.speed_kmh <= 3.0`, `travel.speed_kmh == 3.0`, `10 / ip.asn > 2`)
	}
	networks := func(w *world) {
		addresses := []string{"10.0.0.1", "10.1.0.1", "10.1.2.3", "10.255.0.1", "203.0.113.7", "198.51.100.1", "2001:db8::1", "2001:db8:1::1", "fd00::1"}
		w.dimension(len(addresses), func(f *policy.Facts, i int) {
			f.IP.Address, f.IP.Addr = addresses[i], netip.MustParseAddr(addresses[i])
			f.IP.Version, f.IP.Private = 4, f.IP.Addr.IsPrivate()
			if f.IP.Addr.Is6() {
				f.IP.Version = 6
			}
		})
		w.dimension(2, func(f *policy.Facts, i int) { f.IP.Tor = i == 1 })
		w.dimension(2, func(f *policy.Facts, i int) { // NAT64: private, and IPv6
			if f.IP.Version == 6 && i == 1 {
				f.IP.Private = true
			}
		})
		w.conditions = append(w.conditions, `ip.within("10.0.0.0/8")`, `ip.within("10.1.0.0/16")`, `ip.within(["10.1.2.3", "2001:db8:1::/48"])`, `ip.within("2001:db8::/32")`,
			`ip.version == 4`, `ip.version != 4`, `ip.private`, `ip.tor`, `ip.within(lists.offices)`, `ip.address == "10.1.2.3"`, `ip.version > 4`)
	}
	texts := func(w *world) {
		paths := []string{"/", "/a", "/a/b", "/a/b/c", "/x", "/x/b", "/a/x", "/A"}
		w.dimension(len(paths), func(f *policy.Facts, i int) { f.Request.Path = paths[i] })
		names := []string{"ops", "ops-eu", "staff", "nobody", "/a", "/a/b", "/x", "/x/b"}
		w.dimension(len(names), func(f *policy.Facts, i int) { f.User.Name = names[i] })
		w.dimension(32, func(f *policy.Facts, i int) {
			f.User.Groups = nil
			for bit, g := range []string{"ops", "ops-eu", "staff", "other", f.User.Name} {
				if i&(1<<bit) != 0 {
					f.User.Groups = append(f.User.Groups, g)
				}
			}
		})
		w.conditions = append(w.conditions, `request.path == "/a"`, `request.path.startsWith("/a")`, `request.path.startsWith("/a/b")`, `request.path.startsWith("/x")`,
			`request.path.lowerAscii() == "/a"`, `request.path.endsWith("/b")`, `request.path in ["/x", "/a/b"]`, `"ops" in user.groups`,
			`user.groups.exists(g, g.startsWith("ops"))`, `user.groups.all(g, g.startsWith("ops"))`, `size(user.groups) >= 2`, `user.groups.exists(g, g == "staff" || g == "ops")`,
			`user.name in user.groups`, `user.name == request.path`, `request.path.matches("^/a(/b)?$")`, `user.groups.exists(g, !(g in ["ops", "staff"]))`)
	}
	days := func(w *world) {
		w.dimension(7*24, func(f *policy.Facts, i int) { f.Time.Now = f.Time.Now.Add(time.Duration(i) * time.Hour) })
		w.dimension(5, func(f *policy.Facts, i int) {
			f.User.TimeZone = []string{"", "UTC", "Asia/Tokyo", "America/New_York", "Nowhere"}[i]
		})
		w.conditions = append(w.conditions, `time.hour("UTC") < 8`, `time.hour("UTC") >= 8`, `time.hour("UTC") in [8, 9]`, `time.weekday("UTC") in ["Sat", "Sun"]`,
			`time.weekday("UTC") == "Mon"`, `time.hour("UTC") <= 23`, `user.time_zone != ""`, `time.hour(user.time_zone) < 6`, `user.time_zone != "" && time.hour(user.time_zone) < 6`)
	}
	add(level, purpose, func(w *world) {
		w.dimension(2, func(f *policy.Facts, i int) { f.IP.VPN = i == 1 })
		w.dimension(2, func(f *policy.Facts, i int) { f.IP.Tor = i == 1 })
		w.dimension(2, func(f *policy.Facts, i int) {
			if i == 1 {
				f.IP.DataMissing = []string{"x"}
			}
		})
		w.dimension(2, func(f *policy.Facts, i int) {
			if i == 1 && f.Session.Level != "none" {
				f.User.Groups = []string{"ops"}
			}
		})
		w.dimension(3, func(f *policy.Facts, i int) {
			if f.Session.Level == "verified" {
				f.Credential.Class, f.Credential.BackupEligible = []string{"unattested", "synced", "attested"}[i], i == 1
			}
		})
		w.dimension(2, func(f *policy.Facts, i int) {
			if i == 1 && f.Session.Level == "verified" {
				f.Session.VerifiedAge, f.Session.VerifiedHere = 0, true
			}
		})
		w.conditions = append(w.conditions, `ip.vpn`, `ip.tor`, `ip.vpn != ip.tor`, `ip.vpn ? ip.tor : "ops" in user.groups`, `size(ip.data_missing) > 0`, `"ops" in user.groups`,
			`!("ops" in user.groups)`, `credential.class == "synced"`, `true`)
	})
	add(assertion, anyRoute)
	add(countries, assertionFresh, anyRoute)
	add(numbers, assertionFresh, anyRoute)
	add(networks, assertionFresh, anyRoute)
	add(texts, assertionFresh, anyRoute)
	add(days, assertionFresh, anyRoute)
	add(countries, purposeOnly)
	return out
}

// assertionFresh: an assertion that answers everything, or nothing.
func assertionFresh(w *world) {
	w.dimension(2, func(f *policy.Facts, i int) {
		if i == 1 {
			f.Session.VerifiedAge, f.Session.VerifiedHere, f.Credential.Class = 0, true, "attested"
		}
	})
}

func purposeOnly(w *world) {
	assertionFresh(w)
	w.dimension(5, func(f *policy.Facts, i int) {
		f.Request.Purpose = []string{"access", "access", "sign_in", "enroll", "step_up"}[i]
		f.Request.Route = []string{"wiki", "vault", "", "", ""}[i]
	})
	w.conditions = append(w.conditions, `request.purpose == "enroll"`)
}

// ordinaryAt keeps nothing of f but what does not depend on the level.
func ordinaryAt(f *policy.Facts, level string) policy.Facts {
	out := *f
	out.Session = policy.Session{Level: level}
	out.Credential = policy.Credential{Class: "none"}
	if level == "none" {
		out.User = policy.User{StartedDays: -1}
	}
	return out
}

// randomPolicy makes rules and invariants of a world's conditions.
func randomPolicy(r *rand.Rand, w *world) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var condition func(depth int) string
	condition = func(depth int) string {
		if depth == 0 || r.IntN(3) == 0 {
			return pick(w.conditions...)
		}
		switch r.IntN(4) {
		case 0:
			return "!(" + condition(depth-1) + ")"
		case 1:
			return "(" + condition(depth-1) + " || " + condition(depth-1) + ")"
		default:
			return "(" + condition(depth-1) + " && " + condition(depth-1) + ")"
		}
	}
	spelled := func(depth int) string { return "'" + condition(depth) + "'" }
	var b strings.Builder
	fmt.Fprintf(&b, "lists: {embargoed: [KP, IR], offices: [10.1.0.0/16, 203.0.113.0/24]}\nthresholds: {step_up: 50, block: 90, max_age: 1h}\nmissing_data: %s\nrules:\n", pick("allow", "step_up", "block"))
	for i := range 1 + r.IntN(6) {
		fmt.Fprintf(&b, "  - {name: r%d, when: %s", i, spelled(2))
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, ", unless: %s", spelled(1))
		}
		if r.IntN(5) == 0 {
			fmt.Fprintf(&b, ", routes: [%s]", pick("wiki", "vault", "wiki, vault"))
		}
		report := r.IntN(8) == 0
		if report {
			b.WriteString(", mode: report")
		}
		switch r.IntN(4) {
		case 0:
			b.WriteString(", then: block")
		case 1:
			fmt.Fprintf(&b, ", then: step_up, max_age: %s, require: [%s]", pick("1m", "1h", "30h"), pick("", "device_bound", "attested"))
		case 2:
			b.WriteString(", then: step_up")
		default:
			fmt.Fprintf(&b, ", score: %s", pick("20", "30", "45", "60"))
		}
		b.WriteString("}\n")
	}
	b.WriteString("invariants:\n")
	for range 3 {
		fmt.Fprintf(&b, "  - {%s, when: %s}\n", pick("never: allow", "always: step_up", "always: block"), spelled(2))
	}
	return b.String()
}

// compilable leaves out the few that are refused, such as a rule that blocks everyone.
func compilable(source string) *policy.Policy {
	p, err := policy.Compile(policy.Config{Name: "policy.yaml", Source: []byte("version: 1\n" + source), Routes: []string{"wiki", "vault"}})
	if err != nil {
		return nil
	}
	return p
}

// What the prover says is what going through all requests says.
func TestPropertyAgreesWithEnumeration(t *testing.T) {
	counts := map[Status]int{}
	for n, w := range worlds() {
		r := rand.New(rand.NewPCG(uint64(n), 7))
		for range 70 {
			source := randomPolicy(r, w)
			p := compilable(source)
			if p == nil {
				continue
			}
			compare(t, w, p, source, counts)
		}
	}
	t.Log(counts)
	if total := counts[Proven] + counts[Refuted] + counts[Undecided]; counts[Proven] < total/10 || counts[Refuted] < total/4 || counts[Undecided] > total/4 {
		t.Errorf("of little worth: %v", counts)
	}
}

func compare(t *testing.T, w *world, p *policy.Policy, source string, counts map[Status]int) {
	t.Helper()
	m := p.Model()
	broken, claims := make([]*policy.Facts, len(m.Invariants)), make([]bool, len(m.Invariants))
	s := &solver{prover: newProver(&m, nil)}
	w.all(&m, func(f *policy.Facts) bool {
		for i, v := range m.Invariants {
			if broken[i] == nil && s.breaks(v, f) {
				g := *f
				broken[i] = &g
			}
			if holds, err := m.Holds(v.When, f); holds && err == nil && s.meant(v, f) {
				claims[i] = true
			}
		}
		return slices.Contains(broken, nil) || slices.Contains(claims, false)
	})
	for i, r := range Check(p) {
		counts[r.Status]++
		switch {
		case r.Status == Proven && broken[i] != nil:
			t.Fatalf("invariant %d is called proven, but not for\n%+v\n%s", i, *broken[i], source)
		case r.Status == Proven && !claims[i] && !strings.Contains(r.When, "[0]") && !strings.Contains(r.When, "request.path."): // what is free may be contradictory
			t.Fatalf("invariant %d is called proven, but claims nothing\n%s", i, source)
		case r.Status == Refuted && broken[i] == nil && !strings.Contains(source, "[0]"):
			t.Fatalf("invariant %d is refuted by what enumeration does not have\n%s\n%s", i, r.Test, source)
		// In other spellings paths are judged more strictly than the circuit says.
		case r.Status == Undecided && claims[i] && !strings.Contains(r.Reason, "cannot be followed") && !strings.Contains(source, "request.path"):
			t.Fatalf("invariant %d: %s\n%s", i, r.Reason, source)
		}
		if r.Status == Refuted && !s.breaks(m.Invariants[i], r.Facts) {
			t.Fatalf("not a counter-example: %s", r.Test)
		}
	}
}
