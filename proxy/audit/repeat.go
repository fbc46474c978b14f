package audit

import (
	"container/list"
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"
)

// A run is a series of equal records: one line, and a count. A person who works all day,
// and a stranger who tries all night, must not fill the disk.

const shards = 64

// repeats counts what is in a run between the lines that are written for it.
type repeats struct {
	log   *Log
	seed  maphash.Seed
	limit int // runs per shard
	shard [shards]shard
}

type shard struct {
	mu     sync.Mutex
	closed bool
	runs   map[uint64]*run // by hash of the key; the keys of two runs that collide differ
	order  *list.List      // of *run, the longest unwritten first
}

// run is one run. Guarded by its shard's lock, but for ready and err.
type run struct {
	key  RunKey
	sum  uint64
	body []byte // of its counts
	// sources is what body refers to.
	sources *DataList
	// incident is the first record's; a person who is refused again is told the same one.
	incident string
	terms
	began, wrote time.Time
	count        int64 // since wrote
	element      *list.Element
	// live is set when the first record is on disk. Until then nothing is counted:
	// callers wait on ready, and read err after it.
	live  bool
	ready chan struct{}
	err   error
}

// terms are how a run is counted. The zero value is an allow's: once a minute, for as
// long as it goes on.
type terms struct {
	slow  bool      // counts are written every ten minutes
	ends  bool      // after an hour; what follows is paid for anew
	brief bool      // the first line has text that a stranger chose, and is cut short
	paid  []*bucket // what paid for the first line, and is charged for the counts
	body  []byte    // of its counts, if it is not the first record's
}

const (
	slowFactor = 10
	endsFactor = 60
)

func newRepeats(l *Log, limit int) *repeats {
	r := &repeats{log: l, seed: maphash.MakeSeed(), limit: max(1, limit/shards)}
	for i := range r.shard {
		r.shard[i].runs = make(map[uint64]*run)
		r.shard[i].order = list.New()
	}
	return r
}

// of hashes k, one string at a time, which is several times faster than a map with
// a key of strings, and finds its shard.
func (r *repeats) of(k *RunKey) (uint64, *shard) {
	h := maphash.String(r.seed, k.Session)
	for _, part := range [...]string{k.IP, k.Route, k.Policy, k.Decision} {
		h = h*0x9e3779b97f4a7c15 + maphash.String(r.seed, part)
	}
	if k.Method != "" { // else there is no path either, which is most of the time
		h = h*0x9e3779b97f4a7c15 + maphash.String(r.seed, k.Method)
		h = h*0x9e3779b97f4a7c15 + maphash.String(r.seed, k.Path)
	}
	return h, &r.shard[h>>32%shards]
}

// count counts one more of the run k if its first record is on disk, and returns that
// record's incident. The error means what it means for Append.
func (r *repeats) count(k *RunKey) (incident string, known bool, err error) {
	sum, s := r.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Under the lock: after closed is set, every count is in the last sweep.
	if s.closed {
		return "", false, ErrClosed
	}
	if sick := r.log.fault.Load(); sick != nil {
		return "", false, sick.err
	}
	if e := s.runs[sum]; e != nil && e.live && e.key == *k {
		e.count++
		return e.incident, true, nil
	}
	return "", false, nil
}

// first makes rec the first record of the run k, or one more of it if another request was
// faster, and returns the incident of the first.
func (r *repeats) first(ctx context.Context, k RunKey, rec Record, t terms) (incident string, err error) {
	sum, s := r.of(&k)
	for {
		s.mu.Lock()
		e := s.runs[sum]
		if e == nil {
			e = &run{key: k, sum: sum, incident: rec.Incident, terms: t, ready: make(chan struct{})}
			e.element = s.order.PushBack(e)
			s.runs[sum] = e
			s.mu.Unlock()
			return rec.Incident, r.lead(s, e, rec)
		}
		s.mu.Unlock()
		if e.key != k { // once in 2^64: simply not counted
			return rec.Incident, r.log.write(ctx, rec)
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			return "", fmt.Errorf("audit record: %w", context.Cause(ctx))
		}
		if e.err != nil {
			return "", e.err
		}
		if incident, known, err := r.count(&k); known || err != nil {
			return incident, err
		} // else it was evicted in between: begin again
	}
}

// lead writes the first record of a run, and the counts of the run that had to
// make room for it. It does not look at the request's context: others wait for it.
func (r *repeats) lead(s *shard, e *run, rec Record) error {
	now := r.log.cfg.Now()
	if rec.Time.IsZero() {
		rec.Time = now
	}
	old, n := r.makeRoom(s)
	within := cuts
	if e.brief {
		within = briefCuts
	}
	body, err := encodeWithin(&rec, within)
	if e.body = e.terms.body; e.body == nil {
		e.body, e.sources = body, rec.Sources
	}
	if err == nil {
		lines := []pending{{body, rec.Time, rec.Count, rec.Sources}}
		if n > 0 {
			lines = append(lines, pending{old.body, now, n, old.sources})
		}
		err = r.log.writeRuns(false, lines)
	}
	s.mu.Lock()
	if e.err = err; err == nil {
		e.live, e.began, e.wrote = true, now, now
	} else {
		r.drop(s, e)
		if n > 0 {
			r.restore(s, old, n)
		}
	}
	s.mu.Unlock()
	close(e.ready)
	return err
}

// makeRoom takes out the run that was written longest ago when the shard is full,
// and returns it with what it had counted.
func (r *repeats) makeRoom(s *shard) (*run, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := s.order.Front()
	if len(s.runs) <= r.limit || !oldest.Value.(*run).live {
		return nil, 0
	}
	e := oldest.Value.(*run)
	r.drop(s, e)
	n := e.count
	e.count = 0
	return e, n
}

// restore puts back counts that could not be written.
func (r *repeats) restore(s *shard, e *run, n int64) {
	if now := s.runs[e.sum]; now != nil {
		now.count += n
		return
	}
	e.count += n
	e.element = s.order.PushFront(e)
	s.runs[e.sum] = e
}

func (r *repeats) drop(s *shard, e *run) {
	s.order.Remove(e.element)
	delete(s.runs, e.sum)
}

type pending struct {
	body    []byte
	at      time.Time
	count   int64
	sources *DataList
}

// writeRuns makes records durable together.
func (l *Log) writeRuns(counts bool, ps []pending) error {
	entries := make([]*entry, len(ps))
	for i, p := range ps {
		entries[i] = &entry{body: p.body, at: p.at, count: p.count, sources: p.sources, done: make(chan error, 1)}
	}
	if err := l.enqueue(counts, entries...); err != nil {
		return err
	}
	var err error
	for _, e := range entries {
		if got := <-e.done; got != nil {
			err = got
		}
	}
	return err
}

// run writes counts that are due until stop is closed, and then the rest.
func (r *repeats) run(stop <-chan struct{}) {
	tick := time.NewTicker(min(r.log.cfg.RepeatEvery, 5*time.Second))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.sweep(r.log.cfg.Now(), false)
		case <-stop:
			r.sweep(r.log.cfg.Now(), true)
			return
		}
	}
}

// sweep writes the counts of runs that were last written a minute (or ten) ago, and
// forgets runs that had no repeat in it, or have gone on for an hour and have to end. A
// closing sweep takes all and lets no more in.
func (r *repeats) sweep(now time.Time, closing bool) {
	for i := range r.shard {
		r.sweepShard(&r.shard[i], now, closing)
	}
}

func (r *repeats) sweepShard(s *shard, now time.Time, closing bool) {
	s.mu.Lock()
	s.closed = s.closed || closing
	var due []*run
	var lines []pending
	for at := s.order.Front(); at != nil; {
		e := at.Value.(*run)
		at = at.Next()
		if !e.live || !closing && now.Sub(e.wrote) < r.interval(e) {
			continue
		}
		over := e.ends && now.Sub(e.began) >= endsFactor*r.log.cfg.RepeatEvery
		if e.count == 0 || over {
			r.drop(s, e)
		} else {
			s.order.MoveToBack(e.element)
		}
		if e.count == 0 {
			continue
		}
		due = append(due, e)
		lines = append(lines, pending{e.body, now, e.count, e.sources})
		e.count, e.wrote = 0, now
	}
	s.mu.Unlock()
	if len(lines) == 0 {
		return
	}
	if err := r.log.writeRuns(true, lines); err != nil {
		// Not written, so not forgotten: the next sweep takes them along.
		r.log.cfg.Logger.Error("counted records could not be written yet", "runs", len(lines), "error", err)
		s.mu.Lock()
		for i, e := range due {
			r.restore(s, e, lines[i].count)
		}
		s.mu.Unlock()
		return
	}
	for _, e := range due {
		r.log.budget.charge(e.paid)
	}
}

func (r *repeats) interval(e *run) time.Duration {
	if e.slow {
		return slowFactor * r.log.cfg.RepeatEvery
	}
	return r.log.cfg.RepeatEvery
}
