package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// store is the files of one log, as the writer has them open.
type store struct {
	path   string
	disk   disk
	signer note.Signer
	now    func() time.Time
	logger *slog.Logger

	// Invariant: the first size bytes of log, and nothing else, are durable lines of this
	// tree. Bytes behind them were never acknowledged.
	log    file
	size   int64
	tree   tree
	hashes file

	lock *os.File // holds the lock; the hash file, which is never renamed

	// listed are the lists of IP data that this process has written to this file: a file
	// can be read without those before it.
	listed map[string]bool

	starts []int64 // seq each file began with
	signed int64   // size of the tree in the last checkpoint
	note   []byte  // the last checkpoint

	buf []byte // scratch
}

// write makes a batch durable, or changes nothing that counts: lines, fsync,
// hashes. Hashes need no fsync, because Open can make them again from the lines;
// that they come after the lines' fsync is what makes a hash without its line a
// sign of tampering.
func (s *store) write(batch []*entry) error {
	if err := s.follow(); err != nil {
		return err
	}
	next := s.tree.clone()
	var stored []tlog.Hash
	lines := s.buf[:0]
	add := func(at time.Time, count int64, body []byte) {
		start := len(lines)
		lines = appendLine(lines, next.n, at, count, body)
		stored = next.add(tlog.RecordHash(lines[start:]), stored)
		lines = append(lines, '\n')
	}
	listed := map[string]bool{}
	for _, e := range batch {
		if l := e.sources; l != nil && !s.listed[l.hash] && !listed[l.hash] {
			add(e.at, 0, l.body)
			listed[l.hash] = true
		}
		add(e.at, e.count, e.body)
	}
	s.buf = lines
	if _, err := s.log.Write(lines); err != nil {
		return err
	}
	if err := s.log.Sync(); err != nil {
		return err
	}
	if err := s.writeHashes(s.tree.n, stored); err != nil {
		return err
	}
	s.size += int64(len(lines))
	s.tree = next
	maps.Copy(s.listed, listed)
	return nil
}

// writeHashes stores the hashes of the records from n on.
func (s *store) writeHashes(n int64, stored []tlog.Hash) error {
	raw := make([]byte, 0, len(stored)*tlog.HashSize)
	for _, h := range stored {
		raw = append(raw, h[:]...)
	}
	_, err := s.hashes.WriteAt(raw, tlog.StoredHashCount(n)*tlog.HashSize)
	return err
}

// follow checks, before it adds anything, that the file is still the same: renamed,
// removed or emptied means rotated; any other size means that another program writes to
// it.
func (s *store) follow() error {
	at, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.rotate()
	}
	if err != nil {
		return err
	}
	open, err := s.log.Stat()
	switch {
	case err != nil:
		return err
	case !os.SameFile(at, open):
		return s.rotate()
	case at.Size() == 0 && s.size > 0:
		s.logger.Warn("audit log was emptied in place", "hint", "records may be lost: rotate by renaming, without copytruncate", "file", s.path)
		return s.rotate()
	case at.Size() < s.size:
		return fmt.Errorf("%w: %s was cut short: it has %d bytes, %d were written", ErrTampered, s.path, at.Size(), s.size)
	case at.Size() > s.size:
		return fmt.Errorf("%s has %d bytes, %d were written: something else writes to it", s.path, at.Size(), s.size)
	}
	return nil
}

// rotate goes on in a new file. The checkpoint comes first: once a file with later
// records exists, everything before it is signed, so that Open never has to look
// for unsigned records in more than the newest file that holds any.
func (s *store) rotate() error {
	if last := len(s.starts) - 1; last < 0 || s.starts[last] != s.tree.n {
		s.starts = append(s.starts, s.tree.n)
		if err := s.sign(false); err != nil {
			s.starts = s.starts[:len(s.starts)-1]
			return err
		}
	}
	f, err := s.disk.open(s.path, os.O_RDWR|os.O_APPEND|os.O_CREATE)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != 0 {
		err = fmt.Errorf("%s was replaced by a file that is not empty", s.path)
	}
	if err == nil {
		err = s.disk.syncDir(filepath.Dir(s.path))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	_ = s.log.Close() // everything in it was synced
	s.log, s.size, s.listed = f, 0, map[string]bool{}
	s.logger.Info("audit log continues in a new file", "file", s.path, "seq", s.tree.n)
	return nil
}

// repair cuts the files back to the last durable record. Hashes first: a hash
// without its line would look like tampering after a crash in between.
func (s *store) repair() error {
	if err := s.hashes.Truncate(tlog.StoredHashCount(s.tree.n) * tlog.HashSize); err != nil {
		return err
	}
	if err := s.hashes.Sync(); err != nil {
		return err
	}
	info, err := s.log.Stat()
	if err != nil {
		return err
	}
	if info.Size() > s.size {
		if err := s.log.Truncate(s.size); err != nil {
			return err
		}
	}
	return s.log.Sync()
}

// sign writes a checkpoint over the whole tree. All lines are durable; the hashes
// are made so first, so that a checkpoint never covers hashes that are not there.
func (s *store) sign(closed bool) error {
	if err := s.hashes.Sync(); err != nil {
		return err
	}
	c := checkpoint{
		size: s.tree.n, root: s.tree.root(), at: s.now(),
		starts: s.starts[max(0, len(s.starts)-maxStarts):], closed: closed,
	}
	msg, err := c.sign(s.signer)
	if err != nil {
		return err
	}
	if err := s.disk.replace(s.path+checkpointSuffix, msg); err != nil {
		return err
	}
	s.note, s.signed = slices.Clip(msg), s.tree.n
	return nil
}

func (s *store) close() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.hashes != nil {
		errs = append(errs, s.hashes.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
