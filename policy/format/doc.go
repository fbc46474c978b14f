// Package format puts policy files and files of tests into their canonical layout:
// `policy fmt`.
//
// It changes order, indentation, empty lines and the mark at the end, and nothing else:
// comments stay with what they stand above or beside, and every value is written as its
// author wrote it. The result is read again and must say what the input said; otherwise
// there is an error and no result.
package format
