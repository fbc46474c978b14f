package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestEditExceptions(t *testing.T) {
	trip := Exception{User: "ana@corp.example", Rules: []string{"abroad"}, Countries: []string{"NO", "PT"}, Networks: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
		Until: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), ApprovedBy: "ciso@corp.example", Why: `Trip: "fjords", # 4711 é`}
	trip.ID = trip.DerivedID()
	const bob = "  # Bob's desk\n  - user: bob@corp.example\n    rules: [abroad, vpn]   # both\n    until: 2026-12-31\n    approved_by: ciso@corp.example\n    why: desk\n"
	const eve = "  # Eve\n  - {id: eve-1, user: eve@corp.example, rules: [vpn], until: 2026-12-31, approved_by: ciso@corp.example, why: x}\n"
	for name, source := range map[string]string{
		"empty":        "# ours\nexceptions: []   # none\n",
		"one":          "exceptions:\n" + bob,
		"two":          "# ours\nexceptions:\n" + bob + "\n" + eve + "# end\n",
		"and a key":    "exceptions:\n" + eve + "version: 1\n",
		"not indented": "exceptions:\n" + strings.ReplaceAll(eve, "  ", ""),
		"no newline":   "exceptions:\n" + strings.TrimSuffix(eve, "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			x := Exceptions{Name: "x.yaml", Source: []byte(source)}
			before, err := ReadExceptions(x)
			if err != nil {
				t.Fatal(err)
			}
			text, err := AddException(x, trip)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range strings.Split(source, "\n") {
				if !strings.Contains(line, "[]") && !strings.Contains(string(text), line) {
					t.Errorf("%q is gone:\n%s", line, text)
				}
			}
			if _, err := AddException(Exceptions{Name: "x.yaml", Source: text}, trip); err == nil {
				t.Error("the same twice")
			}
			back, err := EndException(Exceptions{Name: "x.yaml", Source: text}, trip.ID, nil)
			if err != nil || string(back) != strings.TrimSuffix(source, "\n")+"\n" && name != "empty" {
				t.Errorf("%v\n%s", err, back)
			}
			rest := text
			for _, e := range append(before, &trip) {
				if rest, err = EndException(Exceptions{Name: "x.yaml", Source: rest}, e.ID, nil); err != nil {
					t.Fatal(err)
				}
			}
			if left, err := ReadExceptions(Exceptions{Name: "x.yaml", Source: rest}); err != nil || len(left) > 0 {
				t.Errorf("%v\n%s", err, rest)
			}
		})
	}
	x := Exceptions{Name: "x.yaml", Source: []byte("exceptions:\n" + bob + eve)}
	list, _ := ReadExceptions(x)
	text, err := EndException(x, list[0].ID, []string{"abroad"})
	if err != nil || !strings.Contains(string(text), "rules: [vpn], until: 2026-12-31") || !strings.Contains(string(text), "# Eve\n") {
		t.Errorf("%v\n%s", err, text)
	}
	for _, source := range []string{"exceptions: [{user: a@c.d, rules: [x], until: 2026-12-31, approved_by: b@c.d, why: x}]\n", "{exceptions: []}\n"} {
		if text, err := AddException(Exceptions{Name: "x.yaml", Source: []byte(source)}, trip); err == nil {
			t.Logf("%s", text)
		}
	}
	if _, err := EndException(x, "gone", nil); err == nil {
		t.Error("what is not there was ended")
	}
}
