package proxy

import (
	"strings"
	"unicode"

	"github.com/maypok86/otter/v2"
	"github.com/mileusna/useragent"
)

// uaFamilies names the browser and the system of a User-Agent without versions, which
// browser updates change. Clients can invent any number of values, so the length that is
// read, the length that is kept and the number of entries are bounded.
type uaFamilies struct {
	known *otter.Cache[string, string]
}

const (
	familyEntries = 4096
	familyLength  = 64
	familyUnknown = "unknown" // not "": that is an assertion of which no browser was noted
)

func newUAFamilies() (uaFamilies, error) {
	known, err := otter.New(&otter.Options[string, string]{MaximumSize: familyEntries})
	return uaFamilies{known}, err
}

// of is "Chrome on Linux", "curl", or "unknown"; never empty.
func (f uaFamilies) of(userAgent string) string {
	userAgent = cut(userAgent, 512)
	if name, ok := f.known.GetIfPresent(userAgent); ok {
		return name
	}
	name := familyOf(userAgent)
	f.known.Set(strings.Clone(userAgent), name)
	return name
}

func familyOf(userAgent string) string {
	a := useragent.Parse(userAgent)
	name := a.Name
	if a.OS != "" {
		name += " on " + a.OS
	}
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	if name = strings.TrimSpace(cut(name, familyLength)); name == "" {
		return familyUnknown
	}
	return name
}
