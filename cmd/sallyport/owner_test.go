//go:build unix

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Root who mends a policy leaves it to the user that the proxy runs as: with an owner of its own and
// mode 0600, the next start would find a file that it cannot read.
func TestReplacedFilesKeepTheirOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	for name, replace := range map[string]func(file string) error{
		"policy fmt --write": func(file string) error { return replaceFile(file, []byte("version: 1\n")) },
		"policy apply": func(file string) error {
			f, err := prepareFile(file, "version: 1\n")
			if err != nil {
				return err
			}
			return f.commit()
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
