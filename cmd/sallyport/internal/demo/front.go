package demo

import (
	"bytes"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
)

// cookie remembers the place a visitor chose. It belongs to the front, not to the product.
const cookie = "demo-place"

var barTemplate = template.Must(template.ParseFS(files, "files/bar.html"))

// Front is the load balancer of the demo: it says where a request comes from, and shows
// the control bar.
func Front(proxyAddr string) http.Handler {
	target := &url.URL{Scheme: "http", Host: proxyAddr}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.Out.Header.Set("X-Forwarded-For", place(r.In).Addr.String())
			r.Out.Header.Set("X-Forwarded-Proto", "http")
			r.Out.Header.Del("Accept-Encoding") // the bar goes into plain HTML
		},
		ModifyResponse: addBar,
	}
	mux := http.NewServeMux()
	mux.Handle("/", proxy)
	mux.HandleFunc("GET /demo/bar.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "files/bar.css")
	})
	mux.HandleFunc("POST /demo/place", choose)
	return mux
}

// ByName sends visitors who typed a loopback address on to origin, the name that the demo
// goes by: passkeys belong to a name, and the product serves nothing under another.
func ByName(origin string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if ip := net.ParseIP(host); err != nil || !ip.IsLoopback() || r.Method != http.MethodGet || !strings.HasPrefix(r.RequestURI, "/") {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Location", origin+r.RequestURI)
		w.WriteHeader(http.StatusFound)
	})
}

func place(r *http.Request) Place {
	if c, err := r.Cookie(cookie); err == nil {
		for _, p := range Places {
			if p.ID == c.Value {
				return p
			}
		}
	}
	return Places[0]
}

// choose sets the place and goes back to where the visitor was.
func choose(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: r.PostFormValue("place"), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	back := r.PostFormValue("back")
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n") {
		back = "/"
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

const maxPage = 1 << 20

// addBar puts the control bar at the top of an HTML page. The pages' content security
// policy needs no exception: the bar is markup, a style sheet and a form of this origin.
func addBar(res *http.Response) error {
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
	if err := barTemplate.Execute(&bar, map[string]any{"Places": Places, "Now": place(res.Request), "Back": back}); err != nil {
		return err
	}
	page = bytes.Replace(page, []byte("</head>"), []byte(`<link rel="stylesheet" href="/demo/bar.css"></head>`), 1)
	page = bytes.Replace(page, []byte("<body>"), append([]byte("<body>"), bar.Bytes()...), 1)
	res.Body = io.NopCloser(bytes.NewReader(page))
	res.ContentLength = int64(len(page))
	res.Header.Set("Content-Length", strconv.Itoa(len(page)))
	return nil
}
