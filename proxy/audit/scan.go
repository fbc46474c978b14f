package audit

import (
	"errors"
	"fmt"
	"io"
	"sort"

	"golang.org/x/mod/sumdb/tlog"
)

// scan compares the lines of a log with its stored hashes and its checkpoint.
// Verify and Open are the same comparison; Open may cut a tail off.
//
// A line says which record it is (seq), and the stored hash of that record says
// whether that is true. So each line is either a known record, wherever it stands,
// or foreign: changed or inserted. The order of the known ones tells the rest.
type scan struct {
	files  []string
	offset int64     // where the first of files begins, in the middle of the log
	hashes *hashFile // nil if there is none
	known  int64     // records that have stored hashes
	signed *mark     // the log's checkpoint; nil if there is none to be trusted
	starts []int64   // seq each file began with, as signed
	closed bool      // the checkpoint says that nothing follows it
	saved  []*mark   // checkpoints that were kept elsewhere

	// mending: what is neither hashed nor signed may be cut off when it does not
	// continue the log.
	mending bool
	// stored, if set, gets the hashes to be stored for each record.
	stored func(n int64, h []tlog.Hash) error
	// progress, if set, is called now and then; its error ends the scan.
	progress func(lines, of int64) error
	// each is that of the lineSource.
	each func(path string, line rawLine) error

	src   lineSource
	lines tree  // over the lines as they stand
	base  int64 // seq the first file began with
	next  int64 // seq that should come now
	blind bool  // the tree before base is not known: nothing can be proven
	// Once lines and hashes differ: the tree over the stored hashes before that.
	parted *tree
	// Records that were met before, or will be met after, their place.
	early, late map[int64]bool

	badHashes int64 // records whose inner hashes are wrong
	good      map[string]int64
	cut       bool
	problems  []Problem
	more      int
	scratch   []tlog.Hash
}

// mark is a signed size and root, and whether the lines fit it.
type mark struct {
	checkpoint
	name string
	seen bool
	fits bool
}

func (s *scan) total() int64 {
	if s.signed == nil {
		return s.known
	}
	return max(s.known, s.signed.size)
}

// errAfterSignature: no line was taken, because all of them are newer than the signature.
var errAfterSignature = errors.New("begins after what is signed")

func (s *scan) run() error {
	s.early, s.late, s.good = map[int64]bool{}, map[int64]bool{}, map[string]int64{}
	s.src = lineSource{files: s.files, offset: s.offset, unhashed: s.known}
	s.src.each = s.each
	defer s.src.close()
	if err := s.begin(); err != nil {
		return err
	}
	if s.offset > 0 && s.signed != nil && s.base > s.signed.size {
		return errAfterSignature
	}
	for !s.cut {
		if s.early[s.next] {
			delete(s.early, s.next)
			s.next++
			continue
		}
		ref, err := s.src.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := s.line(ref); err != nil {
			return err
		}
		if s.progress != nil && s.src.count%256 == 0 {
			if err := s.progress(s.src.count, s.total()-s.base); err != nil {
				return err
			}
		}
	}
	s.atEnd()
	return s.checkAgainstSignature()
}

// begin finds out which record the first line should be, and the tree before it.
func (s *scan) begin() error {
	s.base = s.startOf(0)
	if len(s.starts) > 0 {
		s.base = s.starts[len(s.starts)-1] // when there are no lines at all
	}
	guess := int64(-1)
	for i := range 64 {
		ref, err := s.src.peek(i)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		id, err := s.identify(ref)
		if err != nil {
			return err
		}
		if guess < 0 && ref.seq >= 0 {
			guess = max(0, ref.seq-int64(i))
		}
		if id >= 0 {
			guess = max(0, id-int64(i))
			if len(s.starts) > 0 {
				guess = id
			}
			break
		}
	}
	switch {
	case s.offset > 0 && guess >= 0:
		s.base = guess
	case guess >= 0:
		s.base = s.startOf(guess)
	}
	s.next = s.base
	return s.beginTree()
}

// beginTree takes the tree before the first line from the hash file.
func (s *scan) beginTree() error {
	s.lines = tree{n: s.base}
	if s.blind = s.base > s.known; s.blind {
		return nil
	}
	for _, m := range s.saved {
		if m.size < s.base {
			t, err := s.hashes.edge(m.size)
			if err != nil {
				return err
			}
			m.seen, m.fits = true, t.root() == m.root
		}
	}
	var err error
	if s.base > 0 {
		s.lines, err = s.hashes.edge(s.base)
	}
	s.compareMarks()
	return err
}

// startOf is the signed start of the file that record n is in.
func (s *scan) startOf(n int64) int64 {
	i := sort.Search(len(s.starts), func(i int) bool { return s.starts[i] > n })
	if i == 0 {
		return n
	}
	return s.starts[i-1]
}

// identify returns which record a line is, or -1.
func (s *scan) identify(ref lineRef) (int64, error) {
	switch {
	case ref.seq < 0:
		return -1, nil
	case ref.seq >= s.known:
		// The line is believed, but not if its seq is below the number of stored hashes:
		// a record without a hash is out of place there.
		if ref.valid && (s.known == 0 || s.next >= s.known) {
			return ref.seq, nil
		}
		return -1, nil
	}
	h, err := s.hashes.leaf(ref.seq)
	if err != nil || h != ref.hash {
		return -1, err
	}
	return ref.seq, nil
}

func (s *scan) line(ref lineRef) error {
	id, err := s.identify(ref)
	if err != nil {
		return err
	}
	if id == s.next && s.parted == nil {
		s.next++
		return s.accept(ref)
	}
	if id > s.next && id >= s.known && s.continuesAfterNext() {
		id = -1
	}
	// The tail is unacknowledged, left by a crash.
	if s.mending && id != s.next && s.next >= s.total() {
		s.cut = true
		return nil
	}
	if s.parted == nil {
		t := s.lines.clone()
		s.parted = &t
	}
	if err := s.accept(ref); err != nil {
		return err
	}
	switch {
	case id == s.next:
		s.next++
		return nil
	case id >= 0 && s.late[id]:
		delete(s.late, id)
		return nil
	case id >= 0 && id < s.next:
		s.problem(Problem{Kind: Inserted, File: ref.file, Line: ref.num, Seq: s.next, Count: 1,
			Message: fmt.Sprintf("line %d was inserted: it is a second copy of seq %d", ref.num, id)})
		return nil
	case id >= 0:
		return s.ahead(ref, id)
	default:
		return s.foreign(ref)
	}
}

// continuesAfterNext: the line to come goes on from the record that is due, so that it
// is the seq of the line in between that is wrong.
func (s *scan) continuesAfterNext() bool {
	after, err := s.src.peek(0)
	return err == nil && after.seq == s.next+1
}

// accept adds a line, as it stands, to the tree over the lines.
func (s *scan) accept(ref lineRef) error {
	s.good[ref.file] = ref.end
	n := s.lines.n
	if s.blind {
		s.lines.n++
		return nil
	}
	s.scratch = s.lines.add(ref.hash, s.scratch[:0])
	s.compareMarks()
	if s.parted != nil {
		return nil
	}
	if n < s.known && (s.signed == nil || n < s.signed.size) {
		at := tlog.StoredHashIndex(0, n)
		for i, h := range s.scratch[1:] {
			got, err := s.hashes.at(at + 1 + int64(i))
			if err != nil {
				return err
			}
			if got != h {
				s.badHashes++
			}
		}
	}
	if s.stored != nil {
		return s.stored(n, s.scratch)
	}
	return nil
}

func (s *scan) compareMarks() {
	for _, m := range s.saved {
		s.compareMark(m)
	}
	if s.signed != nil {
		s.compareMark(s.signed)
	}
}

func (s *scan) compareMark(m *mark) {
	if m.size == s.lines.n {
		m.seen, m.fits = true, s.lines.root() == m.root
	}
}

const maxProblems = 20

func (s *scan) problem(p Problem) {
	if len(s.problems) >= maxProblems {
		s.more++
		return
	}
	s.problems = append(s.problems, p)
}
