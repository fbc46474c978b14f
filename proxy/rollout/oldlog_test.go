package rollout

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/policy/rehearse"
	"sallyport/proxy/audit"
	"sallyport/proxy/proxytest"
)

// oldLog copies testdata/old, a log that a program wrote which put the whole list of IP data into each record and
// knew version 2 of the facts: ten decisions from Germany. It returns the file and the secret it is signed with.
func oldLog(t *testing.T) (file string, seed []byte) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/old")); err != nil {
		t.Fatal(err)
	}
	seed, err := os.ReadFile(filepath.Join(dir, "seed"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "audit.jsonl"), seed
}

// judgedIn verifies the files of a log and judges them with a rule about Germany.
func judgedIn(t *testing.T, file string, seed []byte) (*Result, audit.Report) {
	t.Helper()
	key, err := audit.VerifierKey("", seed)
	if err != nil {
		t.Fatal(err)
	}
	files, err := audit.Segments(file)
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(files, key, audit.VerifyOptions{})
	if err != nil || !report.OK() {
		t.Fatal(err, report.Text())
	}
	p := rehearsed(t, "  - {name: de, when: 'ip.country == \"DE\"', then: block}\n")
	got, err := Replay{Lines: audit.Lines(report.Files...), Candidate: p, Routes: []string{"treasury"}}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got, report
}

// A log of before is verified and judged as it was, and so is one that a program of today continues, in the same
// file or in the next.
func TestOldLogsAreJudged(t *testing.T) {
	for _, rotated := range []bool{false, true} {
		file, seed := oldLog(t)
		if got, _ := judgedIn(t, file, seed); got.Judged != 10 || got.Blocked != 10 || len(got.Skipped) != 0 {
			t.Fatalf("%+v", got)
		}
		if rotated {
			if err := os.Rename(file, file+".1"); err != nil {
				t.Fatal(err)
			}
		}
		list, err := audit.NewDataList([]audit.DataSource{{Name: "country.mmdb", SHA256: strings.Repeat("b", 64)}})
		if err != nil {
			t.Fatal(err)
		}
		l, err := audit.Open(audit.Config{CallsPerMinute: proxytest.ChangesPerMinute, File: file, Key: seed})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			f := recordedFacts(i)
			f.IP.Country = "DE"
			if err := l.Append(t.Context(), audit.Record{Time: f.Time.Now, Event: "access", User: f.User.Email, Action: "allow", Facts: f, Sources: list}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		got, report := judgedIn(t, file, seed)
		if got.Judged != 15 || got.Blocked != 15 || got.Skipped[NoDecision] != 1 || report.Records != 16 {
			t.Errorf("rotated %v: %+v, %s", rotated, got, report.Text())
		}
		// A crash leaves half a line, which is none yet.
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text[:len(text)-9], 0o600); err != nil {
			t.Fatal(err)
		}
		files, _ := audit.Segments(file)
		torn, err := Replay{Lines: audit.Lines(files...), Candidate: rehearsed(t, "  - {name: a, when: ip.vpn, then: block}\n"), Routes: []string{"treasury"}}.Run(t.Context())
		if err != nil || torn.Judged != 14 || torn.Skipped[Unreadable] != 0 {
			t.Errorf("torn: %+v %v", torn, err)
		}
	}
}

// Ctrl-C ends a replay within what is under way: a few batches, of a tenth of a millisecond a line at the worst.
func TestReplayEndsAtOnce(t *testing.T) {
	file, _ := writeLog(t, 20*replayBatch, nil)
	ctx, stop := context.WithCancel(t.Context())
	told := int64(0)
	run := Replay{Candidate: rehearsed(t, "  - {name: a, when: ip.vpn, then: block}\n"), Routes: []string{"treasury"}}
	run.Lines = func(yield func(audit.Line, error) bool) {
		for range 1000 { // a log that would take long
			for line, err := range audit.Lines(file) {
				if told++; told == 10*replayBatch {
					stop()
				}
				if !yield(line, err) {
					return
				}
			}
		}
	}
	got, err := run.Run(ctx)
	if err == nil || told > 11*replayBatch || got.Lines > 11*replayBatch {
		t.Errorf("%v: %d lines were read, %d judged", err, told, got.Lines)
	}
}

// Several candidates in one pass come to what each comes to alone.
func TestCandidatesAreJudgedTogether(t *testing.T) {
	file, _ := writeLog(t, 300, func(i int, r *audit.Record) { r.Facts.IP.VPN = i%3 == 0 })
	run := Replay{Lines: audit.Lines(file), Routes: []string{"treasury"}}
	vpn, all := rehearsed(t, "  - {name: vpn, when: ip.vpn, then: block}\n"), rehearsed(t, "  - {name: us, when: 'ip.country == \"US\"', then: block}\n")
	together, err := run.RunEach(t.Context(), []*policy.Policy{vpn, all})
	if err != nil || together[0].Blocked != 100 || together[1].Blocked != 300 {
		t.Fatal(err, together)
	}
	for i, p := range []*policy.Policy{vpn, all} {
		run.Candidate = p
		alone, err := run.Run(t.Context())
		if err != nil || alone.Text() != together[i].Text() {
			t.Errorf("%v\n%s\n%s", err, alone.Text(), together[i].Text())
		}
	}
	if table := rehearse.Compare([]string{"a", "b"}, []*rehearse.Replay{together[0].Replay, together[1].Replay}); !strings.Contains(table, "300") {
		t.Error(table)
	}
}
