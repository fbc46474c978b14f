package prove

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
)

func TestVerify(t *testing.T) {
	good := lists + "rules: [{name: embargo, when: ip.country in lists.embargoed, then: block}, {name: old, when: user.started_days * 2 > 100, then: block}]\ninvariants:\n  - {name: final, never: allow, when: ip.country in lists.embargoed}\n"
	if err := Verify(compile(t, good)); err != nil {
		t.Error(err)
	}
	if err := Verify(compile(t, strings.Split(good, "invariants")[0])); err != nil {
		t.Error(err)
	}
	err := Verify(compile(t, good+"  - {name: cuba, always: block, when: 'ip.country in [\"CU\", \"DO\"]'}\n  - {never: allow, when: user.started_days > 60}\n  - {always: block, when: false}\n"))
	var found policy.Diagnostics
	if !errors.As(err, &found) || len(found) != 3 {
		t.Fatalf("%v", err)
	}
	for i, want := range []string{
		"policy.yaml:6:12: the invariant cuba (always: block) does not hold: this request gets allow",
		"policy.yaml:7:5: whether the invariant invariant-3 (never: allow) holds cannot be decided: it depends on what cannot be followed here: `user.started_days * 2 > 100`",
		"policy.yaml:8:5: the invariant invariant-4 (always: block) is vacuous: there is no request for which its `when` holds",
	} {
		if !strings.HasPrefix(found[i].Error(), want) {
			t.Errorf("%v, want %s", found[i], want)
		}
	}
	if !strings.Contains(found[0].Error(), `given: {ip: {country: "DO"}, `) || !strings.Contains(found[0].Error(), "    6 |") {
		t.Errorf("%v", found[0])
	}
}

// An invariant that says nothing is called vacuous. That its condition never holds is no pass; that
// it holds without any rule is.
func TestVacuous(t *testing.T) {
	p := compile(t, `rules: [{name: vpn, when: ip.vpn, then: block}, {name: far, when: ip.tor, then: block, routes: [wiki]}]
missing_data: block
invariants:
  - {always: block, when: ip.vpn}
  - {always: block, when: 'ip.country == "KP" && ip.country == "US"'}
  - {always: block, when: 'request.purpose == "enroll" && request.route == "wiki"'}
  - {always: step_up, when: 'ip.vpn && session.level != "verified"'}
  - {always: block, when: ip.vpn && size(ip.data_missing) > 0}
  - {always: block, when: 'ip.tor && request.route == "wiki"'}
  - {always: block, when: ip.tor}
`, routes("wiki", "vault"))
	want := []struct {
		status  Status
		vacuous bool
	}{{Proven, false}, {Vacuous, true}, {Vacuous, true}, {Proven, true}, {Proven, true}, {Proven, false}, {Refuted, false}}
	for i, r := range Check(p) {
		if r.Status != want[i].status || r.Vacuous != want[i].vacuous || r.Vacuous != (r.Reason != "") {
			t.Errorf("%d: %s, vacuous: %v (%s)", i, r.Status, r.Vacuous, r.Reason)
		}
		text, err := json.Marshal(r)
		if err != nil || strings.Contains(string(text), `"vacuous":true`) != r.Vacuous {
			t.Errorf("%s %v", text, err)
		}
		refused := strings.Contains(fmt.Sprint(Verify(p)), fmt.Sprintf("invariant-%d ", i+1))
		if refused != (r.Status != Proven) {
			t.Errorf("%d: refused: %v", i, refused)
		}
	}
}

// What cannot be decided is refused: the zero value is no pass.
func TestZeroStatusIsNoPass(t *testing.T) {
	if (Result{}).Status == Proven || Status(0).String() != "undecided" {
		t.Error("the zero Result is a pass")
	}
}

// What an address never is refutes nothing: the test that is printed for it would be refused.
func TestCounterExamplesArePossible(t *testing.T) {
	p := compile(t, "rules: [{name: r, when: 'ip.address.startsWith(\"203.0.113.\")', then: block}]\ninvariants: [{always: block, when: 'ip.within([\"203.0.113.0/24\"])'}]\n")
	if r := Check(p)[0]; r.Status != Undecided || !strings.Contains(r.Reason, "ip.address.startsWith") {
		t.Errorf("%s by %+v: %s", r.Status, r.Facts, r.Reason)
	}
}

// A counter-example is a person that the route lets in, if that can be; it means the same after JSON.
func TestCounterExample(t *testing.T) {
	source := "rules: [{name: vpn, when: 'ip.vpn && !(\"x\" in user.groups)', then: block}]\ninvariants: [{always: block, when: 'ip.vpn && request.route == \"vault\"'}]\n"
	for name, grant := range map[string]policy.Grant{
		"everyone": {Everyone: true}, "group": {Groups: []string{"ops"}}, "email": {Emails: []string{"Ann@example.com"}}, "domain": {Domains: []string{"example.org"}},
	} {
		p := compile(t, source, func(c *policy.Config) {
			c.Routes, c.Grants = []string{"wiki", "vault"}, map[string]policy.Grant{"vault": grant}
		})
		r := Check(p)[0]
		if r.Status != Refuted {
			t.Fatalf("%s: %s %s", name, r.Status, r.Reason)
		}
		if d := p.Decide(r.Facts); d.Action != policy.Allow {
			t.Errorf("%s: %v", name, d)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back struct{ Facts policy.Facts }
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if d := p.Decide(&back.Facts); d.Action != policy.Allow || !slices.Contains(back.Facts.User.Groups, "x") {
			t.Errorf("%s, after JSON: %v", name, d)
		}
	}
}

// The invariants of the reference and of the README are proven.
func TestReadmeInvariants(t *testing.T) {
	var readme []byte
	for _, name := range []string{"../reference.md", "../README.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		readme = append(readme, text...)
	}
	n := 0
	for _, m := range regexp.MustCompile("(?s)```yaml\n(version: 1.*?)```").FindAllStringSubmatch(string(readme), -1) {
		p, err := policy.Compile(policy.Config{Name: "reference.md", Source: []byte(m[1]), Routes: []string{"treasury"}})
		if err != nil {
			t.Fatal(err)
		}
		n += len(Check(p))
		if err := Verify(p); err != nil {
			t.Error(err)
		}
	}
	if n != 5 {
		t.Errorf("%d invariants", n)
	}
}

// What the README says of changes to its invariant is so.
func TestReadmeSaysWhatRefutes(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source := regexp.MustCompile("(?s)```yaml\n(version: 1[^`]*?invariants:.*?)```").FindStringSubmatch(string(readme))[1]
	when := regexp.MustCompile(`when: ip\.vpn &&.*`).FindString(source)
	for _, c := range []struct {
		from, to string
		want     Status
	}{
		{"", "", Proven}, {when, "when: ip.vpn", Refuted}, {"percent: 100", "percent: 50", Refuted}, {"percent: 100", "percent: 0", Refuted},
		{when, "when: ip.asn > 5 && ip.asn < 5", Vacuous},
	} {
		p, err := policy.Compile(policy.Config{Name: "README.md", Source: []byte(strings.Replace(source, c.from, c.to, 1))})
		if err != nil {
			t.Fatal(err)
		}
		if r := Check(p)[0]; r.Status != c.want {
			t.Errorf("%q: %s, want %s: %s", c.to, r.Status, c.want, r.Reason)
		}
	}
}

// What follows from other facts follows in a counter-example as well.
func TestCounterExampleIsConsistent(t *testing.T) {
	r := one(t, "rules: [{name: vpn, when: ip.vpn, then: block}]", "always: block, when: credential.backup_eligible")
	if r.Status != Refuted || r.Facts.Credential.Class == "unattested" || r.Facts.Credential.Class == "none" {
		t.Errorf("%s %+v", r.Status, r.Facts)
	}
	r = one(t, "rules: [{name: vpn, when: ip.vpn, then: block}]", `always: block, when: 'ip.private && ip.version == 6'`)
	if r.Status != Refuted || !r.Facts.IP.Addr.Is6() || !r.Facts.IP.Addr.IsPrivate() || r.Facts.IP.Address != r.Facts.IP.Addr.String() {
		t.Errorf("%s %+v", r.Status, r.Facts)
	}
}

// The folded path follows from the path in a counter-example. No request has the path "/"
// and the folded path "/admin".
func TestCounterExampleFoldsThePath(t *testing.T) {
	const rules = "rules: [{name: admin, when: 'request.path.startsWith(\"/Admin\")', then: block}, {name: vpn, when: ip.vpn, then: step_up}]"
	for claim, refuted := range map[string]bool{
		`always: block, when: 'request.path_folded == "/admin"'`:                         false,
		`always: block, when: 'request.path_folded.startsWith("/admin")'`:                false,
		`always: block, when: 'request.path_folded.startsWith("/Admin")'`:                false, // never holds
		`always: block, when: 'request.path_folded == "/adm"'`:                           true,
		`always: block, when: 'request.path_folded.endsWith("/adm")'`:                    true,
		`always: block, when: 'request.path == "/x/Y" && request.path_folded == "/x/y"'`: true,
	} {
		r := one(t, rules, claim)
		if (r.Status == Refuted) != refuted || r.Status == Proven {
			t.Errorf("%s: %s %+v", claim, r.Status, r.Facts)
		}
		if r.Facts != nil && (r.Facts.Request.PathFolded != policy.FoldPath(r.Facts.Request.Path) || !strings.Contains(r.Test, "path: ")) {
			t.Errorf("%s: path %q, folded %q, and the test\n%s", claim, r.Facts.Request.Path, r.Facts.Request.PathFolded, r.Test)
		}
	}
}
