package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
)

// checkMistakes holds an error to what every caller relies on.
func checkMistakes(t *testing.T, err error) {
	t.Helper()
	found, ok := errors.AsType[policy.Diagnostics](err)
	if !ok {
		t.Fatalf("%T: %v", err, err)
	}
	for _, d := range found {
		if d.File == "" || d.Line < 1 || d.Column < 1 || d.Message == "" {
			t.Errorf("%+v", d)
		}
	}
	if len(err.Error()) > 256<<10 {
		t.Errorf("%d bytes of mistakes", len(err.Error()))
	}
}

func FuzzParse(f *testing.F) {
	dir := folder(f)
	f.Add([]byte(good))
	f.Add([]byte(design))
	for _, m := range mistakes {
		if len(m.text()) < 4096 {
			f.Add([]byte(m.text()))
		}
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		c, err := config.Parse("sallyport.yaml", dir, source)
		if err != nil {
			checkMistakes(t, err)
			return
		}
		// All that is accepted can be put to use, and lets no one in by accident.
		if _, err := c.RouteTable(); err != nil {
			t.Errorf("accepted, but: %v", err)
		}
		for name, g := range c.Grants() {
			if g.Permits(policy.User{}) && !g.Everyone {
				t.Errorf("route %s permits nobody in particular: %+v", name, g)
			}
		}
		if !filepath.IsAbs(c.PolicyFile) || !filepath.IsAbs(c.AuditFile) || c.OIDC.ClientSecret == "" || c.Session.IdleTimeout > c.Session.MaxAge {
			t.Errorf("%+v", c)
		}
		if _, err := os.Stat(c.PolicyFile); err != nil {
			t.Error(err)
		}
	})
}

func FuzzRoster(f *testing.F) {
	for _, s := range []string{"", "email\n", "email,countries,timezone\na@example.com,US;DE,Europe/Berlin\n", "email\n\"a@example.com\n", "email,email\n", "\xef\xbb\xbfemail\n#\n", "countries,email\n\"U\nS\",a@example.com\n", "started,email\n2024-02-29,a@example.com\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		roster, err := config.ParseRoster("people.csv", source)
		if err != nil {
			checkMistakes(t, err)
			return
		}
		for email, e := range roster {
			for _, c := range e.Countries {
				if len(c) != 2 {
					t.Errorf("%s: %q", email, c)
				}
			}
			if !e.Started.IsZero() && (e.Started.Year() < 1950 || !e.Started.Equal(e.Started.Truncate(24*time.Hour))) {
				t.Errorf("%s started at %s", email, e.Started)
			}
		}
	})
}
