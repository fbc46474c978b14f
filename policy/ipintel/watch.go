package ipintel

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Writers take a while: a change is acted on when the folder was quiet for settle, but no
// later than settleMost after it began.
const (
	settle     = 300 * time.Millisecond
	settleMost = 5 * time.Second
)

// Run reloads sources when their files change, until ctx ends. It watches the folders, since files
// are replaced by renaming and Kubernetes swaps a link beside them, and looks at
// all files every Poll as well: network file systems tell nobody anything.
func (w *Watcher) Run(ctx context.Context) error {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.config.Logger.Warn("IP data: no change notification, polling only", "error", err)
		notify = &fsnotify.Watcher{} // nil channels: never ready
	} else {
		defer notify.Close()
	}
	w.follow(notify)
	w.refreshLogged(ctx) // what changed between Open and now

	poll := time.NewTicker(w.config.Poll)
	defer poll.Stop()
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	var since time.Time // when the present burst of changes began; zero: none
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-notify.Events:
			if !ok {
				return nil
			}
			if now := time.Now(); since.IsZero() {
				since = now
			} else if now.Sub(since) > settleMost {
				continue // quiet fires as it stands
			}
			quiet.Reset(settle)
		case err := <-notify.Errors:
			w.config.Logger.Warn("IP data: change notification", "error", err)
			quiet.Reset(settle)
		case <-quiet.C:
			since = time.Time{}
			w.refreshLogged(ctx)
		case <-poll.C:
			w.follow(notify) // folders may have come
			w.refreshLogged(ctx)
		}
	}
}

// refreshLogged refreshes; attempts log their own failures.
func (w *Watcher) refreshLogged(ctx context.Context) { _ = w.refresh(ctx, whatChanged) }

// follow watches the folder of every source, and the folder that it really is in.
func (w *Watcher) follow(notify *fsnotify.Watcher) {
	if notify.Events == nil {
		return
	}
	for _, h := range w.held {
		dirs := []string{filepath.Dir(h.spec.file)}
		if real, err := filepath.EvalSymlinks(h.spec.file); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
		for _, d := range dirs {
			if err := notify.Add(d); err != nil {
				w.config.Logger.Debug("IP data: folder not watched", "folder", d, "error", err)
			}
		}
	}
}
