package session_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/authn/session"
)

// device visits the sign-in page, and returns the handle that the next request has.
func (b *browser) device() string {
	b.Helper()
	w := httptest.NewRecorder()
	b.ok(b.m.KeepDevice(w, b.request(signInHost)))
	b.keep(signInHost, w)
	return b.m.Device(b.request(signInHost))
}

func (b *browser) deviceCookie() string { return b.jar[signInHost][b.m.DeviceCookieName()] }

func TestDeviceIsKnownAgain(t *testing.T) {
	e := newHarness(t)
	b, other := e.browser(), e.browser()
	if got := e.m.Device(b.request(signInHost)); got != "" {
		t.Fatalf("nobody is device %q", got)
	}
	first := b.device()
	cookie := b.deviceCookie()
	if len(first) != 22 || strings.Contains(cookie, first) {
		t.Fatalf("handle %q of cookie %q", first, cookie)
	}
	if got := b.device(); got != first || b.deviceCookie() != cookie {
		t.Errorf("on the second visit it is %q, cookie %q", got, b.deviceCookie())
	}
	if other.device() == first {
		t.Error("two browsers are one device")
	}
	// A person signs in with it, and out again.
	s := b.verify(b.signIn(signInHost, alice()))
	w := httptest.NewRecorder()
	_, err := e.m.SignOut(w, b.request(signInHost), s)
	e.ok(err)
	b.keep(signInHost, w)
	b.refused(signInHost)
	b.signIn(signInHost, bob())
	if got := b.device(); got != first {
		t.Errorf("after alice, for bob, it is %q", got)
	}
	if got := e.process(nil).Device(b.request(signInHost)); got != first {
		t.Errorf("for another process it is %q", got)
	}
}

// A device that comes by once in a while is known for good; one that stays away for a
// year is not, even if its browser still sends it.
func TestDeviceIsKnownForAYear(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	first := b.device()
	for range 4 {
		e.clock.Add(360 * 24 * time.Hour)
		before := b.deviceCookie()
		if got := b.device(); got != first || b.deviceCookie() == before {
			t.Fatalf("it is %q, want %q with a new cookie", got, first)
		}
	}
	e.clock.Add(365 * 24 * time.Hour)
	if got := e.m.Device(b.request(signInHost)); got != "" {
		t.Errorf("after a year away it is %q", got)
	}
	if got := b.device(); got == "" || got == first {
		t.Errorf("after a year away it becomes %q", got)
	}
}

// Rotating keys once a month keeps devices known for a year, whether they come by or
// not; here in another process than the one that rotates.
func TestDeviceOutlivesRotations(t *testing.T) {
	e := newHarness(t)
	away, regular, other := e.browser(), e.browser(), e.process(nil)
	first, second := away.device(), regular.device()
	for month := range 15 {
		e.clock.Add(10 * time.Second)
		e.ok(e.m.RotateKeys(t.Context()))
		if got := other.Device(away.request(signInHost)); got != first {
			t.Fatalf("after %d rotations it is %q", month+1, got)
		}
		before := regular.deviceCookie()
		if got := regular.device(); got != second || regular.deviceCookie() == before {
			t.Fatalf("after %d rotations the regular is %q", month+1, got)
		}
	}
	e.clock.Add(10 * time.Second)
	e.ok(e.m.RotateKeys(t.Context()))
	if got := e.m.Device(away.request(signInHost)); got != "" {
		t.Errorf("a key older than the ring opens %q", got)
	}
	if got := regular.device(); got != second {
		t.Errorf("the regular is %q", got)
	}
}

// A cookie that we did not seal as a device's is no device, and refuses no one either.
func TestDeviceCannotBeForged(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	b.device()
	b.signIn(signInHost, alice())
	good, name := b.deviceCookie(), e.m.DeviceCookieName()
	foreign := newHarness(t).browser() // of another installation
	foreign.device()
	flipped := []byte(good)
	flipped[20] ^= 1
	for what, header := range map[string][]string{
		"nothing":                     {""},
		"an empty one":                {name + "="},
		"a session cookie":            {name + "=" + b.cookie(signInHost)},
		"one sealed as a session's":   {name + "=" + e.m.Seal(name, [32]byte{1})},
		"another installation's":      {name + "=" + foreign.deviceCookie()},
		"a changed one":               {name + "=" + string(flipped)},
		"a shortened one":             {name + "=" + good[:len(good)-1]},
		"one with a padding":          {name + "=" + good + "="},
		"two":                         {name + "=" + good + "; " + name + "=" + good},
		"two, in two lines":           {name + "=" + good, name + "=x"},
		"one under the session's":     {e.m.CookieName() + "=" + good},
		"one without the name's part": {strings.TrimPrefix(name, "__Host-Http-") + "=" + good},
	} {
		r := httptest.NewRequest("GET", "https://"+signInHost+"/", nil)
		r.Header["Cookie"] = header
		if got := e.m.Device(r); got != "" {
			t.Errorf("%s: %q", what, got)
		}
	}
	r := httptest.NewRequest("GET", "https://"+signInHost+"/", nil)
	r.Header.Set("Cookie", e.m.CookieName()+"="+good)
	if s, err := e.m.Load(r, signInHost); err == nil {
		t.Errorf("a device's cookie is session %q", s.ID)
	}
}

// A device that was known before the cookies' prefix changed stays known, and gets the new name.
func TestDeviceIsKnownByItsOldName(t *testing.T) {
	e := newHarness(t)
	const before = "__Host-sallyport-device"
	r := httptest.NewRequest("GET", "https://"+signInHost+"/", nil)
	r.AddCookie(&http.Cookie{Name: before, Value: e.m.SealDevice(before, epoch)})
	known := e.m.Device(r)
	w := httptest.NewRecorder()
	e.ok(e.m.KeepDevice(w, r))
	c := w.Result().Cookies()
	if known == "" || len(c) != 1 || c[0].Name != e.m.DeviceCookieName() {
		t.Fatalf("it is %q, and gets %v", known, c)
	}
	r.AddCookie(c[0])
	if got := e.m.Device(r); got != known {
		t.Errorf("and then it is %q, not %q", got, known)
	}
}

// Without Secure (http on localhost) it has the plain name, like the session cookie.
func TestDeviceCookieOverHTTP(t *testing.T) {
	e := newHarness(t)
	m := e.process(func(c *session.Config) { c.Secure = false })
	w := httptest.NewRecorder()
	e.ok(m.KeepDevice(w, httptest.NewRequest("GET", "http://localhost/", nil)))
	c := w.Result().Cookies()
	if len(c) != 1 || c[0].Name != "sallyport-device" || c[0].Secure || !c[0].HttpOnly || c[0].SameSite != http.SameSiteLaxMode ||
		c[0].Domain != "" || c[0].Path != "/" || c[0].MaxAge != 365*24*3600 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%+v", c)
	}
}

// An outage of the store makes no one known or unknown whose key is in memory.
func TestDeviceWhileTheStoreIsDown(t *testing.T) {
	e := newHarness(t)
	b := e.browser()
	first := b.device()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := b.request(signInHost).WithContext(ctx)
	if got := e.m.Device(r); got != first {
		t.Errorf("it is %q", got)
	}
	e.clock.Add(2 * time.Second) // not asked within the last second
	r.Header.Set("Cookie", e.m.DeviceCookieName()+"="+strings.Repeat("A", session.SealedLen))
	if got := e.m.Device(r); got != "" {
		t.Errorf("a forged one is %q", got)
	}
}

// For every Cookie header, the only device is the one that was issued.
func FuzzDeviceCookie(f *testing.F) {
	e := newHarness(f)
	b := e.browser()
	handle := b.device()
	name, good := e.m.DeviceCookieName(), b.deviceCookie()
	for _, s := range []string{
		name + "=" + good, name + "=" + good + ";", "a=b; " + name + "=" + good, name + "=" + good + "; " + name + "=", name + "=\"" + good + "\"",
		name, "=" + good, name + "=" + good[:40], ";;;" + name + " = " + good, name + "=" + strings.Repeat("A", session.SealedLen), name + "=" + good[:79] + "\n",
	} {
		f.Add(s, "")
		f.Add("x=y", s)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		r := httptest.NewRequest("GET", "https://"+signInHost+"/", nil)
		r.Header["Cookie"] = []string{one, two}
		switch got := e.m.Device(r); got {
		case "":
		case handle:
			// What strips cookies on the way upstream must see the same one.
			if cs := r.CookiesNamed(name); len(cs) != 1 || cs[0].Value != good {
				t.Fatalf("a device for %q, %q", one, two)
			}
		default:
			t.Fatalf("%q, %q is device %q", one, two, got)
		}
	})
}
