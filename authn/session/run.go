package session

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Run does the periodic work until ctx ends: it learns of changes made by other
// processes, flushes last-seen times, rereads the keys and deletes expired records.
// Without it every Load asks the store. Close follows it.
func (m *Manager) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { m.watch(ctx) })
	// Apart, so that a slow write never makes the process blind.
	wg.Go(func() { m.tend(ctx) })
	wg.Wait()
}

// Close flushes what Run had not. The Manager still answers afterwards.
func (m *Manager) Close(ctx context.Context) error { return m.flush(ctx) }

// Sync applies, before it returns, every change that any process committed before the
// call. So the answer that ends sessions through a passkey leaves after this process has
// forgotten them, and not 250 ms earlier. If the store does not answer, all cached
// sessions are forgotten.
func (m *Manager) Sync(ctx context.Context) error {
	if err := m.pollWithin(ctx, blindAfter/2); err != nil {
		m.cache.clear()
		return unavailable("reading changes", err)
	}
	return nil
}

func (m *Manager) watch(ctx context.Context) {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	failing := false
	for {
		err := m.pollWithin(ctx, blindAfter/2)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && !failing:
			m.log.Error("changes to sessions cannot be read", "error", err)
		case err == nil && failing:
			m.log.Info("changes to sessions can be read again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// pollWithin bounds a poll, so that one hanging query cannot stop the next.
func (m *Manager) pollWithin(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return m.poll(ctx)
}

func (m *Manager) poll(ctx context.Context) error {
	m.pollMu.Lock()
	defer m.pollMu.Unlock()
	start := m.clock.now() // what is committed after this is for the next poll
	if m.blind(start) {
		// The cache is not in use. Starting afresh also ends a blindness that the
		// store cannot cure: a change log trimmed past us, a restored database.
		m.cache.clear()
		m.seq = 0
	}
	ids, last, err := m.store.SessionChanges(ctx, m.seq)
	if err != nil {
		return err
	}
	m.changed(ids...)
	m.seq = last
	m.polled.Store(&start)
	return nil
}

func (m *Manager) tend(ctx context.Context) {
	// Short idle limits need fresh times: a quarter is lost at worst.
	flush := time.NewTicker(max(min(flushEvery, m.idle/4), time.Millisecond))
	defer flush.Stop()
	purge := time.NewTicker(purgeEvery)
	defer purge.Stop()
	for {
		var doing string
		var err error
		select {
		case <-ctx.Done():
			return
		case <-flush.C:
			doing, err = "flush", errors.Join(m.flush(ctx), m.ring.reload(ctx))
		case <-purge.C:
			doing, err = "purge", m.purge(ctx)
		}
		if err != nil && ctx.Err() == nil {
			m.log.Warn("session maintenance failed", "task", doing, "error", err)
		}
	}
}

// flushBatch keeps a write transaction short.
const flushBatch = 1000

// flush writes last-seen times. What could not be written stays for next time.
func (m *Manager) flush(ctx context.Context) error {
	defer m.cache.sweep()
	todo := m.cache.unflushed()
	var errs []error
	batch := make(map[string]time.Time, min(len(todo), flushBatch))
	write := func() {
		err := m.store.TouchSessions(ctx, batch)
		for id, seen := range batch {
			if err == nil {
				m.cache.kept(id, seen.UnixMicro())
			} else {
				m.cache.touchStray(id, seen.UnixMicro())
			}
		}
		if err != nil {
			errs = append(errs, unavailable("flushing last-seen times", err))
		}
		clear(batch)
	}
	for id, seen := range todo {
		if batch[id] = time.UnixMicro(seen).UTC(); len(batch) == flushBatch {
			write()
		}
	}
	if len(batch) > 0 {
		write()
	}
	return errors.Join(errs...)
}

func (m *Manager) purge(ctx context.Context) error {
	now := m.clock.now()
	// A margin for last-seen times that another process has not flushed yet.
	if _, err := m.store.PurgeSessions(ctx, now, now.Add(-m.idle-2*flushEvery)); err != nil {
		return unavailable("purging sessions", err)
	}
	return nil
}
