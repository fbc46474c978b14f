package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"sallyport/proxy/rollout"
)

// replacement is a file that is about to take the place of another one.
//
// The user who runs the command may be root, and the folder may belong to another user,
// who can exchange names in it at any moment: the file for a link to one that only root
// can read, a part of the path for another folder. So the folder and the old file are
// opened once, links are not followed from there on, and content, mode and owner are
// those of the file that was opened. What this does not check: the path in the
// configuration, which the operator vouches for.
type replacement struct {
	folder *os.Root
	name   string // in the folder
	shown  string // where it stands, for messages: as it was given, unless that is a link
	was    []byte
	info   fs.FileInfo
	temp   string // the new file until commit, then ""
	copied string // the copy of the old file until commit, then ""; "" without one

	missing bool // there is no old file
}

// openReplaced opens the file that is to be replaced and reads it. A link as the last
// part of the path is followed, so that it stays one: see linkOfStranger for the
// exception.
func openReplaced(path string) (*replacement, error) {
	if err := linkOfStranger(path); err != nil {
		return nil, err
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	folder, err := os.OpenRoot(filepath.Dir(target))
	if err != nil {
		return nil, err
	}
	f := &replacement{folder: folder, name: filepath.Base(target), shown: target}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil && filepath.Join(dir, filepath.Base(path)) == target {
		f.shown = path // links in the middle of it lead to the same place
	}
	if f.info, f.was, err = readUnlinked(folder, f.name); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), folder.Close())
	}
	return f, nil
}

// openMissing is openReplaced for a file that is not there: it is made, for the owner of its
// folder. A link to nothing is refused.
func openMissing(path string) (*replacement, error) {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return nil, fmt.Errorf("%s is a link to a file that is not there", path)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	f := &replacement{folder: folder, name: filepath.Base(path), shown: path, missing: true}
	if f.info, err = folder.Stat("."); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return f, nil
}

// readUnlinked reads a regular file of the folder. os.Root follows links within the
// folder, so the opened file has to be the one that has the name: a link to a neighbour
// is refused.
func readUnlinked(folder *os.Root, name string) (fs.FileInfo, []byte, error) {
	named, err := folder.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	// Opening a pipe would wait for a writer.
	file, err := folder.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, nil, err
	case !named.Mode().IsRegular() || !info.Mode().IsRegular():
		return nil, nil, errors.New("it is not a regular file")
	case !os.SameFile(named, info):
		return nil, nil, errors.New("it was exchanged while it was opened")
	}
	content, err := rollout.ReadAll(file)
	return info, content, err
}

// prepareFile writes the new content and a copy of the old beside the old file, with its
// mode and owner. A file that is not there is made. Commit makes the copy FILE.bak; a
// change that is refused leaves the FILE.bak of the change before. The same content
// leaves both files as they are. What would keep commit from replacing FILE.bak is found
// here.
func prepareFile(path, content string) (*replacement, error) {
	f, err := openReplaced(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = openMissing(path)
	}
	if err != nil {
		return nil, err
	}
	if f.has(content) {
		return f, nil
	}
	f.temp, err = f.writeBeside([]byte(content))
	if err == nil && !f.missing {
		f.copied, err = f.writeBeside(f.was)
	}
	if err == nil && !f.missing {
		err = f.backupGives()
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// has reports whether the file had that content when it was opened.
func (f *replacement) has(content string) bool { return !f.missing && string(f.was) == content }

// backupGives finds out whether FILE.bak can be replaced, by renaming it and back. That
// takes the same rights: in a sticky folder it may belong to another user, and it may be
// immutable.
func (f *replacement) backupGives() error {
	bak, aside := f.name+".bak", "."+f.name+"."+rand.Text()
	info, err := f.folder.Lstat(bak)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && info.IsDir():
		return fmt.Errorf("%s is a folder: the policy before has its place there, so give the folder another name", f.backup())
	case err == nil:
		if err = f.folder.Rename(bak, aside); err == nil {
			err = f.folder.Rename(aside, bak)
		}
	}
	if err != nil {
		return fmt.Errorf("%s cannot be replaced by this user: %w", f.backup(), err)
	}
	return nil
}

// replaceFile puts new content in the place of a file's old one at once: a reader, such
// as a running proxy, sees the whole of the old or of the new. Mode and owner stay; a link
// stays one, and what it points to is replaced. A file that does not have the old content
// stays.
func replaceFile(path string, old, content []byte) error {
	f, err := openReplaced(path)
	if err != nil {
		return err
	}
	if !f.has(string(old)) {
		return errors.Join(fmt.Errorf("%s: %w", path, errEdited), f.close())
	}
	if f.temp, err = f.writeBeside(content); err == nil {
		err = f.commit()
	}
	return errors.Join(err, f.close())
}

// path is where the file that is replaced stands, for messages.
func (f *replacement) path() string { return f.shown }

func (f *replacement) backup() string { return f.path() + ".bak" }

// writeBeside makes a file in the folder, with the mode and owner of the one that is
// replaced and a name that cannot be guessed, and returns that. It never writes to what
// is there already.
func (f *replacement) writeBeside(content []byte) (name string, err error) {
	name = "." + f.name + "." + rand.Text()
	out, err := f.folder.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("%s cannot be replaced by this user: %w", f.path(), err)
	}
	_, err = out.Write(content)
	mode := f.info.Mode().Perm()
	if f.missing {
		mode = 0o644 // and it is no secret: the proxy has to read it
	}
	if err = errors.Join(err, sameOwner(out, f.info), out.Chmod(mode), out.Sync(), out.Close()); err != nil {
		return "", errors.Join(err, f.folder.Remove(name))
	}
	return name, nil
}

// errEdited is about a file that is not the one that was opened any more.
var errEdited = errors.New("it was edited in the meantime")

// commit puts the new file in the old one's place, and the copy of the old beside it. A
// file that is no longer what it was when it was opened stays: another person's edit must
// not be lost. The check and the renaming are two steps, a moment apart.
func (f *replacement) commit() error {
	if f.temp == "" {
		return nil
	}
	switch _, is, err := readUnlinked(f.folder, f.name); {
	case f.missing && errors.Is(err, fs.ErrNotExist):
	case f.missing && err == nil:
		return fmt.Errorf("%s: %w", f.path(), errEdited)
	case err != nil:
		return fmt.Errorf("%s: %w", f.path(), err)
	case !f.has(string(is)):
		return fmt.Errorf("%s: %w", f.path(), errEdited)
	}
	if err := f.put(&f.copied, f.name+".bak"); err != nil {
		return err
	}
	return f.put(&f.temp, f.name)
}

// put gives a file that writeBeside made its name, or takes it away. Without one there is
// nothing to do.
func (f *replacement) put(written *string, name string) error {
	from := *written
	if *written = ""; from == "" {
		return nil
	}
	err := f.folder.Rename(from, name)
	if err != nil {
		err = errors.Join(err, f.folder.Remove(from))
	}
	return err
}

// close takes away what was not committed.
func (f *replacement) close() error {
	var err error
	for _, written := range []string{f.temp, f.copied} {
		if written != "" {
			err = errors.Join(err, f.folder.Remove(written))
		}
	}
	return errors.Join(err, f.folder.Close())
}
