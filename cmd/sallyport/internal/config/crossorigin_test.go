package config

import (
	"slices"
	"strings"
	"testing"
)

const crossOrigin = `
external_url: https://access.example.com
trusted_proxies: [127.0.0.1]
oidc: {issuer: https://idp.example.com, client_id: sallyport, client_secret_file: secret}
policy: policy.yaml
routes:
  - name: tool
    from: https://tool.example.com
    to: http://127.0.0.1:3000
    allow: {everyone: true}
    allowed_origins: [https://DASH.example.com:443, "chrome-extension://abc"]
    cross_site_posts: [/saml/acs, /oauth/callback/]
    embeddable: true
    cookie_domain: .Example.com
`

func TestCrossOriginSettingsOfARoute(t *testing.T) {
	c, err := Parse("sallyport.yaml", dataPlaneDir(t), []byte(crossOrigin))
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Routes[0]; !slices.Equal(r.AllowedOrigins, []string{"https://dash.example.com", "chrome-extension://abc"}) || !r.Embeddable ||
		!slices.Equal(r.CrossSitePosts, []string{"/saml/acs", "/oauth/callback/"}) {
		t.Errorf("%+v", r)
	}
	table, err := c.RouteTable()
	if err != nil {
		t.Fatal(err)
	}
	if r := table.Routes()[0]; !r.AllowsOrigin("https://dash.example.com") || r.AllowsOrigin("null") || r.AllowsOrigin("https://tool.example.com.evil.example") || !r.Embeddable() {
		t.Errorf("%+v", r)
	}
}

func TestCrossOriginMistakes(t *testing.T) {
	for _, tc := range []struct{ name, old, new, want string }{
		{"null", `"chrome-extension://abc"`, `"null"`, "sallyport.yaml:11:53: routes[0].allowed_origins[1]: \"null\" is what many unrelated pages call themselves"},
		{"everybody", `"chrome-extension://abc"`, `"*"`, "names more than one origin"},
		{"a pattern", `"chrome-extension://abc"`, `"https://*.example.com"`, "names more than one origin"},
		{"a path", `"chrome-extension://abc"`, "https://dash.example.com/x", "more than an origin has"},
		{"a host", `"chrome-extension://abc"`, "dash.example.com", "is not an origin"},
		{"plain http", `"chrome-extension://abc"`, "http://dash.example.com", "an attacker on the network"},
		{"twice", `"chrome-extension://abc"`, "https://dash.example.com", "there twice"},
		{"a text", `[https://DASH.example.com:443, "chrome-extension://abc"]`, "{a: b}", "a list"},
		{"a form's path, relative", "/saml/acs", "saml/acs", "sallyport.yaml:12:24: routes[0].cross_site_posts[0]: \"saml/acs\" is not one whole path"},
		{"a form's path, a pattern", "/saml/acs", "/saml/*", "is not one whole path"},
		{"a form's path, a query", "/saml/acs", "/saml/acs?x=1", "is not one whole path"},
		{"a form's path, encoded", "/saml/acs", "/saml%2Facs", "is not one whole path"},
		{"a form's path, everything", "/saml/acs", "/", "is not one whole path"},
		{"a form's path, dots", "/saml/acs", "/saml/../acs", "is not one whole path"},
		{"a form's path, empty segment", "/saml/acs", "//saml", "is not one whole path"},
		{"a form's path, ours", "/saml/acs", "/.sallyport/callback", "is ours"},
		{"a form's path, twice", "/saml/acs", "/oauth/callback/", "there twice"},
		{"a form's path on another route", "https://tool.example.com\n", "https://tool.example.com/app\n", "not on this route"},
		{"a form's path with rpc", "    embeddable: true", "    rpc: jsonrpc", "no form is a JSON-RPC message"},
		{"a domain elsewhere", ".Example.com", "example.org", "no browser would keep the cookies"},
		{"everything below com", ".Example.com", "com", "public suffix"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("sallyport.yaml", dataPlaneDir(t), []byte(strings.Replace(crossOrigin, tc.old, tc.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "sallyport.yaml:") {
				t.Errorf("got %v", err)
			}
		})
	}
}
