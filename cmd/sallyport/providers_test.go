package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn/authntest"
	"sallyport/authn/signin"
	"sallyport/cmd/sallyport/internal/config"
)

// TestProviderGuides: the oidc section of each guide is right, and signs people in as a
// provider of the documented shape describes.
func TestProviderGuides(t *testing.T) {
	folder := filepath.Join("..", "..", "examples", "providers")
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Skip("there is no folder examples/providers") // the package alone, without the repository around it
	}
	readme, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	profiles := authntest.IdPProfiles()
	if len(files) != len(profiles) {
		t.Errorf("%d guides, %d profiles", len(files), len(profiles))
	}
	for _, profile := range profiles {
		t.Run(profile.Name, func(t *testing.T) {
			if !strings.Contains(string(readme), "("+profile.Name+".yaml)") {
				t.Error("the table of the README has no link to it")
			}
			c := providerGuide(t, filepath.Join(folder, profile.Name+".yaml"))
			few, many := []string{"treasury", "staff"}, []string{}
			for i := range 250 {
				many = append(many, fmt.Sprintf("0f9c8d7e-0000-0000-0000-%012d", i))
			}
			for _, groups := range [][]string{few, many, nil} {
				person, notices := signInAs(t, c, profile, groups)
				want := groups
				if profile.Name == "google-workspace" {
					want = nil
				}
				if got := slices.Sorted(slices.Values(person.Groups)); !slices.Equal(got, slices.Sorted(slices.Values(want))) || person.Email != "alice@example.com" {
					t.Errorf("%d groups: got %s with %d", len(groups), person.Email, len(got))
				}
				for _, n := range notices {
					switch {
					case n.Code == signin.NoticeEmailAssumed && profile.Name == "entra-id":
					case n.Code == signin.NoticeGroupsAbsent && (len(groups) == 0 || profile.Name == "google-workspace"):
					default:
						t.Errorf("%d groups: notice %s: %s", len(groups), n.Code, n.Text)
					}
				}
			}
		})
	}
}

// providerGuide loads a guide as the oidc section of a small configuration.
func providerGuide(t *testing.T, file string) *config.Config {
	t.Helper()
	section, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"secrets/oidc": "s3cret", "policy.yaml": "version: 1\nrules: []\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Parse(filepath.Base(file), dir, []byte("external_url: https://access.example.com\ntrusted_proxies: [127.0.0.1]\n"+string(section)+
		"policy: policy.yaml\nroutes: [{name: app, from: https://app.example.com, to: http://127.0.0.1:3000, allow: {everyone: true}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// signInAs signs a person with these groups in, with the guide's settings.
func signInAs(t *testing.T, c *config.Config, profile authntest.IdPProfile, groups []string) (person struct {
	Email  string
	Groups []string
}, notices []signin.Notice) {
	t.Helper()
	cfg := c.SignIn()
	idp := authntest.StartIdP(t, authntest.IdPConfig{
		Clients: []authntest.IdPClient{{ID: cfg.ClientID, Secret: cfg.ClientSecret, RedirectURIs: []string{cfg.RedirectURL}}},
		People:  []authntest.IdPPerson{{Sub: "alice-1", Email: "alice@example.com", Name: "Alice", Verified: true, Groups: groups}},
		Profile: &profile, NoIss: profile.NoIss, Algorithm: "RS256",
	})
	cfg.Issuer, cfg.Flows, cfg.Now = idp.Issuer(), authntest.NewMemory(), time.Now
	if cfg.GroupsEndpoint != "" {
		cfg.GroupsEndpoint = idp.Issuer() + "/graph/me/getMemberObjects"
	}
	p, err := signin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := p.Begin(t.Context(), netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := idp.SignIn(f.RedirectURL, "alice-1")
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.Finish(t.Context(), back.Query(), f.Binding)
	if err != nil {
		t.Fatal(err)
	}
	if res.RefreshToken == "" {
		t.Error("no refresh token")
	}
	again, err := p.Refresh(t.Context(), res.Person.Subject, res.RefreshToken)
	if err != nil || !slices.Equal(again.Person.Groups, res.Person.Groups) {
		t.Errorf("refresh: %v, groups %q", err, again.Person.Groups)
	}
	person.Email, person.Groups = string(res.Person.Email), res.Person.Groups
	return person, res.Notices
}
