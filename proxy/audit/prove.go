package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Proof proves that one record is in a log, to a reader who has the public key and
// nothing else of the log. It is JSON, and reveals nothing about other records except
// their number.
type Proof struct {
	Seq        int64            `json:"seq"`
	Line       string           `json:"line"`       // the record, byte for byte
	Path       tlog.RecordProof `json:"path"`       // hashes from the line up to the root, RFC 6962 section 2.1.1
	Checkpoint string           `json:"checkpoint"` // signed size and root
}

// ErrUnsigned is returned by Prove for a record that no checkpoint covers yet.
var ErrUnsigned = errors.New("no checkpoint covers the record yet")

// Prove makes a proof for record seq of the log. It checks the proof but for the
// signature, for which it has no key.
func Prove(log string, seq int64) (Proof, error) {
	msg, err := os.ReadFile(log + checkpointSuffix)
	if err != nil {
		return Proof{}, fmt.Errorf("audit proof: %w", err)
	}
	c, err := openCheckpoint(msg, nil)
	if err != nil {
		return Proof{}, fmt.Errorf("audit proof: %s: %w", log+checkpointSuffix, err)
	}
	switch {
	case seq < 0:
		return Proof{}, fmt.Errorf("audit proof: there is no seq %d", seq)
	case seq >= c.size:
		return Proof{}, fmt.Errorf("audit proof: seq %d, and the checkpoint covers %d records: %w", seq, c.size, ErrUnsigned)
	}
	f, err := os.Open(log + hashSuffix)
	if err != nil {
		return Proof{}, fmt.Errorf("audit proof: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Proof{}, fmt.Errorf("audit proof: %w", err)
	}
	path, err := tlog.ProveRecord(c.size, seq, newHashFile(f, info.Size()))
	if err != nil {
		return Proof{}, fmt.Errorf("audit proof: %w", err)
	}
	line, err := findLine(log, seq)
	if err != nil {
		return Proof{}, fmt.Errorf("audit proof: %w", err)
	}
	if err := tlog.CheckRecord(path, c.size, c.root, seq, tlog.RecordHash(line)); err != nil {
		return Proof{}, fmt.Errorf("audit proof: seq %d does not fit the checkpoint: verify the log", seq)
	}
	return Proof{Seq: seq, Line: string(line), Path: path, Checkpoint: string(msg)}, nil
}

// findLine returns the line that claims to be record seq.
func findLine(log string, seq int64) ([]byte, error) {
	files, err := Segments(log)
	if err != nil {
		return nil, err
	}
	for i, path := range files {
		if i+1 < len(files) {
			if next, err := firstSeq(files[i+1]); err == nil && next >= 0 && next <= seq {
				continue
			}
		}
		line, err := findIn(path, seq)
		if line != nil || err != nil {
			return line, err
		}
	}
	return nil, fmt.Errorf("seq %d is in none of the %d files", seq, len(files))
}

func findIn(path string, seq int64) ([]byte, error) {
	f, err := openLines(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for {
		line, err := f.next()
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !line.long && claimedSeq(line.raw) == seq {
			return bytes.Clone(line.raw), nil
		}
	}
}

// CheckProof reports whether p proves that line is in the log that signs with key
// (the text that Log.Key and VerifierKey give). A nil line is the one in p; otherwise
// it is the line as it stands in the log, with or without its line feed.
func CheckProof(p Proof, line []byte, key string) error {
	v, err := note.NewVerifier(key)
	if err != nil {
		return fmt.Errorf("audit proof: key: %w", err)
	}
	if line == nil {
		line = []byte(p.Line)
	}
	line = bytes.TrimSuffix(line, []byte("\n"))
	c, err := openCheckpoint([]byte(p.Checkpoint), v)
	if err != nil {
		return fmt.Errorf("audit proof: checkpoint: %w", err)
	}
	if p.Seq < 0 || p.Seq >= c.size {
		return fmt.Errorf("audit proof: the checkpoint does not cover seq %d", p.Seq)
	}
	if err := tlog.CheckRecord(p.Path, c.size, c.root, p.Seq, tlog.RecordHash(line)); err != nil {
		return errors.New("audit proof: the line is not the record that was signed")
	}
	return nil
}
