package e2e

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// frame is the first frame of the page.
func (b *browser) frame() (*cdp.Frame, error) {
	tree, err := chromedp.Call(b.ctx, page.GetFrameTree, cdp.Empty{})
	if err != nil {
		return nil, err
	}
	if len(tree.FrameTree.ChildFrames) == 0 {
		return nil, errors.New("there is no frame")
	}
	return tree.FrameTree.ChildFrames[0].Frame, nil
}

// framed runs an expression in the first frame of the page, as if the person had just clicked there.
func framed[T any](b *browser, js string) (v T, err error) {
	f, err := b.frame()
	if err != nil {
		return v, err
	}
	world, err := chromedp.Call(b.ctx, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: f.ID})
	if err != nil {
		return v, err
	}
	yes := true
	r, err := chromedp.Call(b.ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: js, ContextID: world.ExecutionContextID, ReturnByValue: &yes, AwaitPromise: &yes, UserGesture: &yes})
	if err != nil {
		return v, err
	}
	if r.ExceptionDetails != nil {
		return v, errors.New(r.ExceptionDetails.Text)
	}
	return v, json.Unmarshal(r.Result.Value, &v)
}

// frameShows waits for text in the first frame of the page.
func (b *browser) frameShows(text string) {
	b.t.Helper()
	eventually(b.t, "the frame shows "+text, func() bool {
		ok, err := framed[bool](b, "document.readyState === 'complete' && document.body.innerText.includes("+quote(text)+")")
		return err == nil && ok
	})
}

// framePress clicks in the first frame of the page.
func (b *browser) framePress(selector string) {
	b.t.Helper()
	if _, err := framed[bool](b, "(document.querySelector("+quote(selector)+").click(), true)"); err != nil {
		b.t.Fatal(err)
	}
}

// reviewFrame looks at the first frame of the page in both colours and several sizes.
func (b *browser) reviewFrame(name string) {
	b.t.Helper()
	for _, scheme := range schemes {
		call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		for _, width := range []string{"320", "480", "900"} {
			eval[bool](b, "(document.querySelector('iframe').width = "+width+", new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true)))))")
			faults, err := framed[[]string](b, reviewScript)
			if err != nil {
				b.t.Fatal(err)
			}
			for _, fault := range faults {
				b.t.Errorf("%s, %s, %s: %s", name, scheme, width, fault)
			}
			b.screenshot(name + "-" + width + "-" + scheme)
		}
	}
}

// TestQuestionInAFrame: a tool shows another one in a frame, and a question is due there. The person verifies in a tab of its
// own, comes back, and sees the tool.
func TestQuestionInAFrame(t *testing.T) {
	t.Parallel()
	board, wiki := newTool(t), newTool(t)
	s := newHarness(t, withTool("board", board), withTool("wiki", wiki, "    embeddable: true"))
	show := `(() => { const f = document.createElement("iframe"); f.title = "Widget"; f.height = 420; f.src = ` + quote(s.origin("wiki")+"/widget?a=1") + `; document.body.append(f); return true })()`
	board.page("/", "<h1>Board</h1>")
	wiki.page("/widget", "<h1>Widget</h1>", "Content-Security-Policy", "frame-ancestors "+s.origin("board"))
	b := newBrowser(t, home)
	b.enrol(s.ticket(alice.Email), alice.Sub)
	for _, origin := range []string{s.origin("wiki"), s.origin("board")} {
		b.open(origin + "/")
		b.until("location.origin === " + quote(origin))
	}
	b.shows("Board")

	b.from(vpnExit)
	eval[bool](b, show)
	b.frameShows("Verify in a new tab")
	b.reviewFrame("framed-step-up")
	if !strings.Contains(s.log.String(), "/framed.js") {
		t.Error("the page in the frame has no script")
	}
	b.framePress(`a[data-action="step-up"]`)
	w := b.window(s.base + "/.sallyport/step-up")
	w.act("verify")
	w.shows("Now go back")
	w.review("go-back")
	b.frameShows("Widget")

	// Signed out, in a frame that the tool's page trusts with no more than it needs.
	s.run("session", "revoke", "--user", alice.Email)
	w.signedOut()
	call(b, page.BringToFront, cdp.Empty{})
	eval[bool](b, "(document.querySelector('iframe').remove(), true)")
	eval[bool](b, strings.Replace(show, "f.src =", "f.sandbox = 'allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox'; f.src =", 1))
	b.frameShows("Sign in in a new tab")
	b.reviewFrame("framed-sign-in")
	b.framePress(".more a") // too early
	b.frameShows("Sign in in a new tab")
	b.framePress(`a[data-action="sign-in"]`)
	w = b.window(s.base + "/.sallyport/sign-in")
	w.signIn(alice.Sub)
	w.act("verify")
	w.shows("Now go back")
	b.frameShows("Widget")
}

// TestAttackFrameOfTheQuestion: a page that is none of ours cannot show the question in a frame, nor can a tool show that of a tool
// which may not be embedded.
func TestAttackFrameOfTheQuestion(t *testing.T) {
	t.Parallel()
	evil, wiki := newTool(t), newTool(t)
	s := newHarness(t, withTool("evil", evil), withTool("wiki", wiki, "    embeddable: true"))
	outside := newTool(t) // not behind the product
	b := newBrowser(t, home)
	b.hostile, b.foreign = true, outside.URL
	b.enrol(s.ticket(alice.Email), alice.Sub)
	for _, origin := range []string{s.treasury, s.origin("wiki")} {
		b.open(origin + "/")
		b.shows("Treasury of")
	}
	for name, c := range map[string]struct{ at, shows string }{
		"a page of another site": {outside.URL + "/page", s.origin("wiki") + "/x"},
		"a tool that may not":    {s.origin("evil") + "/page", s.treasury + "/x"},
	} {
		b.from(home)
		html := "<h1>Evil</h1><script>const show = () => { const f = document.createElement('iframe'); f.src = '" + c.shows + "'; f.onload = () => window.loaded = true; document.body.append(f); return true }</script>"
		evil.page("/page", html)
		outside.page("/page", html)
		b.open(c.at)
		b.shows("Evil")
		b.from(vpnExit)
		eval[bool](b, "show()")
		b.until("window.loaded")
		if strings.Contains(s.log.String(), "/framed.js") { // it would load that
			t.Errorf("%s shows the question", name)
		}
	}
}
