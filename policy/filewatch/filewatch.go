// Package filewatch tells when files change that are replaced while the product runs:
// policies, IP data, certificates.
//
// It watches the folders of the files, and the folders that the files really are in, and
// not the files: files are replaced by renaming others over them, or, in Kubernetes, by
// swapping a link beside them. Network file systems tell nothing, and a user can have too
// few inotify instances, so the files are also looked at from time to time.
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
	"path/filepath"
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
			again(c.Changed())
		case <-poll.C:
			c.follow(notify, told) // folders may have come
			again(c.Changed())
		}
	}
}

// follow watches the folder of every file, and the folder that it really is in.
func (c *Config) follow(notify *fsnotify.Watcher, told map[string]bool) {
	if notify.Events == nil {
		return
	}
	for _, file := range c.Files() {
		dirs := []string{filepath.Dir(file)}
		if real, err := filepath.EvalSymlinks(file); err == nil && filepath.Dir(real) != dirs[0] {
			dirs = append(dirs, filepath.Dir(real))
		}
		for _, dir := range dirs {
			if err := notify.Add(dir); err == nil {
				delete(told, dir)
			} else if !told[dir] {
				told[dir] = true
				c.Logger.Warn("this folder is only polled", "files", c.What, "folder", dir, "error", err)
			}
		}
	}
}
