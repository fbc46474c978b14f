package ipintel

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A source that changes a little every day passes every comparison with the day before: what an operator last stood
// by is the other measure.
func TestSlowBoil(t *testing.T) {
	list := func(format string, sizes ...int) (days []string) {
		for _, n := range sizes {
			days = append(days, repeat(format, n))
		}
		return days
	}
	// As many networks on every day, which come to hold more of the Internet, or less.
	wider := func(bits ...int) (days []string) {
		for _, b := range bits {
			days = append(days, repeat("11.%d.0.0/"+fmt.Sprint(b), 20))
		}
		return days
	}
	moves := func(shares ...int) (days []string) { // of 100 networks, so many in the US and the rest in KP
		for _, us := range shares {
			var b strings.Builder
			b.WriteString("network,country\n")
			for i := range 100 {
				fmt.Fprintf(&b, "11.%d.0.0/16,%s\n", i, map[bool]string{true: "US", false: "KP"}[i < us])
			}
			days = append(days, b.String())
		}
		return days
	}
	for name, c := range map[string]struct {
		list List
		days []string
		want error
		says string
	}{
		"networks melt away": {List{Signal: "vpn"}, list("11.0.0.%d", 200, 120, 101, 99), errShrunk, "99 networks, 200 on 2026-11-22"},
		"networks pile up":   {List{Signal: "vpn"}, list("11.1.%[1]d.1\n11.2.%[1]d.1", 20, 100, 200, 201), errGrown, "402 networks, 40 on 2026-11-22"},
		"space grows":        {List{Signal: "vpn"}, wider(24, 22, 21, 20), errGrown, "81920 IPv4 addresses, 5120 on 2026-11-22"},
		"space shrinks":      {List{Signal: "vpn"}, wider(18, 20, 21, 22), errShrunk, "20480 IPv4 addresses, 327680 on 2026-11-22"},
		"countries change":   {List{Format: "csv", Signal: "hosting"}, moves(50, 30, 12, 4), errShrunk, "262144 IPv4 addresses in US, 3276800 on 2026-11-22"},
		"a country comes":    {List{Format: "csv", Signal: "hosting"}, moves(98, 85, 60, 55), errGrown, "IPv4 addresses in KP, 131072 on 2026-11-22"},
		"kept by hand":       {List{}, list("11.0.0.%d", 90, 60, 31, 4), nil, ""},
		"there and back":     {List{Signal: "vpn"}, list("11.0.0.%d", 50, 100, 200, 110, 60, 40), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.list.Name, c.list.File = "l", listFile(t, "l.txt", c.days[0])
			w := open(t, Config{Now: clock, Lists: []List{c.list}})
			base := Baseline{now, w.Current().Sources()[0].Figures}
			var refused []string
			approved := ""
			w.Guard(Guard{
				Approved: func(source, sha256 string) bool { return source == "l" && sha256 == approved },
				Baseline: func(s Source) (Baseline, bool) { return base, s.Name == "l" },
				Refused:  func(_ context.Context, s Source, _ error) { refused = append(refused, s.SHA256) },
			})
			last := len(c.days) - 1
			for i, day := range c.days[1:last] {
				write(t, c.list.File, day)
				if err := w.Reload(context.Background()); err != nil {
					t.Fatalf("day %d: %v", i+1, err)
				}
			}
			before := w.Current().Sources()[0].SHA256
			write(t, c.list.File, c.days[last])
			err := w.Reload(context.Background())
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if c.want == nil {
				return
			}
			for _, part := range []string{c.says, "l: it has drifted from what was last approved", "sallyport data apply --force"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not say %q", err, part)
				}
			}
			if s := w.Current().Sources()[0]; s.SHA256 != before || !s.Refused || len(refused) != 1 {
				t.Errorf("%+v; told %d times", s, len(refused))
			}
			_ = w.refresh(context.Background(), whatChanged) // as every minute
			if len(refused) != 1 {
				t.Error("the same file is judged again and again")
			}
			approved = refused[0]
			if err := w.Retry(context.Background()); err != nil {
				t.Fatal(err)
			}
			if s := w.Current().Sources()[0]; s.SHA256 != approved || s.Refused || !strings.Contains(s.Waived, c.says) {
				t.Errorf("approved: %+v", s)
			}
			approved = ""
			if err := w.Reload(context.Background()); err != nil {
				t.Error("what is in use is refused:", err)
			}
		})
	}
}

// A database is measured by country: what it calls an embargoed country can otherwise melt away unseen.
func TestDatabaseThatMovesCountries(t *testing.T) {
	file := mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"11.0.0.0/9": "US", "11.128.0.0/9": "KP", "2600::/32": "US"})}.write(t, filepath.Join(t.TempDir(), "c.mmdb"))
	w := open(t, Config{Databases: []string{file}})
	if f := w.Current().Sources()[0].Figures; f.Countries["US"] != 1<<23 || f.Countries["KP"] != 1<<23 || f.Networks != 3 {
		t.Fatalf("%+v", f)
	}
	mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"11.0.0.0/9": "US", "11.128.0.0/10": "US", "11.192.0.0/12": "KP", "2600::/32": "US"})}.write(t, file)
	if err := w.Reload(context.Background()); err != nil {
		t.Fatal("a part of them:", err)
	}
	mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"11.0.0.0/9": "US", "11.128.0.0/10": "US", "11.192.0.0/17": "KP", "2600::/32": "US"})}.write(t, file)
	if err := w.Reload(context.Background()); !errors.Is(err, errShrunk) || !strings.Contains(err.Error(), "32768 IPv4 addresses in KP, 1048576 before") {
		t.Error(err)
	}
}

// Content that comes late is compared too: there is no step, but there is what was approved.
func TestBaselineOfSourceThatWasMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "l.txt")
	w := open(t, Config{Lists: []List{{Name: "l", Signal: "vpn", File: file}}})
	w.Guard(Guard{Baseline: func(Source) (Baseline, bool) { return Baseline{now, Figures{Networks: 100, IPv4: 100}}, true }})
	write(t, file, repeat("11.0.0.%d", 3))
	if err := w.Reload(context.Background()); !errors.Is(err, errShrunk) || !w.Current().Sources()[0].Missing {
		t.Error(err)
	}
}
