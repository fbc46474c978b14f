//go:build unix

package sqlstore

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is who a child runs as when the tests run as root, for which no folder
// is read-only.
const nobody = 65534

func TestReadOnlyFolder(t *testing.T) {
	dir := t.TempDir()
	full := filepath.Join(dir, "full")
	for _, d := range []string{full, filepath.Join(dir, "empty")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	existing := filepath.Join(full, "s.db")
	if err := openErr("sqlite:" + existing); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for _, path := range []string{filepath.Dir(dir), dir} {
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(existing, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	for path, words := range map[string][]string{
		filepath.Join(dir, "empty", "s.db"): {"permission denied"},
		existing:                            {"cannot be"}, // opened or written to: the WAL needs the folder
	} {
		if err := os.Chmod(filepath.Dir(path), 0o555); err != nil {
			t.Fatal(err)
		}
		out, err := unprivileged(t, dir, path).CombinedOutput()
		if err == nil {
			t.Fatalf("%s was opened", path)
		}
		for _, w := range append(words, path, "sudo -u USER", "chown -R USER FOLDER") {
			if !strings.Contains(string(out), w) {
				t.Errorf("%q does not say %q", out, w)
			}
		}
		if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func unprivileged(t *testing.T, dir, path string) *exec.Cmd {
	t.Helper()
	cmd := child("open", path, "")
	if os.Geteuid() != 0 {
		return cmd
	}
	// Where the test binary lies, only its owner can reach it.
	cmd.Path = filepath.Join(dir, "child")
	in, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(cmd.Path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}
