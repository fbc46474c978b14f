package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"

	"golang.org/x/mod/sumdb/tlog"
)

// lineRef is what a comparison needs to know of a line.
type lineRef struct {
	raw   rawLine // if the source has each; valid until the next line is read
	file  string
	num   int64
	end   int64
	hash  tlog.Hash
	seq   int64 // that it claims, or -1
	valid bool  // for a line without a stored hash: it is a JSON object
}

// torn is an end of a file without a line feed: half a line, or nothing at all.
type torn struct {
	file  string
	num   int64
	bytes int64
}

// lineSource reads the lines of several files, one after the other.
type lineSource struct {
	files []string
	// offset is where the first of them begins.
	offset int64
	// unhashed is the first seq without a stored hash: from there on, only its form
	// tells a record from garbage.
	unhashed int64
	// each, if set, is given every whole line that next returns: the very bytes whose hash
	// that is. Its error ends the reading.
	each func(path string, line rawLine) error

	cur   *lineFile
	ahead []lineRef
	torn  []torn
	count int64 // lines read
}

func (s *lineSource) next() (lineRef, error) {
	ref, err := lineRef{}, error(nil)
	if len(s.ahead) > 0 {
		ref, s.ahead = s.ahead[0], s.ahead[1:]
	} else if ref, err = s.read(); err != nil {
		return ref, err
	}
	if s.each != nil {
		err = s.each(ref.file, ref.raw)
	}
	return ref, err
}

// peek returns the i'th line from here without taking it.
func (s *lineSource) peek(i int) (lineRef, error) {
	for len(s.ahead) <= i {
		ref, err := s.read()
		if err != nil {
			return lineRef{}, err
		}
		ref.raw.raw = bytes.Clone(ref.raw.raw)
		s.ahead = append(s.ahead, ref)
	}
	return s.ahead[i], nil
}

func (s *lineSource) read() (lineRef, error) {
	for {
		if s.cur == nil {
			if len(s.files) == 0 {
				return lineRef{}, io.EOF
			}
			f, err := openLinesAt(s.files[0], s.offset)
			s.files, s.offset = s.files[1:], 0
			if errors.Is(err, fs.ErrNotExist) {
				continue // the comparison will report its records as missing
			}
			if err != nil {
				return lineRef{}, err
			}
			s.cur = f
		}
		start := s.cur.end
		line, err := s.cur.next()
		if err == io.EOF {
			if err := s.close(); err != nil {
				return lineRef{}, err
			}
			continue
		}
		if err != nil {
			return lineRef{}, err
		}
		if !line.whole {
			s.torn = append(s.torn, torn{s.cur.path, line.num, line.end - start})
			continue
		}
		s.count++
		return s.ref(line), nil
	}
}

func (s *lineSource) ref(line rawLine) lineRef {
	out := lineRef{file: s.cur.path, num: line.num, end: line.end, seq: -1}
	if s.each != nil {
		out.raw = line
	}
	out.hash = tlog.RecordHash(line.raw)
	if line.long {
		return out
	}
	if out.seq = claimedSeq(line.raw); out.seq >= s.unhashed {
		out.valid = json.Valid(line.raw)
	}
	return out
}

func (s *lineSource) close() error {
	if s.cur == nil {
		return nil
	}
	err := s.cur.Close()
	s.cur = nil
	return err
}
