package main

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory sets the runtime's memory limit if GOMEMLIMIT does not: nine tenths of the
// limit of this process's control group. Without a limit the collector lets garbage grow
// to the size of the live heap, which a container does not survive. Near the limit,
// strangers are refused before signed-in people.
func limitMemory(logger *slog.Logger) {
	limit, from := debug.SetMemoryLimit(-1), "GOMEMLIMIT"
	if limit == math.MaxInt64 && os.Getenv("GOMEMLIMIT") == "" {
		if group, ok := groupLimit("/"); ok {
			limit, from = group/10*9, "control group"
			debug.SetMemoryLimit(limit)
		}
	}
	if limit == math.MaxInt64 {
		logger.Info("no memory limit is known", "hint", "set GOMEMLIMIT or a control group limit, so that requests are shed when memory is short")
		return
	}
	logger.Info("memory limit", "bytes", limit, "from", from)
}

// groupLimit is the least memory limit of the control groups of this process; root is
// "/". A file that is missing or unreadable means no limit.
func groupLimit(root string) (least int64, ok bool) {
	own, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0, false
	}
	least = math.MaxInt64
	for line := range strings.Lines(string(own)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max" // version 2: "0::/path"
		if parts[1] != "" {
			if parts[1] != "memory" {
				continue
			}
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		base = filepath.Join(root, base)
		// The group's own limit, and those of all that it is in.
		for dir := filepath.Join(base, filepath.Clean("/"+parts[2])); ; dir = filepath.Dir(dir) {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 {
				least = min(least, n)
			}
			if len(dir) <= len(base) {
				break
			}
		}
	}
	// Version 1 says "none" with a number of this size.
	return least, least < 1<<50
}
