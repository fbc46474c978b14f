package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed starter
var starter embed.FS

type initCmd struct {
	Dir string `default:"." placeholder:"DIR" help:"Folder to write to (default: this one)."`
}

// secretPlaceholder is what init leaves in the client secret file.
const secretPlaceholder = "paste the client secret here\n"

// Run writes everything or nothing: it looks for files in the way first.
func (i initCmd) Run(std streams) error {
	files := map[string][]byte{"secrets/oidc": []byte(secretPlaceholder)}
	err := fs.WalkDir(starter, "starter", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel("starter", filepath.FromSlash(path))
		if err != nil {
			return err
		}
		files[rel], err = starter.ReadFile(path)
		return err
	})
	if err != nil {
		return err
	}
	var inTheWay []error
	for name := range files {
		if _, err := os.Lstat(filepath.Join(i.Dir, name)); !errors.Is(err, fs.ErrNotExist) {
			inTheWay = append(inTheWay, fmt.Errorf("%s exists already; nothing was written", filepath.Join(i.Dir, name)))
		}
	}
	if err := errors.Join(inTheWay...); err != nil {
		return err
	}
	for name, content := range files {
		file, mode := filepath.Join(i.Dir, name), os.FileMode(0o644)
		if name == "secrets/oidc" {
			mode = 0o600
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(file, content, mode); err != nil {
			return err
		}
	}
	fmt.Fprintf(std.out, `Wrote sallyport.yaml, policy.yaml, people.csv, lists/vpn.txt and secrets/oidc to %s

Next:
  1. Set oidc.issuer and oidc.client_id in sallyport.yaml, and put the client secret into secrets/oidc.
  2. Set external_url, and a route for your tool.
  3. sallyport check
  4. sallyport serve
  5. sallyport ticket create --user you@example.com
`, i.Dir)
	return nil
}
