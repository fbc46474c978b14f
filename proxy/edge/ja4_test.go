package edge_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/proxy/edge"
)

// hello is the worked example of FoxIO's description of JA4, in the order in which the
// browser sent it.
func hello() *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		SupportedVersions: []uint16{0x2a2a, 0x0304, 0x0303}, SupportedProtos: []string{"h2", "http/1.1"}, ServerName: "x",
		CipherSuites:     []uint16{0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035},
		Extensions:       []uint16{0x3a3a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0x4a4a},
		SignatureSchemes: []tls.SignatureScheme{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
	}
}

const published = "t13d1516h2_8daaf6152771_e5627efa2ab1"

func TestJA4MatchesThePublishedExample(t *testing.T) {
	if got := edge.FingerprintFor(hello()).JA4; got != published {
		t.Errorf("%s, want %s", got, published)
	}
}

// What one browser changes by itself is no change; everything else is.
func TestFamilyIsOfTheClientNotOfTheConnection(t *testing.T) {
	base := edge.FingerprintFor(hello())
	for name, c := range map[string]struct {
		change            func(*tls.ClientHelloInfo)
		sameJA4, sameKind bool
	}{
		"another order of extensions":    {func(h *tls.ClientHelloInfo) { slices.Reverse(h.Extensions) }, true, true},
		"another order of ciphers":       {func(h *tls.ClientHelloInfo) { slices.Reverse(h.CipherSuites) }, true, true},
		"other GREASE":                   {func(h *tls.ClientHelloInfo) { h.Extensions[0], h.CipherSuites[0] = 0xfafa, 0xeaea }, true, true},
		"a resumed session":              {func(h *tls.ClientHelloInfo) { h.Extensions = append(h.Extensions, 41) }, true, true},
		"a resumed session, early data":  {func(h *tls.ClientHelloInfo) { h.Extensions = append(h.Extensions, 42, 41) }, true, true},
		"a resumed session, not padded":  {func(h *tls.ClientHelloInfo) { h.Extensions[16] = 41 }, false, true},
		"a WebSocket":                    {func(h *tls.ClientHelloInfo) { h.SupportedProtos = []string{"http/1.1"}; h.Extensions[5] = 0x4a4a }, false, true},
		"no protocols at all":            {func(h *tls.ClientHelloInfo) { h.SupportedProtos, h.Extensions[4] = nil, 0x0a0a }, false, true},
		"a cipher less":                  {func(h *tls.ClientHelloInfo) { h.CipherSuites = h.CipherSuites[:14] }, false, false},
		"an extension more":              {func(h *tls.ClientHelloInfo) { h.Extensions = append(h.Extensions, 49) }, false, false},
		"TLS 1.2":                        {func(h *tls.ClientHelloInfo) { h.SupportedVersions = []uint16{0x0303} }, false, false},
		"another order of signatures":    {func(h *tls.ClientHelloInfo) { slices.Reverse(h.SignatureSchemes) }, false, false},
		"no signatures":                  {func(h *tls.ClientHelloInfo) { h.SignatureSchemes = nil }, false, false},
		"no name of a host":              {func(h *tls.ClientHelloInfo) { h.Extensions[2] = 0x2a2a }, false, false},
		"GREASE among the signatures":    {func(h *tls.ClientHelloInfo) { h.SignatureSchemes = append(h.SignatureSchemes, 0x5a5a) }, true, true},
		"a version that is not in use":   {func(h *tls.ClientHelloInfo) { h.SupportedVersions = []uint16{0x7f17} }, false, false},
		"a value that only looks GREASE": {func(h *tls.ClientHelloInfo) { h.Extensions = append(h.Extensions, 0x1a2a) }, false, false},
	} {
		h := hello()
		c.change(h)
		got := edge.FingerprintFor(h)
		if (got.JA4 == base.JA4) != c.sameJA4 || (got.Family == base.Family) != c.sameKind {
			t.Errorf("%s: %+v beside %+v", name, got, base)
		}
	}
}

func TestJA4OfOddHellos(t *testing.T) {
	for name, c := range map[string]struct {
		hello *tls.ClientHelloInfo
		want  string
	}{
		"nothing":                {&tls.ClientHelloInfo{}, "t00i000000_000000000000_000000000000"},
		"a protocol of one byte": {&tls.ClientHelloInfo{SupportedProtos: []string{"h"}}, "t00i0000hh_000000000000_000000000000"},
		"an odd protocol":        {&tls.ClientHelloInfo{SupportedProtos: []string{"\xab\xcd"}}, "t00i0000ad_000000000000_000000000000"},
		"an empty protocol":      {&tls.ClientHelloInfo{SupportedProtos: []string{""}}, "t00i000000_000000000000_000000000000"},
	} {
		if got := edge.FingerprintFor(c.hello).JA4; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A hello as long as TLS allows costs no more than a long one, and does not make its
// sender unknown.
func TestJA4OfAHugeHello(t *testing.T) {
	h := hello()
	for i := range 30_000 {
		h.CipherSuites, h.Extensions = append(h.CipherSuites, uint16(2*i+1)), append(h.Extensions, uint16(2*i+1))
		h.SignatureSchemes = append(h.SignatureSchemes, tls.SignatureScheme(2*i+1))
	}
	short := *h
	short.CipherSuites, short.Extensions, short.SignatureSchemes = h.CipherSuites[:256], h.Extensions[:256], h.SignatureSchemes[:256]
	if got := edge.FingerprintFor(h); got != edge.FingerprintFor(&short) || len(got.JA4) != len(published) || got.JA4 == published {
		t.Errorf("%+v", got)
	}
}

// fingerprints is a server that remembers what its requests were seen with.
type fingerprints struct {
	mu      sync.Mutex
	got     []edge.Fingerprint
	resumed bool // the last one's session
}

func (f *fingerprints) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.note(r)
	io.WriteString(w, r.Proto)
}

func (f *fingerprints) note(r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got, f.resumed = append(f.got, edge.FingerprintOf(r)), r.TLS.DidResume
}

func (f *fingerprints) last() edge.Fingerprint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got[len(f.got)-1]
}

// Over both versions of HTTP, for new and resumed sessions, requests know their
// connection's hello.
func TestFingerprintOfRequests(t *testing.T) {
	seen := &fingerprints{}
	g := newTLSHarness(t, edge.Config{Handler: seen})
	get := func(c *tls.Config, http2 bool) edge.Fingerprint {
		t.Helper()
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!http2)
		protocols.SetHTTP2(http2)
		transport := &http.Transport{TLSClientConfig: c.Clone(), Protocols: protocols}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get("https://" + g.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); err != nil || strings.HasPrefix(string(body), "HTTP/2") != http2 {
			t.Fatalf("%s %v", body, err)
		}
		return seen.last()
	}
	config := &tls.Config{RootCAs: g.pki.pool, ServerName: "app.example", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	first, second := get(config, true), get(config, false)
	if !strings.HasPrefix(first.JA4, "t13d") || !strings.Contains(first.JA4, "h2_") || first.JA4 == second.JA4 {
		t.Fatalf("%+v, %+v", first, second)
	}
	if first.Family != second.Family {
		t.Errorf("HTTP/1.1 and HTTP/2 of one client are two families: %+v, %+v", first, second)
	}
	if again := get(config, true); again != first || !seen.resumed {
		t.Errorf("a resumed session (%v) is %+v, the first was %+v", seen.resumed, again, first)
	}
	if other := get(&tls.Config{RootCAs: g.pki.pool, ServerName: "app.example", MaxVersion: tls.VersionTLS12}, true); other.Family == first.Family {
		t.Error("another client is the same family")
	}
	if got := edge.FingerprintOf(&http.Request{}); got != (edge.Fingerprint{}) {
		t.Errorf("without TLS: %+v", got)
	}
}

func TestFingerprintOfCurl(t *testing.T) {
	curl := tool(t, "curl")
	seen := &fingerprints{}
	g := newTLSHarness(t, edge.Config{Handler: seen})
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		out, err := exec.CommandContext(ctx, curl, "-sk", "https://"+g.addr+"/").CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if f := seen.got; len(f) != 2 || f[0] != f[1] || !strings.HasPrefix(f[0].JA4, "t13i") {
		t.Errorf("%+v", f)
	}
}

func BenchmarkFingerprint(b *testing.B) {
	h := hello()
	b.ReportAllocs()
	for b.Loop() {
		edge.FingerprintFor(h)
	}
}

// A browser's pages, its WebSockets and its later visits are one family.
func TestFingerprintOfChromium(t *testing.T) {
	chromium := tool(t, "chromium")
	seen := &fingerprints{}
	var kinds sync.Map // path and protocol
	done := make(chan struct{}, 1)
	g := newTLSHarness(t, edge.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kinds.Store(r.URL.Path+" "+r.Proto, true)
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Connection", "close") // the next request shakes hands again
			io.WriteString(w, `<!doctype html><script>
				const next = () => fetch("/again").then(() => fetch("/done"));
				const s = new WebSocket("wss://" + location.host + "/socket"); s.onerror = next;</script>`)
			seen.note(r)
			return
		case "/again":
			w.Header().Set("Connection", "close")
		case "/done":
			select {
			case done <- struct{}{}:
			default:
			}
		}
		seen.ServeHTTP(w, r)
	})})
	for range 2 { // the second with what the first has stored of the session
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		browser := exec.CommandContext(ctx, chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--ignore-certificate-errors", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir="+lingering(t), "--remote-debugging-port=0", "https://"+g.addr+"/")
		if err := browser.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
		case <-ctx.Done():
			t.Error("the page did not come as far as its last request")
		}
		cancel()
		_ = browser.Wait()
	}
	if _, ok := kinds.Load("/socket HTTP/1.1"); !ok {
		t.Error("there was no WebSocket")
	}
	ja4, families := map[string]int{}, map[string]int{}
	seen.mu.Lock() // a request of the browser that was stopped may still be served
	defer seen.mu.Unlock()
	for _, f := range seen.got {
		ja4[f.JA4]++
		families[f.Family]++
	}
	t.Log(ja4)
	if len(families) != 1 {
		t.Errorf("one browser is several families: %v", families)
	}
}
