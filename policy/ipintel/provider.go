package ipintel

import (
	"maps"
	"slices"
)

// maxProviders bounds the names of one source. There are some hundred VPNs.
const maxProviders = 10_000

// providers are the names that one source has for operators of VPNs and proxies. The zero
// value has none.
type providers struct {
	names map[string]bool
	many  bool // more than maxProviders: not all are known
}

func (p *providers) add(name string) {
	switch {
	case name == "" || p.names[name]:
	case len(p.names) == maxProviders:
		p.many = true
	case p.names == nil:
		p.names = map[string]bool{name: true}
	default:
		p.names[name] = true
	}
}

// providerNames are all names that ip.provider can have, sorted; nil if a source that can
// name operators is not loaded, or names too many.
func providerNames(members []member) []string {
	all := map[string]bool{}
	for _, m := range members {
		if m.data == nil && m.spec.could(nil).provider || m.data != nil && m.data.providers.many {
			return nil
		}
		if m.data != nil {
			maps.Copy(all, m.data.providers.names)
		}
	}
	return append([]string{}, slices.Sorted(maps.Keys(all))...)
}
