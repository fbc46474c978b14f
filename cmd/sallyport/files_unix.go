//go:build unix

package main

import (
	"fmt"
	"log/slog"
	"syscall"
)

// leastFiles is what serve takes for itself: its store, the audit log, sockets, and what
// watches files.
const leastFiles = 64

// checkFiles refuses a limit on descriptors under which the first files of serve itself
// could not be opened: each would fail on its own, and SQLite cannot say that this is
// why. It warns when they run out before limits.connections does: a connection of a
// client takes one, and the one to its upstream another. Without any, the log cannot be
// signed, and nothing says why people cannot connect. The runtime has raised the soft
// limit to the hard one.
func checkFiles(logger *slog.Logger, connections int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil // a system that does not say has no such limit
	}
	files := uint64(limit.Cur)
	if files < leastFiles {
		return fmt.Errorf("this process may have %d file descriptors: serve needs %d for its own files, and two for each connection: "+
			"raise the limit (LimitNOFILE= of the unit, ulimit -n)", files, leastFiles)
	}
	if files < 2*uint64(connections) {
		logger.Warn("file descriptors can run out before limits.connections is reached", "descriptors", files,
			"connections", connections, "want", 2*connections)
	}
	return nil
}
