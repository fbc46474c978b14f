package audit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newList(t testing.TB, name string) *DataList {
	t.Helper()
	l, err := NewDataList([]DataSource{{Name: name, SHA256: strings.Repeat("b", 64), Built: testTime.Add(-30 * time.Hour)}, {Name: "missing"}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// The list is a record of its own, before the first that refers to it: once in a file, and
// again in the next one and after a start, so that no file needs another to be read.
func TestDataIsListedOnceInEachFile(t *testing.T) {
	cfg := testConfig(t)
	old, next := newList(t, "old.mmdb"), newList(t, "next.mmdb")
	record := func(l *Log, d *DataList) {
		t.Helper()
		if err := l.Append(t.Context(), Record{Time: testTime, Event: "access", Action: "allow", IP: "192.0.2.1", Sources: d}); err != nil {
			t.Fatal(err)
		}
	}
	l := mustOpen(t, cfg)
	for _, d := range []*DataList{old, old, next, old, nil} {
		record(l, d)
	}
	if err := os.Rename(cfg.File, cfg.File+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	record(l, old)
	mustClose(t, l)
	l = mustOpen(t, cfg)
	record(l, old)
	mustClose(t, l)
	for file, want := range map[string]string{
		cfg.File + ".1": "ip_data access access ip_data access access access",
		cfg.File:        "ip_data access ip_data access",
	} {
		var events []string
		for line, err := range Read(file) {
			if err != nil {
				t.Fatal(err)
			}
			r := line.Record
			events = append(events, r.Event)
			if r.Event != "access" || r.DataHash == "" {
				continue
			}
			if strings.Contains(string(line.Raw), ".mmdb") {
				t.Errorf("%s repeats the list", line.Raw)
			}
			if len(r.Data) != 2 || r.Data[0].AgeHours != 30 || r.Data[1].AgeHours != -1 || r.Data[0].Name != map[string]string{old.hash: "old.mmdb", next.hash: "next.mmdb"}[r.DataHash] {
				t.Errorf("%s: %+v", line.Raw, r.Data)
			}
		}
		if got := strings.Join(events, " "); got != want {
			t.Errorf("%s: %s, want %s", filepath.Base(file), got, want)
		}
	}
	mustVerify(t, cfg)
	for line := range Tail(t.Context(), cfg.File, 1, false) { // the list is before what is read
		if r := line.Record; r.DataHash != old.hash || r.Data != nil {
			t.Errorf("%+v", r)
		}
	}
}

// What programs wrote before there were lists by hash is read as it was.
func TestOldRecordsHaveTheirDataWithThem(t *testing.T) {
	line := Line{Raw: []byte(`{"seq":3,"time":"2026-01-05T12:00:00Z","event":"access","data":[{"name":"country.mmdb","sha256":"bb","age_hours":12}],"facts":{}}`)}
	if err := line.Decode(); err != nil {
		t.Fatal(err)
	}
	dataLists{}.resolve(&line.Record)
	if d := line.Record.Data; len(d) != 1 || d[0].AgeHours != 12 || d[0].Name != "country.mmdb" {
		t.Errorf("%+v", d)
	}
	if _, err := json.Marshal(line.Record); err != nil {
		t.Error(err)
	}
}
