package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"sallyport/authn/authntest"
)

// browser is one tab of a browser, with cookies of its own and a virtual authenticator.
// On every page that it shows, nothing may be loaded from elsewhere, and nothing may be complained
// about in the console: the end of the test checks.
//
// Most tests have a headless Chromium. Its protocol is behind call; what has no use of it, works
// in every engine.
type browser struct {
	t       *testing.T
	engine  engine
	line    *line                    // nil: connects without anything in between
	played  *authntest.Authenticator // of an engine without WebAuthn; nil: it has WebAuthn
	hostile bool                     // shows pages of an attacker, whose complaints are not ours

	// Of Chromium only.
	ctx           context.Context
	root          context.Context // ctx without its deadline
	authenticator webauthn.AuthenticatorID

	mu         sync.Mutex
	foreign    string   // origin whose pages are not ours to judge
	requests   []string // URLs asked for
	sent       map[network.RequestID]bool
	complaints []string       // of the console: errors, violations of the content security policy
	cookies    []*http.Cookie // of ours that answers set
}

// process is the one Chromium of all tests. Every test has a browser context, which is
// what a private window is to people.
var process struct {
	once sync.Once
	ctx  context.Context
	end  func()
	err  error
}

func chromium(t *testing.T) context.Context {
	t.Helper()
	process.once.Do(func() {
		var path string
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if path, process.err = exec.LookPath(name); process.err == nil {
				break
			}
		}
		if process.err != nil {
			return
		}
		opts := []chromedp.ExecAllocatorOption{
			chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(filepath.Join(filepath.Dir(binary), "chromium")), chromedp.Flag("headless", "new"),
			chromedp.Flag("ignore-certificate-errors-spki-list", certificates.spki), chromedp.Flag("host-resolver-rules", "MAP *."+company+" 127.0.0.1"),
			chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
			chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		}
		allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), opts...)
		ctx, endContext := chromedp.NewContext(allocator)
		process.ctx, process.end = ctx, func() { endContext(); endAllocator() }
		process.err = chromedp.Do(ctx, chromedp.Navigate("about:blank"))
	})
	if process.err != nil {
		missing(t, "Chromium ("+process.err.Error()+")")
	}
	return process.ctx
}

// newBrowser opens a browser that connects from an address. It is a machine of its own: it
// shares no cookies, no passkeys and no connections with another.
func newBrowser(t *testing.T, from string) *browser {
	t.Helper()
	return newBrowserOn(t, newLine(t, from))
}

// newBrowserOn opens a browser on a line; without one it connects by itself, and its
// address is that of this machine.
func newBrowserOn(t *testing.T, via *line) *browser {
	t.Helper()
	return openTab(t, via, chromium(t), chromedp.WithNewBrowserContext(func(p *target.CreateBrowserContextParams) {
		if via != nil {
			p.ProxyServer, p.ProxyBypassList = "socks5://"+via.addr, "<-loopback>"
		}
	}))
}

// tab opens another tab of a browser: it shares the cookies, the line and what is stored,
// and has an authenticator of its own.
func (b *browser) tab() *browser {
	b.t.Helper()
	w, ok := b.engine.(*drivenWindow)
	if !ok {
		return openTab(b.t, b.line, b.root)
	}
	made, err := w.newWindow()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = made.close() })
	return &browser{t: b.t, line: b.line, engine: made, played: b.played}
}

// chromiumTab is a tab of Chromium. It is an engine.
type chromiumTab struct{ ctx *context.Context }

func (c chromiumTab) navigate(url string) error { return chromedp.Do(*c.ctx, chromedp.Navigate(url)) }

func (c chromiumTab) evaluate(js string) ([]byte, error) {
	return chromedp.Run(*c.ctx, chromedp.Evaluate[[]byte](js, chromedp.EvalAwaitPromise))
}

// click is that of a script, and counts as a gesture of a person.
func (c chromiumTab) click(selector string) error {
	gesture := func(p *runtime.EvaluateParams) { yes := true; p.UserGesture = &yes }
	_, err := chromedp.Run(*c.ctx, chromedp.Evaluate[[]byte]("(document.querySelector("+quote(selector)+").click(), true)", gesture))
	return err
}

func (c chromiumTab) picture() ([]byte, error) {
	return chromedp.Run(*c.ctx, chromedp.FullScreenshot(100))
}

func openTab(t *testing.T, via *line, parent context.Context, kind ...chromedp.ContextOption) *browser {
	t.Helper()
	b := &browser{t: t, line: via}
	b.engine = chromiumTab{&b.ctx}
	ctx, cancelContext := chromedp.NewContext(parent, append(kind, chromedp.WithListener(b.observe))...)
	b.root, b.ctx = ctx, ctx
	b.open("about:blank") // the first call must not have a deadline
	ctx, cancelTimeout := context.WithTimeout(ctx, 3*time.Minute)
	b.ctx = ctx
	t.Cleanup(func() {
		b.checkQuiet()
		cancelTimeout()
		cancelContext()
	})
	call(b, webauthn.Enable, webauthn.EnableParams{})
	added := call(b, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Ctap2version: webauthn.Ctap2versionCtap21, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	b.authenticator = added.AuthenticatorID
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}) // as if its window were in front
	return b
}

// observe notes what the browser asks for and complains about. It runs on the goroutine
// that reads the browser's messages.
func (b *browser) observe(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if b.sent == nil {
			b.sent = map[network.RequestID]bool{}
		}
		b.sent[e.RequestID] = true
		if b.foreign == "" || !strings.HasPrefix(e.DocumentURL, b.foreign) {
			b.requests = append(b.requests, e.Request.URL)
		}
	case *network.EventResponseReceivedExtraInfo:
		b.keep(e.Headers)
	case *network.EventResponseReceived:
		// A refusal is a document or the answer to a fetch. Anything else that a page names
		// must be there; the icon that browsers look for by themselves need not. Of a request that was sent before
		// this end listened (a window that a page opened), Chromium does not say what it is.
		untold := e.Type == network.ResourceTypeOther && !b.sent[e.RequestID]
		if !untold && e.Response.Status >= 400 && !strings.HasSuffix(e.Response.URL, "/favicon.ico") && e.Type != network.ResourceTypeDocument && e.Type != network.ResourceTypeFetch {
			b.complaints = append(b.complaints, fmt.Sprintf("%s: status %d (%s)", e.Response.URL, e.Response.Status, e.Type))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork || e.Entry.Source == log.EntrySourceSecurity {
			b.complaints = append(b.complaints, string(e.Entry.Source)+": "+e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, "exception: "+e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			b.complaints = append(b.complaints, fmt.Sprintf("console.%s", e.Type))
		}
	}
}

// keep notes the cookies of an answer. Which answer it was is not known for sure: all of a
// redirect have one number.
func (b *browser) keep(headers network.Headers) {
	for name, value := range headers {
		text, ok := value.(string)
		if !ok || !strings.EqualFold(name, "Set-Cookie") {
			continue
		}
		for line := range strings.SplitSeq(text, "\n") {
			if c, err := http.ParseSetCookie(line); err == nil && ours(c.Name) {
				b.cookies = append(b.cookies, c)
			}
		}
	}
}

// checkQuiet says what must not have happened in a browser.
func (b *browser) checkQuiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, raw := range b.requests {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "data" && u.Scheme != "about" && u.Scheme != "blob" && !ofTests(u.Hostname()) {
			b.t.Errorf("a page asked for %s", raw)
		}
	}
	https := !slices.ContainsFunc(b.requests, func(to string) bool {
		return strings.HasPrefix(to, "http://localhost:") && strings.Contains(to, "/.sallyport/")
	})
	for _, c := range b.cookies {
		if fault := cookieFault(c, https); fault != "" {
			b.t.Errorf("the cookie %s: %s", c.Name, fault)
		}
	}
	for _, c := range b.complaints {
		if b.hostile {
			break
		}
		b.t.Errorf("the browser complained: %s", c)
	}
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
	b.line.move(addr)
}

func (b *browser) verifiesUser(yes bool) {
	b.t.Helper()
	call(b, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: b.authenticator, IsUserVerified: yes})
}

// open goes to an address. A page that is on its way elsewhere by itself, as that of a
// hand-off is, may get in the way.
func (b *browser) open(url string) {
	b.t.Helper()
	for range 5 {
		err := b.engine.navigate(url)
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "net::ERR_ABORTED") {
			b.t.Fatalf("open %s: %v", url, err)
		}
	}
	b.t.Fatalf("open %s: other pages got in the way, five times", url)
}

// eval runs an expression in the page.
func eval[T any](b *browser, js string) T {
	b.t.Helper()
	value, err := b.engine.evaluate(js)
	if err == nil && len(value) == 0 {
		value = []byte("null") // undefined
	}
	var v T
	if err == nil {
		err = json.Unmarshal(value, &v)
	}
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// press clicks an element once it is there and enabled.
func (b *browser) press(selector string) {
	b.t.Helper()
	b.until("document.querySelector(" + quote(selector) + ") && !document.querySelector(" + quote(selector) + ").disabled")
	if err := b.engine.click(selector); err != nil {
		b.t.Fatalf("press %s: %v", selector, err)
	}
}

// act presses the button, or the link, that a page has for an action.
func (b *browser) act(action string) {
	b.t.Helper()
	if b.played != nil && (action == "enroll" || action == "verify") {
		b.play(action)
		return
	}
	b.press(`[data-action="` + action + `"]`)
}

// until waits for a condition in the page.
func (b *browser) until(js string) {
	b.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		// A navigation in between makes an evaluation fail: that is not an answer.
		answer, err := b.engine.evaluate("!!(" + js + ")")
		if err == nil && string(answer) == "true" {
			return
		}
		if time.Now().After(deadline) {
			b.screenshot("stuck")
			text, _ := b.engine.evaluate(`location.href + "\n" + document.body.innerText`)
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
	b.until("document.readyState === 'complete'") // its script keeps what stands behind "#", and where the sign-in leads
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
	png, err := b.engine.picture()
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
