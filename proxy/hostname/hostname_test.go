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

func TestPublicSuffix(t *testing.T) {
	for domain, want := range map[string][2]bool{
		"com": {true, true}, "co.uk": {true, true}, "example.co.uk": {false, true},
		"ck": {true, true}, "example.ck": {true, true}, "www.ck": {false, true}, // *.ck, !www.ck
		"kawasaki.jp": {true, true}, "example.kawasaki.jp": {true, true}, "city.kawasaki.jp": {false, true},
		"github.io": {true, false}, "example.github.io": {false, false},
		"internal": {true, false}, "corp.internal": {false, false}, // by no rule: the last label
	} {
		if is, icann := PublicSuffix(domain); is != want[0] || icann != want[1] {
			t.Errorf("%s: %v, icann %v, want %v", domain, is, icann, want)
		}
	}
}
