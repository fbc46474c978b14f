//go:build unix

package main

import (
	"log/slog"
	"syscall"
)

// warnOfFewFiles says when descriptors run out before limits.connections does: a connection of a client
// takes one, and the one to its upstream another. Without any, the log cannot be signed, and nothing says why
// people cannot connect. The runtime has raised the soft limit to the hard one.
func warnOfFewFiles(logger *slog.Logger, connections int) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	if files := uint64(limit.Cur); files < 2*uint64(connections) {
		logger.Warn("file descriptors can run out before limits.connections is reached", "descriptors", files,
			"connections", connections, "want", 2*connections)
	}
}
