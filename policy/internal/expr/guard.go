package expr

import (
	"fmt"
	"slices"
)

// Guarded is the expression with a condition in front, with &&, of each part that holds only
// because one of its literals does: of one of several alternatives, and not of all. at are
// where the literals begin ([Node.Offset]). "": it cannot be written on one line.
func (p *Program) Guarded(guard string, at ...int) string {
	text := OneLine(p.text)
	if text == "" {
		return ""
	}
	tree := p.Tree()
	g := guarding{guard: guard, at: at}
	printed := g.node(tree, false)
	switch {
	case printed.text == "":
		return ""
	case !g.inside: // as it was written
		if tree.Op == Or || tree.Op == If {
			text = "(" + text + ")"
		}
		return guard + " && " + text
	case printed.open:
		return guard + " && " + printed.within(And)
	}
	return printed.text
}

type guarding struct {
	guard  string
	at     []int
	inside bool // there is a guard in the midst of the expression
}

// written is a part of an expression as text.
type written struct {
	text string
	op   Op   // Opaque: it is no &&, || or ?:
	open bool // it needs a guard, which may stand further out
}

// within is the part as an operand of op, in brackets where they help.
func (w written) within(op Op) string {
	if w.op == Opaque || w.op == op || w.text == "" {
		return w.text
	}
	return "(" + w.text + ")"
}

// node prints n. not: what holds if n does not is what matters.
func (g *guarding) node(n *Node, not bool) written {
	switch n.Op {
	case Not:
		w := g.node(n.Args[0], !not)
		if w.text == "" {
			return w
		}
		if inner := n.Args[0]; w.op != Opaque || inner.Op != FactOp && inner.Op != Call && inner.Op != Not && inner.Op != Exists && inner.Op != All && inner.Op != Method {
			w.text = "(" + w.text + ")"
		}
		return written{"!" + w.text, Opaque, w.open}
	case And, Or:
		a, b := g.node(n.Args[0], not), g.node(n.Args[1], not)
		out := written{op: n.Op, open: a.open || b.open}
		if alternatives := (n.Op == Or) != not; alternatives && out.open {
			a, b, out.open = g.put(a, not), g.put(b, not), false
		}
		if a.text == "" || b.text == "" {
			return written{}
		}
		out.text = a.within(n.Op) + map[Op]string{And: " && ", Or: " || "}[n.Op] + b.within(n.Op)
		return out
	}
	return written{n.print(), map[bool]Op{true: If}[n.Op == If], slices.Contains(g.at, n.Offset)}
}

// put puts the guard in front of a part that needs it.
func (g *guarding) put(w written, not bool) written {
	if !w.open || w.text == "" {
		return w
	}
	g.inside = true
	if not { // which holds if the part does not
		return written{text: "!(" + g.guard + ") || " + w.within(Or), op: Or}
	}
	return written{text: g.guard + " && " + w.within(And), op: And}
}

// print is a condition that is not made of others by && and the like.
func (n *Node) print() string {
	switch n.Op {
	case FactOp:
		return n.Name
	case ValueOp:
		return fmt.Sprint(n.Value)
	case If:
		var parts [3]written
		for i, a := range n.Args {
			if parts[i] = (&guarding{}).node(a, false); parts[i].text == "" {
				return ""
			}
		}
		return parts[0].within(If+1) + " ? " + parts[1].within(If+1) + " : " + parts[2].within(If+1)
	}
	return n.Text
}
