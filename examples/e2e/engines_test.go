package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/authn/authntest"
)

// engine is one window of a browser, as far as a journey is concerned. Chromium, Firefox and
// WebKit each have one.
type engine interface {
	navigate(url string) error
	evaluate(js string) ([]byte, error) // the value of an expression, as JSON; a promise is awaited
	click(selector string) error
	picture() ([]byte, error) // PNG
}

type namedEngine struct {
	name string
	open func(t *testing.T, from string) *browser
}

// engines are the browsers that a journey is taken in.
var engines = []namedEngine{
	{"chromium", newBrowser},
	{"firefox", newFirefox},
	{"webkit", newWebKit},
}

// inEveryEngine takes a journey in each of them: open opens a browser that connects from an
// address. There is one Firefox and one WebKit at a time, so a journey opens one browser only,
// and others of its kind as tabs of it.
func inEveryEngine(t *testing.T, journey func(t *testing.T, open func(t *testing.T, from string) *browser)) {
	inEngines(t, engines, journey)
}

func inEngines(t *testing.T, some []namedEngine, journey func(t *testing.T, open func(t *testing.T, from string) *browser)) {
	t.Parallel()
	for _, e := range some {
		t.Run(e.name, func(t *testing.T) { t.Parallel(); journey(t, e.open) })
	}
}

// firefox is the one Firefox of all tests. Its start is the slow part; between tests, everything
// that it remembers is deleted.
var firefox struct {
	once   sync.Once
	cmd    *exec.Cmd
	window *drivenWindow
	log    output
	err    error

	mu sync.Mutex // held by the test that has it
}

// firefoxPrefs makes a Firefox for tests. Without softtoken there is no virtual authenticator, and
// with usbtoken Firefox waits for a key to be plugged in beside it.
var firefoxPrefs = map[string]any{
	"marionette.port":                                   0, // it says which in the profile
	"remote.prefs.recommended":                          true,
	"app.normandy.enabled":                              false,
	"nimbus.rollouts.enabled":                           false,
	"services.settings.server":                          "data:,",
	"browser.contentblocking.category":                  "standard",
	"security.webauth.webauthn_enable_softtoken":        true,
	"security.webauth.webauthn_enable_usbtoken":         false,
	"security.webauthn.always_allow_direct_attestation": true, // or a prompt asks: see TestFirefoxAsksAboutAttestation
	// All connections take the line of the test.
	"network.proxy.type":                      1,
	"network.proxy.socks":                     "127.0.0.1",
	"network.proxy.socks_port":                1, // none, until a test has it
	"network.proxy.socks_version":             5,
	"network.proxy.socks5_remote_dns":         true,
	"network.proxy.no_proxies_on":             "",
	"network.proxy.allow_hijacking_localhost": true,
	"network.proxy.failover_direct":           false,
}

func startFirefox() error {
	path, err := exec.LookPath("firefox-esr")
	if err != nil {
		if path, err = exec.LookPath("firefox"); err != nil {
			return err
		}
	}
	profile := filepath.Join(filepath.Dir(binary), "firefox")
	if err := os.Mkdir(profile, 0o700); err != nil {
		return err
	}
	var prefs strings.Builder
	for name, value := range firefoxPrefs {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		prefs.WriteString("user_pref(" + strconv.Quote(name) + ", " + string(text) + ");\n")
	}
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(prefs.String()), 0o600); err != nil {
		return err
	}
	// System access is for the preferences, the authority and the prompts of Firefox itself.
	firefox.cmd = exec.Command(path, "--headless", "--no-remote", "--marionette", "--remote-allow-system-access", "--profile", profile)
	firefox.cmd.Stdout, firefox.cmd.Stderr = &firefox.log, &firefox.log
	if err := firefox.cmd.Start(); err != nil {
		return err
	}
	var port []byte
	for deadline := time.Now().Add(driverPatience); ; {
		if port, err = os.ReadFile(filepath.Join(profile, "MarionetteActivePort")); err == nil && len(port) > 0 {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("Firefox did not start: " + firefox.log.String())
		}
		<-time.After(20 * time.Millisecond) // polling another process
	}
	m, err := dialMarionette(strings.TrimSpace(string(port)))
	if err != nil {
		return err
	}
	if _, err := m.send("WebDriver:NewSession", map[string]any{"capabilities": map[string]any{}}); err != nil {
		return err
	}
	firefox.window, err = (&driven{wire: m}).firstWindow()
	return err
}

// chrome runs a function's body in Firefox itself, as its own parts do.
func (w *drivenWindow) chrome(js string, out any) error {
	if err := w.do("Marionette:SetContext", map[string]any{"value": "chrome"}, nil); err != nil {
		return err
	}
	err := w.do("WebDriver:ExecuteScript", map[string]any{"script": js, "args": []any{}}, out)
	return errors.Join(err, w.do("Marionette:SetContext", map[string]any{"value": "content"}, nil))
}

// newFirefox is newBrowser with Firefox. It has passkeys.
func newFirefox(t *testing.T, from string) *browser {
	t.Helper()
	firefox.mu.Lock()
	t.Cleanup(firefox.mu.Unlock)
	firefox.once.Do(func() { firefox.err = startFirefox() })
	if firefox.err != nil {
		missing(t, "Firefox ("+firefox.err.Error()+")")
	}
	line := newLine(t, from)
	_, port, _ := strings.Cut(line.addr, ":")
	w := firefox.window
	b := &browser{t: t, line: line, engine: w}
	if err := w.navigate("about:blank"); err != nil {
		t.Fatal(err)
	}
	err := w.chrome(`
		Services.prefs.setIntPref("network.proxy.socks_port", `+port+`);
		Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).addCertFromBase64(`+strconv.Quote(certificates.authority)+`, "CT,,");
		Services.console.reset();
		return new Promise((done) => Services.clearData.deleteData(Ci.nsIClearDataService.CLEAR_ALL, done));`, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.firefoxKey(true)
	t.Cleanup(func() { b.checkFirefox(); _ = w.navigate("about:blank") })
	return b
}

// firefoxKey gives a Firefox an authenticator, until the end of the test.
func (b *browser) firefoxKey(verifies bool) {
	b.t.Helper()
	var id string
	if err := firefox.window.do("WebAuthn:AddVirtualAuthenticator", map[string]any{
		"protocol": "ctap2_1", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true, "isUserConsenting": true, "isUserVerified": verifies,
	}, &id); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = firefox.window.do("WebAuthn:RemoveVirtualAuthenticator", map[string]any{"authenticatorId": id}, nil)
	})
}

// checkFirefox says what Firefox complained about in pages of the product.
func (b *browser) checkFirefox() {
	b.t.Helper()
	var complaints []string
	if err := firefox.window.chrome(`return Services.console.getMessageArray().filter((m) => m instanceof Ci.nsIScriptError && /^(https?|blob):/.test(m.sourceName) && !/Script terminated by timeout/.test(m.errorMessage)) // an evaluation of ours, in a page that went away
		.map((m) => m.category + ": " + m.errorMessage + " (" + m.sourceName + ":" + m.lineNumber + ")")`, &complaints); err != nil {
		b.t.Error(err)
	}
	for _, c := range complaints {
		if !b.hostile {
			b.t.Errorf("Firefox complained: %s", c)
		}
	}
}

// webkit is what WebKit needs to run: a display, and its driver. Each test has a browser of its own.
var webkit struct {
	once         sync.Once
	driver, xvfb *exec.Cmd
	at           string
	display      string
	log          output
	err          error

	mu sync.Mutex // its driver has one session at a time
}

// endEngines ends the processes that tests have started.
func endEngines() {
	if process.end != nil {
		process.end()
	}
	for _, cmd := range []*exec.Cmd{firefox.cmd, webkit.driver, webkit.xvfb} {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
}

// miniBrowsers is where Debian has the browser that comes with WebKitGTK.
const miniBrowsers = "/usr/lib/*/webkit2gtk-4.*/MiniBrowser"

func startWebKit() error {
	if found, _ := filepath.Glob(miniBrowsers); len(found) == 0 {
		return errors.New("no " + miniBrowsers)
	}
	webkit.xvfb = exec.Command("Xvfb", "-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "1280x1024x24")
	out, err := webkit.xvfb.StdoutPipe()
	if err != nil {
		return err
	}
	if err := webkit.xvfb.Start(); err != nil {
		return err
	}
	display, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	webkit.at = l.Addr().String()
	_, port, _ := net.SplitHostPort(webkit.at)
	l.Close()
	webkit.driver = exec.Command("WebKitWebDriver", "--port="+port)
	webkit.driver.Env = append(os.Environ(), "DISPLAY=:"+strings.TrimSpace(display), "HOME="+filepath.Dir(binary), "LIBGL_ALWAYS_SOFTWARE=1")
	webkit.driver.Stdout, webkit.driver.Stderr = &webkit.log, &webkit.log
	if err := webkit.driver.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(driverPatience); ; {
		res, err := http.Get("http://" + webkit.at + "/status")
		if err == nil {
			res.Body.Close()
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("WebKitWebDriver did not start: " + webkit.log.String())
		}
		<-time.After(20 * time.Millisecond) // polling another process
	}
}

// newWebKit is newBrowser with WebKit. WebKitGTK has no WebAuthn: ceremonies are played, see play.
func newWebKit(t *testing.T, from string) *browser {
	t.Helper()
	webkit.mu.Lock()
	t.Cleanup(webkit.mu.Unlock)
	webkit.once.Do(func() { webkit.err = startWebKit() })
	if webkit.err != nil {
		missing(t, "WebKit ("+webkit.err.Error()+")")
	}
	found, _ := filepath.Glob(miniBrowsers)
	line := newLine(t, from)
	// With the proxy of WebDriver's capabilities, WebKit would look names up by itself.
	args := []string{"--automation", "--enable-write-console-messages-to-stdout=true", "--proxy=socks5://" + line.addr}
	wire := &overHTTPWire{base: "http://" + webkit.at + "/session"}
	capabilities := map[string]any{
		"acceptInsecureCerts":      true,
		"webkitgtk:browserOptions": map[string]any{"binary": found[0], "args": args},
	}
	value, err := wire.send("WebDriver:NewSession", map[string]any{"capabilities": map[string]any{"alwaysMatch": capabilities}})
	var session struct{ SessionID string }
	if err == nil {
		err = json.Unmarshal(value, &session)
	}
	if err != nil {
		t.Fatal(err)
	}
	wire.base += "/" + session.SessionID
	t.Cleanup(func() { _, _ = wire.send("WebDriver:DeleteSession", nil) })
	w, err := (&driven{wire: wire}).firstWindow()
	if err != nil {
		t.Fatal(err)
	}
	before := len(webkit.log.String())
	b := &browser{t: t, line: line, engine: w, played: new(authntest.Authenticator)}
	t.Cleanup(func() {
		for l := range strings.Lines(webkit.log.String()[before:]) {
			if strings.Contains(l, "CONSOLE") && !b.hostile {
				t.Errorf("WebKit complained: %s", l)
			}
		}
	})
	return b
}

// play is a ceremony in a browser without WebAuthn: the page's script would not begin it. Its
// messages go to and fro in the page, with the browser's cookies and headers, and an authenticator
// of the test answers. What follows is up to the page's own script again.
func (b *browser) play(action string) {
	b.t.Helper()
	b.until(`document.readyState === "complete" && document.querySelector('form[data-ceremony] [data-action="` + action + `"]')`)
	const post = `const form = document.querySelector("form[data-ceremony]");
		const context = {ticket: form.dataset.ticket, return_to: form.dataset.returnTo, bind: form.dataset.bind};
		const post = (url, body) => fetch(url, {method: "POST", headers: {"Content-Type": "application/json", Accept: "application/json"}, body: JSON.stringify(body)}).then((r) => r.text());`
	var begun begun
	text := eval[string](b, `(async () => { `+post+` return post(form.dataset.begin, context) })()`)
	if err := begun.unwrap([]byte(text)); err != nil || begun.Ceremony == "" {
		b.t.Fatalf("the ceremony did not begin: %s", text)
	}
	b.played.Origin = eval[string](b, "location.origin")
	answer := b.played.Get
	if action == "enroll" {
		answer = b.played.Create
	}
	credential, err := answer(begun.Options)
	if err != nil {
		b.t.Fatal(err)
	}
	text = eval[string](b, `(async () => { `+post+` return post(form.dataset.finish, {...context, ceremony: `+quote(begun.Ceremony)+`, credential: `+string(credential)+`, name: ""}) })()`)
	var done struct{ Next string }
	if err := json.Unmarshal([]byte(text), &done); err != nil || done.Next == "" {
		b.t.Fatalf("the ceremony did not end: %s", text)
	}
	eval[bool](b, `import(document.querySelector("script[src*='ceremony.js']").src.replace("ceremony.js", "fragment.js")).then((page) => { setTimeout(() => location.assign(page.onward(`+quote(done.Next)+`))); return true })`)
}

// TestCookiesThatAreNotKept: WebKitGTK takes each host below a top-level domain that the public suffix
// list does not have for a site of its own. It does not keep the cookie that a hand-off by fetch sets
// there, and comes back at once: the page stops, and says what is wrong. A hand-off by a form works.
func TestCookiesThatAreNotKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, handoff, ends string }{
		{"fetch", "auto", "does not keep the cookie of treasury." + privateCompany},
		{"form", "post", "Treasury of alice@example.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newHarnessAt(t, ownTLS, func(cfg string) string {
				return strings.Replace(cfg, "session: {", "session: {handoff: "+c.handoff+", ", 1)
			})
			b := newWebKit(t, home)
			b.enrol(s.ticket(alice.Email), alice.Sub)
			b.open(s.treasury + "/")
			b.shows(c.ends)
		})
	}
}
