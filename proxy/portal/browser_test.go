package portal

import (
	"strings"
	"testing"
	"time"
)

func TestTimeZoneIsOneOfTheDatabase(t *testing.T) {
	for name, want := range map[string]string{
		"Europe/Zurich": "Europe/Zurich", "America/Argentina/Buenos_Aires": "America/Argentina/Buenos_Aires", "Etc/GMT+12": "Etc/GMT+12", "UTC": "UTC",
		"": "", "Local": "", "local": "", "LOCAL": "", "Nowhere/Land": "", "../../etc/passwd": "", "/etc/localtime": "", "Europe/../Europe/Zurich": "",
		"Europe/Zurich\x00": "", "Europe/Zürich": "", "Europe/Zurich ": "", "Europe": "", "/": "", "//": "",
		strings.Repeat("a", 65): "", "<script>": "",
	} {
		if got := timeZone(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}

func FuzzTimeZone(f *testing.F) {
	for _, s := range []string{"Europe/Zurich", "Local", "", "..", "Etc/GMT-14"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := timeZone(name)
		if got == "" {
			return
		}
		if l, err := time.LoadLocation(got); err != nil || got != name || len(got) > maxTimeZone || l == time.Local {
			t.Errorf("%q: %v, %v", got, l, err)
		}
	})
}
