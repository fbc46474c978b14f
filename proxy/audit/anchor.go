package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// ErrRolledBack is returned by Open when the files hold less than what was signed, or
// something else: they were restored from an older state, removed, or exchanged.
var ErrRolledBack = errors.New("audit log was put back to an older state")

// Anchor keeps the last checkpoint in another place than the log. The files alone cannot
// show that all of them were restored together.
type Anchor interface {
	// LastCheckpoint returns the last checkpoint; nil if there never was one.
	LastCheckpoint(ctx context.Context) ([]byte, error)
	// KeepCheckpoint replaces it, durably.
	KeepCheckpoint(ctx context.Context, checkpoint []byte) error
}

// anchorPatience bounds how long a start or an end waits for the anchor.
const anchorPatience = 10 * time.Second

// anchored reads what the anchor has; nil if there is none.
func (c *Config) anchored(v note.Verifier) (*checkpoint, error) {
	if c.Anchor == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), anchorPatience)
	defer cancel()
	msg, err := c.Anchor.LastCheckpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("the checkpoint that the store keeps cannot be read: %w", err)
	}
	if len(msg) == 0 {
		return nil, nil
	}
	kept, err := openCheckpoint(msg, v)
	if err != nil {
		return nil, fmt.Errorf("%w: the checkpoint that the store keeps: %w", ErrTampered, err)
	}
	return &kept, nil
}

// behind explains why n records are not the log that the anchor knows.
func (c *checkpoint) behind(n int64) error {
	if c == nil || c.size <= n {
		return nil
	}
	return fmt.Errorf("%w: the store knows of %d records (signed %s), the files have %d; bring the newer files back, or, if this is meant (a backup, a new log), run `sallyport audit accept-rollback --reason TEXT`",
		ErrRolledBack, c.size, c.at.UTC().Format(time.RFC3339), n)
}

// checkAnchor compares the opened log with the anchor. After a crash the anchor may be
// behind the files, because it is written after them, and never before them.
func (s *store) checkAnchor(kept *checkpoint) error {
	if kept == nil || kept.size == 0 {
		return nil
	}
	info, err := s.hashes.Stat()
	if err != nil {
		return err
	}
	edge, err := newHashFile(s.hashes, info.Size()).edge(kept.size)
	if err != nil {
		return err
	}
	if edge.root() != kept.root {
		return fmt.Errorf("%w: the first %d records are not those that the store knows (signed %s); if another log is meant, run `sallyport audit accept-rollback --reason TEXT`",
			ErrRolledBack, kept.size, kept.at.UTC().Format(time.RFC3339))
	}
	return nil
}

// keeper writes checkpoints to the anchor beside the writer, which must not wait for a
// database that is slow: only the newest counts.
type keeper struct {
	cfg  *Config
	next chan []byte
	done chan struct{}
}

func newKeeper(cfg *Config) *keeper {
	k := &keeper{cfg: cfg, next: make(chan []byte, 1), done: make(chan struct{})}
	go k.run()
	return k
}

// keep is called by the writer alone, and does not wait.
func (k *keeper) keep(msg []byte) {
	select {
	case <-k.next: // an older one, which is not needed any more
	default:
	}
	k.next <- msg
}

func (k *keeper) run() {
	defer close(k.done)
	failing := false
	for msg := range k.next {
		if k.cfg.Anchor == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), anchorPatience)
		err := k.cfg.Anchor.KeepCheckpoint(ctx, msg)
		cancel()
		if err != nil && !failing {
			k.cfg.Logger.Error("cannot store the audit checkpoint", "hint", "a log restored to an older state may go unnoticed", "error", err)
		}
		failing = err != nil
	}
}

// close waits until the last one is kept.
func (k *keeper) close() {
	close(k.next)
	<-k.done
}

// Describe reads how many records a checkpoint covers, and when it was signed. It does
// not look at the signature.
func Describe(msg []byte) (records int64, at time.Time, err error) {
	c, err := openCheckpoint(msg, nil)
	return c.size, c.at, err
}
