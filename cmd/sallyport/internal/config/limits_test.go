package config

import (
	"testing"

	"sallyport/policy/strictyaml"

	"go.yaml.in/yaml/v4"
)

// TestMessageBytesBringTheirBudget: who raises the size of one message need not raise what a
// session may have held as well, unless that was said.
func TestMessageBytesBringTheirBudget(t *testing.T) {
	for name, tc := range map[string]struct {
		message, inspected, session, want int64
		given                             bool
	}{
		"default":           {1 << 20, 64 << 20, 8 << 20, 8 << 20, false},
		"larger messages":   {16 << 20, 64 << 20, 8 << 20, 32 << 20, false},
		"as much as fits":   {16 << 20, 32 << 20, 8 << 20, 32 << 20, false},
		"said, and enough":  {16 << 20, 64 << 20, 40 << 20, 40 << 20, true},
		"said, and too low": {16 << 20, 64 << 20, 8 << 20, 0, true},
		"too little in all": {16 << 20, 20 << 20, 8 << 20, 0, false},
	} {
		b := &builder{reader: &reader{Source: strictyaml.NewSource("", nil), places: map[string]*yaml.Node{}}, f: defaults(), c: &Config{}}
		b.f.Limits.Message, b.f.Limits.Inspected, b.f.Limits.InspectedPerSession = tc.message, tc.inspected, tc.session
		if tc.given {
			b.places["limits.inspected_bytes_per_session"] = &yaml.Node{}
		}
		b.limits()
		if refused := !b.OK(); refused != (tc.want == 0) || !refused && b.c.Limits.InspectedPerSession != tc.want {
			t.Errorf("%s: %d, %v", name, b.c.Limits.InspectedPerSession, b.Found())
		}
	}
}
