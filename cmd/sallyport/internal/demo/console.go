package demo

import (
	"html/template"
	"net/http"
)

var consoleTemplate = template.Must(template.ParseFS(files, "files/console.html"))

// Console is the tool that the demo protects: an ordinary web application that knows
// nothing of passkeys or networks, and takes from headers who its user is.
func Console() http.Handler {
	mux := http.NewServeMux()
	page := func(sent bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			data := map[string]any{
				"User": r.Header.Get("X-Sallyport-User"), "Groups": r.Header.Get("X-Sallyport-Groups"), "From": r.Header.Get("X-Forwarded-For"),
				"Payments": r.URL.Path == "/payments", "Sent": sent,
			}
			if err := consoleTemplate.Execute(w, data); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}
	}
	mux.HandleFunc("GET /{$}", page(false))
	mux.HandleFunc("GET /payments", page(false))
	mux.HandleFunc("POST /payments", page(true))
	mux.HandleFunc("GET /console.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "files/console.css")
	})
	return mux
}
