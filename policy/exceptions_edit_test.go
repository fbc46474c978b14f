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
		"the mark":     "exceptions:\n" + bob + eve + "...\n",
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
	if rest, _ := ReadExceptions(Exceptions{Name: "x.yaml", Source: text}); len(rest) == 0 || rest[0].ID != list[0].ID {
		t.Errorf("the exception has another id:\n%s", text)
	}
	if _, err := EndException(x, "gone", nil); err == nil {
		t.Error("what is not there was ended")
	}
}

// Entries between brackets become lines. What cannot be edited without loss is refused.
func TestEditExceptionsBetweenBrackets(t *testing.T) {
	const ana = "{user: ana@corp.example, rules: [abroad], until: 2026-12-31, approved_by: ciso@corp.example, why: x}"
	bob := strings.Replace(ana, "ana", "bob", 1)
	trip := Exception{User: "eve@corp.example", Rules: []string{"vpn"}, Until: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), ApprovedBy: "ciso@corp.example", Why: "y"}
	trip.ID = trip.DerivedID()
	for name, c := range map[string]struct {
		source string
		right  bool
	}{
		"one line":            {"# ours\nexceptions: [" + ana + "]\n", true},
		"several":             {"exceptions: [\n  " + ana + ",\n  " + bob + ",\n]\n# end\n...\n", true},
		"on the next line":    {"exceptions:\n  [" + ana + ",\n   " + bob + "]\nversion: 1\n", true},
		"a text with #":       {"exceptions: [" + strings.Replace(ana, "why: x", `why: "#1 ]"`, 1) + "]\n", true},
		"a comment inside":    {"exceptions: [\n  # Ana\n  " + ana + "]\n", false},
		"a comment behind":    {"exceptions: [" + ana + "] # Ana\n", false},
		"the whole file":      {"{exceptions: [" + ana + "]}\n", false},
		"the whole file, []":  {"{exceptions: []}\n", false},
		"a comment at an end": {"exceptions: [" + ana + ", # Ana\n  " + bob + "]\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			x := Exceptions{Name: "x.yaml", Source: []byte(c.source)}
			was, err := ReadExceptions(x)
			if err != nil {
				t.Fatal(err)
			}
			text, err := AddException(x, trip)
			if (err == nil) != c.right {
				t.Fatalf("%v\n%s", err, text)
			}
			if !c.right || len(was) == 0 {
				return
			}
			for _, kept := range []string{"# ours", "# end", "...", "version: 1"} {
				if strings.Contains(c.source, kept) && !strings.Contains(string(text), kept) {
					t.Errorf("%s is gone:\n%s", kept, text)
				}
			}
			if list, err := ReadExceptions(Exceptions{Name: "x.yaml", Source: text}); err != nil || len(list) != len(was)+1 || list[0].ID != trip.ID {
				t.Errorf("%v\n%s", err, text)
			}
			text, err = EndException(x, was[0].ID, nil)
			if list, wrong := ReadExceptions(Exceptions{Name: "x.yaml", Source: text}); err != nil || wrong != nil || len(list) != len(was)-1 {
				t.Errorf("%v, %v\n%s", err, wrong, text)
			}
		})
	}
}
