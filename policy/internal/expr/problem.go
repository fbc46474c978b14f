package expr

import "fmt"

// Problem is one mistake in an expression.
type Problem struct {
	Offset     int // in characters from the start of the text
	Message    string
	Expected   string
	Suggestion string
	// List and Entry say that the mistake is in a constant list, at that entry; List is
	// "" otherwise.
	List  string
	Entry int
	patch *patch // nil: none is known
}

func (p Problem) Error() string {
	s := fmt.Sprintf("character %d: %s", p.Offset+1, p.Message)
	if p.Expected != "" {
		s += "; expected " + p.Expected
	}
	if p.Suggestion != "" {
		s += "; did you mean " + p.Suggestion + "?"
	}
	return s
}
