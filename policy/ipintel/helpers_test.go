package ipintel

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// now is when these tests happen.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

type (
	m = mmdbtype.Map
	s = mmdbtype.String
)

// mmdb describes a small database.
type mmdb struct {
	kind    string
	built   time.Time // zero: the day before now
	ip      int       // 4 or 6 (default)
	records map[string]mmdbtype.DataType
	bare    bool // without a description
}

func (d mmdb) bytes(t testing.TB) []byte {
	t.Helper()
	if d.built.IsZero() {
		d.built = now.Add(-24 * time.Hour)
	}
	o := mmdbwriter.Options{
		DatabaseType: d.kind, BuildEpoch: d.built.Unix(), IPVersion: d.ip,
		IncludeReservedNetworks: true, Description: map[string]string{"en": "test"},
	}
	if d.bare {
		o.Description = map[string]string{}
	}
	tree, err := mmdbwriter.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for p, v := range d.records {
		if err := tree.Insert(ipnet(t, p), v); err != nil {
			t.Fatal(err)
		}
	}
	var buf bytes.Buffer
	if _, err := tree.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (d mmdb) write(t testing.TB, path string) string {
	t.Helper()
	return write(t, path, d.bytes(t))
}

// write replaces a file as a careful writer does: beside it, then rename.
func write[T string | []byte](t testing.TB, path string, data T) string {
	t.Helper()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// listFile writes a list into a folder of its own.
func listFile(t testing.TB, name, data string) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), name), data)
}

func must(t testing.TB, c Config) *Snapshot {
	t.Helper()
	c.Now = clock
	snap, errs := Load(c)
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	return snap
}

func addr(a string) netip.Addr { return netip.MustParseAddr(a) }

func countries(n map[string]string) map[string]mmdbtype.DataType {
	r := map[string]mmdbtype.DataType{}
	for p, c := range n {
		r[p] = m{"country": m{"iso_code": s(c)}}
	}
	return r
}

// realData is the folder with real data. It is no part of the repository and nothing installs it, so
// that tests over it are skipped without it; what they prove is proven by small files, too.
func realData(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "ipdata")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no real IP data beside the repository: ", err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

func ipnet(t testing.TB, p string) *net.IPNet {
	t.Helper()
	_, n, err := net.ParseCIDR(p)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
