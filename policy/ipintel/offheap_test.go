package ipintel

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/maxminddb-golang/v2"
)

// What has passed the gates reads the same from its copy, of which no name is left for anyone to open.
func TestOffHeap(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	for name, d := range map[string]mmdb{
		"geoip2's":  {kind: "GeoLite2-Country", records: countries(map[string]string{"192.0.2.0/24": "KP"})},
		"all other": {kind: "ipinfo generic_country_free.mmdb", records: map[string]mmdbtype.DataType{"192.0.2.0/24": m{"country": s("KP")}}},
	} {
		data := d.bytes(t)
		r, err := maxminddb.OpenBytes(bytes.Clone(data))
		if err != nil {
			t.Fatal(err)
		}
		k, err := offHeap(data, r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		clear(data) // it is not the heap that answers
		if rec, err := k.read(addr("192.0.2.1")); err != nil || rec.country != "KP" {
			t.Errorf("%s: %+v, %v", name, rec, err)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
			t.Errorf("%s: it left %v, %v", name, left, err)
		}
	}
}

// The copy has no name even while it is written: a process that is killed then leaves nothing behind.
func TestUnnamed(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	f, path, err := unnamed()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("it can be found: %v, %v", left, err)
	}
	if _, err := f.WriteString("data"); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "data" {
		t.Errorf("it is opened again as %q, %v", data, err)
	}
}

// A large database is read from its copy, and without room for one from the heap.
func TestRoomForACopy(t *testing.T) {
	large := mmdb{kind: "GeoLite2-Country", records: countries(map[string]string{"192.0.2.0/24": "KP"})}
	large.records["198.51.100.0/24"] = m{"country": m{"iso_code": s("US")}, "padding": s(strings.Repeat("x", offHeapFrom))}
	for name, c := range map[string]struct {
		folder string
		copied bool
	}{
		"room":    {t.TempDir(), true},
		"no room": {filepath.Join(t.TempDir(), "missing"), false},
	} {
		t.Setenv("TMPDIR", c.folder)
		data := large.bytes(t)
		l, err := openDatabase(content{data: data}, now)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if rec, _, err := l.ask(addr("192.0.2.1")); err != nil || rec.country != "KP" {
			t.Errorf("%s: %+v, %v", name, rec, err)
		}
		if !l.provides.country || l.in == ([families]provides{}) {
			t.Errorf("%s: the database provides %+v, for %+v", name, l.provides, l.in)
		}
		clear(data)
		if rec, _, _ := l.ask(addr("192.0.2.1")); (rec.country == "KP") != c.copied {
			t.Errorf("%s: %+v without the heap's", name, rec)
		}
	}
}

// What the temporary folder does not take is held on the heap, answers as well, and a note says so: the memory of the process is
// larger by it.
func TestNoRoomForACopy(t *testing.T) {
	data := mmdb{kind: "GeoLite2-Country", records: map[string]mmdbtype.DataType{
		"198.51.100.0/24": m{"country": m{"iso_code": s("US")}, "padding": s(strings.Repeat("x", offHeapFrom))}}}.bytes(t)
	for name, tc := range map[string]struct {
		folder string
		note   bool
	}{
		"none":     {filepath.Join(t.TempDir(), "none"), true},
		"a folder": {t.TempDir(), false},
	} {
		t.Setenv("TMPDIR", tc.folder)
		l, err := openDatabase(content{data: bytes.Clone(data)}, time.Now())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		rec, _, err := l.ask(addr("198.51.100.1"))
		if err != nil || rec.country != "US" {
			t.Errorf("%s: %+v, %v", name, rec, err)
		}
		if noted := len(l.notes) == 1 && strings.Contains(l.notes[0], "temporary folder "+tc.folder+" took no copy (no such file or directory)"); noted != tc.note {
			t.Errorf("%s: notes %q", name, l.notes)
		}
	}
}
