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

	mu    sync.Mutex // one refresh at a time
	held  []*holding
	guard Guard

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
	judged   bool    // the last attempt was refused by the guard: only another file, or an operator, asks it again
	next     *loaded // what an attempt has read and nothing uses yet
}

// Stats counts since the watcher was opened.
type Stats struct {
	Swaps        uint64 // snapshots that came into use
	LoadFailures uint64 // attempts at a file that failed
	LookupFaults uint64 // answers lost to unreadable content
}

// Open checks the configuration and loads all sources. Only a wrong configuration is an
// error: a source that cannot be loaded is logged, shows in [Snapshot.Sources], and may
// come later.
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
	_, errs := w.attempt(context.Background(), everything)
	for _, h := range w.held { // there are no people yet that a guard could protect
		if h.next != nil {
			w.install(h)
		}
	}
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

// OnSwap calls f with every new snapshot, until cancel. Calls come one at a time, after
// the swap, in the goroutine that caused it; f must not call Reload.
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

// Reload reads every source again, whether it changed or not. Those that fail, and those
// that the guard refuses, keep their data of before; the error names each of them.
func (w *Watcher) Reload(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.refresh(ctx, everything)
}

// Retry reads what changed and what was refused last, and lets the guard judge it again:
// an operator has approved it, or the affected people have changed.
func (w *Watcher) Retry(ctx context.Context) error { return w.refresh(ctx, whatWasRefused) }

// which sources a refresh reads. What failed for itself is always among them.
type which int

const (
	whatChanged    which = iota
	whatWasRefused       // by the guard; and what changed
	everything
)

// refresh attempts sources, and swaps if anything came of it.
func (w *Watcher) refresh(ctx context.Context, what which) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	swap, errs := w.attempt(ctx, what)
	refusals, err := w.admit(ctx)
	if errs = append(errs, refusals...); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if swap {
		if err := w.swap(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		w.tell(w.Current())
	} else if errs != nil {
		w.current.Store(w.Current().withSources(w.describe)) // same answers, new state
	}
	return errors.Join(errs...)
}

// attempt reads what is to be read. It reports whether a source has come to be missing,
// or kept, for a new reason, which makes a new snapshot without any new data.
func (w *Watcher) attempt(ctx context.Context, what which) (swap bool, errs []error) {
	now := w.config.Now()
	for _, h := range w.held {
		h.next = nil
		info, err := os.Stat(h.spec.file)
		if err != nil {
			info = nil
		}
		again := h.failures > 0 && (!h.judged || what == whatWasRefused)
		if what != everything && !again && sameFile(h.last, info) {
			continue
		}
		before := h.err
		if err := w.attemptOne(ctx, h, info, now); err != nil {
			errs = append(errs, err)
			swap = swap || h.err != before
		}
	}
	return swap, errs
}

// attemptOne reads a source into h.next, or notes why that cannot be used.
func (w *Watcher) attemptOne(ctx context.Context, h *holding, info os.FileInfo, now time.Time) error {
	data, read, err := h.spec.load(now)
	if h.last = info; read != nil {
		h.last = read
	}
	if err != nil {
		w.fail(h, err)
		h.judged = false
		return err
	}
	if err := w.compare(ctx, h, data); err != nil {
		w.fail(h, err)
		h.judged = true // nothing about it changes until another file comes, or an operator's word
		return err
	}
	h.next = data
	return nil
}

// fail notes that an attempt came to nothing. What was in use stays in use.
func (w *Watcher) fail(h *holding, err error) {
	h.failures++
	w.failed.Add(1)
	log := w.config.Logger.With("source", h.spec.name, "file", h.spec.file)
	level := log.Warn
	if h.err == err.Error() {
		level = log.Debug // said already; the counter and the age go on
	}
	level("IP data not loaded", "error", err, "failures", h.failures, "kept", h.data != nil)
	h.err = err.Error()
}

// install makes what was read the data in use.
func (w *Watcher) install(h *holding) {
	log := w.config.Logger.With("source", h.spec.name, "file", h.spec.file)
	data := h.next
	if h.data != nil && data.built.Before(h.data.built) {
		log.Warn("IP data is older than what it replaces", "built", data.built, "before", h.data.built)
	}
	for _, note := range data.notes {
		if h.data == nil || !slices.Contains(h.data.notes, note) {
			log.Warn("IP data is questionable", "note", note, "type", data.kind)
		}
	}
	log.Info("IP data loaded", "type", data.kind, "networks", data.networks, "built", data.built, "sha256", data.sha256)
	h.data, h.next, h.err, h.failures, h.judged = data, nil, "", 0, false
}

// swap puts a snapshot of what is held into use, in one step.
func (w *Watcher) swap() error {
	snap, err := w.join(nil)
	if err != nil {
		return err
	}
	w.current.Store(snap)
	w.swaps.Add(1)
	return nil
}

// join makes a snapshot of what is held, and of what was read of the given sources.
func (w *Watcher) join(with []*holding) (*Snapshot, error) {
	members := make([]member, len(w.held))
	for i, h := range w.held {
		members[i] = member{spec: h.spec, data: h.data}
		if slices.Contains(with, h) {
			members[i].data = h.next
		}
	}
	return newSnapshot(members, w.config.NAT64, w.describe, &w.faults)
}

func (w *Watcher) describe(i int) Source {
	h := w.held[i]
	src := h.spec.describe(h.data)
	src.Err, src.Failures, src.Refused = h.err, h.failures, h.judged
	return src
}
