//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// sameOwner gives a file the owner that another one has: root replaces a file that the
// proxy, as another user, has to be able to read.
func sameOwner(f *os.File, as os.FileInfo) error {
	want, ok := as.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

// linkOfStranger refuses, for root, a link that belongs to another user: root would
// replace the file that the user points it at.
func linkOfStranger(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSymlink {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
		return fmt.Errorf("%s is a link of the user with the id %d, which root does not follow: run the command as that user, or name the file itself", path, owner.Uid)
	}
	return nil
}

// sameUser reports whether two files belong to one user.
func sameUser(a, b string) bool {
	var owners [2]uint32
	for i, name := range []string{a, b} {
		info, err := os.Stat(name)
		if err != nil {
			return false
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return false
		}
		owners[i] = owner.Uid
	}
	return owners[0] == owners[1]
}
