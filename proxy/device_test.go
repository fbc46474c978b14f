package proxy_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/proxy"
	"sallyport/proxy/jsonrpc"
)

// finishIn presses the button of a ceremony page in a browser that names a time zone.
func (b *browser) finishIn(zone string, page answer) answer {
	b.Helper()
	c := page.ceremony(b)
	o, _ := b.begin(c)
	credential, err := b.key.Get(o.Options)
	b.must(err)
	a := b.fetch("POST", c.finish, map[string]any{"ticket": c.ticket, "return_to": c.returnTo, "bind": c.bind,
		"ceremony": o.Ceremony, "credential": json.RawMessage(credential), "name": "", "time_zone": zone})
	var done struct{ Next string }
	b.must(json.Unmarshal([]byte(a.body), &done))
	return b.follow(absolute(page.at, done.Next))
}

// sessionNow is what the gate knows of the browser's session on a host.
func (b *browser) sessionNow(origin string) authn.Session {
	b.Helper()
	var v proxy.Verdict
	var rpc *jsonrpc.Error // a node has nothing to GET
	if err := b.gate.Check(b.request("GET", origin+"/", ""), &v); err != nil && !errors.As(err, &rpc) {
		b.Fatal(err)
	}
	return v.Session
}

// An assertion is remembered with what it was made with, on every host.
func TestAnAssertionRemembersItsBrowser(t *testing.T) {
	g, _ := behaving(t, newPlace+"  - {name: other-clock, when: 'browser.timezone_offset_diff >= duration(\"3h\")', then: block}\n")
	b := g.enrolled("alice", home)
	b.addr = zurich
	if a := b.finishIn("Europe/Zurich", b.follow(treasury+"/")); a.body != "the tool" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	device := g.sessions.Device(b.request("GET", login+"/", ""))
	got := b.sessionNow(treasury).Verification.Browser
	if device == "" || got.Device != device || got.TimeZone != "Europe/Zurich" || got.Family != "unknown" || got.JA4 != "" {
		t.Errorf("%+v, device %q", got, device)
	}
	for _, r := range g.audit.all() {
		if r.Event == "step_up" && (r.Detail["device"] != device || r.Detail["time_zone"] != "Europe/Zurich") {
			t.Errorf("recorded %v", r.Detail)
		}
		if r.Event == "access" && r.Action == "allow" && r.Device != device {
			t.Errorf("an access from the device %q is recorded with %q", device, r.Device)
		}
	}
	// What the zone database does not have is not kept; a zone far away is a fact, for a hand-off too.
	for _, c := range []struct {
		zone, kept string
		want       int
	}{{"Europe/Nowhere", "", 200}, {"Asia/Pyongyang", "Asia/Pyongyang", 403}} {
		a := b.finishIn(c.zone, b.follow(desk+"/.sallyport/step-up?return_to=/app"))
		if a.StatusCode != c.want {
			t.Errorf("%s: %d %s", c.zone, a.StatusCode, a.body)
		}
		at, err := g.sessions.Load(b.request("GET", login+"/", ""), strings.TrimPrefix(login, "https://"))
		g.must(err)
		if kept := at.Verification.Browser.TimeZone; kept != c.kept {
			t.Errorf("%s is kept as %q", c.zone, kept)
		}
	}
}

// A device is known for every person who signs in with it; the second person is a fact about both.
func TestTwoPeopleOnOneDevice(t *testing.T) {
	g, _ := behaving(t, "  - {name: shared, when: device.people_30d >= 2, then: block}\n")
	b := g.enrolled("alice", home)
	if f := g.mustAllow(b); !f.Device.Known || f.Device.People30d != 1 {
		t.Errorf("alone: %+v", f.Device)
	}
	// Alice signs out; what makes the device known stays.
	before := b.cookies["login.example.test"][g.sessions.DeviceCookieName()]
	page := b.get(login + "/.sallyport/sign-out")
	if a := b.submit(login+"/.sallyport/sign-out", nil); a.StatusCode >= 400 {
		t.Fatalf("%d after %d", a.StatusCode, page.StatusCode)
	}
	if b.level() != "none" || before == "" || b.cookies["login.example.test"][g.sessions.DeviceCookieName()] != before {
		t.Fatal("signing out forgot the device")
	}
	b.key = g.enrolledKey("bob") // bob's own key, enrolled on his own computer, brought along
	page = b.signIn(treasury+"/", "bob")
	if page.StatusCode != 403 || !strings.Contains(page.body, "This browser or device is not accepted") {
		t.Fatalf("%d %s", page.StatusCode, page.body)
	}
	// On his own computer he is let in.
	own := g.browser(cafe)
	own.key = b.key
	if a := own.pressAndGo(own.signIn(treasury+"/", "bob")); a.body != "the tool" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// A cookie that was carried off without the device's is at once, on the pages where the
// passkey is used, that of no one's device.
func TestPagesLookAtTheDeviceOfTheRequest(t *testing.T) {
	g, _ := behaving(t, "  - {name: no-device, when: 'request.purpose == \"step_up\" && !device.known', then: block}\n")
	b := g.browser(home)
	b.follow(login + "/.sallyport/sign-in") // where a browser is given its cookie
	b.enroll("alice")
	thief := b.clone(home)
	delete(thief.cookies["login.example.test"], g.sessions.DeviceCookieName())
	for range 2 {
		if a := b.get(login + "/.sallyport/step-up"); a.StatusCode != 200 {
			t.Errorf("with its cookie: %d", a.StatusCode)
		}
		if a := thief.get(login + "/.sallyport/step-up"); a.StatusCode != 403 {
			t.Errorf("without: %d", a.StatusCode)
		}
	}
}

// mustAllow opens the treasury, and returns the facts of that.
func (g *harness) mustAllow(b *browser) policy.Facts {
	g.Helper()
	g.clock.Add(2 * time.Minute)
	var v proxy.Verdict
	g.must(g.gate.Check(b.request("GET", treasury+"/", ""), &v))
	if a := b.get(treasury + "/"); a.StatusCode != 200 {
		g.Fatalf("%d %s", a.StatusCode, a.location())
	}
	return v.Facts
}

// The device's secret is in its cookie alone: not in records, logs, or what tools receive.
func TestDeviceSecretGoesNowhere(t *testing.T) {
	g, _ := behaving(t, newPlace)
	b := g.enrolled("alice", home)
	cookie := b.cookies["login.example.test"][g.sessions.DeviceCookieName()]
	b.follow(desk + "/app")
	r := b.request("GET", desk+"/app", "")
	r.AddCookie(&http.Cookie{Name: g.sessions.DeviceCookieName(), Value: cookie}) // browsers send it to the sign-in host alone
	if a := b.do(r); a.StatusCode != 200 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	for _, r := range g.tool.requests() {
		if line := strings.Join(r.Header["Cookie"], ";"); strings.Contains(line, cookie) || strings.Contains(line, "device") {
			t.Errorf("the tool received %s", line)
		}
	}
	b.addr = zurich
	b.pressAndGo(b.follow(treasury + "/"))
	records := jsonText(g.audit.all())
	if strings.Contains(records, cookie) || strings.Contains(g.log.String(), cookie) {
		t.Error("the cookie is in a record or in the log")
	}
	if handle := g.sessions.Device(b.request("GET", login+"/", "")); !strings.Contains(records, handle) {
		t.Error("the public handle is in no record")
	}
	for host, list := range b.cookies {
		if _, there := list[g.sessions.DeviceCookieName()]; there && host != "login.example.test" {
			t.Errorf("%s was given one", host)
		}
	}
}

// A record holds every group of facts, as they were judged.
func TestRecordsHoldBehaviour(t *testing.T) {
	g, _ := behaving(t, newPlace)
	b := g.enrolled("alice", home)
	b.addr = zurich
	b.finishIn("Europe/Zurich", b.follow(treasury+"/"))
	f := g.last("access")
	if !f.Seen.Known || !f.Seen.NewCountry || f.Seen.Countries1h != 2 || !f.Address.Known || !f.Device.Known || !f.Activity.Known || !f.Browser.TimezoneKnown || f.Session.Concurrent != 1 {
		t.Errorf("%s", jsonText(f))
	}
	text := jsonText(f)
	var back policy.Facts
	g.must(json.Unmarshal([]byte(text), &back))
	if jsonText(back) != text {
		t.Errorf("%s comes back as %s", text, jsonText(back))
	}
}
