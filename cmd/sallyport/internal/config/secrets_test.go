package config_test

import (
	"strings"
	"testing"

	"sallyport/cmd/sallyport/internal/config"
)

// A file may be wrong in many ways, and no message shows a secret that stands in it.
func TestSecretsAreShownByNoMessage(t *testing.T) {
	dir := folder(t)
	t.Setenv("COLLECTOR", "http://u:hunter2@h/?x")
	for name, text := range map[string]string{
		"unknown key":             strings.Replace(good, secret, "client_secret: hunter2", 1),
		"flow style":              "oidc: {issuer: x, client_secret: hunter2, client_idd: y}\n",
		"in quotes":               "oidc: {'client_secret': \"hunter2\", client_idd: y}\n",
		"no colon":                "oidc: {client_secret hunter2}\n",
		"an equals sign":          "oidc: {client_secret=hunter2, x: y}\n",
		"all as one text":         "oidc: client_secret=hunter2\n",
		"colon and space":         strings.Replace(good, secret, "client_secret: hunter2: x", 1),
		"needs quotes":            strings.Replace(good, secret, "client_secret: @hunter2", 1),
		"no space":                strings.Replace(good, secret, "client_secret:hunter2", 1),
		"unclosed quote":          strings.Replace(good, secret, "client_secret: 'hunter2", 1),
		"a control character":     strings.Replace(good, secret, "client_secret: hunter2\u0085", 1),
		"not UTF-8":               strings.Replace(good, secret, "client_secret: hunter2\xff", 1),
		"a tag":                   strings.Replace(good, secret, "client_secret: ! hunter2", 1),
		"in the next line":        strings.Replace(good, secret, "client_secret:\n    hunter2: x", 1),
		"in a later line":         strings.Replace(good, secret, "client_secret: |\n\n    x\n    @hunter2\n client_id: x", 1),
		"next line, no indent":    "client_secret: \nhunter2\nx: y\n",
		"a list in it":            strings.Replace(good, secret, "client_secret:\n  - hunter2: [", 1),
		"store in a list":         good + "\nstore: ['postgres://u:hunter2@h/db']\n",
		"store with a tag":        good + "\nstore: !x 'postgres://u:hunter2@h/db'\n",
		"store twice":             good + "\nstore: sqlite:x\nstore: postgres://u:hunter2@h/db\n",
		"store with a DSN":        good + "\nstore: host=h password=hunter2\n",
		"store of another form":   good + "\nstore: mysql:u/hunter2@h\n",
		"tracing":                 good + "\ntracing: {endpoint: 'http://u:hunter2@h/?x'}\n",
		"tracing, expanded":       good + "\ntracing: {endpoint: '${COLLECTOR}'}\n",
		"issuer":                  strings.Replace(good, issuer, "issuer: http://u:hunter2@idp.example.com", 1),
		"groups endpoint":         strings.Replace(good, secret, secret+"\n  groups_endpoint: http://u:hunter2@h", 1),
		"ops_hosts":               good + "\nops_hosts: ['http://u:hunter2@h']\n",
		"allowed_origins":         strings.Replace(good, allow, allow+"\n    allowed_origins: ['https://u:hunter2@h']", 1),
		"internal_networks":       good + "\ninternal_networks: ['http://u:hunter2@h']\n",
		"to":                      strings.Replace(good, to, "to: http://u:hunter2@h", 1),
		"external_url":            strings.Replace(good, external, "external_url: http://u:hunter2@h", 1),
		"a parameter of sign-ins": strings.Replace(good, secret, secret+"\n  authorization_params: {api_key: {a: hunter2}}", 1),
	} {
		_, err := config.Parse("sallyport.yaml", dir, []byte(text))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is no secret is shown.
	_, err := config.Parse("sallyport.yaml", dir, []byte(strings.Replace(good, secret, "client_secret_file: no-such-file", 1)))
	if err == nil || !strings.Contains(err.Error(), "| ") {
		t.Errorf("no excerpt: %v", err)
	}
}
