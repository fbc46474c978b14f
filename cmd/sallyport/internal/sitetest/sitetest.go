// Package sitetest is a small deployment for tests: a configuration, a policy, people,
// and lists of addresses. The ports are the variables PORT, OPS and IDP.
//
// It is no part of the product, and starts nothing: the caller writes the files,
// replaces the variables and runs the program.
package sitetest

import (
	"embed"
	"io/fs"
	"path"
)

//go:embed site
var site embed.FS

// Files returns the names of the files, and what they hold. The map is the caller's.
func Files() map[string]string {
	files := map[string]string{}
	names, err := fs.Glob(site, "site/*")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		text, err := site.ReadFile(name)
		if err != nil {
			panic(err)
		}
		files[path.Base(name)] = string(text)
	}
	return files
}
