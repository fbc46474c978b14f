package audit

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// A file that is changed while it is read, and changed back before the reading is over, has no line judged that is
// not proven: what is yielded are the bytes that are hashed.
func TestAttackAFileThatChangesWhileItIsRead(t *testing.T) {
	cfg := testConfig(t)
	longLog(t, cfg, 120, nil)
	pristine, err := os.ReadFile(cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(pristine)
	copy(forged[bytes.Index(forged, []byte(`"user":"110"`)):], `"user":"011"`)
	// In place, as the reader has the file open.
	write := func(text []byte) {
		f, err := os.OpenFile(cfg.File, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(text, 0); err != nil {
			t.Fatal(err)
		}
	}
	for name, changes := range map[string]map[int][]byte{ // by the line after which the file is changed
		"changed":                     {10: forged},
		"changed and changed back":    {10: forged, 55: pristine},
		"changed after it was read":   {55: forged},
		"not changed":                 {},
		"forged before, mended after": {-1: forged, 55: pristine},
		"forged before, mended again": {-1: forged, 10: pristine},
	} {
		write(pristine)
		if text := changes[-1]; text != nil {
			write(text)
		}
		var report Report
		var got []byte
		n := 0
		for line, err := range Verifying([]string{cfg.File}, keyOfLog(t, cfg), VerifyOptions{From: -1}, &report) {
			if err != nil {
				t.Fatal(name, err)
			}
			got = append(append(got, line.Raw...), '\n')
			if n++; changes[n] != nil {
				write(changes[n])
			}
		}
		if same := bytes.Equal(got, pristine); same != report.OK() || !same && !bytes.Equal(got, forged) {
			t.Errorf("%s: the lines are what was signed: %v; the report says %s", name, same, report.Text())
		}
	}
}

// A log of which not all was read is not intact.
func TestAttackVerifyingThatIsNotFinishedProvesNothing(t *testing.T) {
	cfg := testConfig(t)
	closedLog(t, cfg, 20)
	report, n := Report{}, 0
	for range Verifying([]string{cfg.File}, keyOfLog(t, cfg), VerifyOptions{}, &report) {
		if n++; report.OK() {
			t.Fatal("it is said to be intact before it was read")
		}
		if n == 19 {
			break
		}
	}
	if report.OK() || n != 19 {
		t.Error(n, report.Text())
	}
	var errs []error
	report = Report{}
	stop := fmt.Errorf("enough")
	for _, err := range Verifying([]string{cfg.File, cfg.File + ".gone"}, keyOfLog(t, cfg), VerifyOptions{}, &report) {
		errs = append(errs, err)
	}
	if len(errs) != 1 || errs[0] == nil || report.OK() {
		t.Error(errs, report.Text())
	}
	closedLog(t, cfg, 300)
	errs = nil
	for _, err := range Verifying([]string{cfg.File}, keyOfLog(t, cfg), VerifyOptions{Progress: func(int64, int64) error { return stop }}, &report) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if !slices.Equal(errs, []error{stop}) || report.OK() {
		t.Error(errs, report.Text())
	}
}

// Where all that is asked for is newer than the signature, what is signed is read too, and each line comes once.
func TestVerifyingGoesBackToWhatIsSigned(t *testing.T) {
	cfg := testConfig(t)
	longLog(t, cfg, 60, nil)
	l := mustOpen(t, cfg)
	signed, err := os.ReadFile(cfg.File + checkpointSuffix) // which says that the log goes on
	if err != nil {
		t.Fatal(err)
	}
	for range 60 {
		if err := l.Append(t.Context(), Record{Time: testTime, Event: "sign_out", User: strings.Repeat("x", 2000)}); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	if err := os.WriteFile(cfg.File+checkpointSuffix, signed, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	offset := int64(len(text) - len(bytes.Join(lines[len(lines)-20:], nil)))
	var report Report
	var got []byte
	for line, err := range Verifying([]string{cfg.File}, keyOfLog(t, cfg), VerifyOptions{From: -1, Offset: offset}, &report) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(append(got, line.Raw...), '\n')
	}
	if !bytes.Equal(got, text) || !report.OK() || report.Unsigned != 60 {
		t.Errorf("%d bytes of %d, %s", len(got), len(text), report.Text())
	}
}
