package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// banner is an expression for what the script shows in the page, null if there is nothing.
const banner = `document.querySelector("sallyport-session")?.shadowRoot`

// TestSignedOutTab: the session of an open tab ends. Its background requests are told so in a form that they can read; the
// script that the tool includes tells the tool and the person, under the strictest policy of the tool's; and after
// a sign-in in another tab the page goes on as it was.
func TestSignedOutTab(t *testing.T) {
	t.Parallel()
	for _, e := range []entry{overTLS, overHTTP} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			s := newHarnessAt(t, e)
			strict := []string{"Content-Security-Policy", "default-src 'none'; img-src data:; script-src 'self'; connect-src 'self'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"}
			s.page("/app", `<h1>App</h1><script src="/.sallyport/session.js"></script><script src="/app.js"></script>`, strict...)
			s.file("/app.js", "text/javascript", `
				window.told = [];
				for (const type of ["signed-out", "signed-in", "step-up", "verified"]) addEventListener("sallyport:" + type, (e) => {
					told.push(type + " " + e.detail.user + " " + e.detail.same);
					if (window.silent) e.preventDefault();
				});`)
			s.file("/api", "application/json", `{"ok":true}`)
			s.handle("/forbidden", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
			_, host, _ := strings.Cut(s.treasury, "://") // the pages of the sign-in host ask as well
			asks := func() int { return strings.Count(s.log.String(), `"host":"`+host+`","path":"/.sallyport/whoami"`) }
			api := `fetch("/api").then(async (r) => JSON.stringify([r.status, await r.json()]))`

			b := newBrowser(t, home)
			b.enrol(s.ticket(alice.Email), alice.Sub)
			b.open(s.treasury + "/app")
			b.shows("App")
			eventually(t, "the script knows whose page it is", func() bool { return asks() == 1 })

			// A 401 of the tool's own is asked about less and less often.
			for range 30 {
				eval[int](b, `fetch("/forbidden").then((r) => r.status)`)
			}
			if got := eval[string](b, "told.join()"); got != "" || eval[bool](b, "!!"+banner) || asks() > 4 {
				t.Errorf("a refusal of the tool's is told as %q, after %d questions", got, asks())
			}

			// A step-up becomes due, of the tool or of a part of it, and is done in another tab.
			told := func(due string) {
				eval[bool](b, `{
					window.real ||= fetch;
					window.fetch = (to, how) => to === "/.sallyport/whoami?page=%2Fapp" ? Promise.resolve(new Response('{"level":"verified","user":"alice@example.com"`+due+`}')) : real(to, how);
					dispatchEvent(new Event("sallyport:check"));
					true
				}`)
			}
			told(`,"step_up_due":true`)
			b.until("told.join() === 'step-up alice@example.com undefined' && " + banner + "?.textContent.includes('Verify to go on')")
			if got := eval[string](b, banner+`.querySelector("a").getAttribute("href")`); got != "/.sallyport/step-up?return_to=%2F.sallyport%2Fgo-back" {
				t.Errorf("it leads to %q", got)
			}
			told("")
			b.until("told[1] === 'verified alice@example.com undefined' && !" + banner)
			eval[bool](b, "window.fetch = real; told.length = 0; true")

			s.run("session", "revoke", "--user", alice.Email)
			var answer string
			eventually(t, "the session is over", func() bool { answer = eval[string](b, api); return strings.HasPrefix(answer, "[401") })
			if !strings.Contains(answer, `"error":"not_signed_in"`) || !strings.Contains(answer, `"next":"`+s.base+`/.sallyport/sign-in?`) {
				t.Errorf("the page is told %s", answer)
			}
			b.until("told.join() === 'signed-out alice@example.com undefined' && " + banner)
			before := asks()
			for range 30 {
				eval[string](b, api)
			}
			if n := asks() - before; n > 2 {
				t.Errorf("%d questions about a session that is known to be over", n)
			}
			for _, scheme := range schemes {
				call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
				for _, w := range widths {
					b.resize(w.width, w.height, w.mobile)
					b.screenshot("signed-out-" + w.name + "-" + scheme)
				}
			}
			if got := eval[string](b, banner+`.querySelector("[role=alert]").innerText`); !strings.Contains(got, "You are signed out") {
				t.Errorf("it says %q", got)
			}
			// By the keyboard: it does not take the focus, and can be reached.
			for _, want := range []string{"A", "BUTTON"} {
				if err := chromedp.Do(b.ctx, chromedp.KeyEvent(kb.Tab)); err != nil {
					t.Fatal(err)
				}
				if got := eval[string](b, banner+".activeElement?.tagName || ''"); got != want {
					t.Errorf("the Tab key leads to %q, not to %q", got, want)
				}
			}

			b.gesture(banner + `.querySelector("a").click()`)
			w := b.window(s.base + "/.sallyport/sign-in")
			w.signIn(alice.Sub)
			w.act("verify")
			w.shows("Now go back")
			call(b, page.BringToFront, cdp.Empty{})
			b.until("told[1] === 'signed-in alice@example.com true' && !" + banner)
			if got := eval[string](b, api); got != `[200,{"ok":true}]` {
				t.Errorf("and then the page is told %s", got)
			}

			// Another person signs in: the page is still that of the first. And a tool that has its own way to say so.
			eval[bool](b, `{
				const real = fetch;
				window.fetch = (to, how) => to.startsWith("/.sallyport/whoami") ? Promise.resolve(new Response('{"level":"verified","user":"bob@example.com"}')) : real(to, how);
				dispatchEvent(new Event("sallyport:check"));
				true
			}`)
			b.until("told[2] === 'signed-in bob@example.com false' && " + banner + "?.textContent.includes('opened by alice@example.com')")
			b.gesture(banner + `.querySelector("button").click()`)
			eval[bool](b, `{
				window.silent = true;
				window.fetch = () => Promise.resolve(new Response("{}", {status: 401}));
				dispatchEvent(new Event("sallyport:check"));
				true
			}`)
			b.until("told.length === 4")
			if eval[bool](b, "!!"+banner) {
				t.Error("a banner that the tool has prevented")
			}
		})
	}
}
