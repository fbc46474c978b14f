package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// A policy file may say at its top, among its first comments, which policy it continues:
//
//	# base: 5f3c…
//
// `policy apply` writes into a file that came into force the hash of that file itself. An
// author who copies the file, edits and applies it therefore says, without a thought, what
// the copy was made from; a policy that another author brought into force meanwhile is
// noticed. The line is not part of what is hashed, or no file could name itself.

const baseMark = "# base: "

var hashPrefix = regexp.MustCompile(`^[0-9a-f]{6,64}$`)

// IsHashPrefix reports whether a text can be the beginning of a hash: 6 to 64 hexadecimal
// digits.
func IsHashPrefix(text string) bool { return hashPrefix.MatchString(text) }

// mark is the byte order mark that some editors begin a file with.
var mark = []byte("\ufeff")

// baseLine finds the line in source that names the base: source[start:end], with its line
// break, and what it says; -1 if there is none. A comment of several words is another
// comment. What YAML has before its document may stand above: a byte order mark, which is
// no part of the line, and the line `---`, which formatters put there.
func baseLine(source []byte) (start, end int, says string) {
	if bytes.HasPrefix(source, mark) {
		start = len(mark)
	}
	for start < len(source) {
		end = len(source)
		if i := bytes.IndexByte(source[start:], '\n'); i >= 0 {
			end = start + i + 1
		}
		line := bytes.TrimSpace(source[start:end])
		if len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			break
		}
		if word, ok := bytes.CutPrefix(line, []byte(baseMark)); ok && !bytes.ContainsAny(word, " \t") {
			return start, end, string(word)
		}
		start = end
	}
	return -1, -1, ""
}

// Base returns the beginning of the hash (6 to 64 hexadecimal digits) of the policy that
// source says it continues; "" if it says nothing. The error is about a line that names no
// hash.
func Base(source []byte) (string, error) {
	switch start, _, says := baseLine(source); {
	case start < 0:
		return "", nil
	case !IsHashPrefix(says):
		return "", Diagnostics{{Line: bytes.Count(source[:start], []byte("\n")) + 1, Column: 1, Message: "the comment `" + Printable(baseMark+says) + "` names no policy",
			Expected: "the beginning of a hash that `policy history` prints, 6 digits at least, or no such comment"}}
	default:
		return says, nil
	}
}

// Hash names a policy: SHA-256, in hexadecimal, of its text without the line that names its
// base.
func Hash(source []byte) string {
	return HashExceptions(withoutBase(source))
}

// HashExceptions names a file of exceptions: SHA-256, in hexadecimal, of its text.
func HashExceptions(source []byte) string {
	sum := sha256.Sum256(source)
	return hex.EncodeToString(sum[:])
}

func withoutBase(source []byte) []byte {
	start, end, says := baseLine(source)
	if !IsHashPrefix(says) {
		return source
	}
	return append(bytes.Clone(source[:start]), source[end:]...)
}

// NamingItself returns source with its own hash as the base of what is made from it, in
// the first line or where it named its base. Its hash stays.
func NamingItself(source []byte) []byte {
	start, _, says := baseLine(source)
	switch {
	case IsHashPrefix(says):
	case bytes.HasPrefix(source, mark):
		start = len(mark)
	default:
		start = 0
	}
	rest := withoutBase(source)
	line := baseMark + Hash(source) + "\n"
	return append(append(bytes.Clone(rest[:start]), line...), rest[start:]...)
}
