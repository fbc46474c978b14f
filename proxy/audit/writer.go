package audit

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// writer is the goroutine that owns the store.
type writer struct {
	*Log
	store *store
}

// cutTail is what openStore removed from the end of the file.
type cutTail struct {
	bytes int64
	file  string
}

// begin signs the log as open, and notes a repair in the log itself.
func (w *writer) begin(cut cutTail) error {
	if err := w.store.sign(false); err != nil {
		return err
	}
	w.published()
	if cut.bytes == 0 {
		return nil
	}
	w.cfg.Logger.Warn("audit log repaired: an unfinished tail was cut off",
		"file", cut.file, "bytes", cut.bytes, "records", w.store.tree.n)
	return w.appendOwn(EventRepaired, map[string]string{
		"file": cut.file, "bytes": strconv.FormatInt(cut.bytes, 10),
	})
}

// appendOwn writes a record of the log's own.
func (w *writer) appendOwn(event string, detail map[string]string) error {
	b, err := encode(&Record{Event: event, Detail: detail})
	if err != nil {
		return err
	}
	if err := w.store.write([]*entry{{body: b, at: w.cfg.Now()}}); err != nil {
		return err
	}
	w.size.Store(w.store.tree.n)
	return nil
}

func (w *writer) run(stop <-chan struct{}) {
	poll := time.NewTicker(repairEvery)
	defer poll.Stop()
	sign := time.NewTicker(w.cfg.CheckpointEvery)
	defer sign.Stop()
	for {
		select {
		case <-w.wake:
			w.drain()
		case <-poll.C:
			w.poll()
		case <-sign.C:
			w.checkpoint(false)
		case answer := <-w.Log.reopen:
			w.poll()
			answer <- w.healthOf()
		case <-stop:
			w.drain()
			w.end()
			return
		}
	}
}

func (w *writer) healthOf() error {
	if s := w.fault.Load(); s != nil {
		return s.err
	}
	return nil
}

// drain writes the queue, batch after batch. While one batch is being written the next
// fills up (group commit).
func (w *writer) drain() {
	for {
		batch := w.nextBatch()
		if len(batch) == 0 {
			return
		}
		err := w.healthOf()
		if err == nil {
			if err = w.store.write(batch); err != nil {
				err = w.fail(err)
			}
		}
		w.size.Store(w.store.tree.n)
		for _, e := range batch {
			e.done <- err
		}
	}
}

func (w *writer) nextBatch() []*entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, bytes := 0, 0
	var listed *DataList // a record of it may have to come first
	for n < len(w.queue) && bytes < maxBatch {
		e := w.queue[n]
		bytes += len(e.body) + lineHead
		if e.sources != nil && e.sources != listed {
			listed = e.sources
			bytes += len(listed.body) + lineHead
		}
		n++
	}
	batch := w.queue[:n:n]
	if w.queue = w.queue[n:]; len(w.queue) == 0 {
		w.queue = nil
	}
	return batch
}

// fail makes the log refuse records until poll has repaired it.
func (w *writer) fail(err error) error {
	err = cannotWrite(err)
	w.fault.Store(&fault{err: err, since: w.cfg.Now()})
	w.cfg.Logger.Error("audit log cannot be written", "error", err)
	return err
}

// cannotWrite names the limit of the process that looks like a disk's: nothing else shows
// that there is one.
func cannotWrite(err error) error {
	if errors.Is(err, syscall.EFBIG) {
		err = fmt.Errorf("%w: a file may not grow further (LimitFSIZE= of the unit, ulimit -f): rotate the log, or restart with a higher limit", err)
	}
	return fmt.Errorf("audit log cannot be written: %w", err)
}

// poll follows a renamed file, and tries to repair a failed log: it cuts the file back to
// its last durable record, and writes a record to prove that it works. Until that record
// is on disk no other is accepted.
func (w *writer) poll() {
	s := w.fault.Load()
	if s == nil {
		if err := w.store.follow(); err != nil {
			_ = w.fail(err)
		}
		w.published()
		return
	}
	err := w.store.repair()
	if err == nil {
		err = w.appendOwn(EventRecovered, map[string]string{
			"since": s.since.UTC().Format(time.RFC3339), "error": s.err.Error(),
		})
	}
	if err != nil {
		err = cannotWrite(err)
		w.fault.Store(&fault{err: err, since: s.since})
		return
	}
	w.cfg.Logger.Info("audit log can be written again", "since", s.since)
	w.fault.Store(nil)
}

// checkpoint signs the log if it has grown. Records stay durable without it, so a
// failure is reported by Health and tried again, and does not stop requests.
func (w *writer) checkpoint(closing bool) {
	if w.fault.Load() != nil || !closing && w.store.signed == w.store.tree.n {
		return
	}
	if err := w.store.sign(closing); err != nil {
		if w.unsigned.Load() == nil {
			w.unsigned.Store(&fault{err: err, since: w.cfg.Now()})
		}
		w.cfg.Logger.Error("audit checkpoint cannot be written", "error", err)
		return
	}
	w.unsigned.Store(nil)
	w.published()
}

// published makes the store's newest checkpoint known.
func (w *writer) published() {
	note := w.store.note
	if last := w.last.Load(); last != nil && string(*last) == string(note) {
		return
	}
	w.last.Store(&note)
	w.keeper.keep(note)
	if w.cfg.OnCheckpoint != nil {
		w.cfg.OnCheckpoint(append([]byte(nil), note...))
	}
}

func (w *writer) end() {
	w.checkpoint(true)
	w.result = w.healthOf()
	if s := w.unsigned.Load(); s != nil && w.result == nil {
		w.result = fmt.Errorf("audit checkpoint: %w", s.err)
	}
	if err := w.store.close(); err != nil && w.result == nil {
		w.result = err
	}
}
