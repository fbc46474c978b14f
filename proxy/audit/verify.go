package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Kind is what is wrong with a log.
type Kind string

const (
	Changed       Kind = "changed"    // a line is not what it was
	Dropped       Kind = "dropped"    // lines are gone
	Inserted      Kind = "inserted"   // lines were added
	Reordered     Kind = "reordered"  // lines were moved
	Missing       Kind = "missing"    // earlier records are not in the files given
	BadCheckpoint Kind = "checkpoint" // no checkpoint, or one that does not fit
	BadHashes     Kind = "hashes"     // the hash file is gone or wrong
)

// Problem is one thing that is wrong.
type Problem struct {
	Kind    Kind   `json:"kind"`
	File    string `json:"file,omitempty"`
	Line    int64  `json:"line,omitempty"` // from 1; 0 if there is none
	Seq     int64  `json:"seq"`            // first record concerned
	Count   int64  `json:"count,omitempty"`
	Message string `json:"message"`
}

// lines reports whether it is about lines, as opposed to the files beside them.
func (p Problem) lines() bool {
	switch p.Kind {
	case Changed, Dropped, Inserted, Reordered:
		return true
	}
	return false
}

func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Line == 0:
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

// Report is the outcome of Verify.
type Report struct {
	Files     []string  `json:"files"`
	Offset    int64     `json:"offset,omitempty"` // in the first file, where it began
	First     int64     `json:"first"`            // seq of the first record in the files
	Records   int64     `json:"records"`          // lines read
	Signed    int64     `json:"signed"`           // records that the checkpoint covers
	SignedAt  time.Time `json:"signed_at"`
	Root      string    `json:"root,omitempty"`
	Unsigned  int64     `json:"unsigned"` // lines after the checkpoint: whole, but not proven
	TornBytes int64     `json:"torn_bytes,omitempty"`
	Problems  []Problem `json:"problems"`
	More      int       `json:"more_problems,omitempty"` // not listed
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// Text is the report for people, with a line feed at its end.
func (r Report) Text() string {
	var b strings.Builder
	for _, p := range r.Problems {
		fmt.Fprintln(&b, p)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "and %d more\n", r.More)
	}
	verdict := "intact"
	if !r.OK() {
		verdict = "NOT INTACT"
	}
	fmt.Fprintf(&b, "%s: %d records", verdict, r.Records)
	if r.Records > 0 {
		fmt.Fprintf(&b, " from seq %d", r.First)
	}
	files := "files"
	if len(r.Files) == 1 {
		files = "file"
	}
	fmt.Fprintf(&b, " in %d %s; checkpoint over %d records", len(r.Files), files, r.Signed)
	if !r.SignedAt.IsZero() {
		fmt.Fprintf(&b, " signed %s", r.SignedAt.UTC().Format(time.RFC3339))
	}
	if r.Unsigned > 0 {
		fmt.Fprintf(&b, "; %d records after it are not signed yet", r.Unsigned)
	}
	if r.TornBytes > 0 {
		fmt.Fprintf(&b, "; %d bytes of an unfinished record at the end", r.TornBytes)
	}
	b.WriteString("\n")
	return b.String()
}

// VerifyOptions are what Verify can be told besides the files.
type VerifyOptions struct {
	// Log is the log whose hash file and checkpoint are used; by default it is found
	// from the files' names.
	Log string
	// From is the first seq that the files must hold: 0 for all of the log, -1 for
	// wherever they begin, which has to be where a file began.
	From int64
	// Saved are checkpoints of this log that were kept elsewhere. Each must be signed
	// with the key, and the log must still begin with the records that it covers.
	Saved [][]byte
	// Offset is where in the first file to begin, as [Seek] gives it: what is before is not
	// read. The lines from there on are proven all the same: their hashes, with those that
	// the hash file has of everything before, must give the signed root.
	Offset int64
	// Progress, if set, is told now and then how many lines were read, and about how many
	// there are. Its error ends Verify, which returns it.
	Progress func(lines, of int64) error

	each func(path string, line rawLine) error // see Verifying
}

// Verify compares files, which are all or the last of a log's files in any order, with
// its hash file and signed checkpoint. The log may be in use. A report with problems
// is an answer; an error means that there is none.
func Verify(files []string, key string, o VerifyOptions) (Report, error) {
	v, err := note.NewVerifier(key)
	if err != nil {
		return Report{}, fmt.Errorf("audit verify: key: %w", err)
	}
	files, log, err := logFiles(files, o.Log)
	if err != nil {
		return Report{}, err
	}
	s := &scan{files: files, offset: o.Offset, progress: o.Progress, each: o.each}
	// The checkpoint first, then the hashes, then the lines: a writer goes the other
	// way, so what is read later holds at least what is read first.
	at := s.readCheckpoint(log, v)
	for i, msg := range o.Saved {
		c, err := openCheckpoint(msg, v)
		if err != nil {
			return Report{}, fmt.Errorf("audit verify: saved checkpoint %d: %w", i+1, err)
		}
		s.saved = append(s.saved, &mark{checkpoint: c, name: fmt.Sprintf("saved checkpoint %d", i+1)})
	}
	var hashes statReader
	if h, err := os.Open(log + hashSuffix); err == nil {
		defer h.Close()
		hashes = h
	}
	if err := s.useHashes(log+hashSuffix, hashes); err != nil {
		return Report{}, err
	}
	switch err := s.run(); {
	case errors.Is(err, errAfterSignature):
		o.Offset = 0 // go back to what the signature covers
		return Verify(files, key, o)
	case err != nil:
		return Report{}, err
	}
	s.checkFrom(o.From)
	report := s.report(at)
	if s.offset > 0 && !report.OK() {
		before, err := linesBefore(files[0], s.offset)
		if err != nil {
			return Report{}, err
		}
		for i, p := range report.Problems {
			if p.File == files[0] && p.Line > 0 {
				report.Problems[i].Line += before
			}
		}
	}
	return report, nil
}

var errStopped = errors.New("audit verify: the reader of the lines stopped")

// Verifying is [Lines] and [Verify] in one reading: it yields the very bytes whose hashes
// are compared, so that a file which changes meanwhile cannot have other lines judged than
// those that are proven. The report is there when the sequence has ended; until then it
// says that the log is not intact. Nothing that the lines say may be believed, or shown,
// before.
//
// Where all that is asked for is newer than the signature, lines from before o.Offset come
// as well. Of damaged files it yields the lines as they stand.
func Verifying(files []string, key string, o VerifyOptions, report *Report) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		*report = Report{Problems: []Problem{{Kind: Missing, Message: "the log was not read to its end"}}}
		o.each = func(path string, raw rawLine) error {
			if !raw.yield(path, yield) {
				return errStopped
			}
			return nil
		}
		switch r, err := Verify(files, key, o); {
		case err == nil:
			*report = r
		case !errors.Is(err, errStopped):
			yield(Line{}, err)
		}
	}
}

// logFiles puts files in order and finds the log that they belong to.
func logFiles(files []string, log string) ([]string, string, error) {
	var lines []string
	for _, f := range files {
		if !isSideFile(f) {
			lines = append(lines, f)
		}
	}
	if len(lines) == 0 {
		return nil, "", errors.New("audit verify: no files")
	}
	for i := len(lines) - 1; log == "" && i >= 0; i-- {
		log = ownerOf(lines[i])
	}
	if log == "" {
		log = lines[len(lines)-1]
	}
	for _, f := range lines {
		// If the log is gone and its checkpoint is there, that is a finding. Any other
		// missing file is a mistake in the arguments.
		if _, err := os.Stat(f); err != nil && !(f == log && exists(log+checkpointSuffix)) {
			return nil, "", fmt.Errorf("audit verify: %w", err)
		}
	}
	ordered, err := inOrder(lines)
	return ordered, log, err
}

// ownerOf is the log that file is or was a part of, by its name; "" if none is there.
func ownerOf(file string) string {
	dir, name := filepath.Split(file)
	ext := filepath.Ext(strings.TrimSuffix(name, ".gz"))
	for end := len(name); end > 0; end = strings.LastIndexAny(name[:end], ".-") {
		for _, log := range []string{dir + name[:end], dir + name[:end] + ext} {
			if exists(log + checkpointSuffix) {
				return log
			}
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (s *scan) readCheckpoint(log string, v note.Verifier) checkpoint {
	path := log + checkpointSuffix
	msg, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		s.problem(Problem{Kind: BadCheckpoint, File: path, Message: "there is no checkpoint: nothing proves these lines"})
		return checkpoint{}
	}
	var c checkpoint
	if err == nil {
		c, err = openCheckpoint(msg, v)
	}
	if err != nil {
		s.problem(Problem{Kind: BadCheckpoint, File: path, Message: err.Error()})
		return checkpoint{}
	}
	s.sign(c)
	return c
}

func (s *scan) sign(c checkpoint) {
	s.signed = &mark{checkpoint: c, name: "checkpoint"}
	s.starts, s.closed = c.starts, c.closed
}

type statReader interface {
	io.ReaderAt
	Stat() (os.FileInfo, error)
}

// useHashes takes h, which may be nil, as the hash file.
func (s *scan) useHashes(path string, h statReader) error {
	var size int64
	if h != nil {
		info, err := h.Stat()
		if err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
		size = info.Size()
	}
	s.hashes = newHashFile(h, size)
	s.known = s.hashes.records()
	var signed int64
	if s.signed != nil {
		signed = s.signed.size
	}
	switch {
	case h == nil:
		s.problem(Problem{Kind: BadHashes, File: path, Message: "there is no hash file"})
	case s.known < signed:
		s.problem(Problem{Kind: BadHashes, File: path, Message: fmt.Sprintf("the hash file has %d records, the checkpoint covers %d", s.known, signed)})
	}
	// A power failure can leave zeros where hashes were not synced. Those that the
	// checkpoint covers were.
	for n := signed; n < s.known; n++ {
		leaf, err := s.hashes.leaf(n)
		if err != nil {
			return err
		}
		if leaf == (tlog.Hash{}) {
			s.known = n
		}
	}
	return nil
}

func (s *scan) checkFrom(from int64) {
	if from < 0 || s.base <= from {
		return
	}
	s.problem(Problem{Kind: Missing, Seq: from, Count: s.base - from,
		Message: fmt.Sprintf("the files given begin at seq %d: %d earlier records, from seq %d, are not in them", s.base, s.base-from, from)})
}

func (s *scan) report(c checkpoint) Report {
	r := Report{
		Files: s.files, Offset: s.offset, First: s.base, Records: s.src.count, Problems: s.problems, More: s.more,
		Signed: c.size, SignedAt: c.at,
	}
	if r.Problems == nil {
		r.Problems = []Problem{}
	}
	if s.signed != nil {
		r.Root = c.root.String()
		r.Unsigned = max(0, s.next-c.size)
	}
	for _, t := range s.src.torn {
		r.TornBytes += t.bytes
	}
	return r
}
