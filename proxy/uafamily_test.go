package proxy

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFamilyIsBrowserAndSystem(t *testing.T) {
	f, err := newUAFamilies()
	if err != nil {
		t.Fatal(err)
	}
	const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%s Safari/537.36"
	for ua, want := range map[string]string{
		fmt.Sprintf(chrome, "156.0.0.0"): "Chrome on Linux",
		fmt.Sprintf(chrome, "158.0.1.2"): "Chrome on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36":                         "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0":           "Edge on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                   "Safari on macOS",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0":                                                    "Firefox on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1": "Safari on iOS",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile Safari/537.36":                         "Chrome on Android",
		"curl/8.5.0":                    "curl",
		"Go-http-client/1.1":            "Go-http-client",
		"":                              "unknown",
		"\xff\xfe":                      "unknown",
		strings.Repeat("a", 600) + "/1": strings.Repeat("a", familyLength),
	} {
		for range 2 { // the second time from memory
			if got := f.of(ua); got != want {
				t.Errorf("%.80q is %q, want %q", ua, got, want)
			}
		}
	}
}

func TestFamiliesAreBounded(t *testing.T) {
	f, err := newUAFamilies()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 * familyEntries {
		f.of(fmt.Sprintf("made-up-%d/1.0", i))
	}
	f.known.CleanUp()
	if n := f.known.EstimatedSize(); n > familyEntries {
		t.Errorf("%d are kept", n)
	}
}

func FuzzFamily(f *testing.F) {
	for _, s := range []string{"", "Mozilla/5.0 (X11; Linux x86_64)", "a/1 (b; c) d/2", "((((", "Instagram", "Android;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ua string) {
		got := familyOf(cut(ua, 512))
		if got == "" || len(got) > familyLength || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\r\n\x1b") {
			t.Errorf("%q", got)
		}
	})
}
