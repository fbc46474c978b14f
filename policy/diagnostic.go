package policy

import "sallyport/policy/internal/file"

// Diagnostic is one mistake in a policy file, said so that its author can mend it without
// reading this program: file, line and column (1-based, in characters), message, what was
// expected, what may have been meant, and an excerpt with a caret.
type Diagnostic = file.Diagnostic

// Diagnostics is every mistake found in one policy file, in file order. [Compile] returns
// it as its error: errors.As finds it.
type Diagnostics = file.Diagnostics

// Printable makes text from a file safe to show on a terminal, one character for one.
// Code that makes a Diagnostic must put its texts through it.
func Printable(text string) string { return file.Printable(text) }
