// Package whole tells a file that was written to its end from one that may be half
// written: policies, and other files that come into force by themselves.
//
// An editor, a copy over a network or a full disk leaves half a file for a moment or for
// good, and half a policy is often a policy: its last rules, its tests and its invariants
// are missing. That the file was renamed into its place proves nothing, because half a
// file can be renamed.
//
// A file is written to its end if it has the [Mark] there. No file has the mark anywhere
// else, because YAML allows no more behind it, so that no part of a file has it either.
// Without the mark, time and content have to tell: see [File.Wait] and [Dropped].
//
// It reads no file and has no clock, and its zero values know nothing.
package whole

import (
	"bytes"
	"time"

	"sallyport/policy/internal/file"
)

// Mark is the last line of a file that says so itself: the end of a YAML document. It is
// what `sallyport policy fmt` ends a policy with.
const Mark = "..."

// Ended reports whether a text has the mark at its end. Empty lines and comments may
// follow.
func Ended(text []byte) bool {
	_, _, found := Cut(text)
	return found
}

// Cut takes a text apart around the line of the mark. Without the mark, all is before.
func Cut(text []byte) (before, after []byte, found bool) {
	for end := len(text); end > 0; {
		start := bytes.LastIndexByte(text[:end-1], '\n') + 1
		line := bytes.TrimRight(text[start:end], " \t\r\n")
		if bytes.Equal(line, []byte(Mark)) {
			return text[:start], text[end:], true
		}
		if line = bytes.TrimLeft(line, " \t"); len(line) > 0 && line[0] != '#' {
			break
		}
		end = start
	}
	return text, nil, false
}

// Dropped names what a policy has and the text that is to follow it has not: rules, tests,
// invariants, lists, top-level keys, the mark, the line end behind the last line, and what
// was cut off the last entry. It is empty if nothing is missing, and if the new text is no
// policy at all. `after` may be a policy that became shorter as well as one that was cut
// off: that is for a person to say.
func Dropped(before, after []byte) []string {
	list, ok := file.Dropped(before, after)
	if !ok {
		return list
	}
	return append(list, endDropped(before, after)...)
}

// CutException names what the last exception of a file lacks that it has in another file,
// if it may be cut off; it is empty if not. Exceptions that are gone as a whole are not
// named: fewer of them are stricter, and a person who ends one removes its lines. One
// without its last lines may hold for longer and from more places.
func CutException(before, after []byte) (list []string) {
	if cut := file.CutException(before, after); cut != "" {
		list = append(list, cut)
	}
	return append(list, endDropped(before, after)...)
}

// endDropped names what is missing at the very end.
func endDropped(before, after []byte) []string {
	switch {
	case Ended(after):
		return nil
	case Ended(before):
		return []string{"the line " + Mark + " at the end"}
	case bytes.HasSuffix(before, []byte("\n")) && !bytes.HasSuffix(after, []byte("\n")):
		return []string{"the end of the last line"}
	}
	return nil
}

// File is what was seen of one file. It is not safe for concurrent use.
type File struct {
	text  []byte
	since time.Time
	was   int // length of the text before; 0: there was none
}

// See notes the text that the file has now.
func (f *File) See(text []byte, now time.Time) {
	if !f.since.IsZero() && bytes.Equal(f.text, text) {
		return
	}
	f.text, f.since, f.was = text, now, len(f.text)
}

// Sure reports whether the text was written to its end for certain: it has the mark, and a
// line end behind it. The mark of a text that is as long as the one before proves nothing:
// the file may be half overwritten, and end with what it had; nor does it prove anything
// where NUL bytes stand for parts that are not written yet.
func (f *File) Sure() bool {
	return Ended(f.text) && bytes.HasSuffix(f.text, []byte("\n")) && len(f.text) != f.was && bytes.IndexByte(f.text, 0) < 0
}

// Wait is for how long the text has to stay as it is until it may be taken for one that no
// one is writing any more; 0: it may now. settle is for how long such a text is unchanged.
func (f *File) Wait(settle time.Duration, now time.Time) time.Duration {
	if f.Sure() {
		return 0
	}
	return max(0, settle-now.Sub(f.since))
}
