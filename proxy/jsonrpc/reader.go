package jsonrpc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// reader reads the JSON (RFC 8259) of one message and knows where in it each token is.
// The library checks the grammar; the parser checks what of it a message uses.
type reader struct {
	body []byte
	buf  bytes.Buffer
	dec  jsontext.Decoder
}

// readers keeps decoders, which are larger than most messages.
var readers = sync.Pool{New: func() any { return new(reader) }}

// release gives r back without the message it has read.
func (r *reader) release() {
	r.reset(nil)
	readers.Put(r)
}

// lenient concerns params: names may repeat in them, and "\ud800" may stand alone. The
// parser itself refuses a repeated member of the call, and [Parse] bytes that are not
// UTF-8.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

func (r *reader) reset(body []byte) {
	r.body, r.buf = body, *bytes.NewBuffer(body)
	r.dec.Reset(&r.buf, lenient...)
}

// kind is what begins with the next token; KindInvalid if none does.
func (r *reader) kind() jsontext.Kind { return r.dec.PeekKind() }

// offset is where the last token ended.
func (r *reader) offset() int { return int(r.dec.InputOffset()) }

// next is where the next token begins.
func (r *reader) next() int {
	i := r.offset()
	for i < len(r.body) && strings.IndexByte(" \t\r\n,:", r.body[i]) >= 0 {
		i++
	}
	return i
}

func (r *reader) fail(c Code, detail string) *Error { return &Error{c, r.next(), detail} }

// syntax is what the library says of the grammar, as an *Error; nil for nil.
func (r *reader) syntax(err error) *Error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &Error{Syntax, len(r.body), "the message ends too early"}
	}
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return &Error{Syntax, int(s.ByteOffset), "this byte does not belong here"}
	}
	return r.fail(Syntax, err.Error())
}

// token passes over one token.
func (r *reader) token() *Error {
	_, err := r.dec.ReadToken()
	return r.syntax(err)
}

// str reads a string and returns what stands between its quotes, as it was written.
// plain is false if that holds an escape.
func (r *reader) str() (raw []byte, plain bool, _ *Error) {
	v, err := r.dec.ReadValue()
	if err != nil {
		return nil, false, r.syntax(err)
	}
	if v.Kind() != jsontext.KindString {
		return nil, false, r.fail(Syntax, "a name is a string")
	}
	raw = r.body[r.offset()-len(v)+1 : r.offset()-1] // v itself is the library's, until the next read
	return raw, bytes.IndexByte(raw, '\\') < 0, nil
}

// skip passes over any value nested at most depth deep.
func (r *reader) skip(depth int) *Error {
	base := r.dec.StackDepth()
	for {
		if err := r.token(); err != nil {
			return err
		}
		switch open := r.dec.StackDepth() - base; {
		case open > depth:
			return &Error{TooDeep, r.offset() - 1, fmt.Sprintf("nested deeper than %d", depth)}
		case open == 0:
			return nil
		}
	}
}

// end checks that the message has ended.
func (r *reader) end() *Error {
	if _, err := r.dec.ReadToken(); err == io.EOF {
		return nil
	}
	return r.fail(Syntax, "something follows the message")
}

// firstInvalidUTF8 is the offset of the first byte that is not of UTF-8, or -1.
func firstInvalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	at := 0
	for {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n == 1 {
			return at
		}
		at += n
	}
}
