package expr

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// directly evaluates a condition both ways. It fails if the direct answer is sure and wrong,
// and reports whether it was sure.
func directly(t *testing.T, p *Program, d *Direct, facts *testFacts) bool {
	t.Helper()
	want, err := eval(p, facts)
	holds, sure := d.Eval()
	if sure && (err != nil || holds != want) {
		t.Errorf("%s: %v directly, not %v, %v for %+v", p.Text(), holds, want, err, *facts)
	}
	return sure
}

// randomCondition is made of every kind of part that has a direct form, and of some that
// have none.
func randomCondition(r *rand.Rand, depth int) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	if depth > 0 && r.IntN(3) > 0 {
		a, b := randomCondition(r, depth-1), randomCondition(r, depth-1)
		return pick("("+a+" && "+b+")", "("+a+" || "+b+")", "!("+a+")", "("+a+" ? "+b+" : "+randomCondition(r, 0)+")")
	}
	order := pick("<", "<=", ">", ">=", "==", "!=")
	return pick("ip.vpn", "true", `ip.country == "SE"`, `"SE" != ip.country`, `ip.country in ["SE", "NO", "DK", "FI", "IS"]`, `ip.country in lists.bad`,
		"ip.asn "+order+" 5", "5 "+order+" ip.asn", "ip.asn in [1, 5]", "ip.asn in lists.asns", "ip.speed "+order+" 2.5", "2.5 "+order+" ip.speed",
		`session.age `+order+` duration("1h")`, `duration("1h") `+order+` session.age`, `"ops" in user.groups`, `ip.country in user.groups`,
		"size(user.groups) "+order+" 1", `user.groups.exists(g, g in lists.bad || g.startsWith("o"))`, `user.groups.all(g, g == "ops" || g.contains("S"))`,
		`user.email.endsWith(".com")`, `ip.within("x")`, "ip.vpn == false", "true != ip.vpn", `ip.country < "M"`, `user.groups[0] == "ops"`, `ip.asn / (ip.asn - 5) > 1`,
		`session.hour("UTC") == 3`, `443 in ip.ports`, `size(ip.country) == 2`, `session.now > timestamp("2026-01-01T00:00:00Z")`)
}

// A direct answer that is sure is the answer of CEL, for all facts.
func TestADirectAnswerIsThatOfTheProgram(t *testing.T) {
	r, e := rand.New(rand.NewPCG(21, 22)), testEnv(t)
	long, many := strings.Repeat("o", maxLength+1), strings.Split(strings.Repeat("ops ", maxEntries+1), " ")
	direct, sure := 0, 0
	const conditions, facts = 1500, 40
	for range conditions {
		p, f := compile(t, e, randomCondition(r, 3)), new(testFacts)
		d := p.Direct(f)
		if d == nil {
			continue
		}
		direct++
		for range facts {
			*f = testFacts{
				IP: testIP{Country: []string{"SE", "KP", "US", "", "ops", long}[r.IntN(6)], VPN: r.IntN(2) == 0, ASN: []int64{1, 4, 5, 6, 64500, math.MinInt64}[r.IntN(6)],
					Speed: []float64{0, 2.5, 3, -1, math.Inf(1), math.NaN()}[r.IntN(6)]},
				User:    testUser{Groups: [][]string{nil, {"ops"}, {"KP", "SE"}, {"x", "ops"}, {long}, many}[r.IntN(6)], Email: []string{"a@b.com", "", long + ".com"}[r.IntN(3)]},
				Session: testSession{Age: []time.Duration{0, time.Hour, time.Hour + 1, -time.Hour}[r.IntN(4)]},
			}
			if directly(t, p, d, f) {
				sure++
			}
		}
	}
	if direct < conditions/8 || sure < direct*facts/2 {
		t.Errorf("%d of %d conditions have a direct form, and %d of %d answers are sure", direct, conditions, sure, direct*facts)
	}
}

// Where the program fails, or could, the direct answer is not sure.
func TestADirectAnswerThatMightFailIsNotSure(t *testing.T) {
	e := testEnv(t)
	for text, change := range map[string]func(*testFacts){
		`ip.speed > 2.0`:                        func(f *testFacts) { f.IP.Speed = math.NaN() },
		`ip.country == "SE"`:                    func(f *testFacts) { f.IP.Country = strings.Repeat("x", maxLength+1) },
		`"ops" in user.groups`:                  func(f *testFacts) { f.User.Groups = make([]string, maxEntries+1) },
		`user.groups.exists(g, g == "x")`:       func(f *testFacts) { f.User.Groups = []string{strings.Repeat("x", maxEntry+1)} },
		`size(user.groups) > 1 || ip.asn == 99`: func(f *testFacts) { f.User.Groups = []string{strings.Repeat("x", maxEntry+1)} },
	} {
		f := sample()
		d := compile(t, e, text).Direct(f)
		if d == nil {
			t.Fatalf("%s has no direct form", text)
		}
		if _, sure := d.Eval(); !sure {
			t.Errorf("%s is not sure of ordinary facts", text)
		}
		change(f)
		if _, sure := d.Eval(); sure {
			t.Errorf("%s is sure of facts that it cannot judge", text)
		}
	}
	for _, text := range []string{`user.groups[0] == "x"`, `ip.asn + 1 > 2`, `ip.country.matches("^S.$")`, `session.hour(ip.country) == 3`, `ip.country < "M"`} {
		if compile(t, e, text).Direct(sample()) != nil {
			t.Errorf("%s has a direct form", text)
		}
	}
}
