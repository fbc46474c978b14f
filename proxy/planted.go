package proxy

import (
	"net/http"
	"path"
	"time"

	"sallyport/proxy/portal"
)

// A tool's script runs on the tool's own host. Where the browser permits it (see
// session.HostCookie), the script can push our cookies out and write others in their
// place. Such a cookie can belong to another person's session, so that a person works as
// that other person without knowing. The script can also register a service worker.

// handedEvery prevents a redirect loop for a browser that changes its User-Agent each
// time.
const handedEvery = time.Minute

// planted reports whether a session may have been put into this browser instead of handed
// to it: the browser's family differs from the one at the hand-off. It is checked when a
// person opens a page, and no earlier than a minute after the hand-off. It does not
// notice a session planted from a browser of the same family.
func (g *Gate) planted(r *http.Request, v *Verdict) bool {
	b := &v.Session.Verification.Browser
	if b.HandedTo == "" || r.Method != http.MethodGet || portal.KindOf(r) < portal.Framed {
		return false
	}
	return g.uaFamilies.of(r.UserAgent()) != b.HandedTo && v.Facts.Time.Now.Sub(time.Unix(b.HandedAt, 0)) >= handedEvery
}

// handAgain sends a person through the sign-in host once more. A person who is signed in
// there does not notice it. The session that comes back is theirs, even if this one was
// not.
func (g *Gate) handAgain(w http.ResponseWriter, r *http.Request, v *Verdict) {
	portal.SecurityHeaders(w.Header())
	g.cfg.Logger.Info("a session is in another browser than it was handed to",
		"session", v.Session.ID, "host", v.Target.Host, "handed_to", v.Session.Verification.Browser.HandedTo)
	if portal.KindOf(r) == portal.Framed {
		g.askBeside(w, r, v, "sign-in", portal.Refusal{Status: http.StatusUnauthorized, Code: "not_signed_in", Title: "We need to check your sign-in"})
		return
	}
	g.sendOff(w, r, v, "sign-in", nil, portal.Refusal{Status: http.StatusUnauthorized, Code: "not_signed_in"})
}

// listens reports whether the request is for the script of a service worker that would
// see the hand-off: a worker's scope is the folder of its script, unless the answer says
// more, which is taken from it. Where the sign-in host posts a form, a worker over "/"
// could read the code in it. Browsers say what such a request is for, and scripts cannot
// make one.
func (g *Gate) listens(r *http.Request, v *Verdict) bool {
	if len(r.Header["Service-Worker"]) == 0 || v.snapshot.Options[v.Route.Name].RootWorkers {
		return false
	}
	return path.Dir(v.Target.RawPath) == "/" && g.cfg.Portal.CrossSite(v.Route.Scheme+"://"+v.Target.Host)
}

func (g *Gate) noWorker(w http.ResponseWriter, r *http.Request, v *Verdict) {
	g.cfg.Logger.Warn("a service worker over the whole host is refused", "hint", "it could read sign-in codes: move its script into a folder, or set routes[].root_service_worker",
		"route", v.Route.Name, "host", v.Target.Host, "path", v.Target.Path)
	g.refuse(w, r, v, portal.Refusal{Status: http.StatusForbidden, Code: "service_worker_refused", Title: "A service worker cannot have this scope",
		Text: []string{"A service worker over this whole address could read what signs people in. Put its script into a folder."}})
}
