package proxy

import (
	"net/http"

	"sallyport/proxy/portal"
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

// ancestors are the origins whose pages may show an answer of ours in a frame of the route: its own, and, if it may be embedded,
// those of the other tools of this site. Pages of other sites have no session to show it with.
func ancestors(v *Verdict) string {
	list := "'self'"
	if !v.Route.Embeddable() {
		return list
	}
	const longest = 4 << 10 // or the proxy in front refuses the whole answer; hosts beyond that cannot show it
	own := v.Route.Origin()
	seen := map[string]bool{own: true}
	for _, r := range v.snapshot.Routes.Routes() {
		if o := r.Origin(); !seen[o] && len(list)+len(o) < longest && portal.SameSite(own, o) {
			seen[o] = true
			list += " " + o
		}
	}
	return list
}
