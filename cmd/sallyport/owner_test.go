//go:build unix

package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A user who owns the folder exchanges the policy for a link while root applies another one: a copy
// of what only root can read must not end up beside it, with the mode of the policy.
func TestReplacedFileIsOpenedOnce(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	writeFile(t, secret, "only for root", 0o600)
	exchange := func(t *testing.T, file, target string) {
		t.Helper()
		if err := errors.Join(os.Remove(file), os.Symlink(target, file)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("after it was opened", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "policy.yaml")
		writeFile(t, file, "version: 1\n", 0o644)
		f, err := openReplaced(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		exchange(t, file, secret)
		name, err := f.writeBeside(f.was)
		if err != nil {
			t.Fatal(err)
		}
		if got := readFile(t, filepath.Join(filepath.Dir(file), name)); got != "version: 1\n" {
			t.Errorf("the copy has %q", got)
		}
	})
	t.Run("before it is opened, for a file elsewhere", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "policy.yaml")
		writeFile(t, file, "version: 1\n", 0o644)
		exchange(t, file, secret)
		refusesToRead(t, file)
	})
	t.Run("before it is opened, for a neighbour", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "policy.yaml")
		writeFile(t, file, "version: 1\n", 0o644)
		writeFile(t, filepath.Join(filepath.Dir(file), "key"), "only for root", 0o600)
		exchange(t, file, "key")
		refusesToRead(t, file)
	})
	t.Run("the folder too", func(t *testing.T) {
		parent := t.TempDir()
		folder := filepath.Join(parent, "conf")
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(folder, "policy.yaml")
		writeFile(t, file, "version: 1\n", 0o644)
		f, err := prepareFile(file, "version: 1 # new\n")
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		elsewhere := t.TempDir()
		writeFile(t, filepath.Join(elsewhere, "policy.yaml"), "of another program", 0o644)
		if err := errors.Join(os.Rename(folder, folder+".away"), os.Symlink(elsewhere, folder), f.commit()); err != nil {
			t.Fatal(err)
		}
		if got := readFile(t, filepath.Join(elsewhere, "policy.yaml")); got != "of another program" {
			t.Errorf("a file of another folder was replaced: %q", got)
		}
	})
}

// What another person wrote in the meantime is not lost.
func TestEditedFilesAreNotReplaced(t *testing.T) {
	for name, replace := range map[string]func(file string, edit func()) error{
		"policy fmt --write": func(file string, edit func()) error {
			edit()
			return replaceFile(file, []byte("old"), []byte("new"))
		},
		"policy apply": func(file string, edit func()) error {
			f, err := prepareFile(file, "new")
			if err != nil {
				return err
			}
			edit()
			return errors.Join(f.commit(), f.close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "policy.yaml")
			writeFile(t, file, "old", 0o600)
			if err := replace(file, func() { writeFile(t, file, "edited", 0o600) }); !errors.Is(err, errEdited) {
				t.Errorf("%v", err)
			}
			if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 || readFile(t, file) != "edited" {
				t.Errorf("%v, %v, %q", left, err, readFile(t, file))
			}
		})
	}
}

// A FILE.bak that cannot be replaced is found out before the policy is asked for. Another
// user's in a sticky folder is such a case.
func TestBackupThatCannotBeReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	writeFile(t, file, "old", 0o600)
	if err := os.Mkdir(file+".bak", 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := prepareFile(file, "new")
	if err == nil {
		t.Fatal(f.close(), "no error")
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
}

// refusesToRead opens a name as openReplaced does once it has resolved the path: what it
// resolved to has been exchanged for a link since.
func refusesToRead(t *testing.T, file string) {
	t.Helper()
	folder, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if _, content, err := readUnlinked(folder, filepath.Base(file)); err == nil {
		t.Errorf("the link was followed: %q", content)
	}
}

func TestRootDoesNotFollowLinksOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give links away")
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "real.yaml"), "version: 1\n", 0o644)
	link := filepath.Join(dir, "policy.yaml")
	if err := os.Symlink("real.yaml", link); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(link, []byte("version: 1\n"), []byte("version: 1 # by root's own link\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(link, 4711, 4711); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(link, []byte("version: 1 # by root's own link\n"), []byte("version: 1 # by another user's\n")); err == nil {
		t.Error("the link of another user was followed")
	}
	if got := readFile(t, filepath.Join(dir, "real.yaml")); got != "version: 1 # by root's own link\n" {
		t.Errorf("the file has %q", got)
	}
}

func writeFile(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Root who mends a policy leaves it to the user that the proxy runs as: with an owner of its own and
// mode 0600, the next start would find a file that it cannot read.
func TestReplacedFilesKeepTheirOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	for name, replace := range map[string]func(file string) error{
		"policy fmt --write": func(file string) error {
			return replaceFile(file, []byte("version: 1\nrules: []\n"), []byte("version: 1\n"))
		},
		"policy apply": func(file string) error {
			f, err := prepareFile(file, "version: 1\n")
			if err != nil {
				return err
			}
			return errors.Join(f.commit(), f.close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "policy.yaml")
			if err := os.WriteFile(file, []byte("version: 1\nrules: []\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(file, 4711, 4712); err != nil {
				t.Fatal(err)
			}
			if err := replace(file); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if s := info.Sys().(*syscall.Stat_t); s.Uid != 4711 || s.Gid != 4712 || info.Mode().Perm() != 0o600 {
				t.Errorf("owner %d:%d, mode %v", s.Uid, s.Gid, info.Mode())
			}
		})
	}
}
