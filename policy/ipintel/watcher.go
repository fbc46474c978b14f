package ipintel

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Watcher keeps a current snapshot of sources that change on disk.
type Watcher struct {
	config  Config
	current atomic.Pointer[Snapshot]
	faults  atomic.Uint64
	swaps   atomic.Uint64
	failed  atomic.Uint64

	mu   sync.Mutex // one refresh at a time
	held []*holding

	waitMu  sync.Mutex
	waiting map[int]func(*Snapshot)
	next    int
}

// holding is one source: what is in use, and how the last attempt went.
type holding struct {
	spec     spec
	data     *loaded
	last     os.FileInfo // of the last attempt; nil: the file was not there
	err      string
	failures int
}

// Stats counts since the watcher was opened.
type Stats struct {
	Swaps        uint64 // snapshots that came into use
	LoadFailures uint64 // attempts at a file that failed
	LookupFaults uint64 // answers lost to unreadable content
}

// Open checks the configuration and loads all sources. Only a wrong configuration is an
// error: a source that cannot be loaded is logged, shows in [Snapshot.Sources], and may come later.
func Open(c Config) (*Watcher, error) {
	c = c.withDefaults()
	specs, err := c.specs()
	if err != nil {
		return nil, err
	}
	w := &Watcher{config: c, waiting: map[int]func(*Snapshot){}}
	for _, s := range specs {
		w.held = append(w.held, &holding{spec: s})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, errs := w.attempt(true)
	if err := w.swap(); err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	return w, nil
}

// Current is the snapshot in use; never nil. A request takes it once and keeps to it.
func (w *Watcher) Current() *Snapshot { return w.current.Load() }

// Stats gives the counters.
func (w *Watcher) Stats() Stats {
	return Stats{Swaps: w.swaps.Load(), LoadFailures: w.failed.Load(), LookupFaults: w.faults.Load()}
}

// OnSwap has f called with every new snapshot, until cancel. Calls come one at a time, after
// the swap, from whoever caused it; f must not call Reload.
func (w *Watcher) OnSwap(f func(*Snapshot)) (cancel func()) {
	w.waitMu.Lock()
	defer w.waitMu.Unlock()
	id := w.next
	w.next++
	w.waiting[id] = f
	return func() {
		w.waitMu.Lock()
		defer w.waitMu.Unlock()
		delete(w.waiting, id)
	}
}

func (w *Watcher) tell(s *Snapshot) {
	w.waitMu.Lock()
	all := slices.Collect(maps.Values(w.waiting))
	w.waitMu.Unlock()
	for _, f := range all {
		f(s)
	}
}

// Reload reads every source again, whether it changed or not. Those that fail keep their
// data of before; the error names each of them.
func (w *Watcher) Reload(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.refresh(true)
}

// refresh attempts the sources that changed (or all), and swaps if anything came of it.
func (w *Watcher) refresh(all bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	swap, errs := w.attempt(all)
	switch {
	case swap:
		if err := w.swap(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		w.tell(w.Current())
	case errs != nil:
		w.current.Store(w.Current().withSources(w.describe)) // same answers, new state
	}
	return errors.Join(errs...)
}

// attempt loads what changed on disk, and what failed last time. It reports whether
// that makes a new snapshot: content changed, or a source has come to be missing or kept for a new reason.
func (w *Watcher) attempt(all bool) (swap bool, errs []error) {
	now := w.config.Now()
	for _, h := range w.held {
		info, err := os.Stat(h.spec.file)
		if err != nil {
			info = nil
		}
		if !all && h.failures == 0 && sameFile(h.last, info) {
			continue
		}
		before := h.err
		if err := w.attemptOne(h, info, now); err != nil {
			errs = append(errs, err)
		}
		swap = swap || h.err == "" || h.err != before
	}
	return swap, errs
}

func (w *Watcher) attemptOne(h *holding, info os.FileInfo, now time.Time) error {
	data, read, err := h.spec.load(h.data, now)
	if h.last = info; read != nil {
		h.last = read
	}
	log := w.config.Logger.With("source", h.spec.name, "file", h.spec.file)
	if err != nil {
		h.failures++
		w.failed.Add(1)
		level := log.Warn
		if h.err == err.Error() {
			level = log.Debug // said already; the counter and the age go on
		}
		level("IP data not loaded", "error", err, "failures", h.failures, "kept", h.data != nil)
		h.err = err.Error()
		return err
	}
	if h.data != nil && data.built.Before(h.data.built) {
		log.Warn("IP data is older than what it replaces", "built", data.built, "before", h.data.built)
	}
	log.Info("IP data loaded", "type", data.kind, "networks", data.networks, "built", data.built, "sha256", data.sha256)
	h.data, h.err, h.failures = data, "", 0
	return nil
}

// swap puts a snapshot of what is held into use, in one step.
func (w *Watcher) swap() error {
	members := make([]member, len(w.held))
	for i, h := range w.held {
		members[i] = member{spec: h.spec, data: h.data}
	}
	snap, err := newSnapshot(members, w.describe, &w.faults)
	if err != nil {
		return err
	}
	w.current.Store(snap)
	w.swaps.Add(1)
	return nil
}

func (w *Watcher) describe(i int) Source {
	h := w.held[i]
	src := h.spec.describe(h.data)
	src.Err, src.Failures = h.err, h.failures
	return src
}
