package edge

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Reloader is something that was read from files and can be read again.
// [Certificates] and [ClientAuth] are.
type Reloader interface {
	Files() []string
	Reload() error
}

// WatchConfig says how files are watched.
type WatchConfig struct {
	What   string        // the files are, for the log: "certificates" by default
	Poll   time.Duration // a minute
	Logger *slog.Logger

	// NewWatcher is fsnotify's. It fails where the user has no inotify instance left: then files are polled.
	NewWatcher func() (*fsnotify.Watcher, error)
}

// settle is how long the folder must be quiet: a certificate and its key are two
// files, and are not written at once.
const settle = 200 * time.Millisecond

// Watch reloads items when something changes in the folders of their files, and
// every WatchConfig.Poll in case the file system does not tell. It returns when
// ctx ends. Failures are logged; what was loaded before stays in use.
//
// The folders are watched and not the files: files are replaced by renaming
// others over them, or, in Kubernetes, by swapping a link beside them.
func Watch(ctx context.Context, c WatchConfig, items ...Reloader) {
	orDefault(&c.Poll, time.Minute)
	orDefault(&c.Logger, slog.New(slog.DiscardHandler))
	orDefault(&c.What, "certificates")
	if c.NewWatcher == nil {
		c.NewWatcher = fsnotify.NewWatcher
	}
	var events chan fsnotify.Event
	var errs chan error
	if w, err := c.NewWatcher(); err != nil {
		c.Logger.Warn("files are only polled", "files", c.What, "every", c.Poll.String(), "error", err)
	} else {
		defer w.Close()
		events, errs = w.Events, w.Errors
		for _, item := range items {
			for _, f := range item.Files() {
				if err := w.Add(filepath.Dir(f)); err != nil {
					c.Logger.Warn("this file is only polled", "file", f, "error", err)
				}
			}
		}
	}
	poll := time.NewTicker(c.Poll)
	defer poll.Stop()
	quiet := time.NewTimer(0) // once at the start: something may have changed before
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			quiet.Reset(settle)
			continue
		case err := <-errs:
			c.Logger.Warn("watching files", "files", c.What, "error", err)
		case <-quiet.C:
		case <-poll.C:
		}
		for _, item := range items {
			if err := item.Reload(); err != nil {
				c.Logger.Error("reload refused; what was loaded before stays in use", "error", err)
			}
		}
	}
}
