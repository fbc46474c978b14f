package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// Line is one line read back.
type Line struct {
	File   string
	Number int64  // in the file, from 1; 0 when it is not known (Tail)
	Raw    []byte // without line feed; valid until the next one is read
	Record Record
}

// LineError is a line that is no record. Reading goes on after it.
type LineError struct {
	File   string
	Number int64
	Err    error
}

func (e *LineError) Error() string {
	if e.Number == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Number, e.Err)
}

func (e *LineError) Unwrap() error { return e.Err }

var errLong = fmt.Errorf("line is longer than %d bytes", maxLine)

// Read yields the records of files, in the order given, in bounded memory. A line
// that is no record is yielded as a *LineError; any other error is the last. Half a
// line at the end of a file, which is being written or was left by a crash, is not
// a record yet and is passed over. Nothing is verified.
func Read(files ...string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		lists := dataLists{}
		for _, path := range files {
			if !readLines(path, lists, yield) {
				return
			}
		}
	}
}

// Lines is Read without decoding: Record is empty, and whether a line is a record is
// found out by [Line.Decode]. Several can be decoded at once, from copies of Raw.
func Lines(files ...string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for _, path := range files {
			if !eachLine(path, func(raw rawLine) bool { return raw.yield(path, yield) }, yield) {
				return
			}
		}
	}
}

// yield passes a line on; half a line is none yet.
func (l rawLine) yield(path string, yield func(Line, error) bool) bool {
	out := Line{File: path, Number: l.num, Raw: l.raw}
	switch {
	case l.long:
		return yield(out, &LineError{path, l.num, errLong})
	case !l.whole:
		return true
	}
	return yield(out, nil)
}

// Decode reads Raw into Record. The error is a *LineError.
func (l *Line) Decode() error {
	if err := json.Unmarshal(l.Raw, &l.Record); err != nil {
		return &LineError{l.File, l.Number, err}
	}
	if f := l.Record.Facts; f != nil {
		// What JSON does not carry, and a rule needs to be judged again.
		f.IP.Addr, _ = netip.ParseAddr(f.IP.Address)
	}
	return nil
}

func readLines(path string, lists dataLists, yield func(Line, error) bool) bool {
	return eachLine(path, func(raw rawLine) bool {
		line, err := decodeLine(path, raw.num, raw)
		lists.resolve(&line.Record)
		return err != nil && !raw.whole || yield(line, err)
	}, yield)
}

// eachLine calls each for every line, and fail with what ends the file early.
func eachLine(path string, each func(rawLine) bool, fail func(Line, error) bool) bool {
	f, err := openLines(path)
	if err != nil {
		fail(Line{File: path}, err)
		return false
	}
	defer f.Close()
	for {
		raw, err := f.next()
		if err == io.EOF {
			return true
		}
		if err != nil {
			fail(Line{File: path}, err)
			return false
		}
		if !each(raw) {
			return false
		}
	}
}

func decodeLine(path string, num int64, raw rawLine) (Line, error) {
	out := Line{File: path, Number: num, Raw: raw.raw}
	if raw.long {
		return out, &LineError{path, num, errLong}
	}
	return out, out.Decode()
}

// pollEvery is how often Tail looks for more.
const pollEvery = 200 * time.Millisecond

// CompressedError says which rotated files have older lines, and were not looked at because
// a compressed file cannot be read from its end. Reading goes on after it.
type CompressedError struct{ Files []string }

func (e *CompressedError) Error() string {
	return "not looked at, for being compressed or before one that is: " + strings.Join(e.Files, ", ")
}

// Tail yields the last n records of the log, and, with follow, those that are
// written from then on, through rotations, until ctx ends. Errors are as for Read, and the
// first may be a *CompressedError.
func Tail(ctx context.Context, log string, n int, follow bool) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		places, left, err := lastLines(log, n)
		if err != nil {
			yield(Line{File: log}, err)
			return
		}
		if left != nil && !yield(Line{}, &CompressedError{left}) {
			return
		}
		t := &tail{yield: yield, lists: dataLists{}}
		defer t.close()
		for _, p := range places {
			if !t.open(p) || !t.read() {
				return
			}
		}
		if follow {
			t.follow(ctx, log)
		}
	}
}

// LastLines yields the last n lines of the log, as Lines does; of compressed files none.
func LastLines(log string, n int) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		places, _, err := lastLines(log, n)
		if err != nil {
			yield(Line{File: log}, err)
			return
		}
		t := &tail{yield: yield}
		defer t.close()
		for _, p := range places {
			if !t.open(p) || !t.read() {
				return
			}
		}
	}
}

// filePosition is where in a file to begin.
type filePosition struct {
	file   string
	offset int64
}

// lastLines finds where the last n lines begin, going back through rotated files, as far
// as one that is compressed, which cannot be read from the end. It returns the files that
// this leaves out: only the last lines without a gap are the last.
func lastLines(log string, n int) (places []filePosition, left []string, err error) {
	files, err := Segments(log)
	if err != nil {
		return nil, nil, err
	}
	for i, path := range slices.Backward(files) {
		if path != log && n <= 0 {
			break
		}
		zipped, err := isZipped(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, nil, err
		}
		if zipped {
			left = files[:i+1]
			break
		}
		offset, found, err := fromEnd(path, n)
		if err != nil {
			return nil, nil, err
		}
		n -= found
		places = append(places, filePosition{path, offset})
	}
	slices.Reverse(places)
	return places, left, nil
}

// fromEnd finds the offset of the n'th last line, and how many lines follow it.
func fromEnd(path string, n int) (int64, int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("audit log: %w", err)
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, fmt.Errorf("audit log: %w", err)
	}
	block := make([]byte, 64<<10)
	feeds := 0 // line feeds seen; the last one ends the last line
	for at := end; at > 0; {
		size := min(at, int64(len(block)))
		at -= size
		if _, err := f.ReadAt(block[:size], at); err != nil {
			return 0, 0, fmt.Errorf("audit log: %w", err)
		}
		for i := size - 1; i >= 0; i-- {
			if block[i] != '\n' {
				continue
			}
			if feeds++; feeds > n {
				return at + i + 1, n, nil
			}
		}
	}
	return 0, feeds, nil
}

// tail reads a file as far as it goes, again and again.
type tail struct {
	yield  func(Line, error) bool
	lists  dataLists // nil: lines are not decoded
	path   string
	f      *os.File
	offset int64
}

func (t *tail) close() {
	if t.f != nil {
		_ = t.f.Close()
		t.f = nil
	}
}

func (t *tail) open(p filePosition) bool {
	t.close()
	f, err := os.Open(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return true // renamed just now; read looks again
	}
	if err != nil {
		t.yield(Line{File: p.file}, fmt.Errorf("audit log: %w", err))
		return false
	}
	t.f, t.path, t.offset = f, p.file, p.offset
	return true
}

// read yields the whole lines that are there. It returns false when it is over.
func (t *tail) read() bool {
	if t.f == nil {
		return true
	}
	info, err := t.f.Stat()
	if err != nil {
		t.yield(Line{File: t.path}, fmt.Errorf("audit log: %w", err))
		return false
	}
	if info.Size() < t.offset {
		t.offset = 0 // emptied in place
	}
	if info.Size() == t.offset {
		return true
	}
	begin := t.offset
	lines := newLineReader(io.NewSectionReader(t.f, begin, info.Size()-begin), t.path)
	for {
		raw, err := lines.next()
		if err == io.EOF || err == nil && !raw.whole {
			return true
		}
		if err != nil {
			t.yield(Line{File: t.path}, err)
			return false
		}
		t.offset = begin + raw.end
		line, err := Line{File: t.path, Raw: raw.raw}, error(nil)
		if raw.long {
			err = &LineError{t.path, 0, errLong}
		} else if t.lists != nil {
			err = line.Decode()
			t.lists.resolve(&line.Record)
		}
		if !t.yield(line, err) {
			return false
		}
	}
}

func (t *tail) follow(ctx context.Context, log string) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Look for a new file before reading on, so that what was written to the old
		// one until it was renamed is read first.
		renamed := t.renamed(log)
		if !t.read() {
			return
		}
		if renamed && !t.open(filePosition{file: log}) {
			return
		}
	}
}

func (t *tail) renamed(log string) bool {
	if t.f == nil {
		return true
	}
	at, err := os.Stat(log)
	if err != nil {
		return false
	}
	open, err := t.f.Stat()
	return err == nil && !os.SameFile(at, open)
}
