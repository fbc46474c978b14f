package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sallyport/cmd/sallyport/internal/certtest"
	"sallyport/cmd/sallyport/internal/config"
)

// command runs the product's command line in this process.
func command(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &err})
	return status, out.String(), err.String()
}

// starterFolder is what init writes, with these replacements in its files.
func starterFolder(t *testing.T, edits ...[3]string) string {
	t.Helper()
	dir := t.TempDir()
	if status, _, stderr := command(t, "init", "--dir", dir); status != 0 {
		t.Fatal(stderr)
	}
	for _, e := range edits {
		file := filepath.Join(dir, e[0])
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), e[1]) {
			t.Fatalf("%s does not hold %q: %v", e[0], e[1], err)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), e[1], e[2], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestStarterHintsAreRight: what the starting files suggest in comments is accepted as
// it stands once a person follows them.
func TestStarterHintsAreRight(t *testing.T) {
	dir := starterFolder(t,
		[3]string{"sallyport.yaml", "# trusted_proxies:", "trusted_proxies:"},
		[3]string{"sallyport.yaml", "  # countries_claim:", "  countries_claim:"},
		[3]string{"policy.yaml", "  # embargoed: [", "  embargoed: ["},
		[3]string{"sallyport.yaml", "    # - {name: aws", "    - {name: aws"},
		[3]string{"sallyport.yaml", "  lists:\n", "  lists:\n    - {name: countries, format: csv, file: lists/countries.csv}\n"},
	)
	for name, content := range map[string]string{
		"lists/countries.csv": "network,country\n198.51.100.0/24,US\n",
		"lists/aws.json":      `{"syncToken": "1", "createDate": "2026-11-01-00-00-00", "prefixes": [{"ip_prefix": "192.0.2.0/24", "region": "x", "service": "EC2", "network_border_group": "x"}], "ipv6_prefixes": []}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The rules that wait for a source of countries.
	file := filepath.Join(dir, "policy.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile(`(?m)^  # ((?:- name|  when|  then): .*)$`)
	if n := len(rule.FindAll(text, -1)); n != 6 {
		t.Fatalf("%d commented lines of rules", n)
	}
	if err := os.WriteFile(file, rule.ReplaceAll(text, []byte("  $1")), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := command(t, "check", "--config", filepath.Join(dir, "sallyport.yaml"))
	if status != 0 || !strings.Contains(stdout, "3 IP sources") {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}

// TestStarterNamesEveryFile: init writes all of the folder starter, and what it says it
// wrote is what is there.
func TestStarterNamesEveryFile(t *testing.T) {
	dir := t.TempDir()
	_, stdout, _ := command(t, "init", "--dir", dir)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err == nil && !strings.Contains(stdout, rel) {
			t.Errorf("%s is not named in\n%s", rel, stdout)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestStarterLintsClean: no one begins with a policy that is complained about.
func TestStarterLintsClean(t *testing.T) {
	status, stdout, stderr := command(t, "policy", "lint", "--config", filepath.Join(starterFolder(t), "sallyport.yaml"))
	if status != 0 || stdout != "0 errors, 0 warnings, 0 notes\n" {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}

func TestCheckNotes(t *testing.T) {
	dir := starterFolder(t)
	config := filepath.Join(dir, "sallyport.yaml")
	for name, mode := range map[string]fs.FileMode{"is for the service only": 0o640, "is for everybody": 0o644} {
		secret := filepath.Join(dir, "secrets", "oidc")
		if err := os.WriteFile(secret, []byte("real"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(secret, mode); err != nil {
			t.Fatal(err)
		}
		status, stdout, _ := command(t, "check", "--config", config)
		remedy := fmt.Sprintf("every user of this machine can read %s (mode %04o): chmod o= %[1]s\n", secret, mode)
		if open := strings.Contains(stdout, remedy); status != 0 || open != (mode&7 != 0) || strings.Contains(stdout, "placeholder") {
			t.Errorf("a secret that %s: status %d\n%s", name, status, stdout)
		}
	}
}

// TestCheckLooksAtEveryCertificate: a host is named by one of them, and each of them can end soon.
func TestCheckLooksAtEveryCertificate(t *testing.T) {
	for name, c := range map[string]struct{ second, want string }{
		"between them": {"*.apps.example.com", ""},
		"a gap":        {"b.example.com", "none of %[1]s/tls.crt, %[1]s/more.crt names *.apps.example.com: browsers will refuse it\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := starterFolder(t,
				[3]string{"sallyport.yaml", "# tls: {cert_file: tls/cert.pem, key_file: tls/key.pem}", "tls: {cert_file: tls.crt, key_file: tls.key, certificates: [{cert_file: more.crt, key_file: more.key}]}"},
				[3]string{"sallyport.yaml", "http://localhost:8080\n", "https://access.example.com\n"},
				[3]string{"sallyport.yaml", "http://treasury.localhost:8080", "https://*.apps.example.com"},
			)
			for name, host := range map[string]string{"tls": "access.example.com", "more": c.second} {
				cert, key := certtest.Pair(t, 1, host)
				for file, content := range map[string]string{name + ".crt": cert, name + ".key": key} {
					if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			status, stdout, stderr := command(t, "check", "--config", filepath.Join(dir, "sallyport.yaml"))
			if c.want != "" {
				c.want = fmt.Sprintf(c.want, dir)
			}
			if status != 0 || !strings.Contains(stdout, c.want) || c.want == "" && strings.Contains(stdout, " browsers will refuse it") ||
				!strings.Contains(stdout, "tls.crt is good until ") || !strings.Contains(stdout, "more.crt is good until ") {
				t.Errorf("status %d\n%s%s", status, stdout, stderr)
			}
		})
	}
}

func TestCheckLooksAtTheCertificate(t *testing.T) {
	dir := starterFolder(t,
		[3]string{"sallyport.yaml", "# tls: {cert_file: tls/cert.pem, key_file: tls/key.pem}", "tls: {cert_file: tls.crt, key_file: tls.key}"},
		[3]string{"sallyport.yaml", "http://localhost:8080\n", "https://access.example.com\n"},
		[3]string{"sallyport.yaml", "http://treasury.localhost:8080", "https://treasury.example.com"},
	)
	put := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, private := certtest.Pair(t, 1, "access.example.com")
	put("tls.crt", cert)
	put("tls.key", private)
	status, stdout, stderr := command(t, "check", "--config", filepath.Join(dir, "sallyport.yaml"))
	if status != 0 || !strings.Contains(stdout, "does not name treasury.example.com") || !strings.Contains(stdout, "tls.crt is good until ") || strings.Contains(stdout, "not name access") {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
	cert, _ = certtest.Pair(t, 2, "access.example.com")
	put("tls.crt", cert)
	status, _, stderr = command(t, "check", "--config", filepath.Join(dir, "sallyport.yaml"))
	text, err := os.ReadFile(filepath.Join(dir, "sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	above, _, _ := strings.Cut(string(text), "\ntls: ")
	at := fmt.Sprintf("sallyport.yaml:%d:6: tls: private key does not match public key", strings.Count(above, "\n")+2)
	if status != 2 || !strings.Contains(stderr, at) {
		t.Errorf("status %d\n%s", status, stderr)
	}
	if _, err := config.Load(filepath.Join(dir, "sallyport.yaml")); err == nil {
		t.Error("serve would start with it")
	}
}
