package sqlstore

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// modernc.org/sqlite is C translated against one exact version of
// modernc.org/libc. Another dependency that raises libc gives a program that
// builds, and that no one has ever run.
func TestLibcIsTheOneSQLiteWasMadeWith(t *testing.T) {
	ours := requires(t, moduleFile(t))
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	sqlite := ours["modernc.org/sqlite"]
	theirs := requires(t, filepath.Join(strings.TrimSpace(string(out)),
		"cache", "download", "modernc.org", "sqlite", "@v", sqlite+".mod"))
	if got, want := ours["modernc.org/libc"], theirs["modernc.org/libc"]; got != want || want == "" {
		t.Errorf("go.mod selects modernc.org/libc %s, sqlite %s was made with %s", got, sqlite, want)
	}
}

func moduleFile(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if name := filepath.Join(dir, "go.mod"); exists(name) {
			return name
		}
	}
	t.Fatal("no go.mod above the working directory")
	return ""
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func requires(t *testing.T, name string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.ParseLax(name, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, r := range f.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	return versions
}
