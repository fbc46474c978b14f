package audit

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// longLog is a log of two files whose records are a minute apart, and so long that Seek has places to look at.
func longLog(t *testing.T, cfg Config, n int, change func(i int, r *Record)) []string {
	t.Helper()
	l := mustOpen(t, cfg)
	for i := range n {
		if i == n/2 {
			if err := os.Rename(cfg.File, cfg.File+".1"); err != nil {
				t.Fatal(err)
			}
			if err := l.Reopen(); err != nil {
				t.Fatal(err)
			}
		}
		r := Record{Time: testTime.Add(time.Duration(i) * time.Minute), Event: "sign_out", User: fmt.Sprint(i), Detail: map[string]string{}}
		for k := range 30 {
			r.Detail[fmt.Sprint(k)] = strings.Repeat("x", 2000)
		}
		if change != nil {
			change(i, &r)
		}
		if err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	return []string{cfg.File, cfg.File + ".1"}
}

func TestSeekBeginsBeforeWhatIsAskedFor(t *testing.T) {
	cfg := testConfig(t)
	const n = 120
	files := longLog(t, cfg, n, nil)
	for _, from := range []int{-5, 0, 1, 30, 59, 60, 61, 90, n - 1, n + 5} {
		rest, offset, err := Seek(testTime.Add(time.Duration(from)*time.Minute), files...)
		if err != nil {
			t.Fatal(err)
		}
		first, read, last := -1, 0, 0
		var report Report
		for line, err := range Verifying(rest, keyOfLog(t, cfg), VerifyOptions{From: -1, Offset: offset}, &report) {
			if err != nil || line.Decode() != nil {
				t.Fatalf("from %d: %v %.80s", from, err, line.Raw)
			}
			last = int(line.Record.Seq)
			if read++; first < 0 {
				first = last
			}
		}
		if first > max(from, 0) && from < n || last != n-1 {
			t.Errorf("from %d: it begins at %d and ends at %d", from, first, last)
		}
		if from == 59 && read > n-59+2*17 || from == n-1 && read > 2*17+1 {
			t.Errorf("from %d: %d lines were read", from, read)
		}
		if !report.OK() || report.Records != int64(read) || report.First != int64(first) {
			t.Errorf("from %d: %s", from, report.Text())
		}
	}
}

// A clock that was set back, or ran ahead, makes it begin earlier.
func TestSeekAndClocksThatStep(t *testing.T) {
	cfg := testConfig(t)
	files := longLog(t, cfg, 200, func(i int, r *Record) {
		if i >= 20 && i < 60 { // an hour ahead, for more than a mebibyte
			r.Time = r.Time.Add(3 * time.Hour)
		}
	})
	since := testTime.Add(200 * time.Minute)
	rest, offset, err := Seek(since, files...)
	if err != nil {
		t.Fatal(err)
	}
	found, report := 0, Report{}
	for line := range Verifying(rest, keyOfLog(t, cfg), VerifyOptions{From: -1, Offset: offset}, &report) {
		if line.Decode() == nil && !line.Record.Time.Before(since) {
			found++
		}
	}
	if found < 38 {
		t.Errorf("%d of 40 records were found", found)
	}
}

func keyOfLog(t *testing.T, cfg Config) string {
	t.Helper()
	key, err := VerifierKey(cfg.Name, cfg.Key)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// What is passed over is not read, and nothing that is in it makes what is read look proven: the lines that are
// read are held against the signature, whether it is a line, its hash or both that were changed.
func TestAttackVerifyFromTheMiddle(t *testing.T) {
	pristine := testConfig(t)
	files := longLog(t, pristine, 120, nil)
	rest, offset, err := Seek(testTime.Add(100*time.Minute), files...)
	if err != nil || offset == 0 || len(rest) != 1 {
		t.Fatal(rest, offset, err)
	}
	key := keyOfLog(t, pristine)
	ok := func() bool {
		r, err := Verify(rest, key, VerifyOptions{From: -1, Offset: offset})
		if err != nil {
			t.Fatal(err)
		}
		return r.OK()
	}
	edit := func(name string, change func([]byte)) (undo func()) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		edited := bytes.Clone(text)
		change(edited)
		if bytes.Equal(text, edited) {
			t.Fatal("nothing was changed")
		}
		if err := os.WriteFile(name, edited, 0o600); err != nil {
			t.Fatal(err)
		}
		return func() { os.WriteFile(name, text, 0o600) }
	}
	if !ok() {
		t.Fatal("the log is intact")
	}
	before := edit(pristine.File, func(b []byte) { copy(b[bytes.Index(b, []byte(`"user":"70"`)):], `"user":"07"`) })
	if !ok() {
		t.Error("a line that is not asked for was read")
	}
	if r, err := Verify(files, key, VerifyOptions{}); err != nil || r.OK() {
		t.Error("the whole log passes", err)
	}
	before()
	for name, change := range map[string]func() func(){
		"a line that is judged": func() func() {
			return edit(pristine.File, func(b []byte) { copy(b[bytes.Index(b, []byte(`"user":"110"`)):], `"user":"011"`) })
		},
		"the first that is read": func() func() {
			return edit(pristine.File, func(b []byte) { b[offset+40]++ })
		},
		"a line and its hash": func() func() {
			var old, now []byte
			line := edit(pristine.File, func(b []byte) {
				at := bytes.Index(b, []byte(`{"seq":110,`))
				end := at + bytes.IndexByte(b[at:], '\n')
				old = bytes.Clone(b[at:end])
				copy(b[at+bytes.Index(b[at:], []byte(`"user":"110"`)):], `"user":"011"`)
				now = bytes.Clone(b[at:end])
			})
			hash := edit(pristine.File+hashSuffix, func(b []byte) {
				from, to := recordHash(old), recordHash(now)
				copy(b[bytes.Index(b, from):], to)
			})
			return func() { line(); hash() }
		},
		"the hashes that stand for what is not read": func() func() {
			return edit(pristine.File+hashSuffix, func(b []byte) {
				for i := range len(b) * 2 / 3 {
					b[i]++
				}
			})
		},
	} {
		undo := change()
		if ok() {
			t.Errorf("%s: it passes", name)
		}
		undo()
		if !ok() {
			t.Fatalf("%s was not undone", name)
		}
	}
}

// Progress can end it.
func TestVerifyEndsWhenToldTo(t *testing.T) {
	cfg := testConfig(t)
	closedLog(t, cfg, 600)
	told := int64(0)
	stop := fmt.Errorf("enough")
	_, err := Verify([]string{cfg.File}, keyOfLog(t, cfg), VerifyOptions{Progress: func(n, of int64) error { told = n + 10000*of; return stop }})
	if err != stop || told != 256+10000*600 {
		t.Errorf("%v after %d lines", err, told)
	}
}

func recordHash(line []byte) []byte {
	h := tlog.RecordHash(line)
	return h[:]
}
