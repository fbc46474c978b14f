package audit

import (
	"container/list"
	"context"
	"fmt"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"

	"sallyport/policy"
)

// Same identifies a run of identical allows of one session, or of identical refusals of
// one session or, where nobody is signed in, one address. Two requests with the same value are one
// line with a count: whoever works all day, and whoever knocks all night, must not
// fill the disk.
type Same struct {
	Session string
	IP      string // of a refusal: an IPv4 address or an IPv6 /64
	Route   string
	Policy  string
	// Decision tells verdicts apart: "allow", and whatever rules are named with it.
	Decision string
}

// SameAs is the run that an allow belongs to, as Allow sees it.
func SameAs(rec *Record) Same {
	return Same{Session: rec.Session, IP: clientOf(rec), Route: rec.Route, Policy: rec.Policy, Decision: decisionOf(rec)}
}

// clientOf is who counts as one. Whoever has one IPv6 address has 2^64 of them, and could have each refused
// once; what is let through is named exactly.
func clientOf(rec *Record) string {
	if rec.Action == policy.Allow.String() {
		return rec.IP
	}
	addr, err := netip.ParseAddr(rec.IP)
	if err != nil || !addr.Is6() || addr.Is4In6() {
		return rec.IP
	}
	network, _ := addr.WithZone("").Prefix(64) // an error is for other lengths
	return network.String()
}

func decisionOf(rec *Record) string {
	if len(rec.Rules) == 0 && len(rec.Reported) == 0 && rec.Shadow == nil && rec.Event == "access" && rec.Detail["rpc_methods"] == "" {
		return rec.Action
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %q %q", rec.Event, rec.Action, rec.Rules, rec.Detail["rpc_methods"]+rec.Detail["reason"])
	for _, r := range rec.Reported {
		fmt.Fprintf(&b, " %q %s %d", r.Rule, r.Action, r.Score)
	}
	if s := rec.Shadow; s != nil {
		fmt.Fprintf(&b, " shadow %q %q %q", s.Policy, s.Action, s.Rules)
	}
	return b.String()
}

const shards = 64

// repeats counts identical allows between the lines that are written for them.
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

// run is one run of allows. Guarded by its shard's lock, but for ready and err.
type run struct {
	key  Same
	sum  uint64
	body []byte // of the first record
	// incident is the first record's; a repeat of a block is told the same one.
	incident string
	wrote    time.Time
	count    int64 // since then
	place    *list.Element
	// live is set when the first record is on disk. Until then nobody is counted:
	// whoever comes meanwhile waits on ready, and reads err after it.
	live  bool
	ready chan struct{}
	err   error
}

func newRepeats(l *Log, limit int) *repeats {
	r := &repeats{log: l, seed: maphash.MakeSeed(), limit: max(1, limit/shards)}
	for i := range r.shard {
		r.shard[i].runs = make(map[uint64]*run)
		r.shard[i].order = list.New()
	}
	return r
}

// of hashes k, one string at a time, which is several times faster than a map with
// a key of five strings, and finds its shard.
func (r *repeats) of(k *Same) (uint64, *shard) {
	h := maphash.String(r.seed, k.Session)
	for _, part := range [...]string{k.IP, k.Route, k.Policy, k.Decision} {
		h = h*0x9e3779b97f4a7c15 + maphash.String(r.seed, part)
	}
	return h, &r.shard[h>>32%shards]
}

// Repeat counts one more allow of a run whose first record is on disk, and
// reports whether there is one; if not, the caller makes the record and calls
// Allow. It is the hot path: no allocation, no I/O, no lock but that of
// a 64th of all runs. The error means what it means for Append.
func (l *Log) Repeat(k Same) (bool, error) {
	_, known, err := l.RepeatRefusal(k)
	return known, err
}

// RepeatRefusal is Repeat for a block of somebody who is not signed in; it returns the
// incident of the first one, under which the security team finds all of them.
func (l *Log) RepeatRefusal(k Same) (incident string, known bool, err error) {
	sum, s := l.repeats.of(&k)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Under the lock: after closed is set, every count is in the last sweep.
	if s.closed {
		return "", false, ErrClosed
	}
	if sick := l.sick.Load(); sick != nil {
		return "", false, sick.err
	}
	if e := s.runs[sum]; e != nil && e.live && e.key == k {
		e.count++
		return e.incident, true, nil
	}
	return "", false, nil
}

// runs reports whether a record can be one of a run: an allow belongs to a session, and
// only a block can belong to nobody.
func runs(rec *Record) bool {
	return rec.Session != "" || rec.IP != "" && rec.Action == policy.Block.String()
}

// Allow records that a request was let through, or that nobody in particular was
// turned away. The first of a run is on disk when it returns; the rest are counted, and
// written once a minute. An allow without a session is never one of a run.
func (l *Log) Allow(ctx context.Context, rec Record) error {
	if !runs(&rec) {
		return l.Append(ctx, rec)
	}
	known, err := l.Repeat(SameAs(&rec))
	if known || err != nil {
		return err
	}
	return l.allowFirst(ctx, rec)
}

func (l *Log) allowFirst(ctx context.Context, rec Record) error {
	k := SameAs(&rec)
	sum, s := l.repeats.of(&k)
	for {
		s.mu.Lock()
		e := s.runs[sum]
		if e == nil {
			e = &run{key: k, sum: sum, incident: rec.Incident, ready: make(chan struct{})}
			e.place = s.order.PushBack(e)
			s.runs[sum] = e
			s.mu.Unlock()
			return l.repeats.lead(s, e, rec)
		}
		s.mu.Unlock()
		if e.key != k { // once in 2^64: simply not counted
			return l.Append(ctx, rec)
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			return fmt.Errorf("audit record: %w", context.Cause(ctx))
		}
		if e.err != nil {
			return e.err
		}
		if known, err := l.Repeat(k); known || err != nil {
			return err
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
	var err error
	if e.body, err = encode(&rec); err == nil {
		lines := []pending{{e.body, rec.Time, rec.Count}}
		if n > 0 {
			lines = append(lines, pending{old.body, now, n})
		}
		err = r.log.writeRuns(false, lines)
	}
	s.mu.Lock()
	if e.err = err; err == nil {
		e.live, e.wrote = true, now
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
	e.place = s.order.PushFront(e)
	s.runs[e.sum] = e
}

func (r *repeats) drop(s *shard, e *run) {
	s.order.Remove(e.place)
	delete(s.runs, e.sum)
}

type pending struct {
	body  []byte
	at    time.Time
	count int64
}

// writeRuns makes records durable together.
func (l *Log) writeRuns(counts bool, ps []pending) error {
	entries := make([]*entry, len(ps))
	for i, p := range ps {
		entries[i] = &entry{body: p.body, at: p.at, count: p.count, done: make(chan error, 1)}
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

// sweep writes the counts of runs that were last written a minute ago, and forgets
// runs that had no repeat in it. A closing sweep takes all and lets no more in.
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
		if !e.live {
			continue
		}
		if !closing && now.Sub(e.wrote) < r.log.cfg.RepeatEvery {
			break // the rest were written later
		}
		if e.count == 0 {
			r.drop(s, e)
			continue
		}
		due = append(due, e)
		lines = append(lines, pending{e.body, now, e.count})
		e.count, e.wrote = 0, now
		s.order.MoveToBack(e.place)
	}
	s.mu.Unlock()
	if len(lines) == 0 {
		return
	}
	if err := r.log.writeRuns(true, lines); err != nil {
		// Not written, so not forgotten: the next sweep takes them along.
		r.log.cfg.Logger.Error("counted allows could not be written yet", "runs", len(lines), "err", err)
		s.mu.Lock()
		for i, e := range due {
			r.restore(s, e, lines[i].count)
		}
		s.mu.Unlock()
	}
}
