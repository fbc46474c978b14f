package demo

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
)

// front is the load balancer of the demo. It remembers the place that the visitor chose:
// a cookie would be one of a single host, and the demo has two.
type front struct{ place atomic.Pointer[Place] }

var barTemplate = template.Must(template.ParseFS(files, "files/bar.html"))

// Front is the load balancer of the demo: it says where a request comes from, and shows
// the control bar.
func Front(proxyAddr string) http.Handler {
	f := new(front)
	f.place.Store(&Places[0])
	target := &url.URL{Scheme: "http", Host: proxyAddr}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.Out.Header.Set("X-Forwarded-For", f.place.Load().Addr.String())
			r.Out.Header.Set("X-Forwarded-Proto", "http")
			r.Out.Header.Del("Accept-Encoding") // the bar goes into plain HTML
		},
		ModifyResponse: f.addBar,
	}
	mux := http.NewServeMux()
	mux.Handle("/", proxy)
	mux.HandleFunc("GET /demo/bar.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "files/bar.css")
	})
	mux.HandleFunc("POST /demo/place", f.choose)
	return mux
}

// ByName sends visitors who typed a loopback address on to the names that the demo goes
// by: Sallyport's own pages are on signIn, since passkeys belong to a name, and the rest
// on tool.
func ByName(signIn, tool string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if ip := net.ParseIP(host); err != nil || !ip.IsLoopback() || r.Method != http.MethodGet || !strings.HasPrefix(r.RequestURI, "/") {
			h.ServeHTTP(w, r)
			return
		}
		origin := tool
		if strings.HasPrefix(r.RequestURI, "/.sallyport/") {
			origin = signIn
		}
		w.Header().Set("Location", origin+r.RequestURI)
		w.WriteHeader(http.StatusFound)
	})
}

// choose sets the place and goes back to where the visitor was. It does so by Refresh: to
// browsers a redirect is part of the submitted form, and the pages allow forms to lead to
// their own host alone, while the product may send the visitor on to the other one.
func (f *front) choose(w http.ResponseWriter, r *http.Request) {
	for i := range Places {
		if Places[i].ID == r.PostFormValue("place") {
			f.place.Store(&Places[i])
		}
	}
	back := r.PostFormValue("back")
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n") {
		back = "/"
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Refresh", "0; url="+back)
	fmt.Fprintf(w, `<!doctype html><title>One moment</title><p><a href="%s">Go on</a></p>`, html.EscapeString(back))
}

const maxPage = 1 << 20

// addBar puts the control bar at the top of an HTML page. The pages' content security
// policy needs no exception: the bar is markup, a style sheet and a form of this origin.
func (f *front) addBar(res *http.Response) error {
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		return nil
	}
	page, err := io.ReadAll(io.LimitReader(res.Body, maxPage))
	if err != nil {
		return err
	}
	res.Body.Close()
	back := "/"
	if res.Request.Method == http.MethodGet && !strings.HasPrefix(res.Request.URL.Path, "/.sallyport/") {
		back = res.Request.URL.RequestURI()
	}
	var bar bytes.Buffer
	if err := barTemplate.Execute(&bar, map[string]any{"Places": Places, "Now": f.place.Load(), "Back": back}); err != nil {
		return err
	}
	page = bytes.Replace(page, []byte("</head>"), []byte(`<link rel="stylesheet" href="/demo/bar.css"></head>`), 1)
	page = bytes.Replace(page, []byte("<body>"), append([]byte("<body>"), bar.Bytes()...), 1)
	res.Body = io.NopCloser(bytes.NewReader(page))
	res.ContentLength = int64(len(page))
	res.Header.Set("Content-Length", strconv.Itoa(len(page)))
	return nil
}
