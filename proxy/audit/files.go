package audit

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	hashSuffix       = ".tlog"
	checkpointSuffix = ".checkpoint"

	// A log shipper of the security team may read the log by group; other users may not.
	fileMode = 0o640
	dirMode  = 0o750
)

// file is what the log does with a file; tests put faults in its way.
type file interface {
	io.Writer
	io.WriterAt
	io.ReaderAt
	io.Closer
	Stat() (os.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

// disk opens and replaces files.
type disk struct {
	open    func(path string, flag int) (file, error)
	replace func(path string, data []byte) error
	syncDir func(dir string) error
}

func osDisk() disk {
	return disk{
		open: func(path string, flag int) (file, error) {
			f, err := os.OpenFile(path, flag, fileMode)
			if err != nil {
				return nil, err
			}
			return f, nil
		},
		replace: replaceFile,
		syncDir: syncDir,
	}
}

// Segments returns the files of the log in order: rotated ones that are beside it, then
// the log itself (even if it is not there). Rotated names are the log's with "." or "-"
// and a digit, and any text after it: audit.jsonl.1, audit.jsonl-20260101.gz,
// audit-2026-01-01.jsonl. A file is left out while the one that it is compressed from is
// still there: it may not be done.
func Segments(log string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(log))
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	base := filepath.Base(log)
	var rotated []string
	beside := map[string]bool{}
	for _, e := range entries {
		beside[e.Name()] = true
	}
	for _, e := range entries {
		if plain, zipped := strings.CutSuffix(e.Name(), ".gz"); zipped && beside[plain] {
			continue
		}
		if e.Type().IsRegular() && isRotation(base, e.Name()) {
			rotated = append(rotated, filepath.Join(filepath.Dir(log), e.Name()))
		}
	}
	if rotated, err = inOrder(rotated); err != nil {
		return nil, err
	}
	return append(rotated, log), nil
}

func isRotation(base, name string) bool {
	if isSideFile(name) {
		return false
	}
	rest, ok := strings.CutPrefix(name, base)
	if !ok {
		ext := filepath.Ext(base)
		rest, ok = strings.CutPrefix(strings.TrimSuffix(name, ".gz"), strings.TrimSuffix(base, ext))
		ok = ok && ext != "" && strings.HasSuffix(rest, ext)
	}
	return ok && len(rest) >= 2 && (rest[0] == '.' || rest[0] == '-') && rest[1] >= '0' && rest[1] <= '9'
}

func isSideFile(name string) bool {
	for _, s := range []string{hashSuffix, checkpointSuffix, checkpointSuffix + ".tmp"} {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// inOrder sorts files by the seq they begin with. Files without any record are
// left out, except the last one given.
func inOrder(files []string) ([]string, error) {
	type start struct {
		file string
		seq  int64
	}
	var starts []start
	var empty string
	for _, f := range files {
		seq, err := firstSeq(f)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if seq < 0 {
			empty = f
			continue
		}
		starts = append(starts, start{f, seq})
	}
	slices.SortStableFunc(starts, func(a, b start) int { return cmp.Compare(a.seq, b.seq) })
	out := make([]string, 0, len(files))
	for _, s := range starts {
		out = append(out, s.file)
	}
	if len(out) == 0 && empty != "" {
		out = append(out, empty)
	}
	return out, nil
}

// firstSeq is the first seq that any of the first lines claims, or -1: one
// mangled line must not hide a whole file.
func firstSeq(path string) (seq int64, err error) {
	seq = -1
	err = firstLines(path, func(raw []byte) bool {
		seq = claimedSeq(raw)
		return seq < 0
	})
	return seq, err
}

// firstLines visits the first lines of a file, until visit returns false.
func firstLines(path string, visit func(raw []byte) bool) error {
	f, err := openLines(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for range 64 {
		line, err := f.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !visit(line.raw) {
			return nil
		}
	}
	return nil
}

// lineFile reads lines one at a time, in bounded memory.
type lineFile struct {
	lineReader
	closer []io.Closer
}

func (f *lineFile) Close() error {
	var errs []error
	for _, c := range f.closer {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

const gzipMagic = "\x1f\x8b"

func isZipped(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	magic := make([]byte, len(gzipMagic))
	_, err = io.ReadFull(f, magic)
	return err == nil && string(magic) == gzipMagic, nil
}

func openLines(path string) (*lineFile, error) { return openLinesAt(path, 0) }

// openLinesAt begins at an offset, which is 0 for compressed files.
func openLinesAt(path string, offset int64) (*lineFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			f.Close()
			return nil, fmt.Errorf("audit log: %w", err)
		}
		out := &lineFile{closer: []io.Closer{f}, lineReader: newLineReader(f, path)}
		out.end = offset
		return out, nil
	}
	out := &lineFile{closer: []io.Closer{f}}
	buffered := bufio.NewReader(f)
	if magic, _ := buffered.Peek(len(gzipMagic)); string(magic) != gzipMagic {
		out.lineReader = newLineReader(buffered, path)
		return out, nil
	}
	z, err := gzip.NewReader(buffered)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("audit log: %s: %w", path, err)
	}
	out.closer = []io.Closer{z, f}
	out.lineReader = newLineReader(z, path)
	return out, nil
}

// lineReader cuts a stream into lines.
type lineReader struct {
	path string
	r    *bufio.Reader
	num  int64 // lines read
	end  int64 // bytes read
}

// rawLine is one line. raw is valid until the next call.
type rawLine struct {
	raw   []byte // without line feed; of a line that is too long, its beginning
	num   int64  // from 1
	end   int64  // offset behind it
	whole bool   // ended by a line feed
	long  bool   // longer than maxLine
}

func newLineReader(r io.Reader, path string) lineReader {
	return lineReader{path: path, r: bufio.NewReaderSize(r, maxLine+1)}
}

// next returns io.EOF at the end.
func (l *lineReader) next() (rawLine, error) {
	raw, err := l.r.ReadSlice('\n')
	l.end += int64(len(raw))
	out := rawLine{long: err == bufio.ErrBufferFull}
	if out.long {
		raw = append([]byte(nil), raw[:256]...)
		for err == bufio.ErrBufferFull {
			var more []byte
			more, err = l.r.ReadSlice('\n')
			l.end += int64(len(more))
		}
	}
	if err != nil && err != io.EOF {
		return rawLine{}, fmt.Errorf("audit log: %s: %w", l.path, err)
	}
	out.whole = err == nil
	if len(raw) == 0 && !out.whole {
		return rawLine{}, io.EOF
	}
	if out.whole && !out.long {
		raw = raw[:len(raw)-1]
	}
	l.num++
	out.raw, out.num, out.end = raw, l.num, l.end
	return out, nil
}
