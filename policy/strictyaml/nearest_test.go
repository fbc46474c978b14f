package strictyaml

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	known := []string{"ip.country", "ip.vpn", "block", "step_up"}
	for word, want := range map[string]string{"ip.contry": "ip.country", "blok": "block", "stepup": "step_up", "BLOCK": "block", "step": "step_up",
		"ip.vnp": "ip.vpn", "zebra": "", strings.Repeat("x", 1000): ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%.20s: %q, want %q", word, got, want)
		}
	}
}
