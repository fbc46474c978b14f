// Package filewatch tells when files change that are replaced while the product runs:
// policies, IP data, certificates.
//
// It watches the folders of the files, and those of every link on the way to where they
// really are, and not the files: files are replaced by renaming others over them, by
// swapping a link beside them, as Kubernetes does, or above them, as git-sync does. Network
// file systems tell nothing, and a user can have too few inotify instances, so the files are
// also looked at from time to time.
//
// It does not read the files. Whether something has changed, and whether it is complete
// and right, is for the owner of the files to say, who keeps what was in force otherwise.
//
// It does not fail: if a folder cannot be watched, it logs a warning and only polls, so
// that a change is noticed later.
package filewatch

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A change is told when the folders were quiet for settle, but no later than settleMost
// after it began: writers take a while, and a certificate and its key are two files.
const (
	settle     = 300 * time.Millisecond
	settleMost = 5 * time.Second
)

// Config says what is watched, and who is told.
type Config struct {
	What  string          // the files are, for the log
	Files func() []string // asked at the start and at each poll
	// Changed is called at the start, after changes, and at each poll; never by two at once.
	// It returns after how long it wants to be called again though nothing changes; 0: it
	// does not.
	Changed func() time.Duration
	Poll    time.Duration // a minute by default
	Logger  *slog.Logger  // nil: none

	// NewWatcher is fsnotify's by default. It fails where the user has no inotify instance
	// left: then files are polled.
	NewWatcher func() (*fsnotify.Watcher, error)
}

// Run calls Changed until ctx ends.
func Run(ctx context.Context, c Config) {
	c.Poll = cmp.Or(c.Poll, time.Minute)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.NewWatcher == nil {
		c.NewWatcher = fsnotify.NewWatcher
	}
	notify, err := c.NewWatcher()
	if err != nil {
		c.Logger.Warn("files are only polled", "files", c.What, "every", c.Poll.String(), "error", err)
		notify = &fsnotify.Watcher{} // nil channels: never ready
	} else {
		defer notify.Close()
	}
	told := map[string]bool{} // folders that are only polled
	c.follow(notify, told)

	poll := time.NewTicker(c.Poll)
	defer poll.Stop()
	quiet := time.NewTimer(0) // once at the start: something may have changed before
	defer quiet.Stop()
	again := func(after time.Duration) {
		if after > 0 {
			quiet.Reset(after)
		}
	}
	var since time.Time // when the present burst of changes began; zero: none
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-notify.Events:
			if !ok {
				return
			}
			if now := time.Now(); since.IsZero() {
				since = now
			} else if now.Sub(since) > settleMost {
				continue // quiet fires as it stands
			}
			quiet.Reset(settle)
		case err := <-notify.Errors: // an overflow: something has changed
			c.Logger.Warn("watching files", "files", c.What, "error", err)
			quiet.Reset(settle)
		case <-quiet.C:
			since = time.Time{}
			c.follow(notify, told) // a link may lead elsewhere
			again(c.Changed())
		case <-poll.C:
			c.follow(notify, told) // folders may have come
			again(c.Changed())
		}
	}
}

// follow watches the folders of every file.
func (c *Config) follow(notify *fsnotify.Watcher, told map[string]bool) {
	if notify.Events == nil {
		return
	}
	for _, file := range c.Files() {
		for _, dir := range folders(file) {
			if err := notify.Add(dir); err == nil {
				delete(told, dir)
			} else if !told[dir] {
				told[dir] = true
				c.Logger.Warn("this folder is only polled", "files", c.What, "folder", dir, "error", err)
			}
		}
	}
}

const maxLinks = 40 // on the way to a file, as Linux has it

// folders are the folder of a file, those of the links on the way to it, and the one that
// it really is in.
func folders(file string) []string {
	dirs := []string{filepath.Dir(file)}
	add := func(dir string) {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for range maxLinks {
		link, rest := firstLink(file)
		if link == "" {
			break
		}
		add(filepath.Dir(link))
		target, err := os.Readlink(link)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		file = filepath.Join(target, rest)
	}
	add(filepath.Dir(file))
	return dirs
}

// firstLink is the first part of a path that is a link, and what comes behind it; "" if
// none is.
func firstLink(path string) (link, rest string) {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && !os.IsPathSeparator(path[i]) {
			continue
		}
		if info, err := os.Lstat(path[:i]); err != nil {
			return "", ""
		} else if info.Mode()&os.ModeSymlink != 0 {
			return path[:i], path[i:]
		}
	}
	return "", ""
}
