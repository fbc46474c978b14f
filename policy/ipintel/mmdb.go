package ipintel

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"
)

// The first databases in this format were published in 2013.
var formatBirth = time.Date(2012, 1, 1, 0, 0, 0, 0, time.UTC)

// canaries are addresses that every database must be able to answer for, if only with
// "not here".
var canaries = []netip.Addr{
	netip.MustParseAddr("8.8.8.8"),
	netip.MustParseAddr("1.1.1.1"),
	netip.MustParseAddr("255.255.255.254"),
	netip.MustParseAddr("2001:4860:4860::8888"),
	netip.MustParseAddr("2a00:1450:4001::1"),
}

// samples is how many of a database's own networks are asked about before it is used.
const samples = 1024

// openDatabase takes a MaxMind DB through the gates. Content is hostile until
// then: of deliberately corrupt files more than half open without an error.
func openDatabase(c content, now time.Time) (l *loaded, err error) {
	defer func() {
		if p := recover(); p != nil {
			l, err = nil, fmt.Errorf("%w: reading it panics: %v", errCorrupt, p)
		}
	}()
	r, err := maxminddb.OpenBytes(c.data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	built, err := buildTime(r.Metadata.BuildEpoch, now)
	if err != nil {
		return nil, err
	}
	k, err := kindOf(opener{
		geoip2:    func() (*geoip2.Reader, error) { return geoip2.OpenBytes(c.data) },
		maxminddb: func() (*maxminddb.Reader, error) { return r, nil },
		sampled:   r,
	})
	if err != nil {
		return nil, err
	}
	if err := verify(r); err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	d := &database{read: k.read, v4only: r.Metadata.IPVersion == 4}
	networks, err := d.canary(r, k)
	if err != nil {
		return nil, err
	}
	l = &loaded{kind: r.Metadata.DatabaseType, built: built, networks: networks, provides: k.provides, ask: d.ask}
	if err := l.measure(r); err != nil {
		return nil, err
	}
	var onHeap error
	if len(c.data) >= offHeapFrom {
		// What fails leaves k as it is: it says what the database provides.
		mapped, err := offHeap(c.data, r)
		if onHeap = err; err == nil {
			d.read = mapped.read
		}
	}
	l.in, l.has = answersIn(r, k.provides)
	if onHeap != nil {
		l.notes = append(l.notes, noteOnHeap(onHeap, len(c.data)))
	}
	return l, nil
}

// noteOnHeap leaves out the name of the copy, which is another one each time: the note is
// new only if its cause is.
func noteOnHeap(err error, size int) string {
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Sprintf("held on the heap, %d MB of it, since the temporary folder %s took no copy (%v): set TMPDIR to a folder with room", size>>20+1, os.TempDir(), err)
}

func buildTime(epoch uint, now time.Time) (time.Time, error) {
	if uint64(epoch) > math.MaxInt32*4 { // the year 2242: also keeps the conversion from wrapping round
		return time.Time{}, fmt.Errorf("%w: epoch %d", errBuild, epoch)
	}
	built := time.Unix(int64(epoch), 0).UTC()
	if built.Before(formatBirth) || built.After(now.Add(clockSlack)) {
		return time.Time{}, fmt.Errorf("%w: %s", errBuild, built.Format(time.RFC3339))
	}
	return built, nil
}

// verify walks the whole tree and all data. Files without a description are
// common and valid enough; since Verify gives up there before it has looked at anything,
// the reader is shown one. The reader is this function's caller's own and not shared yet.
func verify(r *maxminddb.Reader) error {
	if len(r.Metadata.Description) == 0 {
		r.Metadata.Description = map[string]string{"en": "none"}
	}
	return r.Verify()
}

// offHeapFrom is the size from which a database is worth a file of its own.
const offHeapFrom = 1 << 20

// offHeap reads what has passed the gates, and what r reads, from a copy that is mapped
// and not on the heap: of tens or hundreds of megabytes only what is asked for is
// resident, the system may drop that too, and the collector does not take the rest for a
// reason to let garbage grow as large. A file that others can truncate or rewrite must
// never be mapped: that kills the process (SIGBUS). Where there is no room for the copy,
// the heap will do.
func offHeap(data []byte, r *maxminddb.Reader) (kind, error) {
	f, path, err := unnamed()
	if err != nil {
		return kind{}, err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return kind{}, err
	}
	return kindOf(opener{
		geoip2:    func() (*geoip2.Reader, error) { return geoip2.Open(path) },
		maxminddb: func() (*maxminddb.Reader, error) { return maxminddb.Open(path) },
		sampled:   r,
	})
}

// unnamed creates a file without a name, so that no other process can change or replace
// it, and a killed process leaves nothing behind. path opens it again while it is open.
func unnamed() (f *os.File, path string, err error) {
	folder := "/dev/fd/"
	switch runtime.GOOS {
	case "windows": // where an open file keeps its name
		return nil, "", errors.ErrUnsupported
	case "linux":
		folder = "/proc/self/fd/"
	}
	if f, err = os.CreateTemp("", "sallyport-ipdata-"); err != nil {
		return nil, "", err
	}
	if err = os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, "", err
	}
	return f, folder + strconv.FormatUint(uint64(f.Fd()), 10), nil
}

// database is an opened one. Its reader is never closed: closing one under a look-up
// kills the process. A mapped one is unmapped when nothing refers to it any more.
type database struct {
	read   func(netip.Addr) (record, error)
	v4only bool
}

func (d *database) ask(a netip.Addr) (record, bool, error) {
	if d.v4only && !a.Is4() {
		return record{}, false, nil // the reader calls it an error; it is "not here"
	}
	rec, err := d.read(a)
	return rec, err == nil, err
}

// canary asks about fixed addresses and about a spread of the database's own networks,
// with the very code that will serve requests, and counts the networks on the way. Verify
// knows the format; only this knows that a country is where we look for it.
func (d *database) canary(r *maxminddb.Reader, k kind) (networks int, err error) {
	for _, a := range canaries {
		if _, _, err := d.ask(a); err != nil {
			return 0, fmt.Errorf("%w: canary look-up of %s: %w", errCorrupt, a, err)
		}
	}
	said := false
	networks, err = walk(r, func(res maxminddb.Result) error {
		rec, _, err := d.ask(res.Prefix().Addr())
		if err != nil {
			return fmt.Errorf("canary look-up of %s: %w", res.Prefix(), err)
		}
		said = said || rec.country != "" || rec.asn != 0 || rec.org != "" || rec.provider != "" || rec.signals != 0
		return nil
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errCorrupt, err)
	case networks == 0:
		return 0, errEmpty
	case !said && (k.provides.country || k.provides.asn):
		return 0, fmt.Errorf("%w: no sampled network has a country or a network operator", errCorrupt)
	}
	return networks, nil
}

// measure counts what the database gives a signal (half of the Internet called a VPN
// locks people out, whichever kind of file says so), and the IPv4 addresses of each
// country, and collects the names of providers. Networks share records, so that few have
// to be read.
func (l *loaded) measure(r *maxminddb.Reader) error {
	if l.provides.signals == 0 && !l.provides.country && !l.provides.provider {
		return nil
	}
	if l.provides.country {
		l.countries = map[string]float64{}
	}
	type said struct {
		flagged bool
		country string
	}
	var with []netip.Prefix
	known := map[uintptr]said{}
	for res := range r.Networks() { // which has been walked before, in bounded time
		says, ok := known[res.Offset()]
		if !ok {
			rec, _, err := l.ask(res.Prefix().Addr())
			if err != nil {
				return fmt.Errorf("%w: look-up of %s: %w", errCorrupt, res.Prefix(), err)
			}
			says = said{rec.signals != 0, cmp.Or(rec.country, unknownCountry)}
			known[res.Offset()] = says
			l.providers.add(rec.provider)
		}
		if says.flagged {
			with = append(with, res.Prefix())
		}
		if l.countries != nil {
			addIPv4(l.countries, says.country, res.Prefix())
		}
	}
	l.covers = coverOf(with)
	return nil
}

// walk counts the networks and shows an even spread of them to sample. A tree has no more
// leaves than nodes and one; a file whose branches are shared looks fine to Verify and
// would have 2^128 of them to walk, most perhaps without data, so that those count
// towards the bound too.
func walk(r *maxminddb.Reader, sample func(maxminddb.Result) error) (networks int, err error) {
	nodes := int(r.Metadata.NodeCount)
	stride := max(1, nodes/samples)
	leaves := 0
	for res := range r.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if err := res.Err(); err != nil {
			return 0, err
		}
		if leaves++; leaves > nodes+1 {
			return 0, errors.New("branches of the search tree are shared")
		}
		if !res.Found() {
			continue
		}
		if networks++; networks%stride != 0 {
			continue
		}
		if err := sample(res); err != nil {
			return 0, err
		}
	}
	return networks, nil
}
