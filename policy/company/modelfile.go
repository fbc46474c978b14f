package company

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/policy/internal/file"
	"sallyport/policy/internal/vocabulary"
	"sallyport/policy/strictyaml"
)

// ReadModel reads a model file: strict YAML, in which each key that is left out keeps the
// figure of [DefaultModel]. routes are those of the configuration; nil: not checked. The
// error is strictyaml.Diagnostics with every mistake, its line, its column and what is
// expected.
func ReadModel(name string, text []byte, routes []string) (Model, error) {
	r := &modelReader{Source: file.NewSource(name, text), model: DefaultModel(), places: map[string]*file.Node{}, words: vocabulary.New(routes, nil, nil)}
	root := r.Load(text, strictyaml.Format{What: "the model", Empty: "version: 1; `sallyport policy simulate --print-model` prints one to start from", Key: "keys indented alike"})
	if root != nil && r.plain(root) {
		r.root = root
		r.read()
	}
	if err := r.Err(); err != nil {
		return Model{}, err
	}
	return r.model, nil
}

type modelReader struct {
	*file.Source
	model  Model
	root   *file.Node
	places map[string]*file.Node // section.name: where its value stands
	words  *vocabulary.Vocabulary
}

// plain refuses anchors, aliases and tags: the file says what it says where it says it.
func (r *modelReader) plain(n *file.Node) bool {
	if n.Alias != nil || n.Anchor != "" || strictyaml.Tagged(n) {
		r.At(n, file.Diagnostic{Message: "anchors, aliases and tags (&, * and !) are not used in a model", Expected: "the value itself"})
		return false
	}
	return !slices.ContainsFunc(n.Content, func(c *file.Node) bool { return !r.plain(c) })
}

func (r *modelReader) read() {
	lists := []string{groupsKey, passkeysKey, countriesKey, networksKey, routesKey, requestsKey, namedKey}
	top := r.Fields(r.root, "the model", slices.Concat([]string{"version"}, sections, lists)...)
	if top == nil {
		return
	}
	if v := top["version"]; v == nil {
		r.At(r.root, file.Diagnostic{Message: "the model does not say which version of the format it is", Expected: "version: 1"})
	} else {
		r.Number(v, "version", 1, 1)
	}
	for _, section := range sections {
		r.section(section, top[section])
	}
	m := &r.model
	r.shares(top, groupsKey, &m.Groups, groupName, false)
	r.shares(top, passkeysKey, &m.Passkeys, passkeyClass, true)
	r.shares(top, countriesKey, &m.Countries, r.country, true)
	r.weights(top[routesKey])
	r.requests(top[requestsKey])
	r.networks(top[networksKey])
	r.named(top)
	r.sums()
}

func (r *modelReader) section(section string, n *file.Node) {
	if n == nil {
		return
	}
	var names []string
	for _, k := range keys {
		if k.section == section {
			names = append(names, k.name)
		}
	}
	values := r.Fields(n, section, names...)
	for _, k := range keys {
		v := values[k.name]
		if k.section != section || v == nil {
			continue
		}
		r.places[section+"."+k.name] = v
		switch to := k.of(&r.model).(type) {
		case *int:
			least, most := 0, maxAttackers
			if section == "people" {
				least, most = 1, MaxPeople
			}
			if x, ok := r.Number(v, k.name, least, most); ok {
				*to = x
			}
		case *float64:
			if x, ok := r.real(v, k.name, k.most); ok {
				*to = x
			}
		case *string:
			if x, ok := r.Text(v, k.name); ok {
				*to = x
			}
		}
	}
}

var plainReal = regexp.MustCompile(`^(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$`)

// real reads a share (most 0), or a number up to most.
func (r *modelReader) real(n *file.Node, what string, most float64) (float64, bool) {
	d := file.Diagnostic{Message: what + " has to be a share", Expected: "a number from 0 to 1, such as 0.25"}
	if most > 0 {
		d = file.Diagnostic{Message: what + " has to be a number", Expected: fmt.Sprintf("0 to %g", most)}
	}
	x, err := strconv.ParseFloat(n.Value, 64)
	scalar := len(n.Content) == 0 && (n.Tag == "!!int" || n.Tag == "!!float")
	if !scalar || err != nil || !plainReal.MatchString(n.Value) || x < 0 || x > max(most, 1) && most == 0 || most > 0 && x > most {
		if p, err := strconv.ParseFloat(strings.TrimSuffix(n.Value, "%"), 64); most == 0 && err == nil && p > 1 && p <= 100 {
			d.Suggestion = strconv.FormatFloat(p/100, 'g', 6, 64)
		}
		r.At(n, d)
		return 0, false
	}
	return x, true
}

// shares reads a mapping of names to shares. whole: they are shares of one thing.
func (r *modelReader) shares(top map[string]*file.Node, key string, to *map[string]float64, check func(string) *file.Diagnostic, whole bool) {
	n := top[key]
	if n == nil {
		return
	}
	if n.Tag != "!!map" {
		r.At(n, file.Diagnostic{Message: key + " has to be a mapping", Expected: "names and shares, such as {a: 0.25}"})
		return
	}
	*to = map[string]float64{}
	total := 0.0
	for name, value := range r.Pairs(n, key, "a name and a share") {
		if !r.room(n, len(*to), key) {
			return
		}
		if d := check(name.Value); d != nil {
			r.At(name, *d)
		}
		if x, ok := r.real(value, name.Value, 0); ok {
			(*to)[name.Value] = x
			total += x
		}
	}
	if whole && total > 1+tolerance {
		r.At(n, file.Diagnostic{Message: fmt.Sprintf("the shares of %s add up to %.4g", key, total), Expected: "1 at most"})
	}
}

// tolerance is what shares may exceed 1 by: they are written in decimals.
const tolerance = 1e-6

func (r *modelReader) room(n *file.Node, have int, what string) bool {
	if have >= maxEntries {
		r.At(n, file.Diagnostic{Message: what + " has too many entries", Expected: fmt.Sprintf("%d at most", maxEntries)})
		return false
	}
	return true
}

func groupName(name string) *file.Diagnostic {
	if strings.TrimSpace(name) == "" {
		return &file.Diagnostic{Message: "a group has no name", Expected: "the group's name as user.groups has it"}
	}
	return nil
}

var passkeyClasses = []string{"synced", "unattested", "attested"}

func passkeyClass(name string) *file.Diagnostic {
	if slices.Contains(passkeyClasses, name) {
		return nil
	}
	return &file.Diagnostic{Message: fmt.Sprintf("there is no kind of passkey %q", name), Expected: strings.Join(passkeyClasses, ", "), Suggestion: strictyaml.Nearest(name, passkeyClasses)}
}

func (r *modelReader) country(code string) *file.Diagnostic { return r.words.Check("ip.country", code) }

func (r *modelReader) weights(n *file.Node) {
	if n == nil {
		return
	}
	if n.Tag != "!!map" {
		r.At(n, file.Diagnostic{Message: "routes has to be a mapping", Expected: "names and weights, such as {wiki: 10, payroll: 1}"})
		return
	}
	r.model.Routes = map[string]float64{}
	total := 0.0
	for name, value := range r.Pairs(n, routesKey, "a route and its weight") {
		if !r.room(n, len(r.model.Routes), routesKey) {
			return
		}
		if d := r.words.Route(name.Value); d != nil {
			r.At(name, *d)
		}
		if x, ok := r.real(value, name.Value, 1e9); ok {
			r.model.Routes[name.Value] = x
			total += x
		}
	}
	if total == 0 && r.OK() {
		r.At(n, file.Diagnostic{Message: "no route is ever asked for", Expected: "a weight above 0 for at least one route"})
	}
}

// entry reads one mapping of a list.
func (r *modelReader) entries(n *file.Node, what string, names []string, each func(n *file.Node, values map[string]*file.Node)) {
	if n == nil {
		return
	}
	for i, item := range r.Items(n, what) {
		if !r.room(item, i, what) {
			return
		}
		if values := r.Fields(item, "an entry of "+what, names...); values != nil {
			each(item, values)
		}
	}
}

// must returns the value of a key that an entry has to have.
func (r *modelReader) must(n *file.Node, values map[string]*file.Node, name, expected string) *file.Node {
	if values[name] == nil {
		r.At(n, file.Diagnostic{Message: "the entry has no " + name, Expected: expected})
	}
	return values[name]
}

func (r *modelReader) requests(n *file.Node) {
	if n == nil {
		return
	}
	r.model.Requests = nil
	total := 0.0
	r.entries(n, requestsKey, []string{"method", "path", "share"}, func(n *file.Node, v map[string]*file.Node) {
		q := Request{Method: "GET", Path: "/"}
		for name, to := range map[string]*string{"method": &q.Method, "path": &q.Path} {
			if v[name] == nil {
				continue
			}
			if text, ok := r.Text(v[name], name); ok {
				*to = text
				if d := r.words.Check("request."+name, text); d != nil {
					r.At(v[name], *d)
				}
			}
		}
		if s := r.must(n, v, "share", "share: 0.05, of all requests"); s != nil {
			q.Share, _ = r.real(s, "share", 0)
		}
		total += q.Share
		r.model.Requests = append(r.model.Requests, q)
	})
	if total > 1+tolerance {
		r.At(n, file.Diagnostic{Message: fmt.Sprintf("the shares of requests add up to %.4g", total), Expected: "1 at most; what is left is GET /"})
	}
}

var networkKinds = []string{"home", "mobile", "vpn", "hosting"}

func (r *modelReader) networks(n *file.Node) {
	totals := map[string]float64{}
	r.entries(n, networksKey, []string{"asn", "org", "country", "kind", "share"}, func(n *file.Node, v map[string]*file.Node) {
		w := Network{Kind: networkKinds[0]}
		if a := r.must(n, v, "asn", "asn: 3320"); a != nil {
			asn, _ := r.Number(a, "asn", 1, 1<<32-1)
			w.ASN = uint32(asn)
		}
		if v["org"] != nil {
			w.Org, _ = r.Text(v["org"], "org")
		}
		if c := r.must(n, v, "country", "country: DE, where people use it"); c != nil {
			if text, ok := r.Text(c, "country"); ok {
				w.Country = text
				if d := r.country(text); d != nil {
					r.At(c, *d)
				}
			}
		}
		if k := v["kind"]; k != nil {
			if text, ok := r.Text(k, "kind"); ok && slices.Contains(networkKinds, text) {
				w.Kind = text
			} else if ok {
				r.At(k, file.Diagnostic{Message: fmt.Sprintf("there is no kind of network %q", text), Expected: strings.Join(networkKinds, ", "), Suggestion: strictyaml.Nearest(text, networkKinds)})
			}
		}
		if s := r.must(n, v, "share", "share: 0.25, of the people of that country"); s != nil {
			w.Share, _ = r.real(s, "share", 0)
			before := totals[w.Country+w.Kind]
			if totals[w.Country+w.Kind] += w.Share; before <= 1+tolerance && before+w.Share > 1+tolerance {
				r.At(s, file.Diagnostic{Message: fmt.Sprintf("the shares of the %s networks of %s add up to %.4g here", w.Kind, w.Country, before+w.Share), Expected: "1 at most"})
			}
		}
		r.model.Networks = append(r.model.Networks, w)
	})
}

func (r *modelReader) named(top map[string]*file.Node) {
	seen := map[string]bool{}
	r.entries(top[namedKey], namedKey, []string{"email", "country", "time_zone", "groups"}, func(n *file.Node, v map[string]*file.Node) {
		var p Named
		if e := r.must(n, v, "email", "email: ann@example.com"); e != nil {
			if text, ok := r.Text(e, "email"); ok {
				email, err := authn.ParseEmail(text)
				switch {
				case err != nil:
					r.At(e, file.Diagnostic{Message: err.Error(), Expected: "an e-mail address"})
				case seen[string(email)]:
					r.At(e, file.Diagnostic{Message: text + " is named twice", Expected: "one entry for each person"})
				}
				p.Email = string(email)
				seen[p.Email] = true
			}
		}
		if c := v["country"]; c != nil {
			if p.Country, _ = r.Text(c, "country"); p.Country != "" {
				if d := r.country(p.Country); d != nil {
					r.At(c, *d)
				}
			}
		}
		if z := v["time_zone"]; z != nil {
			p.TimeZone, _ = r.Text(z, "time_zone")
			if _, err := time.LoadLocation(p.TimeZone); err != nil || p.TimeZone == "Local" {
				r.At(z, file.Diagnostic{Message: fmt.Sprintf("there is no time zone %q", p.TimeZone), Expected: "an IANA name such as Europe/Zurich"})
			}
		}
		if g := v["groups"]; g != nil {
			for _, item := range r.Items(g, "groups") {
				if text, ok := r.Text(item, "a group"); ok {
					p.Groups = append(p.Groups, text)
				}
			}
		}
		r.model.Named = append(r.model.Named, p)
	})
	m := &r.model
	if len(m.Named) > MaxPeople {
		r.At(top[namedKey], file.Diagnostic{Message: fmt.Sprintf("%d people are named", len(m.Named)), Expected: fmt.Sprintf("%d at most", MaxPeople)})
	}
	count := r.places["people.count"]
	switch {
	case count == nil && len(m.Named) > 0:
		m.People = len(m.Named) // the company is those people
	case count != nil && m.People < len(m.Named):
		r.At(count, file.Diagnostic{Message: fmt.Sprintf("%d people are named, and count is %d", len(m.Named), m.People), Expected: fmt.Sprintf("at least %d, or no count", len(m.Named))})
	}
}

func (r *modelReader) sums() {
	for _, s := range sums {
		total := 0.0
		var last *file.Node
		for _, k := range keys {
			name := k.section + "." + k.name
			if !slices.Contains(s.names, name) {
				continue
			}
			total += *k.of(&r.model).(*float64)
			if n := r.places[name]; n != nil {
				last = n
			}
		}
		if total > 1+tolerance && last != nil {
			r.At(last, file.Diagnostic{Message: fmt.Sprintf("%s add up to %.4g", s.what, total),
				Expected: "1 at most, with those that the file leaves out: " + strings.Join(s.names, ", ")})
		}
	}
	m := &r.model
	for _, h := range []struct {
		begin, end float64
		name       string
	}{{m.WorkBegins, m.WorkEnds, "days.work_ends"}, {m.NightBegins, m.NightEnds, "days.night_ends"}} {
		if n := r.places[h.name]; h.end <= h.begin && (n != nil || r.places[strings.Replace(h.name, "ends", "begins", 1)] != nil) {
			if n == nil {
				n = r.places[strings.Replace(h.name, "ends", "begins", 1)]
			}
			r.At(n, file.Diagnostic{Message: fmt.Sprintf("the hours end (%g) before they begin (%g)", h.end, h.begin), Expected: "an end after the beginning, both on one day"})
		}
	}
}

// YAML is the model as a file that [ReadModel] reads, with a comment on each figure.
func (m *Model) YAML() string {
	var b strings.Builder
	b.WriteString("# A made-up company, for `sallyport policy simulate --model`. What is left out is as printed\n# by `sallyport policy simulate --print-model`. Shares are 0 to 1.\nversion: 1\n")
	for _, section := range sections {
		fmt.Fprintf(&b, "%s:\n", section)
		for _, k := range keys {
			if k.section != section {
				continue
			}
			switch v := k.of(m).(type) {
			case *int:
				fmt.Fprintf(&b, "  %s: %d # %s\n", k.name, *v, k.doc)
			case *float64:
				fmt.Fprintf(&b, "  %s: %s # %s\n", k.name, real(*v), k.doc)
			case *string:
				if *v != "" {
					fmt.Fprintf(&b, "  %s: %s # %s\n", k.name, strconv.Quote(*v), k.doc)
				}
			}
		}
	}
	pairs := func(key, doc string, of map[string]float64) {
		if len(of) == 0 {
			fmt.Fprintf(&b, "%s: {} # %s\n", key, doc)
			return
		}
		fmt.Fprintf(&b, "%s: # %s\n", key, doc)
		for _, name := range slices.Sorted(maps.Keys(of)) {
			fmt.Fprintf(&b, "  %s: %s\n", strconv.Quote(name), real(of[name]))
		}
	}
	pairs(groupsKey, "share of the people in each; {ops: 0.1}", m.Groups)
	pairs(passkeysKey, "share of each kind: synced, attested; the rest is unattested", m.Passkeys)
	pairs(countriesKey, "share of the people who live there; {US: 0.6, DE: 0.4}; without: everywhere alike", m.Countries)
	if len(m.Routes) > 0 {
		pairs(routesKey, "how often each is asked for, against the others", m.Routes)
	}
	fmt.Fprintf(&b, "%s: # what is left of 1 is GET /\n", requestsKey)
	for _, q := range m.Requests {
		fmt.Fprintf(&b, "  - {method: %s, path: %s, share: %s}\n", strconv.Quote(q.Method), strconv.Quote(q.Path), real(q.Share))
	}
	if len(m.Requests) == 0 {
		b.WriteString("  []\n")
	}
	if len(m.Networks) > 0 {
		fmt.Fprintf(&b, "%s: # share of the people of that country, of those of its kind (%s)\n", networksKey, strings.Join(networkKinds, ", "))
		for _, w := range m.Networks {
			org := ""
			if w.Org != "" {
				org = fmt.Sprintf(" org: %s,", strconv.Quote(w.Org))
			}
			fmt.Fprintf(&b, "  - {asn: %d,%s country: %s, kind: %s, share: %s}\n", w.ASN, org, strconv.Quote(w.Country), w.Kind, real(w.Share))
		}
	}
	if len(m.Named) > 0 {
		fmt.Fprintf(&b, "%s:\n", namedKey)
		for _, p := range m.Named {
			fmt.Fprintf(&b, "  - {email: %s", strconv.Quote(p.Email))
			if p.Country != "" {
				fmt.Fprintf(&b, ", country: %s", strconv.Quote(p.Country))
			}
			if p.TimeZone != "" {
				fmt.Fprintf(&b, ", time_zone: %s", strconv.Quote(p.TimeZone))
			}
			if len(p.Groups) > 0 {
				fmt.Fprintf(&b, ", groups: %s", quoted(p.Groups))
			}
			b.WriteString("}\n")
		}
	}
	return b.String()
}

// real spells a number as [ReadModel] takes it: without an exponent.
func real(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
