package audit

import (
	"fmt"
	"io"
	"path/filepath"
)

// lookahead is how many lines a comparison looks ahead to tell a line that was
// moved from one that was dropped.
const lookahead = 4096

// ahead: the line is a record that belongs further down. Either the ones between
// were dropped, or something was moved.
func (s *scan) ahead(ref lineRef, id int64) error {
	for id > s.next {
		d, at, err := s.find(s.next)
		if err != nil {
			return err
		}
		switch {
		case d < 0:
			s.dropped(ref.file, ref.num, id-s.next)
			s.next = id
		case d == id-s.next:
			s.problem(Problem{Kind: Reordered, File: ref.file, Line: ref.num, Seq: s.next, Count: 2,
				Message: fmt.Sprintf("lines %s and %s were swapped (seq %d and %d)", at1(ref, at), at1(at, ref), id, s.next)})
			s.early[id], s.late[s.next] = true, true
			s.next++
			return nil
		case d < id-s.next:
			s.problem(Problem{Kind: Reordered, File: ref.file, Line: ref.num, Seq: s.next, Count: 1,
				Message: fmt.Sprintf("line %d (seq %d) was moved: it stands before seq %d", ref.num, id, s.next)})
			s.early[id] = true
			return nil
		default:
			s.problem(Problem{Kind: Reordered, File: ref.file, Line: ref.num, Seq: s.next, Count: 1,
				Message: fmt.Sprintf("seq %d was moved: it should be line %d and stands at line %s", s.next, ref.num, at1(at, ref))})
			s.late[s.next] = true
			s.next++
		}
	}
	s.next = id + 1
	return nil
}

// at1 names a line, with its file when that is not the other line's.
func at1(l, other lineRef) string {
	if l.file == other.file {
		return fmt.Sprint(l.num)
	}
	return fmt.Sprintf("%s:%d", filepath.Base(l.file), l.num)
}

// find looks for a record in the lines to come; 1 is the next line, -1 is not found.
func (s *scan) find(id int64) (int64, lineRef, error) {
	for i := range lookahead {
		ref, err := s.src.peek(i)
		if err == io.EOF {
			break
		}
		if err != nil {
			return -1, ref, err
		}
		got, err := s.identify(ref)
		if err != nil {
			return -1, ref, err
		}
		if got == id {
			return int64(i) + 1, ref, nil
		}
	}
	return -1, lineRef{}, nil
}

// foreign: the line is no record. How many such lines there are, and which record
// comes after them, tells changed from inserted.
func (s *scan) foreign(ref lineRef) error {
	run, after, err := s.foreignRun()
	if err != nil {
		return err
	}
	changed := max(0, min(run, after-s.next))
	if changed > 0 {
		s.problem(Problem{Kind: Changed, File: ref.file, Line: ref.num, Seq: s.next, Count: changed,
			Message: fmt.Sprintf("%s (seq %s) %s changed", plural("line", ref.num, changed), span(s.next, changed), was(changed))})
		s.next += changed
	}
	if inserted := run - changed; inserted > 0 {
		first := ref.num + changed
		s.problem(Problem{Kind: Inserted, File: ref.file, Line: first, Seq: s.next, Count: inserted,
			Message: fmt.Sprintf("%s %s inserted %s", plural("line", first, inserted), was(inserted), s.afterSeq())})
	}
	return nil
}

// foreignRun takes the foreign lines that follow one. It returns how many there are
// with that one, and the record after them.
func (s *scan) foreignRun() (run, after int64, err error) {
	for run = 1; run < lookahead; run++ {
		ref, err := s.src.peek(0)
		if err == io.EOF {
			return run, s.total(), nil
		}
		if err != nil {
			return run, 0, err
		}
		id, err := s.identify(ref)
		switch {
		case err != nil:
			return run, 0, err
		case id >= s.next:
			return run, id, nil
		case id >= 0: // a moved one, which says nothing about these
			return run, s.next + run, nil
		}
		_, _ = s.src.next() // the one that was peeked at
		if err := s.accept(ref); err != nil {
			return run, 0, err
		}
	}
	return run, s.total(), nil
}

func (s *scan) dropped(file string, line, n int64) {
	what := "lines were"
	if n == 1 {
		what = "line was"
	}
	s.problem(Problem{Kind: Dropped, File: file, Line: line, Seq: s.next, Count: n,
		Message: fmt.Sprintf("%d %s dropped %s, before line %d", n, what, s.afterSeq(), line)})
}

func (s *scan) afterSeq() string {
	if s.next == 0 {
		return "at the beginning"
	}
	return fmt.Sprintf("after seq %d", s.next-1)
}

// atEnd reports what should have followed the last line.
func (s *scan) atEnd() {
	for s.early[s.next] {
		s.next++
	}
	if s.closed && s.signed != nil && s.next > s.signed.size {
		n := s.next - s.signed.size
		s.problem(Problem{Kind: Inserted, File: s.lastFile(), Seq: s.signed.size, Count: n,
			Message: fmt.Sprintf("%d added at the end (from seq %d) after the log was closed", n, s.signed.size)})
	}
	n := s.total() - s.next
	if n <= 0 {
		return
	}
	p := Problem{Kind: Dropped, File: s.lastFile(), Seq: s.next, Count: n}
	if t, ok := s.tornEnd(); ok {
		p.Kind, p.File, p.Line, p.Count = Changed, t.file, t.num, 1
		p.Message = fmt.Sprintf("line %d (seq %d) was cut short", t.num, s.next)
		s.problem(p)
		if n--; n == 0 {
			return
		}
		s.next++
		p = Problem{Kind: Dropped, File: t.file, Seq: s.next, Count: n}
	}
	what := "lines were"
	if n == 1 {
		what = "line was"
	}
	p.Message = fmt.Sprintf("%d %s dropped at the end, %s", n, what, s.afterSeq())
	s.problem(p)
}

// tornEnd is the half line that the last file ends in.
func (s *scan) tornEnd() (torn, bool) {
	if len(s.src.torn) == 0 {
		return torn{}, false
	}
	t := s.src.torn[len(s.src.torn)-1]
	return t, t.file == s.lastFile()
}

func (s *scan) lastFile() string {
	if len(s.files) == 0 {
		return ""
	}
	return s.files[len(s.files)-1]
}

func plural(word string, first, n int64) string {
	if n == 1 {
		return fmt.Sprintf("%s %d", word, first)
	}
	return fmt.Sprintf("%ss %d to %d", word, first, first+n-1)
}

func span(first, n int64) string {
	if n == 1 {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d to %d", first, first+n-1)
}

func was(n int64) string {
	if n == 1 {
		return "was"
	}
	return "were"
}
