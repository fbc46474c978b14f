//go:build unix

package edge

import "syscall"

// closeOnExec keeps an inherited socket from our own children.
func closeOnExec(fd int) { syscall.CloseOnExec(fd) }
