package policy

import "sallyport/policy/strictyaml"

// Diagnostic is one mistake in a policy file, with all that its author needs to fix it:
// file, line and column (1-based, in characters), message, expected value, suggestion,
// and an excerpt with a caret.
type Diagnostic = strictyaml.Diagnostic

// Diagnostics is every mistake found in one policy file, in file order. [Compile] returns
// it as its error: errors.As finds it.
type Diagnostics = strictyaml.Diagnostics

// Printable makes text from a file safe to show on a terminal, one character for one.
// Code that makes a Diagnostic must put its texts through it.
func Printable(text string) string { return strictyaml.Printable(text) }
