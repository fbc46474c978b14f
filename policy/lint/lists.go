package lint

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"sallyport/policy"
	"sallyport/policy/internal/file"
)

// maxComparedLists bounds the comparison of each list with each other.
const maxComparedLists = 300

// lists finds lists that are empty or unused, entries that another entry holds already,
// and lists that overlap.
func (l *linter) lists() {
	lists := l.document.Lists
	used := map[string]bool{}
	for _, p := range l.parts() {
		for _, name := range p.program.Lists() {
			used[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(lists))
	for _, name := range names {
		switch list := lists[name]; {
		case len(list.Entries) == 0:
			l.node(list.Node, Finding{Code: "empty-list", Severity: Warning,
				Message: fmt.Sprintf("lists.%s is empty: nothing is ever in it", name), Fix: "entries, or no such list"})
		case !used[name]:
			l.node(list.Node, Finding{Code: "unused-list", Severity: Warning,
				Message: fmt.Sprintf("no rule uses lists.%s: what it lists has no effect", name), Fix: "a rule over it, or no such list"})
		}
	}
	in := map[string]entryPosition{} // where an entry is already
	for _, name := range names {
		l.repeated(name, lists[name], in)
	}
	if len(names) > maxComparedLists {
		return
	}
	networks := map[string]*bart.Lite{}
	for _, name := range names {
		if networks[name] = l.networks(name, lists[name]); networks[name] == nil {
			continue
		}
		for _, other := range names {
			if other >= name || networks[other] == nil || !networks[other].Overlaps(networks[name]) || sharesEntry(lists[name], lists[other]) {
				continue
			}
			l.node(lists[name].Node, overlap(name, other))
		}
	}
}

type entryPosition struct {
	list string
	line int
}

// repeated finds entries that stand in this list twice, and the first one that another
// list has too.
func (l *linter) repeated(name string, list *file.List, in map[string]entryPosition) {
	said := map[string]bool{}
	for _, n := range list.Entries {
		switch before, ok := in[n.Value]; {
		case !ok:
			in[n.Value] = entryPosition{name, n.Line}
		case before.list == name:
			l.node(n, Finding{Code: "repeated-entry", Severity: Note,
				Message: fmt.Sprintf("%s is in lists.%s already, in line %d", n.Value, name, before.line), Fix: "it once"})
		case !said[before.list]:
			said[before.list] = true
			l.node(n, overlap(name, before.list))
		}
	}
}

func overlap(name, other string) Finding {
	return Finding{Code: "overlapping-lists", Severity: Note,
		Message: fmt.Sprintf("lists.%s and lists.%s overlap: rules over both of them match for some", name, other),
		Fix:     "each entry in one list, unless both are meant to hold for it"}
}

func sharesEntry(a, b *file.List) bool {
	in := map[string]bool{}
	for _, n := range a.Entries {
		in[n.Value] = true
	}
	return slices.ContainsFunc(b.Entries, func(n *file.Node) bool { return in[n.Value] })
}

// networks returns the networks of a list of nothing else, having said which of them
// others hold.
func (l *linter) networks(name string, list *file.List) *bart.Lite {
	if len(list.Entries) == 0 {
		return nil
	}
	set, prefixes := &bart.Lite{}, make([]netip.Prefix, len(list.Entries))
	for i, n := range list.Entries {
		p, err := policy.ParseNetwork(n.Value)
		if err != nil {
			return nil
		}
		prefixes[i] = p
		set.Insert(p)
	}
	for i, p := range prefixes {
		if p.Bits() == 0 {
			l.node(list.Entries[i], Finding{Code: "silent-comparison", Severity: Warning,
				Message: fmt.Sprintf("%s is every address of its kind: what lists.%s is for holds for all of them", list.Entries[i].Value, name),
				Fix:     "the networks that are meant, and not this entry"})
		}
		for wider := range set.Supernets(p) {
			if wider == p {
				continue
			}
			if wider.Bits() == 0 {
				break // that is said of the entry itself
			}
			l.node(list.Entries[i], Finding{Code: "repeated-entry", Severity: Note,
				Message: fmt.Sprintf("%s is inside %s, which is in lists.%s too", list.Entries[i].Value, wider, name), Fix: "the wider one alone, or the narrower one alone"})
			break
		}
	}
	return set
}
