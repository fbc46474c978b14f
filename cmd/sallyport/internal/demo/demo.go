// Package demo is everything around the product that `sallyport demo` needs: an OpenID
// provider with a few people, a treasury console to protect, made-up IP data, and a
// control bar with which a visitor chooses where they connect from.
//
// None of it is part of the product, and `serve` cannot reach it. The demo runs the
// real product, from a configuration file, behind a front proxy of its own: the
// front writes the chosen address into X-Forwarded-For, as a company's load balancer
// would, and puts the control bar on top of the pages that come back.
//
// It fails like the product: a file that cannot be written or a port that is taken ends
// `sallyport demo` with an error, and a proxy that does not answer is 502.
package demo

import (
	"bytes"
	"embed"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"

	"sallyport/authn/authntest"
)

//go:embed files
var files embed.FS

// Place is somewhere a visitor can connect from.
type Place struct {
	ID, Name, Hint string
	Addr           netip.Addr
}

// Places are the choices of the control bar, the harmless one first. Except for the last,
// which is a real network of the DPRK, the addresses are reserved for documentation (RFC
// 5737).
var Places = []Place{
	{"home", "Home in New York", "let in, but asked after a tour of the world", netip.MustParseAddr("198.51.100.23")},
	{"vpn", "A VPN exit", "prove it’s you, from there", netip.MustParseAddr("203.0.113.66")},
	{"aws", "A server at AWS", "blocked: people do not browse from data centres", netip.MustParseAddr("192.0.2.80")},
	{"tor", "A Tor exit", "blocked", netip.MustParseAddr("192.0.2.199")},
	{"kp", "Pyongyang", "blocked: embargoed", netip.MustParseAddr("175.45.176.10")},
}

// Person is a person who can sign in to the demo.
type Person struct{ Email, Name, Does string }

// People are those that get tickets.
var People = []Person{
	{"alice@example.com", "Alice Ashdown", "treasury, works in the US"},
	{"bob@example.com", "Bob Bergmann", "engineering, works in Germany: the treasury is not open to him"},
}

// Addresses are where the parts of the demo are reached, as "host:port".
type Addresses struct{ Front, Proxy, Ops, Provider, Console string }

// Origins returns where browsers sign in and where they open the console, for the front's
// port. A tool never shares the host that people sign in at.
func Origins(port string) (signIn, tool string) {
	return "http://localhost:" + port, "http://tool.localhost:" + port
}

// IdP returns the OpenID provider.
func IdP(a Addresses, externalURL, secret string, logger *slog.Logger) (http.Handler, error) {
	return authntest.NewIdP(authntest.IdPConfig{
		Issuer: "http://" + a.Provider, Title: "Demo company account: who are you?", Logger: logger,
		Clients: []authntest.IdPClient{{
			ID: "sallyport", Secret: secret, RedirectURIs: []string{externalURL + "/.sallyport/callback"},
			PostLogoutRedirectURIs: []string{externalURL + "/.sallyport/sign-out"},
		}},
		People: []authntest.IdPPerson{
			{Sub: "1001", Email: People[0].Email, Name: People[0].Name, Groups: []string{"treasury", "staff"}, Countries: []string{"US"}, Verified: true, Note: People[0].Does},
			{Sub: "1002", Email: People[1].Email, Name: People[1].Name, Groups: []string{"engineering", "staff"}, Countries: []string{"DE"}, Verified: true, Note: People[1].Does},
		},
	})
}

// Write puts configuration, policy, IP data and the client secret into dir, and returns
// the name of the configuration file.
func Write(dir string, a Addresses, signIn, tool, secret string) (string, error) {
	if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o700); err != nil {
		return "", err
	}
	for _, name := range []string{"sallyport.yaml", "policy.yaml", "networks.csv", "vpn.txt", "aws.json", "tor.txt"} {
		t, err := template.ParseFS(files, "files/"+name)
		if err != nil {
			return "", err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, map[string]any{"A": a, "ExternalURL": signIn, "Tool": tool}); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), out.Bytes(), 0o600); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "secrets", "oidc"), []byte(secret), 0o600); err != nil {
		return "", err
	}
	return filepath.Join(dir, "sallyport.yaml"), nil
}
