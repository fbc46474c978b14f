package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
)

// with is the good configuration with another sign-in host and other routes, each
// written "name from".
func with(externalURL string, routes ...string) string {
	text := strings.Replace(good, external, "external_url: "+externalURL, 1)
	text = text[:strings.Index(text, "  - name:")]
	for _, r := range routes {
		name, from, _ := strings.Cut(r, " ")
		text += "  - {name: " + name + ", from: '" + from + "', to: 'http://127.0.0.1:3000', allow: {everyone: true}}\n"
	}
	return text
}

// A route on the host that people sign in at would make scripts of the tool scripts of
// the sign-in pages. However the host is written, and on every port of it.
func TestNoRouteIsOnTheSignInHost(t *testing.T) {
	const access = "https://access.example.com"
	dir := folder(t)
	for _, c := range []struct{ externalURL, from, suggested string }{
		{access, "/", "https://tool.example.com,"},
		{access, "/tool", "https://tool.example.com,"},
		{access, "/?x", "https://tool.example.com,"},
		{access, access, "https://tool.example.com,"},
		{access, access + "/", "https://tool.example.com,"},
		{access, access + "/deep/path", "https://tool.example.com,"},
		{access, "https://ACCESS.Example.COM", "https://tool.example.com,"},
		{access, "HTTPS://access.example.com", "https://tool.example.com,"},
		{access, "https://access.example.com.", "https://tool.example.com,"},
		{access, "https://access.example.com:443", "https://tool.example.com,"},
		{access, "https://access.example.com:0443/x", "https://tool.example.com,"},
		{access, "https://access.example.com.:443/", "https://tool.example.com,"},
		// Cookies, the __Host- ones too, are kept by host and not by port or scheme.
		{access, "https://access.example.com:8443", "https://tool.example.com,"},
		{access, "http://access.example.com", "https://tool.example.com,"},
		{access, "http://access.example.com:8080/x", "https://tool.example.com,"},
		{access + ":8443", access, "https://tool.example.com:8443,"},
		{access + ":8443", access + ":8443/x", "https://tool.example.com:8443,"},
		// The sign-in host may be the one that is written oddly.
		{"https://ACCESS.example.com.:443/", access, "https://tool.example.com,"},
		{"https://access.example.com.", access + "/x", "https://tool.example.com,"},
		// A domain that can be registered has tools below it, not beside it.
		{"https://example.com", "/", "https://tool.example.com,"},
		{"https://example.co.uk", "https://example.co.uk/x", "https://tool.example.co.uk,"},
		// The tool of a sidecar of old has the name of the route already.
		{"https://tool.example.com", "/", "https://app.example.com,"},
		{"http://localhost:8080", "/", "http://tool.localhost:8080,"},
		{"http://localhost:8080", "http://LocalHost:8080", "http://tool.localhost:8080,"},
		{"http://localhost:8080", "http://localhost", "http://tool.localhost:8080,"},
		{"http://localhost:8080", "http://localhost.:9000/x", "http://tool.localhost:8080,"},
		{"http://access.localhost:8080", "http://access.localhost:8080", "http://tool.access.localhost:8080,"},
	} {
		text := with(c.externalURL, "tool "+c.from)
		if strings.HasPrefix(c.externalURL, "https:") {
			text += "tls: {cert_file: one.crt, key_file: one.key}\n"
		}
		_, err := config.Parse("sallyport.yaml", dir, []byte(text))
		found, ok := errors.AsType[policy.Diagnostics](err)
		if !ok || len(found) != 1 {
			t.Errorf("%s on %s: %v", c.from, c.externalURL, err)
			continue
		}
		d := found[0]
		if d.Line != 9 || d.Column != 24 || !strings.Contains(d.Message, "no tool may share the host that people sign in at") || !strings.Contains(d.Expected, "from: "+c.suggested) || !strings.Contains(d.Expected, "redirect URI") {
			t.Errorf("%s on %s: it says\n%v\nand should propose %s", c.from, c.externalURL, err, c.suggested)
		}
		// What it proposes is accepted.
		proposed := strings.TrimSuffix(c.suggested, ",")
		if _, err := config.Parse("sallyport.yaml", dir, []byte(strings.Replace(text, "'"+c.from+"'", "'"+proposed+"'", 1))); err != nil {
			t.Errorf("%s on %s: %s is proposed and refused: %v", c.from, c.externalURL, proposed, err)
		}
	}
}

// Every such route is told, with its own name in the proposal.
func TestEveryRouteOnTheSignInHostIsTold(t *testing.T) {
	_, err := config.Parse("sallyport.yaml", folder(t), []byte(with("http://localhost:8080", "wiki /", "ledger http://ledger.localhost:8080", "desk /desk")))
	found, _ := errors.AsType[policy.Diagnostics](err)
	if len(found) != 2 || found[0].Line != 9 || !strings.Contains(found[0].Expected, "http://wiki.localhost:8080") || found[1].Line != 11 || !strings.Contains(found[1].Expected, "http://desk.localhost:8080") {
		t.Error(err)
	}
}

func TestHostsOfTools(t *testing.T) {
	dir := folder(t)
	for _, c := range []struct {
		name, externalURL string
		routes, notes     []string
	}{
		{"beside the sign-in host", "https://access.example.com", []string{"a https://tool.example.com", "b https://other.example.com/x", "c https://other.example.com/y", "d https://xaccess.example.com", "e https://example.org"}, nil},
		{"below localhost", "http://localhost:8080", []string{"a http://a.localhost:8080", "b http://b.localhost:8080"}, nil},
		{"another name of this machine", "http://localhost:8080", []string{"a http://127.0.0.1:8080", "b http://[0:0::1]:8080"}, nil},
		{"above the sign-in host", "https://access.corp.example.com", []string{"a https://example.com"}, []string{"route a is on example.com, a domain above the sign-in host access.corp.example.com"}},
		{"right above it, with a dot", "https://access.example.com", []string{"a https://EXAMPLE.com."}, []string{"such as tool.example.com"}},
		{"above localhost", "http://access.localhost:8080", []string{"a http://localhost:8080"}, []string{"a domain above the sign-in host"}},
		{"below the sign-in host", "https://example.com", []string{"a https://a.example.com"}, []string{"route a is on a.example.com, below the sign-in host"}},
		{"two ports of one host", "https://access.example.com", []string{"a https://tool.example.com", "b https://TOOL.example.com.:8443/x", "c https://tool.example.com:8443/y"}, []string{"routes a and b are on two ports of tool.example.com"}},
		{"two ports of one address", "http://localhost:8080", []string{"a http://[::1]:8080", "b http://[0:0:0::1]:8081"}, []string{"two ports of ::1"}},
		{"one tool above another", "https://access.example.com", []string{"a https://tools.example.com", "b https://wiki.tools.example.com"}, []string{"route a is on tools.example.com, a domain above that of route b"}},
		{"a wildcard", "https://access.example.com", []string{"a https://*.apps.example.com", "b https://docs.apps.example.com", "c https://example.org"}, []string{"route a is for every host of apps.example.com: scripts of one can set cookies for all of them"}},
		{"wildcards that do not meet", "http://localhost:8080", []string{"a http://*.apps.localhost:8080", "b http://*.x.apps.localhost:8080"}, []string{"every host of apps.localhost", "every host of x.apps.localhost"}},
		{"one tool below another", "https://access.example.com", []string{"b https://wiki.tools.example.com", "a https://tools.example.com"}, []string{"route a is on tools.example.com, a domain above that of route b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := with(c.externalURL, c.routes...)
			if strings.HasPrefix(c.externalURL, "https:") {
				text += "tls: {cert_file: one.crt, key_file: one.key}\n"
			}
			got, err := config.Parse("sallyport.yaml", dir, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			notes := got.HostNotes()
			if d := cmp.Diff(len(c.notes), len(notes)); d != "" {
				t.Fatalf("%q", notes)
			}
			for i, want := range c.notes {
				if !strings.Contains(notes[i], want) {
					t.Errorf("%q does not say %q", notes[i], want)
				}
			}
		})
	}
}

// The sign-in host has one spelling, that of requests: otherwise no request would be
// taken for one to it.
func TestSignInHostIsSpeltAsRequestsAre(t *testing.T) {
	c, err := config.Parse("sallyport.yaml", folder(t), []byte(strings.Replace(good, external, "external_url: http://LOCALHOST.:08080/", 1)))
	if err != nil || c.ExternalURL.String() != "http://localhost:8080" {
		t.Errorf("%v, %v", c, err)
	}
}

// A wildcard is one label in front of a domain of the company's own, under which people do not sign in.
func TestWildcardHosts(t *testing.T) {
	const access = "https://access.example.com"
	dir := folder(t)
	for _, c := range []struct {
		externalURL string
		routes      []string
		more        string // at the end of the file
		line        int    // 0: it is good
		want        string
	}{
		{access, []string{"a https://*.apps.example.com"}, "", 0, ""},
		{access, []string{"a https://*.apps.example.com", "b https://x.apps.example.com", "c https://*.apps.example.com/api", "d https://*.x.apps.example.com", "e https://*.apps.example.com:8443"}, "", 0, ""},
		{"https://apps.example.com", []string{"a https://*.apps.example.com"}, "", 0, ""}, // a note says that they are below it
		{access, []string{"b https://docs.example.com", "a https://*.example.com"}, "", 10, "people sign in at one of them: access.example.com"},
		{access, []string{"a https://*.EXAMPLE.com.:8443/x"}, "", 9, "people sign in at one of them"},
		{"http://access.localhost:8080", []string{"a http://*.localhost:8080"}, "", 9, "people sign in at one of them"},
		{access, []string{"a https://*.apps.example.com", "b https://*.Apps.example.com:443/"}, "", 10, "one of them could never be reached"},
		{access, []string{"a https://*.com"}, "", 9, "a wildcard over a public suffix"},
		{access, []string{"a https://*"}, "", 9, "not one whole label at the beginning"},
		{access, []string{"a https://*."}, "", 9, "no host"},
		{access, []string{"a https://x*.apps.example.com"}, "", 9, "not one whole label"},
		{access, []string{"a https://x.*.example.com"}, "", 9, "not one whole label"},
		{access, []string{"a https://*.*.example.com"}, "", 9, "exactly one label"},
		{access, []string{"a https://*.10.0.0.1"}, "", 9, "a wildcard before an address"},
		{access, []string{"a https://*.münchen.example"}, "", 9, "a malformed host"},
		{access, []string{"a http://*.apps.example.com"}, "", 9, "scheme of external_url"},
		{"https://*.example.com", []string{"a https://app.example.com"}, "", 1, "malformed host"},
		{access, []string{"b https://docs.example.com", "a https://*.apps.example.com"}, "acme: {accept_terms: true}\n", 10, "acme obtains no certificate for *.apps.example.com"},
	} {
		text := with(c.externalURL, c.routes...) + c.more
		if strings.HasPrefix(c.externalURL, "https:") && c.more == "" {
			text += "tls: {cert_file: one.crt, key_file: one.key}\n"
		}
		got, err := config.Parse("sallyport.yaml", dir, []byte(text))
		if c.line == 0 {
			if err != nil {
				t.Errorf("%q: %v", c.routes, err)
			} else if _, err := got.RouteTable(); err != nil {
				t.Errorf("%q: %v", c.routes, err)
			}
			continue
		}
		found, ok := errors.AsType[policy.Diagnostics](err)
		if !ok || len(found) != 1 || found[0].Line != c.line || !strings.Contains(found[0].Message, c.want) || found[0].Expected == "" {
			t.Errorf("%q: want line %d and %q:\n%v", c.routes, c.line, c.want, err)
		}
	}
	text := strings.Replace(with(access, "a https://*.apps.example.com"), "allow:", "cookie_domain: apps.example.com, allow:", 1) + "tls: {cert_file: one.crt, key_file: one.key}\n"
	if _, err := config.Parse("sallyport.yaml", dir, []byte(text)); err == nil || !strings.Contains(err.Error(), "would share cookies") {
		t.Error(err)
	}
}
