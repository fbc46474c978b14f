package policy

import (
	"strings"
	"testing"
	"time"
)

// An edit takes all lines of an entry and no others, and leaves the ends of lines as they
// are.
func TestEditExceptionsLines(t *testing.T) {
	const ana = "  - user: ana@corp.example\n    rules: [abroad, vpn]\n    until: 2026-12-31\n    approved_by: ciso@corp.example\n    why: |\n      trip\n      # 4711\n"
	const eve = "  # Eve\n  - {id: eve-1, user: eve@corp.example, rules: [vpn], until: 2026-12-31, approved_by: ciso@corp.example, why: x} # hers\n"
	for name, c := range map[string]struct {
		id, source string
		rules      []string
		want       []string
		gone       string
	}{
		"a # in a text":    {"", "exceptions:\n" + ana + eve, nil, []string{"exceptions:\n  # Eve\n  - {id: eve-1"}, "4711"},
		"one rule of it":   {"", "exceptions:\n" + ana + eve, []string{"vpn"}, []string{`why: "trip\n# 4711\n"`, "}\n  # Eve\n"}, "vpn, abroad"},
		"a comment behind": {"eve-1", "exceptions:\n" + strings.Replace(eve, "[vpn]", "[vpn, abroad]", 1), []string{"vpn"}, []string{"[abroad]", "} # hers\n"}, "vpn"},
		"CRLF":             {"eve-1", strings.ReplaceAll("# ours\nexceptions:\n"+ana+eve, "\n", "\r\n"), nil, []string{"# ours\r\n", "ciso@corp.example\r\n"}, "eve-1"},
	} {
		t.Run(name, func(t *testing.T) {
			x := Exceptions{Name: "x.yaml", Source: []byte(c.source)}
			list, err := ReadExceptions(x)
			if err != nil {
				t.Fatal(err)
			}
			if c.id == "" {
				c.id = list[0].ID
			}
			text, err := EndException(x, c.id, c.rules)
			if err != nil || strings.Contains(string(text), c.gone) {
				t.Fatalf("%v\n%s", err, text)
			}
			for _, want := range c.want {
				if !strings.Contains(string(text), want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			if crlf := strings.Contains(c.source, "\r\n"); crlf != (strings.Count(string(text), "\r\n") > 0) || crlf && strings.Count(string(text), "\n") != strings.Count(string(text), "\r\n") {
				t.Errorf("other ends of lines: %q", text)
			}
		})
	}
}

func TestUntilText(t *testing.T) {
	for until, want := range map[string]string{"2026-12-31": "to the end of 2026-12-31 (UTC)", "2026-12-31T18:00:00+01:00": "until 2026-12-31T17:00:00Z"} {
		at, err := ParseMoment(until, true)
		if got := (&Exception{Until: at}).UntilText(); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	for text, want := range map[string]string{"30.12.2026": "write 2026-12-30", "yesterday": "2026-12-31 (in UTC)", "2026-12-30 15:04": "write 2026-12-30T15:04:00Z"} {
		if at, err := ParseMoment(text, true); err == nil || !strings.Contains(err.Error(), want) || at != (time.Time{}) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A person does not approve their own exception by another spelling of their mailbox.
func TestOwnApproval(t *testing.T) {
	for approver, own := range map[string]bool{"e.ve@corp.example": true, "eve+x@corp.example": true, "eve@corp.example": true, "e.va@corp.example": false, "eve@other.example": false} {
		_, err := ReadExceptions(Exceptions{Name: "x.yaml", Source: []byte("exceptions:\n  - {user: eve@corp.example, rules: [vpn], until: 2026-12-31, approved_by: " + approver + ", why: x}\n")})
		if (err != nil) != own {
			t.Errorf("%s: %v", approver, err)
		}
	}
}
