package prove

import "testing"

// What every text of a language matches is told from what only some match.
func TestIncludes(t *testing.T) {
	path, email := languages["request.path"], languages["user.email"]
	for _, tt := range []struct {
		language, pattern string
		want              bool
	}{
		{path, `^/.*$`, true}, {path, `^/`, true}, {path, `^/[a-z]*$`, false}, {path, `^.+$`, true}, {path, `^..+$`, false}, {path, `/`, true}, {path, `^(/|a).*$`, true},
		{email, `^.*$`, true}, {email, `^.+@.+$`, true}, {email, `^[^@]+@[^@]+$`, true}, {email, `^\S+@[^@]+$`, true}, {email, `^.*@example\.com$`, false}, {email, `^.*[.].*$`, false},
		{email, `^[^A-Z]*$`, true}, {email, `(?i)^[^a-z]*$`, false}, {email, `^(?m)^.*$`, false}, {email, `^.*\b$`, false}, {email, `^.{3,}$`, true}, {email, `^.{4,}$`, false}, {email, `(`, false},
	} {
		if got := includes(tt.language, `^(?s:.*?)(?:`+tt.pattern+`)(?s:.*)$`); got != tt.want {
			t.Errorf("%s in %s: %t", tt.language, tt.pattern, got)
		}
	}
	if !disjoint(email, `^.* .*$`) || disjoint(email, `^.*x.*$`) || !disjoint(path, `^[^/].*$`) {
		t.Error("wrong about what no text matches")
	}
}
