package ipintel

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"sallyport/policy"
	"sallyport/policy/ipv4in6"
)

// Config names the sources. Paths are absolute.
type Config struct {
	// Databases are MaxMind DB files. The type is read from their metadata. Where
	// two of them answer the same question, the one named first is believed; signals add up.
	Databases []string
	Lists     []List
	// NAT64 are prefixes under which a translator of the operator's own puts IPv4
	// addresses (RFC 6052), besides those that are published.
	NAT64 []netip.Prefix
	// Poll is how often [Watcher.Run] looks at all files, besides being told of changes.
	// Default one minute.
	Poll   time.Duration
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default: nothing is logged
}

// List is one configured list.
type List struct {
	Name   string // ip.lists holds it; lower case letters, digits, "-", "_", "."
	Signal string // vpn, hosting, tor, proxy, residential_proxy, relay; "" for a list that is only asked about by name
	File   string
	Format string // cidr (also ""), aws, gcp, azure, csv
	// Provider is whose VPN or proxy all entries are, where an entry does not say; "": not
	// said. It is the operator's own word, and believed before databases.
	Provider string
	// Stated: the list is the operator's own statement, believed before databases. It is
	// a CSV with a header line. No file can say this of itself.
	Stated bool
	// MaxShare is the part of the address space that the list may cover, of IPv4 and of
	// IPv6 each; 0 is DefaultMaxShare.
	MaxShare float64
}

// DefaultMaxShare is what part of all public addresses a list may cover. The largest
// lists of data centres hold a tenth of IPv4; a list that holds much more is a mistake,
// or made to lock out all people.
const DefaultMaxShare = 0.15

// cacheSize bounds the joined answers kept per snapshot: one for each recent client
// address.
const cacheSize = 50_000

var (
	listName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	noNames  = []string{}
)

// specs checks the configuration itself, without touching files.
func (c Config) specs() ([]spec, error) {
	var all []spec
	seen := map[string]bool{}
	for _, p := range c.NAT64 {
		if !ipv4in6.PrefixOK(p) {
			return nil, fmt.Errorf("%s is no NAT64 prefix: IPv6, of 32, 40, 48, 56, 64 or 96 bits (RFC 6052)", p)
		}
	}
	for _, f := range c.Databases {
		if !filepath.IsAbs(f) {
			return nil, fmt.Errorf("database %q: the path is not absolute", f)
		}
		name := filepath.Base(f)
		if seen[name] {
			name = f // two of that name in different folders
		}
		if seen["file "+f] {
			return nil, fmt.Errorf("database %s is configured twice", f)
		}
		seen[name], seen["file "+f] = true, true
		all = append(all, spec{name: name, file: f, database: true})
	}
	for _, l := range c.Lists {
		s := spec{name: l.Name, file: l.File, format: l.Format, provider: tidy(l.Provider), stated: l.Stated, maxShare: l.MaxShare}
		if s.maxShare == 0 {
			s.maxShare = DefaultMaxShare
		}
		if s.format == "" {
			s.format = formatCIDR
		}
		switch {
		case !listName.MatchString(l.Name):
			return nil, fmt.Errorf("%q is not a name for a list (lower case letters, digits, - _ .)", clip(l.Name))
		case seen[l.Name]:
			return nil, fmt.Errorf("list %q: the name is taken", l.Name)
		case !filepath.IsAbs(l.File):
			return nil, fmt.Errorf("list %q: the path %q is not absolute", l.Name, l.File)
		case l.Stated && s.format != formatCSV:
			return nil, fmt.Errorf("list %q: a list of format %s states nothing but its networks", l.Name, s.format)
		case !(s.maxShare > 0 && s.maxShare <= 1):
			return nil, fmt.Errorf("list %q: %g is no share of the address space (0 to 1)", l.Name, l.MaxShare)
		case !slices.Contains([]string{formatCIDR, formatAWS, formatGCP, formatAzure, formatCSV}, s.format):
			return nil, fmt.Errorf("list %q: %q is not a format (cidr, aws, gcp, azure, csv)", l.Name, clip(l.Format))
		}
		seen[l.Name] = true
		if l.Signal != "" {
			var err error
			if s.signal, err = ParseSignal(l.Signal); err != nil {
				return nil, fmt.Errorf("list %q: %w", l.Name, err)
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// member is one source within a snapshot.
type member struct {
	spec spec
	data *loaded // nil: missing
}

// Snapshot is all sources at one moment. It never changes, and is safe for concurrent
// use.
type Snapshot struct {
	members  []member // in configured order: databases, lists
	believed []int    // indices into members, most believed first
	sources  []Source
	provides policy.Provides
	missing  []string // not loaded
	// missingIn are those, and the ones that answer a question for the other family
	// alone, by family of addresses.
	missingIn [families][]string
	notes     [][]string // what is to be known of each source beside the others
	oldest    time.Time
	cache     *otter.Cache[netip.Addr, *Network]
	faults    *atomic.Uint64 // look-ups that failed; shared with the snapshots before and after
	nat64     []netip.Prefix
}

// newSnapshot joins sources; describe gives the state of the i-th.
func newSnapshot(members []member, nat64 []netip.Prefix, describe func(i int) Source, faults *atomic.Uint64) (*Snapshot, error) {
	cache, err := otter.New(&otter.Options[netip.Addr, *Network]{MaximumSize: cacheSize})
	if err != nil {
		return nil, err
	}
	s := &Snapshot{members: members, nat64: nat64, cache: cache, faults: faults}
	var can provides
	s.provides.Lists = map[string]bool{}
	s.notes = make([][]string, len(members))
	s.findAbsent()
	for i, m := range members {
		s.sources = append(s.sources, s.describe(i, describe))
		can = can.or(m.spec.could(m.data))
		if !m.spec.database {
			s.provides.Lists[m.spec.name] = true
		}
		if m.data == nil {
			s.missing = append(s.missing, m.spec.name)
			continue
		}
		if s.oldest.IsZero() || m.data.built.Before(s.oldest) {
			s.oldest = m.data.built
		}
	}
	s.provides.Signals, s.provides.Providers = can.names(), providerNames(members)
	for _, stated := range []bool{true, false} {
		for i, m := range members {
			if m.data != nil && m.spec.stated == stated {
				s.believed = append(s.believed, i)
			}
		}
	}
	return s, nil
}

// withSources is the same snapshot, cache and all, with a new account of its sources.
func (s *Snapshot) withSources(describe func(i int) Source) *Snapshot {
	c := *s
	c.sources = make([]Source, len(s.members))
	for i := range c.sources {
		c.sources[i] = s.describe(i, describe)
	}
	return &c
}

// describe adds to the account of a source what is to be known of it beside the others.
func (s *Snapshot) describe(i int, describe func(int) Source) Source {
	src := describe(i)
	src.Notes = slices.Concat(src.Notes, s.notes[i])
	return src
}

func (p provides) names() map[string]bool {
	names := map[string]bool{}
	for n, ok := range map[string]bool{"country": p.country, "subdivisions": p.subdivisions, "asn": p.asn, "org": p.org, "provider": p.provider, "location": p.location} {
		if ok {
			names[n] = true
		}
	}
	for _, n := range p.signals.Names() {
		names[n] = true
	}
	return names
}

// Sources gives the state of every configured source, databases first, in configured
// order.
func (s *Snapshot) Sources() []Source { return slices.Clone(s.sources) }

// Provides says what the configured sources can answer, whether or not they are loaded.
func (s *Snapshot) Provides() policy.Provides {
	return policy.Provides{Signals: maps.Clone(s.provides.Signals), Lists: maps.Clone(s.provides.Lists), Providers: slices.Clone(s.provides.Providers)}
}
