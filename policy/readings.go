package policy

import (
	"slices"

	"sallyport/policy/internal/expr"
)

// Tools differ in which paths they take for one: Express serves /Admin under /admin, Windows
// /admin. as well, Rails /admin.json. A rule over a path is therefore asked up to three times: about
// the path as it is written, as it is folded, and as it is folded without its suffix. It matches
// if it matches in one of them, whole, with its `unless`: rules only ever tighten, so the verdict
// is at least as strict as in each reading. Where the path is folded already and has no suffix, all three
// are one, and cost nothing.
//
// The constants that a path is compared with are folded for the second and third, so that it does not
// matter how the author spells them.

var pathFolding = &expr.Folding{Facts: []string{"request.path", "request.path_folded"}, Whole: FoldPath, Part: foldText}

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
			b.add(r.line, 1, Diagnostic{Message: r.name + " cannot be asked about folded paths: " + q.Message, Expected: q.Expected})
		}
		if *part.into = part.of; changed {
			*part.into, r.folded.always = program, true
			if program != nil {
				b.cost += program.Cost()
			}
		}
	}
}

// matches evaluates a folded rule, as rule.matches does.
func (r *foldedRule) matches(scope *scope) (bool, error) {
	plain := rule{when: r.when, unless: r.unless}
	return plain.matches(scope)
}

// reading is one way to read the path of a request, other than as it is written.
type reading struct {
	path  string
	facts Facts
	scope *scope
}

// readings are the other ways to read a request, made when the first rule asks for them.
type readings struct {
	made bool
	all  []*reading
}

func (rs *readings) release() {
	for _, r := range rs.all {
		r.scope.Release()
	}
}

// of returns the readings of f.
func (rs *readings) of(p *Policy, f *Facts) []*reading {
	if rs.made {
		return rs.all
	}
	rs.made = true
	written := f.Request.Path
	folded := FoldPath(written)
	bare := DropSuffix(folded)
	if written == "" || folded == written && bare == folded {
		return nil
	}
	for _, path := range slices.Compact([]string{folded, bare}) {
		if path != written {
			r := &reading{path: path, facts: *f}
			r.facts.Request.Path, r.facts.Request.PathFolded = path, path
			r.scope = p.env.Acquire(&r.facts)
			rs.all = append(rs.all, r)
		}
	}
	return rs.all
}

// asked evaluates a rule in all readings. path is the reading other than the written one
// in which it matched, or "".
func (p *Policy) asked(r *rule, f *Facts, scope *scope, rs *readings) (matched bool, path string, err error) {
	if matched, err = r.matches(scope); matched || r.folded == nil {
		return matched, "", err
	}
	if r.folded.always {
		if matched, err = r.folded.matches(scope); matched {
			return true, f.Request.Path, err
		}
	}
	for _, other := range rs.of(p, f) {
		if matched, err = r.folded.matches(other.scope); matched {
			return true, other.path, err
		}
	}
	return false, "", nil
}

// complete fills in what follows from other facts, where the caller did not: recorded facts do
// not have it.
func (p *Policy) complete(f *Facts) *Facts {
	if !p.readsFolded || f.Request.PathFolded != "" || f.Request.Path == "" {
		return f
	}
	whole := *f
	whole.Request.PathFolded = FoldPath(f.Request.Path)
	return &whole
}
