package config_test

import (
	"strings"
	"testing"

	"sallyport/cmd/sallyport/internal/config"
)

// A file may be wrong in many ways, and no message shows a secret that stands in it.
func TestSecretsAreShownByNoMessage(t *testing.T) {
	dir := folder(t)
	t.Setenv("SECRET", "hunter2hunter2")
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
		"in place of the file":    strings.Replace(good, secret, "client_secret_file: hunter2hunter2", 1),
		"base64 for the file":     strings.Replace(good, secret, "client_secret_file: hunter2/ab+c=", 1),
		"a token for the file":    strings.Replace(good, secret, "client_secret_file: eyJhunter2.abc.def", 1),
		"for the file, expanded":  good + "\ntls: {cert_file: cert.pem, key_file: '${SECRET}'}\n",
		"a key for the file":      good + "\ntls:\n  cert_file: cert.pem\n  key_file: |\n    -----BEGIN hunter2\n    hunter2: [\n",
		"a key for its name":      good + "\ntls: {cert_file: cert.pem, key_file: \"-----BEGIN hunter2\\nx\"}\n",
		"a key misspelt":          strings.Replace(good, secret, "client_sercet: hunter2", 1),
		"a key that is none":      good + "\ncookie_key: hunter2\n",
		"key":                     strings.Replace(good, secret, secret+"\n  key: @hunter2", 1),
		"credential":              "oidc: {issuer: x, 'credential': 'hunter2', y: }\n",
		"headers":                 good + "\ntracing: {endpoint: 'http://h', headers: {Authorization: \"Bearer hunter2\"}}\n",
		"headers below":           good + "\ntracing:\n  headers:\n    X-Auth:\n      - hunter2\n      - @hunter2\n",
		"a query of to":           strings.Replace(good, to, "to: http://h/?token=hunter2", 1),
		"a bare query of to":      strings.Replace(good, to, "to: http://h?hunter2", 1),
		"a fragment":              strings.Replace(good, to, "to: http://h#hunter2", 1),
		"a query of the issuer":   strings.Replace(good, issuer, "issuer: https://idp.example.com?key=hunter2", 1),
		"a query of a source":     good + "\nip_data: {databases: ['https://h/x.mmdb?license_key=hunter2']}\n",
		"a source with password":  good + "\nip_data: {lists: [{name: x, signal: vpn, file: \"https://u:hunter2@h/x\"}]}\n",
		"a source with a token":   good + "\nip_data: {lists: [{name: x, signal: vpn, file: \"https://hunter2@h/x\"}]}\n",
		"policy":                  good + "\npolicy: https://u:hunter2@h/x\n",
		"a parameter of sign-ins": strings.Replace(good, secret, secret+"\n  authorization_params: {api_key: {a: hunter2}}", 1),
	} {
		_, err := config.Parse("sallyport.yaml", dir, []byte(text))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is no secret is shown, and of the rest the place and the key.
	for text, want := range map[string]string{
		"client_secret_file: ./no-such-file": "there is no file " + dir + "/no-such-file",
		"client_secret_file: hunter2hunter2": "  client_secret_file: ...\n",
		"client_sercet: hunter2hunter2":      "  client_sercet: ...\n",
	} {
		_, err := config.Parse("sallyport.yaml", dir, []byte(strings.Replace(good, secret, text, 1)))
		if err == nil || !strings.Contains(err.Error(), "| ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
