//go:build unix

package audit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock takes the log for this process. The kernel gives it back when the process
// ends, however it ends.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return ErrLocked
	default:
		// Without a lock, a second process would write into the same tree.
		return fmt.Errorf("the file system of %s cannot lock files, and two processes could write to one log: "+
			"put it on a local disk: %w", f.Name(), err)
	}
}
