package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
)

// posts makes the browser's page post a form in its whole window, or in a window of its own.
func (b *browser) posts(to, fields, target string) {
	b.t.Helper()
	eval[bool](b, fmt.Sprintf(`(() => {
		const form = document.createElement("form");
		form.method = "post";
		form.action = %q;
		form.target = %q;
		for (const [name, value] of new URLSearchParams(%q)) {
			const field = document.createElement("textarea");
			field.name = name;
			field.value = value;
			form.append(field);
		}
		document.body.append(form);
		setTimeout(() => HTMLFormElement.prototype.submit.call(form));
		return true;
	})()`, to, target, fields))
}

// TestFormOfAnotherSite: a provider posts its answer to a tool, over https and on localhost. It arrives as it was, as the
// person, and the tool sends them where it likes. For a path that is not named, nothing arrives.
func TestFormOfAnotherSite(t *testing.T) {
	t.Parallel()
	for _, e := range []entry{overTLS, overHTTP} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			app := newTool(t)
			s := newHarnessAt(t, e, withTool("app", app, "    cross_site_posts: [/saml/acs]"))
			const fields = "SAMLResponse=PD94%2Bbg%3D%3D%0D%0Ax&RelayState=%2Fx%3Fa%26b&submit=%22%3E%3Cscript%3E&action=%C3%A9&SAMLResponse=2"
			app.handle("/saml/acs", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, s.treasury+"/landed", http.StatusSeeOther)
			})
			provider := newTool(t) // not behind the product, and another site
			provider.page("/", "<h1>Provider</h1>")
			b := newBrowser(t, home)
			b.foreign = provider.URL
			b.enrol(s.ticket(alice.Email), alice.Sub)
			b.open(s.origin("app") + "/")
			b.shows("Treasury of alice@example.com")
			b.open(s.treasury + "/")
			b.shows("Treasury of alice@example.com")

			b.open(provider.URL + "/")
			b.shows("Provider")
			b.posts(s.origin("app")+"/saml/acs?tenant=7", fields, "_self")
			b.until("location.pathname === '/landed'")
			b.shows("Treasury of alice@example.com")
			got := slices.DeleteFunc(app.requests(), func(r *http.Request) bool { return r.URL.Path != "/saml/acs" })
			if len(got) != 1 {
				t.Fatalf("the tool got %d requests", len(got))
			}
			if r, body := got[0], bodyOf(t, got[0]); r.Method != "POST" || r.URL.RawQuery != "tenant=7" || r.Header.Get("X-Sallyport-User") != alice.Email || r.Header.Get("Origin") != s.origin("app") || body != fields {
				t.Errorf("the tool got %s %s as %q of %q: %q", r.Method, r.URL, r.Header.Get("X-Sallyport-User"), r.Header.Get("Origin"), body)
			}

			b.open(provider.URL + "/")
			b.posts(s.origin("app")+"/pay", "amount=12", "_self")
			b.shows("The form was not sent")
			b.shows("Another page sent you here with a form")
			b.review("form-of-another-site")
			if slices.ContainsFunc(app.requests(), func(r *http.Request) bool { return r.URL.Path == "/pay" }) {
				t.Error("a form for a path that is not named arrived")
			}

			// The tool's own sign-in in a window beside it, which tells the tool's page how it went.
			app.handle("/saml/acs", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprint(w, `<script>opener.postMessage("signed in", location.origin)</script>`)
			})
			app.page("/login", `<h1>Sign in</h1><script>onmessage = e => window.told = e.data</script>`)
			provider.page("/window", `<h1>Provider</h1><form method=post action="`+s.origin("app")+`/saml/acs"><input name=code value=7></form><script>document.forms[0].submit()</script>`)
			b.open(s.origin("app") + "/login")
			b.gesture("window.open(" + quote(provider.URL+"/window") + ")")
			b.until("window.told === 'signed in'")
		})
	}
}

// TestFormWaitsForAProof: a form that needs a proof stays in the page, is sent when the person has given it in a tab
// beside it, and never arrives as a GET.
func TestFormWaitsForAProof(t *testing.T) {
	t.Parallel()
	for _, e := range []entry{overTLS, overHTTP} {
		t.Run(e.name, func(t *testing.T) { t.Parallel(); formWaitsForAProof(t, e, newBrowser) })
	}
	for _, e := range engines[1:] {
		t.Run("https, in "+e.name, func(t *testing.T) { t.Parallel(); formWaitsForAProof(t, overTLS, e.open) })
	}
}

func formWaitsForAProof(t *testing.T, e entry, open func(t *testing.T, from string) *browser) {
	s := newHarnessAt(t, e)
	s.page("/new", "<h1>New payment</h1>")
	b := open(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	form := b.tab() // which has no authenticator with her passkey
	form.open(s.treasury + "/new")
	form.shows("New payment")
	b.from(vpnExit)
	form.posts(s.treasury+"/pay", "amount=12&note=%22%3E%3Cscript%3E%0D%0A%C3%A9", "_self")
	form.shows("Your form was not sent")
	form.review("form-kept")
	b.open(form.beside("step-up", s.base+"/.sallyport/step-up"))
	b.act("verify")
	b.shows("Now send your form")
	b.review("form-send-again")
	form.press("form.resend button")
	form.shows("Treasury of alice@example.com")
	if got := s.sentTo("/pay"); len(got) != 1 || got[0].Method != "POST" || bodyOf(t, got[0]) != "amount=12&note=%22%3E%3Cscript%3E%0D%0A%C3%A9" || got[0].Header.Get("Origin") != s.treasury {
		t.Errorf("the tool got %v", got)
	}

	// A file cannot be kept: the way back leads to the page of the form.
	b.open(s.treasury + "/new")
	b.shows("New payment")
	b.forget(s, s.treasury, "sallyport")
	eval[bool](b, `(() => {
				const form = document.createElement("form");
				form.method = "post";
				form.enctype = "multipart/form-data";
				form.action = "/files";
				document.body.append(form);
				setTimeout(() => form.submit());
				return true;
			})()`)
	b.shows("cannot be kept here")
	b.review("form-lost")
	b.act("sign-in")
	b.shows("New payment")
	if got := s.sentTo("/files"); len(got) != 0 {
		t.Errorf("the tool got %v", got)
	}
}

// sentTo are the requests of a path that reached the treasury.
func (s *harness) sentTo(path string) []*http.Request {
	return slices.DeleteFunc(s.requests(), func(r *http.Request) bool { return r.URL.Path != path })
}

// gesture runs an expression as if the person had just clicked: only then may a page open another one.
func (b *browser) gesture(js string) {
	b.t.Helper()
	yes := true
	call(b, runtime.Evaluate, runtime.EvaluateParams{Expression: js, UserGesture: &yes})
}

func bodyOf(t *testing.T, r *http.Request) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

// beside is the address of the tab that an action opens beside this one, which begins so.
func (b *browser) beside(action, address string) (at string) {
	b.t.Helper()
	if b.played != nil { // WebKit's driver does not see such tabs
		return eval[string](b, `document.querySelector('a[data-action="`+action+`"][target="_blank"]').href`)
	}
	b.act(action)
	eventually(b.t, "a tab is at "+address, func() bool {
		if w, ok := b.engine.(*drivenWindow); ok {
			at = w.beside(address)
			return at != ""
		}
		for _, i := range call(b, target.GetTargets, target.GetTargetsParams{}).TargetInfos {
			if i.Type == "page" && strings.HasPrefix(i.URL, address) {
				at = i.URL
			}
		}
		return at != ""
	})
	return at
}
