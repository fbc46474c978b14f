package audit

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
)

// shelf is an anchor in memory, which can fail.
type shelf struct {
	mu   sync.Mutex
	note []byte
	err  error
}

func (s *shelf) LastCheckpoint(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.note, s.err
}

func (s *shelf) KeepCheckpoint(_ context.Context, note []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.note = note
	}
	return s.err
}

var logFilesOf = []string{"", hashSuffix, checkpointSuffix}

func saveFiles(t *testing.T, cfg Config) (restore func()) {
	t.Helper()
	var saved []string
	for _, suffix := range logFilesOf {
		saved = append(saved, string(readFile(t, cfg.File+suffix)))
	}
	return func() {
		for i, suffix := range logFilesOf {
			if err := os.WriteFile(cfg.File+suffix, []byte(saved[i]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// All three files of an older state fit each other; only what is kept elsewhere tells.
func TestAttackAllFilesArePutBack(t *testing.T) {
	kept := &shelf{}
	cfg := testConfig(t)
	cfg.Anchor = kept
	l := mustOpen(t, cfg)
	appendN(t, l, 3)
	mustClose(t, l)
	restore := saveFiles(t, cfg)
	l = mustOpen(t, cfg)
	appendN(t, l, 4)
	mustClose(t, l)
	newest := saveFiles(t, cfg)

	restore()
	if _, err := Open(cfg); !errors.Is(err, ErrRolledBack) || !strings.Contains(err.Error(), "accept-rollback") {
		t.Errorf("put back: %v", err)
	}
	if n := len(splitLines(readFile(t, cfg.File))); n != 3 {
		t.Errorf("a start that was refused changed the log: %d lines", n)
	}
	for _, suffix := range logFilesOf {
		if err := os.Remove(cfg.File + suffix); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the first refusal must not make the second start pass
		if _, err := Open(cfg); !errors.Is(err, ErrRolledBack) {
			t.Errorf("deleted: %v", err)
		}
	}
	// Put back and written on, by a program that does not look: as long, and another log.
	restore()
	blind := cfg
	blind.Anchor = nil
	l = mustOpen(t, blind)
	for range 9 {
		if err := l.Append(t.Context(), Record{Event: "sign_in", User: "mallory@example.com"}); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	if _, err := Open(cfg); !errors.Is(err, ErrRolledBack) {
		t.Errorf("put back and written on: %v", err)
	}
	newest()
	mustClose(t, mustOpen(t, cfg))
}

// A process that was killed leaves the anchor behind the files, by nothing, by one
// checkpoint, or by all of them. None is an alarm.
func TestAKilledProcessIsNoRollback(t *testing.T) {
	kept := &shelf{}
	cfg := testConfig(t)
	cfg.Anchor = kept
	var notes [][]byte
	cfg.OnCheckpoint = func(note []byte) { notes = append(notes, note) }
	l := mustOpen(t, cfg)
	for range 3 {
		appendN(t, l, 3)
		if err := os.Rename(cfg.File, cfg.File+"."+string(rune('0'+len(notes)))); err != nil { // a checkpoint for each
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	appendN(t, l, 2)
	mustClose(t, l)
	if len(notes) < 4 {
		t.Fatalf("%d checkpoints", len(notes))
	}
	for i, note := range append([][]byte{nil}, notes...) {
		kept.note = note
		again := cfg
		again.OnCheckpoint = nil
		l, err := Open(again)
		if err != nil {
			t.Errorf("with checkpoint %d kept: %v", i, err)
			continue
		}
		mustClose(t, l)
	}
}

// A store that cannot be written does not stop the log; one that cannot be read stops the start.
func TestAnchorThatFails(t *testing.T) {
	kept := &shelf{}
	cfg := testConfig(t)
	cfg.Anchor = kept
	l := mustOpen(t, cfg)
	kept.mu.Lock()
	kept.err = errors.New("database is locked")
	kept.mu.Unlock()
	appendN(t, l, 3)
	mustClose(t, l)
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "database is locked") {
		t.Errorf("open: %v", err)
	}
	kept.err, kept.note = nil, []byte("no checkpoint")
	if _, err := Open(cfg); !errors.Is(err, ErrTampered) {
		t.Errorf("a checkpoint that nobody signed: %v", err)
	}
}
