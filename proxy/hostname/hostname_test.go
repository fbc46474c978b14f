package hostname

import (
	"strings"
	"testing"
)

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"wiki.example.com", "wiki.example.com", true},
		{"wiki.example.com", "a.wiki.example.com", false},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "a_b-c.example.com", true},
		{"*.example.com:8443", "a.example.com:8443", true},
		{"*.example.com:8443", "a.example.com", false},
		{"*.example.com", "a.b.example.com", false},
		{"*.example.com", "example.com", false},
		{"*.example.com", ".example.com", false},
		{"*.example.com", "*.example.com", false},
		{"*.example.com", "-a.example.com", false},
		{"*.example.com", "a-.example.com", false},
		{"*.example.com", "a@b.example.com", false},
		{"*.example.com", "evil/.example.com", false},
		{"*.example.com", strings.Repeat("a", 63) + ".example.com", true},
		{"*.example.com", strings.Repeat("a", 64) + ".example.com", false},
	} {
		if got := Covers(c.pattern, c.host); got != c.want {
			t.Errorf("Covers(%q, %q) is %v", c.pattern, c.host, got)
		}
	}
}
