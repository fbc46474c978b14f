package proxy

import (
	"net/http"

	"sallyport/proxy/portal"
	"sallyport/proxy/upstream"
)

// askBeside answers a frame in which a sign-in or a step-up is due: the person does it in
// a separate tab. page names the page, and f is the refusal that a script gets.
//
// A form that was posted into the frame is not kept. To send it again, the frame would
// need a button, and another page can trick the person into pressing it.
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

// ancestors lists the pages that may show an answer of ours in a frame of the route, in
// the syntax of a content security policy: pages of its own origin, and, if it may be
// embedded, of its site. Pages of other sites have no session to show it with.
//
// It does not list the hosts of the tools, because strangers get this answer too and
// would learn them all. The page is safe to show on any host of the site.
func ancestors(route *upstream.Route) string {
	if !route.Embeddable() {
		return "'self'"
	}
	return "'self'" + portal.SiteSources(route.Origin())
}
