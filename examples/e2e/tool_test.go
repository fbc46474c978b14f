package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tool is a web application behind the product. It notes what reaches it; what it answers
// is up to the test: a hostile tool is a tool whose pages say what an attacker would.
//
//	evil := newTool(t)
//	s := newStack(t, withTool("evil", evil))
//	evil.page("/", "<script>...</script>")
//	b.open(s.origin("evil") + "/")
//
// However a test ends, it must not have been shown a cookie of the product.
type tool struct {
	*httptest.Server
	mux *http.ServeMux // for what has no handler of its own

	mu       sync.Mutex
	handlers map[string]http.HandlerFunc // by path
	seen     []*http.Request
}

func newTool(t *testing.T) *tool {
	k := &tool{mux: http.NewServeMux(), handlers: map[string]http.HandlerFunc{}}
	k.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<!doctype html><title>Treasury</title><h1 id=tool>Treasury of %s</h1>", r.Header.Get("X-Sallyport-User"))
	})
	k.Server = httptest.NewServer(k)
	t.Cleanup(func() {
		k.Close()
		for _, r := range k.requests() {
			for _, c := range r.Cookies() {
				if ours(c.Name) {
					t.Errorf("%s %s: the tool was shown the cookie %s", r.Method, r.URL, c.Name)
				}
			}
		}
	})
	return k
}

// withTool adds a route to a harness that leads every signed-in person to a tool. More
// lines of the route are indented as the configuration is.
func withTool(name string, k *tool, more ...string) func(string) string {
	return withRoute(name, k.URL, append([]string{"    allow: {everyone: true}"}, more...)...)
}

// withRoute adds a route to a harness, under a host of its own.
func withRoute(name, to string, more ...string) func(string) string {
	return func(cfg string) string {
		from := strings.Replace(treasuryOf(cfg), "//treasury.", "//"+name+".", 1)
		return cfg + fmt.Sprintf("  - name: %s\n    from: %s\n    to: %s\n%s\n", name, from, to, strings.Join(more, "\n"))
	}
}

// treasuryOf is the origin of the treasury in the configuration of a harness.
func treasuryOf(cfg string) string {
	_, rest, _ := strings.Cut(cfg, "  - name: treasury\n    from: ")
	origin, _, _ := strings.Cut(rest, "\n")
	return origin
}

func (k *tool) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	noted := r.Clone(r.Context())
	if r.ContentLength > 0 && r.ContentLength < 64<<10 {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body, noted.Body = io.NopCloser(bytes.NewReader(body)), io.NopCloser(bytes.NewReader(body))
	}
	k.mu.Lock()
	k.seen = append(k.seen, noted)
	h := k.handlers[r.URL.Path]
	k.mu.Unlock()
	if h == nil {
		h = k.mux.ServeHTTP
	}
	h(w, r)
}

// handle says what is answered under a path from now on.
func (k *tool) handle(path string, h http.HandlerFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.handlers[path] = h
}

// page says which page is under a path from now on; the headers are pairs of name and value.
func (k *tool) page(path, html string, headers ...string) {
	k.file(path, "text/html; charset=utf-8", "<!doctype html><meta charset=utf-8><title>tool</title><link rel=icon href=data:,>"+html, headers...)
}

// file is page for anything else, such as the script of a worker.
func (k *tool) file(path, kind, content string, headers ...string) {
	k.handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		for pair := range slices.Chunk(headers, 2) {
			w.Header().Add(pair[0], pair[1])
		}
		_, _ = io.WriteString(w, content)
	})
}

// requests returns what reached the tool. Their short bodies can be read, once.
func (k *tool) requests() []*http.Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.seen)
}

// reached returns how many requests from an address the tool has seen.
func (k *tool) reached(from string) (n int) {
	for _, r := range k.requests() {
		if r.Header.Get("X-Forwarded-For") == from {
			n++
		}
	}
	return n
}

// asked reports whether a method and a path reached the tool.
func (k *tool) asked(method, path string) bool {
	return slices.ContainsFunc(k.requests(), func(r *http.Request) bool { return r.Method == method && r.URL.Path == path })
}
