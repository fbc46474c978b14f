// Package file takes policy files, files of tests and files of invariants apart: from
// YAML to a [Document] whose parts know where in the file they stand.
//
// It is strict: an unknown key, a value of another type, anchors, aliases, tags and a
// second document are mistakes. It knows the keys (keys.go, the one table of reader and
// schema) and the structure of the file, and neither facts nor expressions; package
// policy compiles those and adds its mistakes to the same [Source].
//
// How it fails: every mistake is collected as a [Diagnostic], at most strictyaml.MaxDiagnostics of
// them, and its Err returns them in file order. The size, the depth and the number
// of rules, tests and entries are bounded, so that a hostile file is refused in bounded
// time.
package file
