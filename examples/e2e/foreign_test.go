package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestForeignProvider signs in through an OpenID provider that is not ours: the
// certified oidc-provider of npm.
func TestForeignProvider(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "Node.js")
	}
	if _, err := os.Stat(filepath.Join("idp", "node_modules", "oidc-provider")); err != nil {
		missing(t, "oidc-provider (npm ci --prefix idp)")
	}
	port, idpPort := freePort(t), freePort(t)
	idp := exec.Command(node, "provider.mjs", idpPort, overTLS.origin("", port), clientSecret)
	idp.Dir, idp.Stderr = "idp", os.Stderr
	out, err := idp.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := idp.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = idp.Process.Kill(); _ = idp.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the provider did not start: %v", err)
	}

	s := startHarness(t, overTLS, port, "http://localhost:"+idpPort)
	b := newBrowser(t, home)
	b.foreign = "http://localhost:" + idpPort
	b.open(s.ticket("carol@example.test"))
	b.act("sign-in")
	b.until(`document.querySelector('input[name="login"]')`)
	eval[bool](b, `(document.querySelector('input[name="login"]').value = "carol", document.querySelector('input[name="password"]').value = "x", true)`)
	b.press(`button[type="submit"]`)
	b.until(`document.querySelector('input[name="prompt"][value="consent"]')`)
	b.press(`button[type="submit"]`)
	b.act("enroll")
	b.act("verify")
	b.shows("Your account")
	b.open(s.treasury + "/")
	b.shows("Treasury of carol@example.test")

	// Signing out at both.
	b.open(s.base + "/.sallyport/sign-out")
	b.act("sign-out")
	b.press(`a[href^="http://localhost:` + idpPort + `"]`)
	b.until(`document.querySelector('button[name="logout"]')`)
	b.press(`button[name="logout"]`)
	b.shows("You are signed out")
}
