package strictyaml

import (
	"testing"
	"time"
)

func TestDurationMeant(t *testing.T) {
	for text, want := range map[string]string{
		"1d": "24h", "7 days": "168h", "1 week": "168h", "2w": "336h", "5 min": "5m", "10 minutes": "10m", "30 secs": "30s", "1h 30 min": "1h30m",
		"1 day, 2 hours": "26h", "PT8H": "8h", "P7D": "168h", "pt90m": "1h30m", "0.5d": "12h", "1.5 days": "36h", "8H": "8h", "90m": "1h30m",
		"": "", "d": "", "60": "", "soon": "", "1 fortnight": "", "P": "", "PT": "", "-1d": "", "99999w": "", "1d1d": "",
	} {
		got := DurationMeant(text)
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if d, err := time.ParseDuration(got); got != "" && (err != nil || d <= 0) {
			t.Errorf("%q: %v %v", text, d, err)
		}
	}
}

func TestSingleQuoted(t *testing.T) {
	if got := SingleQuoted(`user.name == 'a' && "b" in x`); got != `'user.name == ''a'' && "b" in x'` {
		t.Error(got)
	}
}
