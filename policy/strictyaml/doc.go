// Package strictyaml is the part that the readers of strict YAML files share: it loads a
// file within bounds, says in the author's words what is wrong with it, and says where.
// The configuration, policies, and files of tests and invariants are read with it.
//
// It knows no keys and no types: package config fills structs from the tree, and
// policy/internal/file follows expressions into their scalars.
//
// How it fails: a [Source] collects every mistake as a [Diagnostic], at most
// [MaxDiagnostics] of them, and [Source.Err] returns them in file order. Size and depth
// are bounded before a reader sees the tree, and text that reads differently from how it
// looks is refused before it is parsed ([Source.Legible]).
package strictyaml
