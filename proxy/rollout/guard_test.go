package rollout

import (
	"strings"
	"testing"
)

// Each direction of the guard refuses by itself.
func TestGuardRefuses(t *testing.T) {
	three := []Person{{User: "ann"}, {User: "ben"}, {User: "cat"}}
	half := Guard{MaxNewlyBlocked: 0.5, MaxNewlyAllowed: 0.5, DataMayAllow: 1, BreakGlassGroup: "glass"}
	for name, c := range map[string]struct {
		report Report
		data   bool
		want   string // in the refusal; "": there is none
	}{
		"no one":                   {Report{}, false, ""},
		"one of four blocked":      {Report{Blocked: three[:1]}, false, ""},
		"three blocked":            {Report{Blocked: three}, false, "newly block 3 of 4"},
		"one of the group":         {Report{Blocked: []Person{{User: "ann", BreakGlass: true}}}, false, "block ann of the break-glass group"},
		"one allowed":              {Report{Allowed: three[:1]}, false, ""},
		"three allowed":            {Report{Allowed: three}, false, "newly allow, or ask less of, 3 of 4"},
		"three allowed by data":    {Report{Allowed: three}, true, ""},
		"three asked more":         {Report{AskedMore: three}, false, ""},
		"a route of several":       {Report{Closed: map[string]int{"wiki": 2}}, false, "close the route wiki to all 2"},
		"a route of one person":    {Report{Closed: map[string]int{"wiki": 1}}, false, ""},
		"a route that data closes": {Report{Closed: map[string]int{"wiki": 2}}, true, "close the route wiki"},
	} {
		c.report.People = 4
		c.report.applyGuard(half, c.data)
		if got := c.report.Refused; !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: refused for %q, want %q", name, got, c.want)
		}
	}
}
