package ipintel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/gaissmai/bart"
)

// Why a file is refused.
var (
	errBuild   = errors.New("built at a time that cannot be")
	errType    = errors.New("not a type of database that is read here")
	errCorrupt = errors.New("corrupt")
	errShrunk  = errors.New("less than half of what it held before")
	errGrown   = errors.New("more than ten times what it held before")
	errShare   = errors.New("covers too much of the Internet")
	errAnswers = errors.New("answers other questions than what it replaces")
	errEmpty   = errors.New("holds no networks")
)

// handKept is the size up to which a list without a signal may shrink to any size: such
// lists are edited by hand, and lines are deleted on purpose.
const handKept = 100

// Source is the state of one configured file.
type Source struct {
	Name   string `json:"name"`             // a list's name; a database's file name
	File   string `json:"file"`             // absolute path
	Kind   string `json:"kind"`             // "database" or "list"
	Type   string `json:"type"`             // database type from its metadata, or list format; "" for a database never loaded
	Signal string `json:"signal,omitempty"` // the signal that a list gives to all its entries
	// SHA256 is the hash of the content in use, in hex; "" when none is.
	SHA256 string `json:"sha256,omitempty"`
	// Built is when the content in use was made: build epoch, declared date, or the
	// file's modification time.
	Built time.Time `json:"built,omitzero"`
	// Loaded is when it was read.
	Loaded time.Time `json:"loaded,omitzero"`
	// Networks is how many networks it holds, before overlaps are merged.
	Networks int `json:"networks"`
	// Missing is true when there is no content in use.
	Missing bool `json:"missing"`
	// Err is why the last attempt to read the file failed; "" when it did not.
	Err string `json:"error,omitempty"`
	// Failures counts the failed attempts since the last good one.
	Failures int `json:"failures"`
	// Refused is true when Err is what the guard said: the file is sound, and would lock
	// people out or is unlike what was there before.
	Refused bool `json:"refused,omitempty"`
	// Figures measure the content in use.
	Figures Figures `json:"-"`
	// Waived is what the comparison with earlier content said against this content, which
	// an operator approved.
	Waived string `json:"-"`
	// Families are what the content in use has addresses of: "IPv4", "IPv6".
	Families []string `json:"families,omitempty"`
	// Notes are what the operator should know of the content in use, though it is not wrong.
	Notes []string `json:"notes,omitempty"`
}

// AgeHours is the age of the content in use, in whole hours.
func (s Source) AgeHours(now time.Time) int64 { return ageHours(s.Built, now) }

// record is what one source says about one address; zero fields are "not said".
type record struct {
	country      string
	subdivisions []string
	asn          uint32
	org          string
	provider     string // of a VPN or proxy
	signals      Signal
	location     Location
	timeZone     string
}

// provides says which questions a source can answer at all.
type provides struct {
	country, subdivisions, asn, org, provider, location bool
	signals                                             Signal
}

func (p provides) or(q provides) provides {
	return provides{
		country: p.country || q.country, subdivisions: p.subdivisions || q.subdivisions,
		asn: p.asn || q.asn, org: p.org || q.org, provider: p.provider || q.provider, location: p.location || q.location, signals: p.signals | q.signals,
	}
}

// anything is what a file might answer that has never been read.
var anything = provides{country: true, subdivisions: true, asn: true, org: true, provider: true, location: true, signals: allSignals}

// spec is one configured source.
type spec struct {
	name     string
	file     string
	database bool
	format   string // lists
	signal   Signal // lists
	provider string // lists
	stated   bool   // lists: believed before databases
	maxShare float64
}

// loaded is a source's content in use. It never changes and is shared between snapshots.
type loaded struct {
	kind     string // database type or list format
	sha256   string
	built    time.Time
	at       time.Time
	networks int
	provides provides
	in       [families]provides // what of it is answered for addresses of each family
	has      [families]bool     // whether it has networks of each family
	// ask gives what the source says; found is whether it holds the address at all.
	// It may fail, or panic, on content that the gates did not see through.
	ask    func(netip.Addr) (rec record, found bool, err error)
	rows   *bart.Table[record] // of a CSV list; else nil
	covers cover               // lists, and databases that give signals: what of it has any
	// countries are IPv4 addresses by country, "ZZ" for none; nil where the content names
	// no countries.
	countries map[string]float64
	// providers are the names that the content has for operators of VPNs and proxies.
	providers providers
	waived    string   // see Source
	notes     []string // see Source
}

// load reads the source and takes it through the gates that need nothing to compare it
// with.
func (s spec) load(now time.Time) (*loaded, os.FileInfo, error) {
	limit := int64(maxListSize)
	if s.database {
		limit = maxDatabaseSize
	}
	c, err := readFile(s.file, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.file, err)
	}
	open := s.openList
	if s.database {
		open = openDatabase
	}
	l, err := open(c, now)
	if err == nil {
		err = s.tooWide(l)
	}
	if err != nil {
		if pos := (*positionError)(nil); errors.As(err, &pos) {
			return nil, c.info, fmt.Errorf("%s:%w", s.file, err)
		}
		return nil, c.info, fmt.Errorf("%s: %w", s.file, err)
	}
	l.sha256, l.at = c.sha256, now
	return l, c.info, nil
}

func (s spec) describe(l *loaded) Source {
	src := Source{Name: s.name, File: s.file, Kind: "list", Type: s.format, Signal: s.signal.String(), Missing: l == nil}
	if s.database {
		src.Kind = "database"
	}
	if l != nil {
		src.Type, src.SHA256, src.Built, src.Loaded, src.Networks = l.kind, l.sha256, l.built, l.at, l.networks
		src.Figures, src.Waived, src.Notes, src.Families = l.figures(), l.waived, l.notes, l.families()
	}
	return src
}

// could is what the source can answer, whether it is loaded or not. For a database that
// was never read that is anything: a rule over it then compiles, and the facts say that
// it is missing.
func (s spec) could(l *loaded) provides {
	switch {
	case l != nil:
		return l.provides
	case s.database || s.format == formatCSV:
		return anything
	default:
		return provides{signals: s.signal, provider: s.provider != ""}
	}
}
