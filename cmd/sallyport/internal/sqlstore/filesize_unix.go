//go:build unix

package sqlstore

import "syscall"

// largestFile is the size that the system lets this process write a file to, if there is
// such a limit.
func largestFile() (bytes uint64, limited bool) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return 0, false
	}
	bytes = uint64(limit.Cur)
	return bytes, bytes < 1<<62 // what stands for none differs from system to system
}
