package prove

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-air/gini/z"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/vocabulary"
)

// witness puts in a value for every fact that the solver's request says something about.
// All else is as usual: what a test begins with.
type witness struct {
	*solver
	facts policy.Facts
	said  map[string]bool // facts that have been put in
}

func (s *solver) witness() policy.Facts {
	w := &witness{solver: s, said: map[string]bool{}}
	level := "verified"
	for _, v := range enumerations["session.level"] {
		if s.value(s.level[v].lit()) {
			level = v
		}
	}
	w.facts = policy.Ordinary(level)
	w.said["session.level"] = true
	if !s.value(s.purpose[policy.PurposeAccess].lit()) {
		w.facts.Request.Route = ""
	}
	for _, name := range slices.Sorted(maps.Keys(s.flags)) {
		w.set(name, s.value(s.flags[name]))
	}
	w.address()
	for _, name := range slices.Sorted(maps.Keys(s.numbers)) {
		if x := s.numbers[name]; x.node.Op == expr.FactOp && s.knows(intervals) && !w.said[name] {
			w.set(name, x.sample(w.segment(x), w.usual(x)).value(x.kind))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.texts)) {
		if t := s.texts[name]; t.node.Op == expr.FactOp && !w.said[name] {
			w.set(name, w.textOf(&t.member))
		}
	}
	w.time()
	for _, name := range slices.Sorted(maps.Keys(s.lists)) {
		w.set(name, w.listOf(s.lists[name]))
	}
	return w.facts
}

func (w *witness) fact(name string) reflect.Value {
	f, _ := w.m.Schema.Lookup(name)
	return w.m.Schema.Field(&w.facts, f)
}

func (w *witness) set(name string, v any) {
	field := w.fact(name)
	field.Set(reflect.ValueOf(v).Convert(field.Type()))
	w.said[name] = true
}

// segment is where the request has a number.
func (w *witness) segment(x *number) int {
	for s, m := range x.upTo {
		if w.value(m) && !x.empty(s) {
			return s
		}
	}
	return len(x.upTo) - 1
}

// usual is the value of a numeric fact that a test begins with.
func (w *witness) usual(x *number) num {
	v := w.fact(x.name)
	switch x.kind {
	case expr.Double:
		return num{f: v.Float()}
	case expr.Time:
		t := v.Interface().(time.Time)
		return num{i: t.Unix(), n: int64(t.Nanosecond())}
	}
	return num{i: v.Int()}
}

// address puts in the address and what follows from it.
func (w *witness) address() {
	set := func(a netip.Addr) {
		w.facts.IP.Address, w.facts.IP.Addr = a.String(), a
		w.facts.IP.Version = 6
		if a.Is4() {
			w.facts.IP.Version = 4
		}
		w.said["ip.address"], w.said["ip.version"] = true, true
	}
	set(netip.MustParseAddr(w.facts.IP.Address))
	if w.network == nil || !w.knows(networks) {
		if x := w.numbers["ip.version"]; x != nil && w.knows(intervals) && x.sample(w.segment(x), num{i: 4}).i == 6 {
			set(netip.MustParseAddr("2001:db8::1"))
		}
		if _, ok := w.flags["ip.private"]; ok && w.facts.IP.Private {
			set(netip.MustParseAddr(map[int64]string{4: "10.0.0.1", 6: "fd00::1"}[w.facts.IP.Version]))
		}
		return
	}
	for _, r := range w.network.regions {
		if !w.value(r.lit) {
			continue
		}
		if usual := w.facts.IP.Addr; !r.in[private] && w.network.same(usual, r) {
			return
		}
		set(r.samples[0])
	}
}

// same reports whether an address lies in the sets of r and in no other.
func (w *network) same(a netip.Addr, r reach) bool {
	for i, set := range w.sets {
		if r.in[i] != slices.ContainsFunc(set, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return false
		}
	}
	return true
}

// textOf is a text in the region that the request has it in.
func (w *witness) textOf(m *member) string {
	for _, l := range w.links { // equal to one that is put in already
		if !l.right.isList && w.value(l.lit) {
			if m == l.left && w.said[l.right.name] {
				return w.fact(l.right.name).String()
			}
			if m == l.right && w.said[l.left.name] {
				return w.fact(l.left.name).String()
			}
		}
	}
	used := w.unlike(m)
	for r, in := range m.in {
		if !w.value(in) {
			continue
		}
		values := m.domain.regions[r].values
		for _, v := range values {
			if m.allows(w.prover, v) && !slices.Contains(used, v) {
				return v
			}
		}
		return values[0]
	}
	usual := w.fact(m.name).String()
	fit, misfit := w.split(m, func(u *use) z.Lit { return u.free })
	if v, ok := w.another(m, fit, misfit, used, usual); ok {
		return v
	}
	return usual
}

// split divides the patterns of which it depends on the text by a literal of theirs.
func (w *witness) split(m *member, lit func(*use) z.Lit) (holds, not []*use) {
	for _, u := range m.uses {
		switch {
		case u.other != depends || m.ignores(w.prover, u):
		case w.value(lit(u)):
			holds = append(holds, u)
		default:
			not = append(not, u)
		}
	}
	return holds, not
}

// unlike are the values of texts that are put in already and must not be equal to m.
func (w *witness) unlike(m *member) (out []string) {
	for _, l := range w.links {
		if l.right.isList || w.value(l.lit) {
			continue
		}
		if m == l.left && w.said[l.right.name] {
			out = append(out, w.fact(l.right.name).String())
		} else if m == l.right && w.said[l.left.name] {
			out = append(out, w.fact(l.left.name).String())
		}
	}
	return out
}

// another is a text that is no constant of the domain and fits some patterns, and others
// not; the usual one if that will do.
func (w *witness) another(m *member, fit, misfit []*use, not []string, usual string) (string, bool) {
	good := func(v string) bool {
		return !m.isConstant(v) && !slices.Contains(not, v) && m.allows(w.prover, v) &&
			!slices.ContainsFunc(fit, func(u *use) bool { return !m.fits(u, v) }) &&
			!slices.ContainsFunc(misfit, func(u *use) bool { return m.fits(u, v) })
	}
	for _, v := range append([]string{usual}, candidates(m.fact(), fit)...) {
		if good(v) {
			return v, true
		}
	}
	return "", false
}

// isConstant reports whether rules compare a member of the domain with v.
func (m *member) isConstant(v string) bool {
	for _, r := range m.domain.regions {
		if slices.Contains(r.values, v) {
			return true
		}
	}
	for _, other := range m.domain.members {
		for _, u := range other.uses {
			if slices.Contains(u.values, v) {
				return true
			}
		}
	}
	return false
}

func (m *member) fits(u *use, v string) bool {
	subject := func(n *expr.Node) bool { return n.Op == expr.FactOp }
	if m.isList {
		subject = func(n *expr.Node) bool { return n.Op == expr.Entry }
	}
	return (&computation{subject: subject, value: v}).eval(u.node) == true
}

// stock are values that facts can have, to choose from when no constant will do.
var stock = map[string][]string{
	"ip.country":         strings.Fields("US DE FR GB SE CH JP BR IN ZA AU CA NO FI IT ES NL BE AT PL PT IE DK CZ KR MX AR CL NZ SG TH VN ZZ"),
	"ip.subdivisions":    strings.Fields("US-CA US-NY DE-BE FR-IDF SE-AB CH-ZH JP-13 BR-SP"),
	"ip.region":          strings.Fields("US-CA US-NV DE-BE FR-IDF"),
	"user.region":        strings.Fields("US-CA US-NV DE-BE FR-IDF"),
	"user.email":         {"someone@example.com", "another@example.org", "third@example.net"},
	"request.method":     {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"},
	"request.path":       {"/", "/other", "/another"},
	"request.host":       {"example.com", "other.example.com", "another.example.org"},
	"credential.aaguid":  {"00000000-0000-0000-0000-000000000000", "08987058-cadc-4b81-b6e1-30de50dcbe96", "11111111-1111-1111-1111-111111111111"},
	"user.time_zone":     {"", "UTC", "Europe/Zurich", "America/New_York", "Asia/Tokyo"},
	"request.user_agent": {"", "Mozilla/5.0"},
}

func candidates(fact string, fit []*use) []string {
	out := slices.Clone(stock[fact])
	if fact == "user.countries" {
		out = slices.Clone(stock["ip.country"])
	}
	var starts, middles, ends, wholes []string
	for _, u := range fit {
		for _, c := range u.constants() {
			switch u.node.Name {
			case "startsWith":
				starts = append(starts, c)
			case "endsWith":
				ends = append(ends, c)
			case "contains":
				middles = append(middles, c)
			default:
				wholes = append(wholes, c, strings.ToUpper(c))
			}
		}
	}
	longest := func(of []string) string {
		return slices.MaxFunc(append(of, ""), func(a, b string) int { return len(a) - len(b) })
	}
	start, end, middle := longest(starts), longest(ends), strings.Join(middles, "")
	for _, filler := range []string{"", "x", "other", "another", "third", "a@b", "/"} {
		out = append(out, start+middle+filler+end, start+filler+middle+end)
	}
	if fact != "user.email" {
		return append(out, wholes...)
	}
	for _, before := range []string{"", "someone", "someone@", "someone@example."} {
		for _, after := range []string{"", "@example.com", "example.com", ".example.com"} {
			out = append(out, cmp.Or(start, before)+middle+cmp.Or(end, after))
		}
	}
	return slices.DeleteFunc(append(out, wholes...), func(text string) bool { return !vocabulary.IsEmail(text) })
}

// listOf is a list with an entry from each region that the request says there is one
// from.
func (w *witness) listOf(l *list) []string {
	var out, present, absent []string // of linked texts: to be entries, or not to be
	for _, link := range w.links {
		if link.right != &l.member {
			continue
		}
		v := w.fact(link.left.name).String()
		if w.value(link.lit) {
			present = append(present, v)
		} else {
			absent = append(absent, v)
		}
	}
	for r, in := range l.in {
		if !w.value(in) {
			continue
		}
		values := l.domain.regions[r].values
		if i := slices.IndexFunc(values, func(v string) bool { return slices.Contains(present, v) }); i >= 0 {
			continue // one of those that come anyway
		}
		i := slices.IndexFunc(values, func(v string) bool { return !slices.Contains(absent, v) && l.allows(w.prover, v) })
		out = append(out, values[max(i, 0)])
	}
	for _, v := range present {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	least := int64(0)
	if x := l.size; x != nil && w.knows(intervals) {
		least = x.sample(w.segment(x), num{i: int64(len(out))}).i
	}
	if w.value(l.other) {
		out = w.others(&l.member, out, absent)
	}
	for len(out) > 0 && int64(len(out)) < min(least, 300) {
		out = append(out, out[0]) // lists may say something twice
	}
	return out
}

// others adds entries that are no constants: one for each pattern that one of them has to
// fit, or not, and one at any rate.
func (w *witness) others(m *member, out, absent []string) []string {
	some, never := w.split(m, func(u *use) z.Lit { return u.free })      // one fits; none does
	someNot, always := w.split(m, func(u *use) z.Lit { return u.refer }) // one does not; all do
	has := func(good func(v string) bool) bool {
		return slices.ContainsFunc(out, func(v string) bool { return !m.isConstant(v) && good(v) })
	}
	add := func(fit, misfit []*use) bool {
		v, ok := w.another(m, append(fit, always...), append(misfit, never...), append(slices.Clone(absent), out...), "other")
		if ok {
			out = append(out, v)
		}
		return ok
	}
	all := slices.DeleteFunc(slices.Clone(some), func(u *use) bool { return has(func(v string) bool { return m.fits(u, v) }) })
	if len(all) > 1 && add(all, nil) {
		all = nil
	}
	for _, u := range all {
		add([]*use{u}, nil)
	}
	for _, u := range someNot {
		if !has(func(v string) bool { return !m.fits(u, v) }) {
			add(nil, []*use{u})
		}
	}
	if !has(func(string) bool { return true }) {
		add(nil, nil)
	}
	return out
}

// time puts in a moment at which the hours and days are what the request says.
func (w *witness) time() {
	var asks []func(at time.Time) bool
	zone := func(n *expr.Node) *time.Location {
		name, ok := n.Args[0].Value.(string)
		if !ok {
			if n.Args[0].Op != expr.FactOp {
				return nil
			}
			arg := w.texts[n.Args[0].Name]
			if name = w.fact(n.Args[0].Name).String(); !isZone(name) && (arg == nil || w.value(arg.other)) {
				name = "UTC"
				w.set(n.Args[0].Name, name)
			}
		}
		if !isZone(name) {
			return nil
		}
		location, _ := time.LoadLocation(name)
		return location
	}
	for _, name := range slices.Sorted(maps.Keys(w.numbers)) {
		x := w.numbers[name]
		if x.node.Op != expr.Call || !w.knows(intervals) || x.fails != 0 && w.value(x.fails) {
			continue
		}
		if at := zone(x.node); at != nil {
			s := w.segment(x)
			asks = append(asks, func(t time.Time) bool {
				h := num{i: int64(t.In(at).Hour())}
				return x.sample(s, h) == h
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.texts)) {
		t := w.texts[name]
		if t.node.Op != expr.Call || t.fails != 0 && w.value(t.fails) {
			continue
		}
		if at := zone(t.node); at != nil {
			day := w.dayOf(&t.member)
			asks = append(asks, func(t time.Time) bool { return slices.Contains(day, t.In(at).Weekday().String()[:3]) })
		}
	}
	if now := w.numbers["time.now"]; now != nil && w.knows(intervals) {
		s := w.segment(now)
		asks = append(asks, func(t time.Time) bool {
			v := num{i: t.Unix(), n: int64(t.Nanosecond())}
			return now.sample(s, v) == v
		})
	}
	asks = append(asks, w.minutes()...)
	// Half hours, because there are zones with them, and a year, because clocks are put
	// forward and back. Minutes, because rules ask at some of an hour.
	for _, step := range []time.Duration{30 * time.Minute, -30 * time.Minute, time.Minute} {
		for i := range 366 * 48 {
			at := w.facts.Time.Now.Add(time.Duration(i) * step)
			if !slices.ContainsFunc(asks, func(ask func(time.Time) bool) bool { return !ask(at) }) {
				w.facts.Time.Now = at
				return
			}
		}
	}
}

// isZone reports whether rules can use a time zone.
func isZone(name string) bool {
	_, err := time.LoadLocation(name)
	return err == nil && name != "" && name != "Local"
}

// dayOf are the days in the region that the request has a weekday in.
func (w *witness) dayOf(m *member) []string {
	for r, in := range m.in {
		if w.value(in) {
			return m.domain.regions[r].values
		}
	}
	return nil
}

// describe names an atom in a message.
func (a *atom) describe() string {
	text := a.node.Text
	if len(text) > 120 {
		text = text[:117] + "..."
	}
	return fmt.Sprintf("`%s`", text)
}

// values of literals in the present request, for those that are free.
func (s *solver) freeValues() map[*atom]bool {
	out := map[*atom]bool{}
	for _, a := range s.order {
		if a.free && a.made != nil && a.made.t != z.LitNull {
			out[a] = s.value(a.made.t)
		}
	}
	return out
}
