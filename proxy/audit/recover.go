package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// openStore opens the files of a log, repairs them after a crash, and checks that
// they are what was signed.
func openStore(cfg Config, signer note.Signer, verifier string) (*store, cutTail, error) {
	if err := os.MkdirAll(filepath.Dir(cfg.File), dirMode); err != nil {
		return nil, cutTail{}, err
	}
	s := &store{path: cfg.File, disk: cfg.disk, signer: signer, now: cfg.Now, logger: cfg.Logger, listed: map[string]bool{}}
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return nil, cutTail{}, err
	}
	if s.lock, err = os.OpenFile(cfg.File+hashSuffix, os.O_RDWR|os.O_CREATE, fileMode); err != nil {
		return nil, cutTail{}, err
	}
	kept, err := cfg.anchored(v)
	if err != nil {
		_ = s.close()
		return nil, cutTail{}, err
	}
	cut, err := s.recover(v, kept)
	if err != nil {
		_ = s.close()
		return nil, cutTail{}, err
	}
	return s, cut, nil
}

func (s *store) recover(v note.Verifier, kept *checkpoint) (cutTail, error) {
	err := lock(s.lock)
	if err != nil {
		return cutTail{}, err
	}
	if s.hashes, err = s.disk.open(s.path+hashSuffix, os.O_RDWR); err != nil {
		return cutTail{}, err
	}
	c, err := s.lastCheckpoint(v, kept)
	if err != nil {
		return cutTail{}, err
	}
	files, err := s.unsignedFiles(c)
	if err != nil {
		return cutTail{}, err
	}
	var fresh []tlog.Hash // of the records that are not signed yet
	check, err := s.compare(files, c, func(n int64, h []tlog.Hash) error {
		if n >= c.size {
			fresh = append(fresh, h...)
		}
		return nil
	})
	if err != nil {
		return cutTail{}, err
	}
	s.tree, s.starts = check.lines, c.starts
	if err := kept.behind(s.tree.n); err != nil {
		return cutTail{}, err
	}
	if err := s.keepHashes(c.size, fresh); err != nil {
		return cutTail{}, err
	}
	if err := s.checkAnchor(kept); err != nil {
		return cutTail{}, err
	}
	cut, err := s.cutTail(check)
	if err != nil {
		return cutTail{}, err
	}
	return cut, s.openLines(files)
}

// lastCheckpoint reads the signed state, or makes the first. The first checkpoint is
// durable before any line, so we did not write lines without one.
func (s *store) lastCheckpoint(v note.Verifier, kept *checkpoint) (checkpoint, error) {
	msg, err := os.ReadFile(s.path + checkpointSuffix)
	if err == nil {
		c, err := openCheckpoint(msg, v)
		if err != nil {
			return c, fmt.Errorf("%w: %s%s: %w", ErrTampered, s.path, checkpointSuffix, err)
		}
		return c, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return checkpoint{}, err
	}
	hashes, err := s.hashes.Stat()
	if err != nil {
		return checkpoint{}, err
	}
	segments, err := Segments(s.path)
	if err != nil {
		return checkpoint{}, err
	}
	line, _ := hasLines(s.path)
	if hashes.Size() > 0 || len(segments) > 1 || line {
		return checkpoint{}, fmt.Errorf("%w: there are records but no %s%s; to begin a new log, move all of its files away", ErrTampered, s.path, checkpointSuffix)
	}
	// Before anything is signed: a new log must not look as if it had always been this one.
	if err := kept.behind(0); err != nil {
		return checkpoint{}, err
	}
	s.starts = []int64{0}
	return checkpoint{root: s.tree.root(), starts: s.starts}, s.sign(false)
}

func hasLines(path string) (bool, error) {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0, err
}

// unsignedFiles returns the file that records after the checkpoint can be in: the
// log, or, if that was renamed and the process ended before it began a new one, the
// newest of the rotated files.
func (s *store) unsignedFiles(c checkpoint) ([]string, error) {
	if lines, err := hasLines(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) || lines {
		return []string{s.path}, err
	}
	segments, err := Segments(s.path)
	if err != nil || len(segments) < 2 {
		return nil, err
	}
	newest := segments[len(segments)-2]
	last, err := lastSeq(newest)
	if err != nil || last < c.size {
		return nil, err
	}
	return []string{newest}, nil
}

// lastSeq is the last seq that a line of the file claims, or -1.
func lastSeq(path string) (int64, error) {
	src := lineSource{files: []string{path}, unhashed: math.MaxInt64}
	defer src.close()
	last := int64(-1)
	for {
		ref, err := src.read()
		if err != nil {
			if len(src.files) == 0 && src.cur == nil {
				return last, nil
			}
			return last, err
		}
		if ref.seq >= 0 {
			last = ref.seq
		}
	}
}

// compare runs the comparison of Verify over the files that are still of interest.
// A hash file that does not fit is made again if the lines prove to be those that
// were signed; lines that do not fit are refused.
func (s *store) compare(files []string, c checkpoint, stored func(int64, []tlog.Hash) error) (*scan, error) {
	check := &scan{files: files, mending: true, stored: stored}
	check.sign(c)
	if err := check.useHashes(s.path+hashSuffix, s.hashes); err != nil {
		return nil, err
	}
	if len(check.problems) == 0 {
		if len(files) == 0 {
			return s.compareEmpty(check)
		}
		if err := check.run(); err != nil {
			return nil, err
		}
	}
	if len(check.problems) == 0 {
		return check, nil
	}
	first := check.problems[0]
	for _, p := range check.problems {
		if p.lines() {
			return nil, fmt.Errorf("%w: %s", ErrTampered, p)
		}
	}
	return s.rebuild(c, first, stored)
}

// compareEmpty is for a log whose lines were all rotated away: the hashes are what
// is left to continue from.
func (s *store) compareEmpty(check *scan) (*scan, error) {
	n := check.known
	t, err := check.hashes.edge(check.signed.size)
	if err != nil {
		return nil, err
	}
	if t.root() != check.signed.root {
		return s.rebuild(check.signed.checkpoint, Problem{Message: "the hash file does not match the signed checkpoint"}, check.stored)
	}
	if n > check.signed.size {
		s.logger.Warn("audit log: the newest records are not beside the log",
			"file", s.path, "from", check.signed.size, "to", n-1)
	}
	for i := check.signed.size; i < n; i++ {
		leaf, err := check.hashes.leaf(i)
		if err != nil {
			return nil, err
		}
		if err := check.stored(i, t.add(leaf, nil)); err != nil {
			return nil, err
		}
	}
	check.lines, check.next = t, n
	return check, nil
}

// rebuild makes the hash file again from all lines, if they are all there and give
// the root that was signed.
func (s *store) rebuild(c checkpoint, why Problem, stored func(int64, []tlog.Hash) error) (*scan, error) {
	// Nothing is overwritten before its replacement is certain.
	if _, err := s.allLines(c, why, nil); err != nil {
		return nil, err
	}
	if err := s.hashes.Truncate(0); err != nil {
		return nil, err
	}
	check, err := s.allLines(c, why, func(n int64, h []tlog.Hash) error {
		if err := s.writeHashes(n, h); err != nil {
			return err
		}
		return stored(n, h)
	})
	if err != nil {
		return nil, err
	}
	s.logger.Warn("audit log: the hash file was made again from the lines", "file", s.path, "why", why.Message, "records", check.lines.n)
	return check, nil
}

// allLines holds all lines against the checkpoint, without the hash file.
func (s *store) allLines(c checkpoint, why Problem, stored func(int64, []tlog.Hash) error) (*scan, error) {
	files, err := Segments(s.path)
	if err != nil {
		return nil, err
	}
	if lines, _ := hasLines(s.path); !lines {
		files = files[:len(files)-1]
	}
	// Not mending: no crash loses signed hashes, so the lines after the signed ones may
	// not be a crash's work either.
	check := &scan{files: files, stored: stored, hashes: newHashFile(nil, 0)}
	check.sign(c)
	if err := check.run(); err != nil {
		return nil, err
	}
	check.checkFrom(0)
	if len(check.problems) > 0 {
		return nil, fmt.Errorf("%w: %s (and it cannot be made again: %s)", ErrTampered, why.Message, check.problems[0])
	}
	return check, nil
}

// keepHashes stores the hashes of the records after the checkpoint, and nothing
// behind them.
func (s *store) keepHashes(from int64, fresh []tlog.Hash) error {
	if err := s.writeHashes(from, fresh); err != nil {
		return err
	}
	if err := s.hashes.Truncate(tlog.StoredHashCount(s.tree.n) * tlog.HashSize); err != nil {
		return err
	}
	return s.hashes.Sync()
}

// cutTail removes what is behind the last record. At a crash, at most one batch is being
// written; more than that is no crash's work.
func (s *store) cutTail(check *scan) (cutTail, error) {
	if len(check.files) == 0 {
		return cutTail{}, nil
	}
	path := check.lastFile()
	if zipped, err := isZipped(path); err != nil || zipped {
		return cutTail{}, err // a rotated and compressed file must be complete
	}
	f, err := s.disk.open(path, os.O_RDWR)
	if err != nil {
		return cutTail{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return cutTail{}, err
	}
	good := check.good[path]
	cut := cutTail{bytes: info.Size() - good, file: path}
	if cut.bytes > maxBatch+2*maxLine {
		return cut, fmt.Errorf("%w: %s: %d bytes after seq %d are no records", ErrTampered, path, cut.bytes, check.next-1)
	}
	if cut.bytes > 0 {
		if err := f.Truncate(good); err != nil {
			return cut, err
		}
	}
	// Lines that a killed process had written are kept, so they have to be durable
	// before they are signed.
	return cut, f.Sync()
}

// openLines opens the file to append to, a new one if the last was rotated away.
func (s *store) openLines(files []string) error {
	f, err := s.disk.open(s.path, os.O_RDWR|os.O_APPEND|os.O_CREATE)
	if err != nil {
		return err
	}
	s.log = f
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.size = info.Size()
	if s.size == 0 && (len(s.starts) == 0 || s.starts[len(s.starts)-1] != s.tree.n) {
		// Rotated while no process ran, or removed: Verify can tell, when it gets the
		// other files.
		s.starts = append(s.starts, s.tree.n)
		s.logger.Info("audit log continues in a new file", "file", s.path, "seq", s.tree.n)
	}
	return s.disk.syncDir(filepath.Dir(s.path))
}
