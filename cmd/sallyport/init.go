package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed starter
var starter embed.FS

type initCmd struct {
	Dir string `default:"." placeholder:"DIR" help:"Folder to write to (default: this one)."`
}

// secretPlaceholder is what init leaves in the client secret file.
const secretPlaceholder = "paste the client secret here"

// Run writes everything or nothing. The configuration gets the name that --config
// says, the rest goes beside it.
func (i initCmd) Run(g *globals, std stdio) error {
	target := g.Config
	if !filepath.IsAbs(target) {
		target = filepath.Join(i.Dir, target)
	}
	dir := filepath.Dir(target)
	files, err := starterFiles(target)
	if err != nil {
		return err
	}
	if err := writeAll(files); err != nil {
		return err
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimPrefix(f.name, dir+string(filepath.Separator)))
	}
	command := "sallyport"
	if target != "sallyport.yaml" {
		command += " --config " + target
	}
	fmt.Fprintf(std.out, `Wrote %s to %s

Next:
  1. In %s, set external_url, oidc.issuer and oidc.client_id, and a route for your tool.
  2. At your OpenID provider, register a confidential web client with the redirect URI
     EXTERNAL_URL/.sallyport/callback, and put its secret into secrets/oidc.
  3. Unless this is a trial on this machine: a proxy with your certificate in front
     (trusted_proxies), or tls. Both host names lead there.
  4. %s check      (says what is left to replace)
  5. %[4]s serve
  6. In a second shell, as the same user: %[4]s ticket create --user YOUR-ADDRESS
`, strings.Join(names, ", "), dir, filepath.Base(target), command)
	return nil
}

// newFile is a file to be written.
type newFile struct {
	name    string
	content []byte
	mode    fs.FileMode
}

// starterMode lets the group read, so that root can own the files and give them to the
// service's group; others cannot: the roster is personal data, and the configuration says
// what is trusted.
const starterMode = 0o640

// starterFiles are the files of starter/, for a configuration with this name.
func starterFiles(target string) (files []newFile, err error) {
	dir := filepath.Dir(target)
	err = fs.WalkDir(starter, "starter", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f := newFile{name: filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(path, "starter/"))), mode: starterMode}
		if path == "starter/sallyport.yaml" {
			f.name = target
		}
		f.content, err = starter.ReadFile(path)
		files = append(files, f)
		return err
	})
	return append(files, newFile{filepath.Join(dir, "secrets", "oidc"), []byte(secretPlaceholder + "\n"), 0o600}), err
}

// writeAll writes all files, none of which may exist, or changes nothing.
func writeAll(files []newFile) (err error) {
	var inTheWay []error
	for _, f := range files {
		if _, err := os.Lstat(f.name); !errors.Is(err, fs.ErrNotExist) {
			inTheWay = append(inTheWay, fmt.Errorf("%s exists already; nothing was written", f.name))
		}
	}
	if err := errors.Join(inTheWay...); err != nil {
		return err
	}
	var made []string // files and folders of ours, to be removed in reverse order
	defer func() {
		if err == nil {
			return
		}
		for _, name := range slices.Backward(made) {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	for _, f := range files {
		folders, err := makeFolders(filepath.Dir(f.name))
		made = append(made, folders...)
		if err != nil {
			return err
		}
		// O_EXCL: neither a file nor a link that came after the look above is written to.
		out, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if err != nil {
			return err
		}
		made = append(made, f.name)
		_, err = out.Write(f.content)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	return nil
}

// makeFolders is os.MkdirAll that returns the folders it made.
func makeFolders(dir string) (made []string, err error) {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if parent := filepath.Dir(dir); parent != dir {
		if made, err = makeFolders(parent); err != nil {
			return made, err
		}
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		return made, err
	}
	return append(made, dir), nil
}
