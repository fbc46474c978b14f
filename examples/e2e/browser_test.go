package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// browser is a headless Chromium with a virtual authenticator.
type browser struct {
	t             *testing.T
	ctx           context.Context
	authenticator webauthn.AuthenticatorID
}

func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, "Chromium")
	return ""
}

// newBrowser starts a browser that connects from an address.
func newBrowser(t *testing.T, from string) *browser {
	t.Helper()
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()), chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
	}
	ctx, cancelAllocator := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancelContext := chromedp.NewContext(ctx)
	ctx, cancelTimeout := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(func() { cancelTimeout(); cancelContext(); cancelAllocator() })
	b := &browser{t: t, ctx: ctx}
	b.open("about:blank")
	call(b, webauthn.Enable, webauthn.EnableParams{})
	added := call(b, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Ctap2version: webauthn.Ctap2versionCtap21, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	b.authenticator = added.AuthenticatorID
	call(b, network.Enable, network.EnableParams{})
	b.from(from)
	return b
}

// call makes one call of the browser's protocol.
func call[P, R any](b *browser, method cdp.Command[P, R], params P) R {
	b.t.Helper()
	r, err := chromedp.Call(b.ctx, method, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// from moves the browser to another address.
func (b *browser) from(addr string) {
	b.t.Helper()
	call(b, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"X-Forwarded-For": addr}})
}

func (b *browser) verifiesUser(yes bool) {
	b.t.Helper()
	call(b, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: b.authenticator, IsUserVerified: yes})
}

func (b *browser) open(url string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(url)); err != nil {
		b.t.Fatalf("open %s: %v", url, err)
	}
}

// eval runs an expression in the page.
func eval[T any](b *browser, js string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// press clicks an element once it is there and enabled.
func (b *browser) press(selector string) {
	b.t.Helper()
	b.until("document.querySelector(" + quote(selector) + ") && !document.querySelector(" + quote(selector) + ").disabled")
	eval[bool](b, "(document.querySelector("+quote(selector)+").click(), true)")
}

func (b *browser) act(action string) {
	b.t.Helper()
	b.press(`[data-action="` + action + `"]`)
}

// until waits for a condition in the page.
func (b *browser) until(js string) {
	b.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		// A navigation in between makes an evaluation fail: that is not an answer.
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+js+")"))
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			b.screenshot("stuck")
			text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
			b.t.Fatalf("waited for %s (%v); the page is %s", js, err, text)
		}
		<-time.After(25 * time.Millisecond) // polling another process
	}
}

// shows waits for text in the page.
func (b *browser) shows(text string) {
	b.t.Helper()
	b.until("document.readyState === 'complete' && document.body.innerText.includes(" + quote(text) + ")")
}

func (b *browser) text() string {
	b.t.Helper()
	return eval[string](b, "document.body.innerText")
}

// signIn goes through the in-process provider's page as a person.
func (b *browser) signIn(sub string) {
	b.t.Helper()
	b.act("sign-in")
	b.until(`location.host.startsWith("127.0.0.1") || location.host.startsWith("localhost") && document.querySelector('input[name="sub"]')`)
	b.press(`input[name="sub"][value="` + sub + `"]`)
	b.act("continue")
}

// enrol redeems a ticket from nothing to a verified session.
func (b *browser) enrol(ticket, sub string) {
	b.t.Helper()
	b.open(ticket)
	b.signIn(sub)
	b.act("enroll")
	b.act("verify")
	b.shows("Your account")
}

// screenshot keeps what the page looks like in $SALLYPORT_SCREENSHOTS.
func (b *browser) screenshot(name string) {
	dir := os.Getenv("SALLYPORT_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(90))
	if err != nil {
		b.t.Logf("screenshot %s: %v", name, err)
		return
	}
	name = strings.ReplaceAll(b.t.Name(), "/", "-") + "-" + name + ".png"
	if err := os.WriteFile(filepath.Join(dir, name), png, 0o600); err != nil {
		b.t.Log(err)
	}
}

func quote(s string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`", "$", "\\$").Replace(s) + "`"
}
