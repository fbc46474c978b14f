package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
)

// before has a script run in every page before its own: it makes this browser another one.
func (b *browser) before(js string) {
	b.t.Helper()
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: js})
}

// stopped is what the log says of the last ceremony that the browser did not go through with.
func (s *harness) stopped() (detail map[string]any) {
	s.t.Helper()
	for _, r := range s.audit() {
		if d, ok := r["detail"].(map[string]any); ok && r["event"] == "ceremony_stopped" {
			detail = d
		}
	}
	return detail
}

// TestBrowsersWithoutJSON: Safari before 18.4 has no JSON for WebAuthn, and the credential of
// a password manager may have a toJSON that throws. People get in all the same.
func TestBrowsersWithoutJSON(t *testing.T) {
	t.Parallel()
	for name, js := range map[string]string{
		"Safari 16":          `delete PublicKeyCredential.prototype.toJSON; delete PublicKeyCredential.parseCreationOptionsFromJSON; delete PublicKeyCredential.parseRequestOptionsFromJSON`,
		"a password manager": `PublicKeyCredential.prototype.toJSON = () => { throw new TypeError("Illegal invocation") }`,
		"an extension with views on a larger buffer": `{
			PublicKeyCredential.prototype.toJSON = undefined;
			const view = (b) => { const all = new Uint8Array(b.byteLength + 9); all.set(new Uint8Array(b), 5); return all.subarray(5, 5 + b.byteLength) };
			for (const [of, name] of [[PublicKeyCredential, "rawId"], [AuthenticatorResponse, "clientDataJSON"], [AuthenticatorAttestationResponse, "attestationObject"], [AuthenticatorAssertionResponse, "authenticatorData"], [AuthenticatorAssertionResponse, "signature"]]) {
				const { get } = Object.getOwnPropertyDescriptor(of.prototype, name);
				Object.defineProperty(of.prototype, name, {get() { return view(get.call(this)) }});
			}
		}`,
		"outputs unasked": `{ const real = PublicKeyCredential.prototype.toJSON; PublicKeyCredential.prototype.toJSON = function () { return {...real.call(this), clientExtensionResults: {appid: false, prf: []}, authenticatorAttachment: "hybrid", extra: [1]} } }`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newHarness(t)
			b := newBrowser(t, home)
			b.before(js)
			b.enrol(s.ticket(alice.Email), alice.Sub)
		})
	}
}

// TestWhatStopsACeremony: each thing that can go wrong in a browser has a text that says what
// to do, none is the engine's, and the log has its name.
func TestWhatStopsACeremony(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.open(s.ticket(alice.Email))
	b.signIn(alice.Sub)
	b.shows("Enrol your passkey")
	for _, c := range []struct{ thrown, shown, logged string }{
		{"NotAllowedError", "it needs a PIN", "NotAllowedError"},
		{"InvalidStateError", "already holds a passkey for you", "InvalidStateError"},
		{"ConstraintError", "Set up a screen lock", "ConstraintError"},
		{"NotReadableError", "did not answer as it should", "NotReadableError"},
		{"SecurityError", "this page's address does not match", "SecurityError"},
		{"EvilError", "Reload the page and try again", "other"},
	} {
		eval[bool](b, `(navigator.credentials.create = () => Promise.reject(new DOMException("engine text", "`+c.thrown+`")), true)`)
		b.act("enroll")
		b.shows(c.shown)
		if strings.Contains(b.text(), "engine text") {
			t.Errorf("%s: the engine's words are shown", c.thrown)
		}
		eventually(t, "it is in the log", func() bool {
			d := s.stopped()
			return d["error"] == c.logged && d["phase"] == "create" && d["page"] == "enroll"
		})
		b.review("stopped-" + c.thrown)
	}
	if _, text := s.opsPage("/metrics"); !strings.Contains(text, `sallyport_ceremonies_stopped_total{error="NotAllowedError",phase="create"} 1`) {
		t.Error("the metric does not count it")
	}

	// A credential that nothing can be made of.
	eval[bool](b, `(navigator.credentials.create = () => Promise.resolve({response: {}, rawId: null, toJSON() { throw new Error("engine text") }}), true)`)
	b.act("enroll")
	b.shows("gave an answer that cannot be read")
	eventually(t, "it is in the log", func() bool { return s.stopped()["phase"] == "encode" })

	// A prompt that no one sees, and Cancel.
	eval[bool](b, `(navigator.credentials.create = (o) => new Promise((_, no) => o.signal.addEventListener("abort", () => no(o.signal.reason))), true)`)
	b.act("enroll")
	b.shows("Still waiting for you")
	b.screenshot("waiting") // its button is disabled: no review
	b.press("#cancel")
	b.shows("You cancelled it")
	b.until(`document.activeElement.matches("[data-action=enroll]") && !document.activeElement.disabled && document.getElementById("cancel").hidden`)
	b.review("cancelled")
	eventually(t, "it is in the log", func() bool { return s.stopped()["error"] == "cancelled" })
}

// TestBrowsersWithoutPasskeys: a browser inside an app, and an old one.
func TestBrowsersWithoutPasskeys(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	for name, c := range map[string]struct{ js, shown, logged string }{
		"in-app": {`delete window.PublicKeyCredential; Object.defineProperty(navigator, "userAgent", {get: () => "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 [LinkedInApp]"})`, "Open the page in your browser", "in_app_browser"},
		"old":    {`delete window.PublicKeyCredential`, "too old, or they are switched off", "no_webauthn"},
	} {
		b := newBrowser(t, home)
		b.before(c.js)
		b.open(s.ticket(alice.Email))
		b.signIn(alice.Sub)
		b.shows(c.shown)
		b.screenshot(name)
		eventually(t, "it is in the log", func() bool { d := s.stopped(); return d["error"] == c.logged && d["phase"] == "load" })
	}
}

// TestOptionsAreThereBeforeThePress: the press of a person on a slow network is not used up
// by asking for options, a page that was left open asks anew, and an answer that is lost
// on the way is sent again without another touch.
func TestOptionsAreThereBeforeThePress(t *testing.T) {
	t.Parallel()
	s := newHarness(t)
	b := newBrowser(t, home)
	b.before(`{ const real = fetch; window.begins = 0; window.lose = 0;
		window.fetch = async (url, o) => {
			if (String(url).endsWith("/begin")) window.begins++;
			const answer = await real(url, o);
			if (String(url).endsWith("/finish") && window.lose-- > 0) throw new TypeError("lost");
			return answer;
		};
		const now = performance.now.bind(performance); window.later = 0; performance.now = () => now() + window.later;
		const create = navigator.credentials.create.bind(navigator.credentials); window.prompts = 0;
		navigator.credentials.create = (o) => { window.prompts++; window.asked = window.begins; return create(o) };
	}`)
	b.open(s.ticket(alice.Email))
	b.signIn(alice.Sub)
	b.until("window.begins === 1")
	// Left open for an hour, and come back to.
	eval[bool](b, "(window.later = 3600_000, true)")
	b.until("(window.dispatchEvent(new Event('focus')), window.begins === 2)")
	eval[bool](b, "(window.lose = 1, true)")
	b.act("enroll")
	b.shows("could not be reached")
	if n := eval[int](b, "window.asked"); n != 2 {
		t.Errorf("%d begins before the prompt", n)
	}
	b.review("lost")
	if n := eval[int](b, "window.prompts"); n != 1 {
		t.Errorf("%d prompts", n)
	}
	b.act("enroll")
	b.shows("One more touch, to sign in")
	b.act("verify")
	b.shows("Your account")
	if n := len(s.enrolments()); n != 1 {
		t.Errorf("%d passkeys", n)
	}
}
