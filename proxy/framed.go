package proxy

import (
	"net/http"

	"sallyport/proxy/portal"
	"sallyport/proxy/upstream"
)

// askBeside answers for a frame in which a sign-in or a step-up is due: it is given in a tab of its own. page says which,
// and f is what a script would be told.
//
// A form that was posted into the frame is not kept. The page that could send it again would be one with a button in a
// frame, whose press another page can obtain.
func (g *Gate) askBeside(w http.ResponseWriter, r *http.Request, v *Verdict, page string, f portal.Refusal) {
	verb := map[string]string{"sign-in": "Sign in", "step-up": "Verify"}[page]
	f.Link = portal.Link{URL: portal.BesideFrame(page, v.Decision.Causes), Text: verb + " in a new tab", Action: page}
	if unsafe(r) {
		f.Title, f.Text = "Your form was not sent", []string{"We need to check first that it is you, in a tab of its own. After that, come back, go back to the form, and send it again."}
	} else {
		f.Text = []string{"We need to check first that it is you, in a tab of its own. After that, come back: this goes on."}
		f.Again = wayBack(v)
	}
	f.Steps = []string{"If no tab opens, open " + v.Target.Host + " yourself."}
	g.refuse(w, r, v, f)
}

// ancestors are the pages that may show an answer of ours in a frame of the route, as a content security policy has them: those
// of its own origin, and, if it may be embedded, those of its site. Pages of other sites have no session to show it with.
//
// Which hosts of the site are tools is not in it: strangers get this answer too, and would have the list of them all. The
// page is made so that nothing comes of showing it.
func ancestors(route *upstream.Route) string {
	if !route.Embeddable() {
		return "'self'"
	}
	return "'self'" + portal.SiteSources(route.Origin())
}
