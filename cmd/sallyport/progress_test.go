package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestProgressSaysHowLongItTakes(t *testing.T) {
	var out strings.Builder
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	p := &progressLine{w: &out, now: func() time.Time { return now }, unit: "lines"}
	for _, step := range []struct {
		phase    string
		wait     time.Duration
		done, of int64
		want     string
	}{
		{"verifying", 0, 10, 1000, "\r\x1b[Kverifying: 1% of 1000 lines"},
		{"verifying", 100 * time.Millisecond, 20, 1000, ""},
		{"verifying", 1900 * time.Millisecond, 250, 1000, "\r\x1b[Kverifying: 25% of 1000 lines, 6s left"},
		{"judging", 0, 5, 0, "\r\x1b[Kjudging: 5 lines"},
		{"judging", time.Minute, 2000, 1000, "\r\x1b[Kjudging: 2000 lines"},
		{"judging", 0, 2001, 1000, ""},
	} {
		out.Reset()
		now = now.Add(step.wait)
		p.at(step.phase, step.done, step.of)
		if out.String() != step.want {
			t.Errorf("%+v: %q", step, out.String())
		}
	}
	out.Reset()
	p.clear()
	p.clear()
	if out.String() != "\r\x1b[K" {
		t.Errorf("%q", out.String())
	}
	(*progressLine)(nil).at("x", 1, 2)
	(*progressLine)(nil).clear()
}

// A program that reads standard error gets no progress, nor does one that reads JSON.
func TestProgressIsForTerminals(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/err")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if newProgress(stdio{err: &bytes.Buffer{}}, "lines", false) != nil || newProgress(stdio{err: file}, "lines", false) != nil || newProgress(stdio{err: null}, "lines", true) != nil {
		t.Error("it is shown")
	}
	if newProgress(stdio{err: null}, "lines", false) == nil {
		t.Error("it is not shown on a terminal")
	}
}

func TestAnInterruptedReplaySaysSo(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	other := errors.New("disk")
	if got := interrupted(ctx, other); got != other {
		t.Error(got)
	}
	stop()
	if got := interrupted(ctx, ctx.Err()); got != errInterrupted {
		t.Error(got)
	}
}
