package portal

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// destinations are those of the Fetch standard (section 2.2.7), some that were or may become one, and none.
var destinations = []string{
	"", "audio", "audioworklet", "document", "embed", "empty", "fencedframe", "font", "frame", "iframe", "image", "json", "manifest", "object", "paintworklet",
	"report", "script", "serviceworker", "sharedworker", "speculationrules", "style", "text", "track", "video", "webidentity", "websocket", "worker", "xslt", "portal",
}

// What a browser says that it does with the answer, and nothing that a script can say beside it, decides the form of it.
func TestKindByFetchMetadata(t *testing.T) {
	page := map[string]Kind{"document": Page, "": Page, "empty": Page} // in a navigation; everything else is within a page
	for _, dest := range destinations {
		for _, mode := range []string{"navigate", "nested-navigate", "cors", "no-cors", "same-origin", "websocket", "webtransport", ""} {
			want := Data
			switch {
			case mode == "nested-navigate":
				want = Framed
			case mode == "navigate" && page[dest] == Page:
				want = Page
			case mode == "navigate":
				want = Framed
			case mode != "":
			case dest == "":
				want = Page // by Accept alone
			case dest == "document":
				want = Page
			case strings.HasSuffix(dest, "frame"), dest == "embed", dest == "object":
				want = Framed
			}
			for _, method := range []string{"GET", "HEAD", "POST"} {
				r := httptest.NewRequest(method, "/", nil)
				r.Header.Set("Accept", "text/html")
				r.Header.Set("Content-Type", URLEncoded)
				for name, value := range map[string]string{"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest} {
					if value != "" {
						r.Header.Set(name, value)
					}
				}
				if got := KindOf(r); got != want {
					t.Errorf("%s %q to %q: %d, want %d", method, mode, dest, got, want)
				}
				early := want
				if want >= Framed {
					early = Ahead
				}
				for name, value := range map[string]string{"Sec-Purpose": "prefetch;prerender", "Purpose": "prefetch"} {
					r.Header.Set(name, value)
					if got := KindOf(r); got != early {
						t.Errorf("%s %q to %q, ahead (%s): %d, want %d", method, mode, dest, name, got, early)
					}
					r.Header.Del(name)
				}
			}
		}
	}
}

// TestKindOfWhatAServiceWorkerPassesOn has what the engines send for fetch(event.request) in a worker. It is no whole
// window to pages of ours, which no worker is in front of.
func TestKindOfWhatAServiceWorkerPassesOn(t *testing.T) {
	const html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for name, c := range map[string]struct {
		method, mode, accept, upgrade string
		want                          Kind
	}{
		"Chromium":                       {"GET", "navigate", html, "1", Page},
		"WebKit":                         {"GET", "navigate", html, "", Page},
		"Firefox":                        {"GET", "same-origin", html, "1", Page},
		"Firefox, a form":                {"POST", "same-origin", html, "1", Page},
		"a script's fetch":               {"GET", "same-origin", "*/*", "", Data},
		"a script's fetch of HTML":       {"GET", "same-origin", html, "", Data},
		"a script that posts":            {"POST", "same-origin", "*/*", "", Data},
		"the worker's own, of any other": {"GET", "cors", html, "1", Data},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		for k, v := range map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": c.mode, "Accept": c.accept, "Upgrade-Insecure-Requests": c.upgrade, "Content-Type": URLEncoded} {
			if v != "" {
				r.Header.Set(k, v)
			}
		}
		if got := KindOf(r); got != c.want || wholeWindow(r) {
			t.Errorf("%s: %d, want %d; whole window: %t", name, got, c.want, wholeWindow(r))
		}
	}
}

func TestKindWithoutFetchMetadata(t *testing.T) {
	html := "text/html,application/xhtml+xml,*/*;q=0.8"
	for name, c := range map[string]struct {
		method string
		header map[string]string
		want   Kind
	}{
		"nothing":                     {"GET", nil, Data},
		"a page":                      {"GET", map[string]string{"Accept": html}, Page},
		"its head":                    {"HEAD", map[string]string{"Accept": html}, Page},
		"anything":                    {"GET", map[string]string{"Accept": "*/*"}, Data},
		"a script that wants HTML":    {"GET", map[string]string{"Accept": html, "X-Requested-With": "XMLHttpRequest"}, Data},
		"a form":                      {"POST", map[string]string{"Accept": html, "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, Page},
		"a form with a file":          {"POST", map[string]string{"Accept": html, "Content-Type": "multipart/form-data; boundary=x"}, Page},
		"a form of a script":          {"POST", map[string]string{"Accept": "*/*", "Content-Type": URLEncoded}, Data},
		"JSON":                        {"POST", map[string]string{"Accept": html, "Content-Type": "application/json"}, Data},
		"a body that is not named":    {"POST", map[string]string{"Accept": html}, Data},
		"another method":              {"PUT", map[string]string{"Accept": html, "Content-Type": URLEncoded}, Data},
		"a WebSocket":                 {"GET", map[string]string{"Accept": html, "Upgrade": "websocket"}, Data},
		"gRPC":                        {"POST", map[string]string{"Content-Type": "application/grpc", "Te": "trailers"}, Call},
		"gRPC-Web":                    {"POST", map[string]string{"Content-Type": "application/grpc-web+proto", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, Call},
		"an event stream":             {"GET", map[string]string{"Accept": "text/event-stream"}, Data},
		"a page, fetched ahead":       {"GET", map[string]string{"Accept": html, "Purpose": "prefetch"}, Ahead},
		"a navigation says otherwise": {"GET", map[string]string{"Accept": html, "X-Requested-With": "XMLHttpRequest", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, Page},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "/", nil)
			if name == "gRPC" {
				r.ProtoMajor = 2
			}
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			if got := KindOf(r); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
			if (c.want == Page) != wholeWindow(r) {
				t.Errorf("the whole window: %t", wholeWindow(r))
			}
		})
	}
}

// Our own pages are for the whole window, as far as a browser says where it shows them.
func TestWholeWindow(t *testing.T) {
	for _, dest := range destinations {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		if dest != "" {
			r.Header.Set("Sec-Fetch-Dest", dest)
		}
		if got := wholeWindow(r); got != (dest == "document") {
			t.Errorf("%q: %t", dest, got)
		}
	}
}
