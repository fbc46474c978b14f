package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// crossOrigin is what a page of one tool can try on another without leaving the page. Each
// of them asks for a path of its own, with the cookies of the person who looks at the page.
var crossOrigin = map[string]string{
	"fetch that posts":         `fetch(there + "/evil/fetch", {method: "POST", mode: "no-cors", credentials: "include", body: "to=evil"})`,
	"fetch that asks to read":  `fetch(there + "/evil/cors", {method: "POST", credentials: "include", headers: {"X-Any": "1"}})`,
	"fetch that deletes":       `fetch(there + "/evil/delete", {method: "DELETE", credentials: "include"})`,
	"beacon":                   `navigator.sendBeacon(there + "/evil/beacon", "to=evil")`,
	"form in a frame":          `frame("<form method=post action='" + there + "/evil/form'></form>", f => f.querySelector("form").submit())`,
	"WebSocket":                `new Promise(done => { const ws = new WebSocket(there.replace("http", "ws") + "/evil/ws"); ws.onopen = ws.onerror = done; })`,
	"script":                   `element("script", "src", "/evil/data.js")`,
	"image":                    `element("img", "src", "/evil/chart.png")`,
	"sound":                    `element("audio", "src", "/evil/voice.mp3")`,
	"style sheet":              `element("link", "href", "/evil/style.css")`,
	"read by a fetch, no-cors": `fetch(there + "/evil/opaque", {mode: "no-cors", credentials: "include"})`,
	"worker":                   `new Promise(done => { const w = new Worker(URL.createObjectURL(new Blob(["fetch('" + there + "/evil/worker', {method: 'POST', mode: 'no-cors', credentials: 'include', body: 'x'}).finally(() => postMessage(1))"]))); w.onmessage = w.onerror = done; })`,
}

// TestAttackToolActsOnAnotherTool: to a browser, the hosts of a company are one site, and it
// sends a person's cookies from each to each. Nothing that a page of one tool asks of another
// reaches it; where each tool is a site of its own, the same holds.
func TestAttackToolActsOnAnotherTool(t *testing.T) {
	t.Parallel()
	for _, e := range []entry{overTLS, overHTTP} {
		t.Run(e.name, func(t *testing.T) { t.Parallel(); toolActsOnAnotherTool(t, e, newBrowser) })
	}
	for _, e := range engines[1:] {
		t.Run("https, in "+e.name, func(t *testing.T) { t.Parallel(); toolActsOnAnotherTool(t, overTLS, e.open) })
	}
}

func toolActsOnAnotherTool(t *testing.T, e entry, open func(t *testing.T, from string) *browser) {
	evil := newTool(t)
	s := newHarnessAt(t, e, withTool("evil", evil))
	evil.page("/", fmt.Sprintf(`<h1>Evil</h1><script>
				window.there = %q;
				window.element = (name, attribute, path) => new Promise(done => {
					const e = document.createElement(name);
					e.onload = e.onerror = e.onloadedmetadata = done;
					if (name === "link") e.rel = "stylesheet";
					e[attribute] = there + path;
					document.body.append(e);
				});
				window.frame = (html, act) => new Promise(done => {
					const f = document.createElement("iframe");
					f.srcdoc = html;
					f.onload = () => { f.onload = done; act(f.contentDocument); setTimeout(done, 3000); };
					document.body.append(f);
				});
			</script>`, s.treasury))
	b := open(t, home)
	b.hostile = true
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/") // she is in there
	b.shows("Treasury of alice@example.com")
	b.open(s.origin("evil") + "/")
	b.shows("Evil")
	for _, js := range crossOrigin {
		eval[bool](b, "Promise.resolve("+js+").then(() => true, () => true)")
	}
	// A form that takes the whole window along.
	eval[bool](b, `(() => {
				const form = document.createElement("form");
				form.method = "post";
				form.action = window.there + "/evil/pay";
				document.body.append(form);
				setTimeout(() => form.submit());
				return true;
			})()`)
	b.until("location.pathname === '/evil/pay'")
	for _, r := range s.requests() {
		if strings.HasPrefix(r.URL.Path, "/evil/") {
			t.Errorf("%s %s reached the treasury as %q", r.Method, r.URL.Path, r.Header.Get("X-Sallyport-User"))
		}
	}
	// Where each is a site of its own, the browser sends no cookie, and a stranger asked.
	if e == overTLS && !slices.ContainsFunc(s.audit(), func(r map[string]any) bool { return r["action"] == "block" }) {
		t.Error("nothing of it is in the log")
	}
	// A link is a link: people go from tool to tool.
	b.open(s.origin("evil") + "/")
	eval[bool](b, `(location.href = there + "/balances", true)`)
	b.shows("Treasury of alice@example.com")
}

// TestAttackToolCommandsTheBrowser: what an answer of one tool may not do to the rest. It
// clears the site's cookies, which would sign the person out everywhere and make an unknown
// device of the browser; and it shows another tool in a frame, where a click is not what it
// looks like.
func TestAttackToolCommandsTheBrowser(t *testing.T) {
	inEveryEngine(t, toolCommandsTheBrowser)
}

func toolCommandsTheBrowser(t *testing.T, open func(t *testing.T, from string) *browser) {
	evil := newTool(t)
	s := newHarness(t, withTool("evil", evil))
	b := open(t, home)
	b.hostile = true
	b.enrol(s.ticket(alice.Email), alice.Sub)
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")

	evil.page("/clear", "<h1>Cleared</h1>", "Clear-Site-Data", `"cookies", "storage"`, "Clear-Site-Data", `"*"`)
	b.open(s.origin("evil") + "/clear")
	b.shows("Cleared")
	b.open(s.treasury + "/")
	b.shows("Treasury of alice@example.com")
	b.open(s.base + "/.sallyport/account")
	b.shows("Your account")

	s.page("/framed", `<script>parent.postMessage("framed", "*")</script>`)
	evil.page("/frame", fmt.Sprintf(`<h1>Evil</h1><script>
		window.seen = "";
		onmessage = e => window.seen += e.data;
		for (const page of [%q, %q]) {
			const f = document.createElement("iframe");
			f.src = page;
			f.onload = () => window.loaded = (window.loaded || 0) + 1;
			document.body.append(f);
		}
	</script>`, s.treasury+"/framed", s.base+"/.sallyport/account"))
	b.open(s.origin("evil") + "/frame")
	b.until("window.loaded === 2")
	if seen := eval[string](b, "window.seen"); seen != "" {
		t.Errorf("a tool shows another one in a frame: %s", seen)
	}
}
