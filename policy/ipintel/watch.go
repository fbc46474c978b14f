package ipintel

import (
	"context"
	"time"

	"sallyport/policy/filewatch"
)

// Run reloads sources when their files change, until ctx ends. Attempts log their own
// failures.
func (w *Watcher) Run(ctx context.Context) {
	filewatch.Run(ctx, filewatch.Config{
		What: "IP data", Poll: w.config.Poll, Logger: w.config.Logger,
		Files: func() (files []string) {
			for _, h := range w.held {
				files = append(files, h.spec.file)
			}
			return files
		},
		Changed: func() time.Duration {
			_ = w.refresh(ctx, whatChanged)
			return 0
		},
	})
}
