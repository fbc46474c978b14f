package audit

import (
	"fmt"
	"slices"
)

// checkAgainstSignature compares the findings with the signature.
func (s *scan) checkAgainstSignature() error {
	s.checkSaved()
	if s.signed == nil {
		return nil
	}
	return s.checkSigned()
}

// checkSaved: the log must still begin with what a checkpoint kept elsewhere covers.
func (s *scan) checkSaved() {
	for _, m := range s.saved {
		switch {
		case m.seen && !m.fits:
			s.problem(Problem{Kind: BadCheckpoint, Seq: m.size, Message: fmt.Sprintf("%s: the first %d lines are not the ones it was signed over", m.name, m.size)})
		case m.size > s.lines.n:
			s.problem(Problem{Kind: Dropped, Seq: s.lines.n, Count: m.size - s.lines.n, Message: fmt.Sprintf("%s covers %d records, the log has %d: it was rolled back", m.name, m.size, s.lines.n)})
		}
	}
}

func (s *scan) checkSigned() error {
	n := s.signed.size
	if s.blind {
		s.problem(Problem{Kind: BadHashes, Seq: s.base, Message: fmt.Sprintf("the records before seq %d are neither in the files given nor in the hash file, so the lines cannot be held against the signature", s.base)})
		return nil
	}
	if s.signed.fits {
		// The lines are what was signed, so any difference from them is wrong.
		const intact = "; the lines that are signed are intact"
		before := len(s.problems)
		s.problems = slices.DeleteFunc(s.problems, func(p Problem) bool { return p.lines() && p.Seq < n })
		if i := slices.IndexFunc(s.problems, func(p Problem) bool { return p.Kind == BadHashes }); i >= 0 {
			s.problems[i].Message += intact
		} else if s.badHashes > 0 || len(s.problems) < before {
			s.problem(Problem{Kind: BadHashes, Message: "the hash file was changed" + intact})
		}
		return nil
	}
	fits, err := s.hashesFit()
	if err != nil || fits {
		return err
	}
	found := slices.ContainsFunc(s.problems, Problem.lines)
	switch {
	case found && s.known >= n:
		s.problem(Problem{Kind: BadHashes, Message: "the hash file does not match the signed checkpoint either, so it cannot be trusted for where the change is"})
	case !found && s.known >= n:
		s.problem(Problem{Kind: Changed, File: s.lastFile(), Seq: s.base, Message: fmt.Sprintf("lines and hash file match each other but not the signed checkpoint: some of seq %d to %d were changed and the hash file was rewritten to fit%s", s.base, n-1, s.bracket())})
	case !found:
		s.problem(Problem{Kind: Changed, File: s.lastFile(), Seq: s.base, Message: fmt.Sprintf("some of seq %d to %d were changed; without a complete hash file it cannot be told which%s", s.base, n-1, s.bracket())})
	}
	return nil
}

// hashesFit reports whether the stored leaves give the signed root.
func (s *scan) hashesFit() (bool, error) {
	n := s.signed.size
	if s.known < n {
		return false, nil
	}
	t := s.lines
	if s.parted != nil {
		t = *s.parted
	}
	for t = t.clone(); t.n < n; {
		h, err := s.hashes.leaf(t.n)
		if err != nil {
			return false, err
		}
		s.scratch = t.add(h, s.scratch[:0])
	}
	return t.n == n && t.root() == s.signed.root, nil
}

// bracket narrows a change down with the checkpoints kept elsewhere.
func (s *scan) bracket() string {
	lo, hi := int64(-1), int64(-1)
	for _, m := range s.saved {
		if m.seen && m.fits && m.size > lo {
			lo = m.size
		}
		if m.seen && !m.fits && (hi < 0 || m.size < hi) {
			hi = m.size
		}
	}
	switch {
	case lo >= 0 && hi >= 0:
		return fmt.Sprintf("; saved checkpoints say between seq %d and %d", lo, hi-1)
	case lo >= 0:
		return fmt.Sprintf("; saved checkpoints say from seq %d on", lo)
	case hi >= 0:
		return fmt.Sprintf("; saved checkpoints say before seq %d", hi)
	}
	return ""
}
