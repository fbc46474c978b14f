package changes

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/policy/strictyaml"
)

const (
	maxValue   = 400 // characters of a value
	maxEntries = 20  // of a list
)

var signs = map[string]string{Added: "+", Removed: "-", Changed: "~"}

// Text is the changes for a terminal, and "" if there is none.
func Text(list []Change) string {
	if len(list) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(Summary(list) + "\n")
	for _, c := range list {
		fmt.Fprintf(&b, "  %s %s %s", signs[c.What], c.Kind, show(c.Name))
		c.value(&b)
		entries(&b, "+", c.New)
		entries(&b, "-", c.Gone)
		b.WriteByte('\n')
		c.fields(&b)
	}
	return b.String()
}

// value writes the one value of a setting behind its name.
func (c Change) value(b *strings.Builder) {
	if len(c.Fields) == 1 && c.Fields[0].Key == "" {
		b.WriteString(": " + c.Fields[0].text(c.What))
	}
}

func (c Change) fields(b *strings.Builder) {
	if c.Kind == Test && c.What != Changed {
		return // its name says enough
	}
	for _, f := range c.Fields {
		if f.Key != "" {
			fmt.Fprintf(b, "      %s: %s\n", show(f.Key), f.text(c.What))
		}
	}
}

func (f Field) text(what string) string {
	switch {
	case what == Added:
		return show(f.Is)
	case what == Removed:
		return show(f.Was)
	case f.Was == "":
		return "(none) -> " + show(f.Is)
	case f.Is == "":
		return show(f.Was) + " -> (none)"
	}
	return show(f.Was) + " -> " + show(f.Is)
}

func entries(b *strings.Builder, sign string, list []string) {
	if len(list) == 0 {
		return
	}
	shown := list[:min(len(list), maxEntries)]
	fmt.Fprintf(b, "  %s %s", sign, show(strings.Join(shown, ", ")))
	if more := len(list) - len(shown); more > 0 {
		fmt.Fprintf(b, " and %d more", more)
	}
}

// show makes a text from a file safe for a terminal, and not longer than a few lines.
func show(text string) string {
	text = strictyaml.Printable(strings.Join(strings.Fields(text), " "))
	if cut := []rune(text); len(cut) > maxValue {
		return string(cut[:maxValue]) + "…"
	}
	return text
}

// Summary counts the changes: "2 rules added, 1 removed; 1 test changed".
func Summary(list []Change) string {
	var kinds []string
	for _, kind := range []string{Rule, Test, Invariant, List, Setting} {
		var parts []string
		for _, what := range []string{Added, Removed, Changed} {
			n := 0
			for _, c := range list {
				if c.Kind == kind && c.What == what {
					n++
				}
			}
			switch {
			case n == 0:
			case parts != nil:
				parts = append(parts, fmt.Sprintf("%d %s", n, what))
			case n == 1:
				parts = append(parts, fmt.Sprintf("1 %s %s", kind, what))
			default:
				parts = append(parts, fmt.Sprintf("%d %ss %s", n, kind, what))
			}
		}
		if parts != nil {
			kinds = append(kinds, strings.Join(parts, ", "))
		}
	}
	return strings.Join(kinds, "; ")
}

// AddsOnly reports whether everything that was there is still there, as it was.
func AddsOnly(list []Change) bool {
	return !slices.ContainsFunc(list, func(c Change) bool { return c.What != Added })
}

// Names are those of the changed things of a kind, each with the sign of what happened to
// it: "+new", "-old", "~other".
func Names(list []Change, kind string) (out []string) {
	for _, c := range list {
		if c.Kind == kind {
			out = append(out, signs[c.What]+c.Name)
		}
	}
	return out
}
