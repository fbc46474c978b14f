package policy

import (
	"slices"

	"sallyport/policy/internal/expr"
	"sallyport/policy/internal/fold"
)

// Tools differ in which paths they treat as equal: Express serves /Admin under /admin,
// Windows /admin. as well, Rails /admin.json. A rule over a path is therefore evaluated
// up to three times: on the path as it is written, folded, and folded without its suffix.
// It matches if it matches in one of them, as a whole, with its `unless`: rules only ever
// tighten, so the verdict is at least as strict as in each reading. If the path is folded
// already and has no suffix, all three are one, and cost nothing.
//
// The constants that a path is compared with are folded for the second and third, so that
// the author's spelling does not matter.

var pathFolding = &expr.Folding{Facts: []string{"request.path", "request.path_folded"}, Whole: fold.Path, Part: fold.Text}

// foldedRule is a rule as it is asked about folded paths.
type foldedRule struct {
	when, unless *expr.Program
	always       bool // its constants are spelled otherwise: folded paths are another question too
}

// fold makes the second reading of a rule, if it is about paths.
func (b *builder) fold(p *Policy, r *rule) {
	if !pathFolding.Reads(r.when) && !pathFolding.Reads(r.unless) {
		return
	}
	r.folded = &foldedRule{}
	for _, part := range []struct {
		of   *expr.Program
		into **expr.Program
	}{{r.when, &r.folded.when}, {r.unless, &r.folded.unless}} {
		if part.of == nil {
			continue
		}
		program, changed, problems := p.env.CompileFolded(part.of.Text(), pathFolding)
		for _, q := range problems {
			b.Add(r.line, 1, Diagnostic{Message: r.name + " cannot be asked about folded paths: " + q.Message, Expected: q.Expected})
		}
		if *part.into = part.of; changed {
			*part.into, r.folded.always = program, true
			if program != nil {
				b.cost += program.Cost()
			}
		}
	}
}

// reading is one way to read a request, other than as it is written: by another path, or
// by one address among those that the client's address carries. The zero value is as
// written.
type reading struct {
	path, address string // the changed reading; "": as written
	scope         *scope
	facts         *Facts
	inner         readings // of an address: the readings of the request's path as well
}

// readings are the other ways to read a request, made when the first rule asks for them.
type readings struct {
	made             bool
	paths, addresses []*reading
}

func (rs *readings) release() {
	for _, r := range rs.paths {
		r.scope.Release()
	}
	for _, r := range rs.addresses {
		r.scope.Release()
		r.inner.release()
	}
}

// of makes the readings of f: other paths, if the rule is about paths.
func (rs *readings) of(p *Policy, f *Facts) *readings {
	if rs.made {
		return rs
	}
	rs.made = true
	written := f.Request.Path
	folded := fold.Path(written)
	bare := fold.DropSuffix(folded)
	if written == "" || folded == written && bare == folded {
		return rs
	}
	for _, path := range slices.Compact([]string{folded, bare}) {
		if path != written {
			g := *f
			g.Request.Path, g.Request.PathFolded = path, path
			rs.paths = append(rs.paths, &reading{path: path, facts: &g, scope: p.env.Acquire(&g)})
		}
	}
	return rs
}

// ofAddress makes the readings of the client's address, where it carries others: nearly
// none does.
func (rs *readings) ofAddress(p *Policy, f *Facts) []*reading {
	if rs.addresses == nil {
		for i := range f.IP.Readings {
			g := *f
			g.IP = f.IP.Readings[i]
			g.IP.Readings = nil
			rs.addresses = append(rs.addresses, &reading{address: g.IP.Address, facts: &g, scope: p.env.Acquire(&g)})
		}
	}
	return rs.addresses
}

// read is an outcome, and the reading that it came out in.
type read struct {
	outcome
	in reading
}

// evaluateReadings evaluates a rule in all readings, with the person's exceptions from it.
// It matches if it does in one of them: that an exception suspends it in another one, such
// as another country, does not help.
func (p *Policy) evaluateReadings(r *rule, own []*exception, f *Facts, scope *scope, rs *readings) read {
	o := p.evaluatePaths(r, own, f, scope, rs)
	if o.matched {
		return o
	}
	for _, a := range rs.ofAddress(p, f) {
		other := p.evaluatePaths(r, own, a.facts, a.scope, &a.inner)
		other.in.address = a.address
		if other.in.scope == nil {
			other.in.scope = a.scope
		}
		if o = o.or(other); o.matched {
			return o
		}
	}
	return o
}

// evaluatePaths evaluates a rule in all readings of the path.
func (p *Policy) evaluatePaths(r *rule, own []*exception, f *Facts, scope *scope, rs *readings) read {
	o := read{outcome: conditions{r.when, r.unless, own}.evaluate(scope)}
	if o.matched || r.folded == nil {
		return o
	}
	folded := conditions{r.folded.when, r.folded.unless, own}
	if r.folded.always {
		o = o.or(read{folded.evaluate(scope), reading{path: f.Request.Path}})
	}
	if o.matched {
		return o
	}
	for _, other := range rs.of(p, f).paths {
		if o = o.or(read{folded.evaluate(other.scope), *other}); o.matched {
			return o
		}
	}
	return o
}

// or is the first of two outcomes, or the second if that matches, or says that it would.
func (o read) or(other read) read {
	if other.matched || o.by == nil && other.by != nil {
		return other
	}
	return o
}

// complete fills in what follows from other facts, where the caller did not: recorded
// facts do not have it.
func (p *Policy) complete(f *Facts) *Facts {
	if !p.readsFolded || f.Request.PathFolded != "" || f.Request.Path == "" {
		return f
	}
	whole := *f
	whole.Request.PathFolded = fold.Path(f.Request.Path)
	return &whole
}

// FoldPath is a canonical path as a tool reads it that is generous about spelling. Rules
// over request.path are asked about it too.
func FoldPath(path string) string { return fold.Path(path) }

// DropSuffix is a folded path without what looks like a format at its end: tools serve
// /approve under /approve.json.
func DropSuffix(folded string) string { return fold.DropSuffix(folded) }
