package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/ipv4in6"
	"sallyport/proxy/portal"
	"sallyport/proxy/upstream"
)

// This file resends a form that another site posts and that the tool cannot receive yet.
//
// The browser sends no cookie of ours from another site (SameSite=Lax), so a provider's
// answer that is posted to a tool (SAML, response_mode=form_post, a payment) arrives
// without a session. For the paths in routes[].cross_site_posts, our page on the tool's
// origin sends the same fields again, with the cookie.
//
// That turns a cross-site request into one of the tool's own, which SameSite, Origin and
// Fetch metadata exist to prevent: any web page can post what it likes to these paths as
// the person at the browser. So it is done only for paths whose tool checks that it asked
// for what arrives (a signature, a state, InResponseTo), matched by their exact spelling,
// and for a form that takes the whole window. The second request is judged like every
// other, and the tool sees its own origin in Origin.
//
// A form of the tool's own page that needs a sign-in or a step-up is kept in the answer,
// which sends it again when the person agrees. A form of another origin is never kept,
// because our button would then send what another page wrote.

const (
	passOnMost = 256 << 10 // bytes of a form that is passed on
	keptMost   = 64 << 10  // bytes of a form that is kept
	formFields = 1000
	formTime   = 10 * time.Second // for the body to be whole
)

var (
	errFormLarge   = errors.New("the form is too large")
	errFormNotText = errors.New("the form is not text")
	errFormRoom    = errors.New("too many forms are held")
)

// formRoom is how many bytes of forms are held at once. Strangers can post them, on many
// connections and a byte at a time: one network has a share of it, so that the providers'
// answers of everyone else still pass.
type formRoom struct {
	mu   sync.Mutex
	held int64
	by   map[netip.Prefix]int64 // no entry: nothing
}

const (
	formRoomMost  = 24 << 20
	formRoomShare = formRoomMost / 8
)

// reserve reserves n bytes for a network, or, if n is negative, gives them back.
func (m *formRoom) reserve(network netip.Prefix, n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.by[network] + n
	switch {
	case n > 0 && (m.held+n > formRoomMost || now > formRoomShare):
		return false
	case now == 0:
		delete(m.by, network)
	case m.by == nil:
		m.by = map[netip.Prefix]int64{network: now}
	default:
		m.by[network] = now
	}
	m.held += n
	return true
}

// formNetwork is what has a share of the room: an IPv4 address, or an IPv6 /48, of which
// one customer may have every /64.
func formNetwork(client netip.Addr) netip.Prefix {
	client = ipv4in6.Client(client)
	p, _ := client.Prefix(min(client.BitLen(), 48)) // an error is the zero Prefix: these are one
	return p
}

// read reads a form of at most so many bytes. What it holds is given back by done, which
// is never nil.
func (m *formRoom) read(r *http.Request, client netip.Addr, most int64) (fields []portal.Field, done func(), err error) {
	var taken int64
	network := formNetwork(client)
	done = func() { m.reserve(network, -taken) }
	if r.ContentLength > most {
		return nil, done, errFormLarge
	}
	if b, ok := r.Body.(interface {
		Within(time.Duration) func() bool
	}); ok {
		defer b.Within(formTime)()
	}
	var body []byte
	piece := make([]byte, 4<<10)
	for {
		if !m.reserve(network, int64(len(piece))) {
			return nil, done, errFormRoom
		}
		taken += int64(len(piece))
		n, err := r.Body.Read(piece)
		body = append(body, piece[:n]...)
		switch {
		case int64(len(body)) > most:
			return nil, done, errFormLarge
		case err == io.EOF:
			fields, err := fieldsOf(string(body))
			return fields, done, err
		case err != nil:
			return nil, done, errBody
		}
		if int64(len(body))+int64(len(piece)) <= taken { // it came in small pieces
			m.reserve(network, -int64(len(piece)))
			taken -= int64(len(piece))
		}
	}
}

// fieldsOf decodes a form as browsers encode it, in its order. What a page in UTF-8 could
// not send again as it was is refused: text in another encoding, and NUL, which is not a
// character of HTML.
func fieldsOf(body string) (fields []portal.Field, err error) {
	for pair := range strings.SplitSeq(body, "&") {
		if pair == "" {
			continue
		}
		if len(fields) == formFields {
			return nil, errFormLarge
		}
		name, value, _ := strings.Cut(pair, "=")
		var f portal.Field
		for _, part := range []struct {
			raw  string
			into *string
		}{{name, &f.Name}, {value, &f.Value}} {
			*part.into, err = url.QueryUnescape(part.raw)
			if err != nil || !utf8.ValidString(*part.into) || strings.Contains(*part.into, "\x00") {
				return nil, errFormNotText
			}
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// formPost reports whether a person sent a form whose answer fills the whole window.
func formPost(r *http.Request) bool {
	return r.Method == http.MethodPost && portal.KindOf(r) == portal.Page
}

// crossPost reports whether a request is a form of another origin's page for a path in
// routes[].cross_site_posts.
func crossPost(r *http.Request, v *Verdict) bool {
	if r.Method != http.MethodPost || v.Route == nil {
		return false
	}
	paths := v.snapshot.Options[v.Route.Name].CrossSitePosts
	if len(paths) == 0 || v.Target.RawPath != v.Target.Path || !slices.Contains(paths, v.Target.Path) ||
		!formPost(r) || portal.FormType(r) != portal.URLEncoded || !fromAnotherPage(r, v) {
		return false
	}
	return v.Session.Level() == authn.None || v.foreign != ""
}

// fromAnotherPage reports whether a whole window goes from another origin's page to this
// one. The form that our own page sends again is not cross-origin, so there is no loop.
func fromAnotherPage(r *http.Request, v *Verdict) bool {
	for _, name := range [...]string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
		if len(r.Header[name]) > 1 {
			return false
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return r.Header.Get("Sec-Fetch-Dest") == "document"
	case "":
		origin := r.Header.Get("Origin")
		return !fetchMetadata(r) && origin != "" && !isOwn(origin, v)
	}
	return false
}

func fetchMetadata(r *http.Request) bool {
	return len(r.Header["Sec-Fetch-Site"])+len(r.Header["Sec-Fetch-Mode"])+len(r.Header["Sec-Fetch-Dest"]) > 0
}

// passOn answers with the page that sends the form again. It is not recorded, because
// nothing was forwarded; the form that comes back is recorded.
func (g *Gate) passOn(w http.ResponseWriter, r *http.Request, v *Verdict) {
	v.Decision = policy.Decision{Action: policy.StepUp, Rules: []string{"baseline.cross-origin"}}
	v.shadow = shadowed{} // no policy decided this
	fields, done, err := g.forms.read(r, v.Client, passOnMost)
	defer done()
	f := portal.Refusal{Title: "That form could not be passed on", Link: portal.Link{URL: rootOf(v), Text: "Open the tool"}}
	switch {
	case err == nil:
		// A browser without Fetch metadata may send "null" for our own page as well,
		// which would loop forever.
		g.cfg.Pages.PassOn(w, fields, fetchMetadata(r))
		return
	case errors.Is(err, errFormLarge):
		g.exceeded("form_bytes", "fixed: 256 KiB and 1000 fields of a form that another site posts", v)
		f.Status, f.Code = http.StatusRequestEntityTooLarge, "form_too_large"
		f.Text = []string{"Another page sent you here with a form that is larger than 256 KiB. Nothing of it was sent to the tool."}
	case errors.Is(err, errFormNotText):
		f.Status, f.Code = http.StatusBadRequest, "form_not_text"
		f.Text = []string{"Another page sent you here with a form that is not text in UTF-8. Nothing of it was sent to the tool."}
	case errors.Is(err, errFormRoom):
		f.Status, f.Code = http.StatusServiceUnavailable, "unavailable"
		f.Text = []string{"Too many forms are on their way. Wait a moment, then go back and send it again."}
	default:
		f.Status, f.Code = http.StatusRequestTimeout, "slow_body"
		f.Text = []string{"The form did not arrive whole. Go back and send it again."}
	}
	g.cfg.Pages.RefuseForm(w, f, false, nil)
}

// notSent answers a form that needs a sign-in or a step-up first. page names the page,
// and f is the refusal that a script gets.
func (g *Gate) notSent(w http.ResponseWriter, r *http.Request, v *Verdict, page string, f portal.Refusal) {
	verb := map[string]string{"sign-in": "Sign in", "step-up": "Verify"}[page]
	f.Title, f.Text = "Your form was not sent", nil
	if !ownForm(r, v) {
		f.Title, f.Text = "The form was not sent", []string{"Another page sent you here with a form. Nothing of it was sent to the tool."}
		f.Steps = []string{verb + ", then start again on the page that sent you here.",
			"If it happens again, tell your operations team. For forms of other sites the setting is cross_site_posts of the route."}
		f.Link = portal.Link{URL: portal.Over(page, rootOf(v), v.Decision.Causes), Text: verb, Action: page}
		g.cfg.Pages.RefuseForm(w, f, false, nil)
		return
	}
	if portal.FormType(r) == portal.URLEncoded {
		most := int64(keptMost)
		if slices.Contains(v.snapshot.Options[v.Route.Name].CrossSitePosts, v.Target.Path) {
			most = passOnMost
		}
		fields, done, err := g.forms.read(r, v.Client, most)
		defer done()
		if err == nil {
			f.Text = []string{"We need to check first that it is you. What you filled in is kept on this page until you close it."}
			f.Steps = []string{verb + " in a new tab.", "Come back to this tab, and send the form again."}
			f.Link = portal.Link{URL: portal.BesideForm(page, v.Decision.Causes), Text: verb + " in a new tab", Action: page}
			g.cfg.Pages.RefuseForm(w, f, true, fields)
			return
		}
	}
	f.Text = []string{"We need to check first that it is you. Nothing was sent to the tool, and what you filled in cannot be kept here."}
	f.Steps = []string{"To keep a copy of it, go back with your browser’s back button first.", verb + ". That takes you to the page of the form.", "Fill it in, and send it again."}
	f.Link = portal.Link{URL: portal.Over(page, formPage(r, v), v.Decision.Causes), Text: verb, Action: page}
	g.cfg.Pages.RefuseForm(w, f, false, nil)
}

// ownForm reports whether the browser says that the tool's own page sent the form. A
// browser that says nothing is too old, and its form is not kept.
func ownForm(r *http.Request, v *Verdict) bool {
	origin, site := r.Header["Origin"], r.Header["Sec-Fetch-Site"]
	if len(origin) != 1 || len(site) > 1 {
		return false
	}
	if len(site) == 1 && site[0] != "same-origin" {
		return false
	}
	return isOwn(origin[0], v) || origin[0] == "null" && len(site) == 1
}

// rootOf is the path at which the tool begins.
func rootOf(v *Verdict) string { return (&url.URL{Path: v.Route.Prefix}).EscapedPath() }

// formPage is the page that a form was on, a path of the route's own, and the route's
// root if the browser does not say.
func formPage(r *http.Request, v *Verdict) string {
	const longest = 2000
	u, err := url.Parse(r.Referer())
	if err != nil || !isOwn(u.Scheme+"://"+u.Host, v) || len(r.Header["Referer"]) != 1 {
		return rootOf(v)
	}
	back := u.RequestURI()
	odd := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '\\' }
	under := v.Route.Prefix == "/" || u.Path == v.Route.Prefix || strings.HasPrefix(u.Path, v.Route.Prefix+"/")
	if len(back) > longest || !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsFunc(back, odd) || upstream.Reserved(u.Path) || !under {
		return rootOf(v)
	}
	return back
}
