package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// seekStep is how far apart Seek looks at the time of a line.
const seekStep = 1 << 20

// Seek returns the files that hold records from a time on, in order, and the offset of a
// line in the first of them before which all is older. It looks at one line in each
// mebibyte, from the beginning: there is no index that could be lost or wrong, and a clock
// that was set back only makes it begin earlier. (One that ran ahead for less than a
// mebibyte of records may hide those.) Compressed files are left out or taken whole.
func Seek(since time.Time, files ...string) (rest []string, offset int64, err error) {
	rest, err = inOrder(files)
	if err != nil || since.IsZero() {
		return rest, 0, err
	}
	for len(rest) > 1 { // a file is over where the next one begins
		begin, err := firstTime(rest[1])
		if err != nil {
			return nil, 0, err
		}
		if begin.IsZero() || !begin.Before(since) {
			break
		}
		if ahead, err := reaches(rest[0], since); err != nil || ahead {
			break
		}
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return rest, 0, nil
	}
	offset, _, err = seekIn(rest[0], since)
	return rest, offset, err
}

// reaches reports whether any line that Seek looks at is of the time or later.
func reaches(path string, since time.Time) (bool, error) {
	_, found, err := seekIn(path, since)
	return found, err
}

// seekIn returns the last place that was looked at before the first line of the time, or
// the end's if there is none.
func seekIn(path string, since time.Time) (offset int64, found bool, err error) {
	zipped, err := isZipped(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil || zipped {
		return 0, false, err
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, false, fmt.Errorf("audit log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, false, fmt.Errorf("audit log: %w", err)
	}
	for at := int64(0); at < info.Size(); at += seekStep {
		begin, when, err := lineFrom(f, at)
		if err != nil {
			return 0, false, err
		}
		switch {
		case begin < 0 || when.IsZero(): // the end, or a line that is none
			continue
		case !when.Before(since):
			return offset, true, nil
		}
		offset = begin
	}
	return offset, false, nil
}

// lineFrom finds the first line that begins at or after an offset: -1 if there is none.
func lineFrom(f io.ReaderAt, at int64) (begin int64, when time.Time, err error) {
	buf := make([]byte, 2*maxLine)
	from := max(0, at-1) // a line feed right before it counts
	n, err := f.ReadAt(buf, from)
	if err != nil && err != io.EOF {
		return 0, when, fmt.Errorf("audit log: %w", err)
	}
	buf, skip := buf[:n], 0
	if at > 0 {
		if skip = bytes.IndexByte(buf, '\n') + 1; skip == 0 {
			return -1, when, nil
		}
	}
	line, _, whole := bytes.Cut(buf[skip:], []byte("\n"))
	if !whole {
		return -1, when, nil
	}
	return from + int64(skip), lineTime(line), nil
}

// lineTime is the time of a line; zero if it has none.
func lineTime(line []byte) time.Time {
	var l struct {
		Time time.Time `json:"time"`
	}
	_ = json.Unmarshal(line, &l) // a line that is none has no time
	return l.Time
}

// firstTime is the time of the first line of a file that has one.
func firstTime(path string) (when time.Time, err error) {
	err = firstLines(path, func(raw []byte) bool {
		when = lineTime(raw)
		return when.IsZero()
	})
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	return when, err
}

// linesBefore is how many lines end before an offset.
func linesBefore(path string, offset int64) (n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("audit log: %w", err)
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for r := io.LimitReader(f, offset); ; {
		k, err := r.Read(buf)
		n += int64(bytes.Count(buf[:k], []byte("\n")))
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, fmt.Errorf("audit log: %w", err)
		}
	}
}
