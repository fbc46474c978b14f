package jsonrpc

import (
	"fmt"
	"unicode/utf8"
)

// maxDepth is what the bit stack of skip can hold.
const maxDepth = 64

// scanner reads JSON (RFC 8259) from a byte slice, without recursion and without
// allocating. It knows the whole grammar: whatever it passes over is well-formed.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) fail(c Code, detail string) *Error { return &Error{c, s.i, detail} }

func (s *scanner) unexpected() *Error {
	if s.i >= len(s.b) {
		return s.fail(Syntax, "the message ends too early")
	}
	return s.fail(Syntax, "this byte does not belong here")
}

// peek returns the next byte, 0 at the end. A NUL byte is nowhere legal either.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// stop marks the bytes at which str looks up: quote, backslash, control, not ASCII.
var stop = func() (t [256]bool) {
	for c := range t {
		t[c] = c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf
	}
	return t
}()

// str reads a string and returns what stands between its quotes, as it was written.
// plain is false if that holds an escape.
func (s *scanner) str() (raw []byte, plain bool, _ *Error) {
	s.i++ // '"'
	start := s.i
	plain = true
	for {
		for s.i < len(s.b) && !stop[s.b[s.i]] {
			s.i++
		}
		switch c := s.peek(); {
		case s.i >= len(s.b):
			return nil, false, s.unexpected()
		case c == '"':
			s.i++
			return s.b[start : s.i-1], plain, nil
		case c == '\\':
			plain = false
			if err := s.escape(); err != nil {
				return nil, false, err
			}
		case c < ' ':
			return nil, false, s.fail(Syntax, "a control byte in a string")
		default:
			r, n := utf8.DecodeRune(s.b[s.i:])
			if r == utf8.RuneError && n == 1 {
				return nil, false, s.fail(Encoding, "not UTF-8")
			}
			s.i += n
		}
	}
}

func (s *scanner) escape() *Error {
	s.i++ // '\'
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return nil
	case 'u':
		s.i++
		for range 4 {
			switch c := s.peek(); {
			case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
				s.i++
			default:
				return s.unexpected()
			}
		}
		return nil
	}
	return s.unexpected()
}

func (s *scanner) digits() *Error {
	start := s.i
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.i++
	}
	if s.i == start {
		return s.unexpected()
	}
	return nil
}

func (s *scanner) number() *Error {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++ // and no digit after it
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.peek() == '.' {
		s.i++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		return s.digits()
	}
	return nil
}

func (s *scanner) literal(word string) *Error {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.unexpected()
	}
	s.i += len(word)
	return nil
}

// scalar reads a value that holds no others.
func (s *scanner) scalar() *Error {
	switch s.peek() {
	case '"':
		_, _, err := s.str()
		return err
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number()
	}
	return s.unexpected()
}

// skip reads any value nested at most depth deep. The kinds of what is open are the
// bits of a word, so that a hostile message costs no stack and no memory.
func (s *scanner) skip(depth int) *Error {
	var (
		objects uint64 // bit n: what is open at depth n is an object
		open    int
	)
	for {
		// A value begins here.
		s.space()
		c := s.peek()
		if c == '{' || c == '[' {
			if open == depth {
				return s.fail(TooDeep, fmt.Sprintf("nested deeper than %d", depth))
			}
			s.i++
			objects &^= 1 << open
			if c == '{' {
				objects |= 1 << open
			}
			open++
			s.space()
			if s.peek() != c+2 { // '{'+2 is '}', '['+2 is ']'
				if c == '{' {
					if err := s.key(); err != nil {
						return err
					}
				}
				continue
			}
			// Empty: the loop below closes it.
		} else if err := s.scalar(); err != nil {
			return err
		}
		// A value has ended here; close what ends with it.
		for {
			if open == 0 {
				return nil
			}
			s.space()
			object := objects&(1<<(open-1)) != 0
			c := s.peek()
			if object && c == '}' || !object && c == ']' {
				s.i++
				open--
				continue
			}
			if c != ',' {
				return s.unexpected()
			}
			s.i++
			if object {
				s.space()
				if err := s.key(); err != nil {
					return err
				}
			}
			break
		}
	}
}

// key reads the key of an object's member and the colon after it.
func (s *scanner) key() *Error {
	if s.peek() != '"' {
		return s.unexpected()
	}
	if _, _, err := s.str(); err != nil {
		return err
	}
	if s.space(); s.peek() != ':' {
		return s.unexpected()
	}
	s.i++
	return nil
}
