//go:build unix

package audit

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the log for this process. The kernel gives it back when the process
// ends, however it ends.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}
