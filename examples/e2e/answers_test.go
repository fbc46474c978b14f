package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// window is a tab that a page of b has opened, once it is at an address that begins so. The passkeys of b work in it, and from then on in windows only.
func (b *browser) window(address string) *browser {
	b.t.Helper()
	var id target.ID
	eventually(b.t, "a tab is at "+address, func() bool {
		for _, i := range call(b, target.GetTargets, target.GetTargetsParams{}).TargetInfos {
			if i.Type == "page" && strings.HasPrefix(i.URL, address) {
				id = i.TargetID
			}
		}
		return id != ""
	})
	w := &browser{t: b.t, line: b.line, hostile: b.hostile, foreign: b.foreign}
	w.engine = chromiumTab{&w.ctx}
	ctx, cancelContext := chromedp.NewContext(b.root, chromedp.WithTargetID(id), chromedp.WithListener(w.observe))
	if err := chromedp.Do(ctx); err != nil { // the first call must not have a deadline
		b.t.Fatal(err)
	}
	w.root = ctx
	ctx, cancelTimeout := context.WithTimeout(ctx, 3*time.Minute)
	w.ctx = ctx
	b.t.Cleanup(func() {
		w.checkQuiet()
		cancelTimeout()
		cancelContext()
	})
	call(w, network.Enable, network.EnableParams{})
	call(w, log.Enable, cdp.Empty{})
	call(w, webauthn.Enable, webauthn.EnableParams{})
	w.authenticator = call(w, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Ctap2version: webauthn.Ctap2versionCtap21, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}}).AuthenticatorID
	for _, c := range call(b, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: b.authenticator}).Credentials {
		// The counter is the clock, or the next copy would count from the same number. Spelled out: the authenticator refuses to hear of features that it does not have.
		call(w, cdp.Command[map[string]any, cdp.Empty]{Method: webauthn.CommandAddCredential}, map[string]any{"authenticatorId": w.authenticator, "credential": map[string]any{
			"credentialId": c.CredentialID, "isResidentCredential": c.IsResidentCredential, "rpId": c.RpID, "privateKey": c.PrivateKey, "userHandle": c.UserHandle, "signCount": time.Now().Unix(),
		}})
	}
	return w
}

// TestWindowOfATool: a tool opens a window of its own and waits for what it tells. A step-up or a hand-off on the way
// there does not part the two.
func TestWindowOfATool(t *testing.T) {
	t.Parallel()
	for _, e := range []entry{overTLS, overHTTP} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			s := newHarnessAt(t, e)
			s.page("/app", `<h1>App</h1><script>onmessage = e => window.told = e.data</script>`)
			s.page("/oauth/start", `<h1>Granted</h1><script>opener.postMessage("granted", location.origin)</script>`)
			b := newBrowser(t, home)
			b.enrol(s.ticket(alice.Email), alice.Sub)
			b.open(s.treasury + "/app")
			b.shows("App")

			b.from(vpnExit)
			b.gesture(`window.opened = window.open("/oauth/start")`)
			w := b.window(s.base + "/.sallyport/step-up")
			w.act("verify")
			b.until("window.told === 'granted' && !opened.closed")

			b.forget(s, s.treasury, "sallyport")
			b.gesture(`window.told = ""; window.opened = window.open("/oauth/start?again")`)
			b.until("window.told === 'granted' && !opened.closed")
		})
	}
}

// TestAttackOpenerOfOurPages: a tool opens a page of the sign-in host in a window, and keeps hold of it. It can read
// nothing there, and where a press of a button gives something away it loses hold.
func TestAttackOpenerOfOurPages(t *testing.T) {
	t.Parallel()
	evil := newTool(t)
	s := newHarness(t, withTool("evil", evil))
	evil.page("/", `<h1>Evil</h1><script>
		const reads = ["document", "location.href", "origin", "name", "history.length", "sessionStorage", "navigator", "eval"];
		const steal = (w) => reads.filter((path) => {
			try { return path.split(".").reduce((o, k) => o[k], w) !== undefined; } catch { return false; }
		});
	</script>`)
	b := newBrowser(t, home)
	b.hostile = true
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of")
	b.open(s.origin("evil") + "/")
	b.shows("Evil")
	b.from(vpnExit)

	b.gesture("window.held = window.open(" + quote(s.treasury+"/") + ")")
	w := b.window(s.base + "/.sallyport/step-up")
	w.shows("different network")
	if read := eval[string](b, "steal(held).join()"); read != "" {
		t.Errorf("of the step-up page can be read: %s", read)
	}
	if eval[bool](b, "held.closed") || eval[int](b, "held.length") != 0 {
		t.Error("it has frames, or was parted from its opener")
	}
	eval[bool](b, `(held.postMessage({next: "https://evil.example/", error: "x"}, "*"), true)`)
	w.act("verify")
	eventually(t, "the treasury is open", func() bool { return eval[string](w, "location.origin") == s.treasury })

	for _, page := range []string{"account", "sign-out", "enroll"} {
		b.gesture("window.held = window.open(" + quote(s.base+"/.sallyport/"+page+"#"+page) + ")")
		b.until("held.closed") // to its opener
		if eval[string](b, "steal(held).filter(p => p !== 'name').join()") != "" {
			t.Errorf("%s is in the hands of another page", page)
		}
	}
}
