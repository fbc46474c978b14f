package strictyaml

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const byteOrderMark = "\ufeff"

// Legible reports whether the file is UTF-8 that reads as it looks. It notes the first
// character of each line that makes a reviewer see something else than a program does.
//
// YAML ends a line, and with it a comment, at a lone CR, U+0085, U+2028 and U+2029. Editors
// and diffs do not, so a line that looks like a comment would be in force. Control
// characters change what a terminal shows, and bidirectional ones the order that text is
// shown in. Look-alike letters and characters of no width are not looked for here: lint
// finds them in constants.
func (s *Source) Legible() bool {
	for i, line := range s.lines {
		if !utf8.ValidString(line) {
			s.notUTF8(i+1, line)
			return false // the encoding of the whole file: one mistake
		}
		at := strings.IndexFunc(line, misleading)
		if at < 0 {
			continue
		}
		r, _ := utf8.DecodeRuneInString(line[at:])
		d := Diagnostic{Message: fmt.Sprintf("the character U+%04X makes this line read differently from how it looks", r),
			Expected: "text without control characters; lines end with LF, or with CR and LF"}
		if r == '\r' {
			d.Message = "a carriage return without a line feed: some programs take it for the end of a line, and some do not"
		}
		s.Add(i+1, 1+utf8.RuneCountInString(line[:at]), d)
	}
	return s.OK()
}

func misleading(r rune) bool {
	switch r {
	case '\t':
		return false
	case '\u2028', '\u2029':
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

func (s *Source) notUTF8(line int, text string) {
	column, at := 1, 0
	for at < len(text) {
		r, size := utf8.DecodeRuneInString(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		column, at = column+1, at+size
	}
	s.Add(line, column, Diagnostic{Message: fmt.Sprintf("this is not UTF-8: the byte 0x%02X", text[at]), Expected: "the file saved as UTF-8 (in spreadsheets, CSV UTF-8)"})
}

// undirected reports whether the file has no YAML directive but %YAML. A %TAG serves tags,
// which no file here has, and the parser compares each of them with all others.
func (s *Source) undirected() bool {
	for i, line := range s.lines {
		if strings.HasPrefix(line, "%") && !strings.HasPrefix(line, "%YAML ") {
			s.Add(i+1, 1, Diagnostic{Message: "a line that begins with % is a YAML directive, and only %YAML is used", Expected: "the file without it, or quotes around a text that begins with %"})
			return false
		}
	}
	return true
}
