package upstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// pool is the upstreams of one route. Requests go to the one with the fewest
// exchanges outstanding; among equals in turn.
type pool struct {
	f        *Forwarder
	backends []*backend
	short    bool // every upstream can be reached the short way
	wait     time.Duration
	turn     atomic.Uint32
}

// scanAll is the number of upstreams up to which all are compared. Of more, two
// are drawn and compared, which does nearly as well ("the power of two choices").
const scanAll = 16

// pick takes a place at the best upstream other than not. Otherwise it returns nil, and
// whether one is worth waiting for.
//
// Ejection is a guess from failures, so it never excludes all: if all are ejected, the
// one whose time ends first is tried. An active check is different, because the operator
// configured it: an upstream that fails it gets nothing, even if it is the last.
func (p *pool) pick(not *backend) (b *backend, waitable bool) {
	if len(p.backends) == 1 {
		b := p.backends[0]
		switch {
		case b == not || b.down.Load():
			return nil, false
		case b.tryAcquire():
			return b, false
		}
		return nil, true
	}
	now := p.f.now()
	if len(p.backends) > scanAll {
		if b := p.draw(not, now); b != nil {
			return b, false
		}
	}
	for range 4 { // another request may take the last place in between
		b, waitable = p.scan(not, now)
		if b == nil {
			return nil, waitable
		}
		if b.tryAcquire() {
			return b, false
		}
	}
	return nil, true
}

func (p *pool) scan(not *backend, now time.Time) (best *backend, waitable bool) {
	var least, soonest int64
	var fallback *backend
	n := len(p.backends)
	start := int(p.turn.Load()) % n
	if not == nil { // a second try takes no turn: the next request shall not begin where this one did
		p.turn.Add(1)
	}
	for i := range n {
		b := p.backends[(start+i)%n]
		ok, trial := b.usable(now.UnixNano())
		switch {
		case b == not || b.down.Load():
		case b.full():
			waitable = true
		case !ok:
			if until := b.ejectedUntil.Load(); fallback == nil || until < soonest {
				fallback, soonest = b, until
			}
		case trial && !b.claimTrial(now):
		case trial:
			return b, false // this request is the trial
		default:
			if o := b.outstanding.Load(); best == nil || o < least {
				best, least = b, o
			}
		}
	}
	if best == nil && !waitable {
		best = fallback
	}
	return best, waitable
}

func (p *pool) draw(not *backend, now time.Time) *backend {
	x, y := p.backends[rand.IntN(len(p.backends))], p.backends[rand.IntN(len(p.backends))]
	if y.outstanding.Load() < x.outstanding.Load() {
		x, y = y, x
	}
	for _, b := range [...]*backend{x, y} {
		if ok, trial := b.usable(now.UnixNano()); ok && b != not && b.claimTrialIf(trial, now) && b.tryAcquire() {
			return b
		}
	}
	return nil
}

func (b *backend) claimTrialIf(trial bool, now time.Time) bool { return !trial || b.claimTrial(now) }

// acquire is pick, waiting for a place for as long as the route allows.
func (p *pool) acquire(ctx context.Context, not *backend) (*backend, error) {
	b, waitable := p.pick(not)
	switch {
	case b != nil:
		return b, nil
	case !waitable:
		return nil, ErrNoUpstream
	case p.wait <= 0:
		return nil, errBusy
	}
	w := newWaiter(p)
	if w == nil {
		return nil, errQueue
	}
	defer w.leave()
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	for {
		// Checked again after queueing: a place that was freed in between woke no waiter.
		if b, waitable = p.pick(not); b != nil {
			return b, nil
		} else if !waitable {
			return nil, ErrNoUpstream
		}
		select {
		case <-w.wake:
		case <-timer.C:
			return nil, errBusy
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Both are that max_connections exchanges are under way at every upstream, and end in
// 503.
var (
	errBusy  = fmt.Errorf("%w: all connections are in use", ErrNoUpstream)
	errQueue = fmt.Errorf("%w, and too many requests wait for one", errBusy)
)

// maxWaiting is how many requests may wait for one upstream. Beyond it a queue
// only delays the answer that most of them will get.
const maxWaiting = 1024

// waitQueue are the requests that wait for a place at one upstream. Its lock is
// taken only by upstreams with a limit.
type waitQueue struct {
	waiting atomic.Int32
	mu      sync.Mutex
	queue   []*waiter
}

// waiter stands in the queue of every upstream of its route.
type waiter struct {
	pool *pool
	wake chan struct{} // of capacity one
}

func newWaiter(p *pool) *waiter {
	w := &waiter{pool: p, wake: make(chan struct{}, 1)}
	joined := false
	for _, b := range p.backends {
		joined = b.queue.join(w) || joined
	}
	if !joined {
		return nil
	}
	return w
}

func (q *waitQueue) join(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) >= maxWaiting {
		return false
	}
	q.queue = append(q.queue, w)
	q.waiting.Store(int32(len(q.queue)))
	return true
}

// leave ends the wait. A wake that was not used, or came too late, is passed on: another
// request may be waiting for that place.
func (w *waiter) leave() {
	for _, b := range w.pool.backends {
		b.queue.remove(w)
	}
	select {
	case <-w.wake:
		for _, b := range w.pool.backends {
			if !b.full() {
				b.queue.wakeOne()
			}
		}
	default:
	}
}

func (q *waitQueue) remove(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range q.queue {
		if other == w {
			q.queue = append(q.queue[:i], q.queue[i+1:]...)
			break
		}
	}
	q.waiting.Store(int32(len(q.queue)))
}

// wakeOne wakes the one that has waited longest and is not awake yet.
func (q *waitQueue) wakeOne() {
	if q.waiting.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.queue {
		select {
		case w.wake <- struct{}{}:
			return
		default:
		}
	}
}
