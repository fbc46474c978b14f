package streams

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config of a Registry. Inspected and MessageTime are required.
type Config struct {
	// Grace is how long an upstream has to finish what it is in the middle of; a client
	// that does not read has twice as long. Default 40 ms: all is over within 100 ms.
	Grace time.Duration
	// Linger is how long a WebSocket client may take to answer the close frame. Nothing it
	// sends goes anywhere. Default 1 s.
	Linger time.Duration
	// Observe, if set, is called with the time from the order until the stream was
	// closed: for a WebSocket, when the close frame was written; otherwise when the
	// handler was done. It must not block.
	Observe func(Kind, Reason, time.Duration)
	Now     func() time.Time
	// Inspected bounds the memory of inspected messages.
	Inspected *Budget
	// MessageTime is how long a client may take for a message that is inspected, from its
	// first byte to its last, and then an upstream to read it.
	MessageTime time.Duration
}

// Info says what a stream is.
type Info struct {
	Session string // public handle of the session
	Person  string // whose it is, for Config.Inspected: a key that no other person shares; "" where nothing is inspected
	Route   string
	Kind    Kind // known once the upstream has answered
	Opened  time.Time
	Value   any // the caller's: what it needs to judge the stream again
}

// Epoch is a moment in the sequence of orders.
type Epoch uint64

const (
	shards = 64
	// Orders are remembered for requests that were judged before and are opened after them.
	rememberOrders = 4096
	rememberFor    = 10 * time.Second
)

// Registry holds the open streams. It is safe for concurrent use; opening and
// closing a stream takes the lock of one shard.
type Registry struct {
	cfg    Config
	seed   maphash.Seed
	epoch  atomic.Uint64
	counts [kinds]atomic.Int64
	shards [shards]struct {
		sync.Mutex
		sessions map[string]*Stream // the first of a list
	}
	orders orders
}

// Inspected is the budget of messages that are inspected.
func (r *Registry) Inspected() *Budget { return r.cfg.Inspected }

// MessageTime is Config.MessageTime.
func (r *Registry) MessageTime() time.Duration { return r.cfg.MessageTime }

// orders are the recent ones.
type orders struct {
	sync.Mutex
	list   []order // oldest first
	forgot uint64  // the newest epoch that is not in list any more
	timer  *time.Timer
}

// drop forgets the n oldest.
func (l *orders) drop(n int) {
	if n > 0 {
		l.forgot = l.list[n-1].epoch
		l.list = slices.Delete(l.list, 0, n)
	}
}

// order is a cut that streams opened in the next moments are held against.
type order struct {
	epoch   uint64
	at      time.Time
	session string // "" is all
	match   func(Info) (Reason, bool)
}

// New returns an empty registry.
func New(c Config) (*Registry, error) {
	if c.Inspected == nil || c.MessageTime <= 0 {
		return nil, fmt.Errorf("streams: inspected messages need a budget, and a positive MessageTime, not %s", c.MessageTime)
	}
	if c.Grace <= 0 {
		c.Grace = 40 * time.Millisecond
	}
	if c.Linger <= 0 {
		c.Linger = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Registry{cfg: c, seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].sessions = map[string]*Stream{}
	}
	return r, nil
}

// Epoch returns the present moment. A request is judged after it and opened with it.
func (r *Registry) Epoch() Epoch { return Epoch(r.epoch.Load()) }

// Open registers a stream under ctx. The caller must Close it. If an order since
// epoch names it, it is cut already.
func (r *Registry) Open(ctx context.Context, epoch Epoch, info Info) *Stream {
	if info.Opened.IsZero() {
		info.Opened = r.cfg.Now()
	}
	s := &Stream{reg: r, info: info}
	s.kind.Store(int32(info.Kind))
	inner, cancel := context.WithCancelCause(ctx)
	s.ctx, s.cancel = streamContext{inner, s}, cancel
	r.counts[info.Kind].Add(1)

	sh := &r.shards[maphash.String(r.seed, info.Session)%shards]
	sh.Lock()
	if first := sh.sessions[info.Session]; first != nil {
		// Behind the first, so that the map is not written.
		s.prev, s.next = first, first.next
		if s.next != nil {
			s.next.prev = s
		}
		first.next = s
	} else {
		sh.sessions[info.Session] = s
	}
	sh.Unlock()
	// After it is in the list: an order that did not see it there has moved the epoch on.
	if now := r.epoch.Load(); now != uint64(epoch) {
		if c := r.missed(uint64(epoch), s.Info()); c != nil {
			s.cut(c)
		}
	}
	return s
}

func (r *Registry) remove(s *Stream) {
	r.counts[s.kind.Load()].Add(-1)
	sh := &r.shards[maphash.String(r.seed, s.info.Session)%shards]
	sh.Lock()
	defer sh.Unlock()
	if s.next != nil {
		s.next.prev = s.prev
	}
	switch {
	case s.prev != nil:
		s.prev.next = s.next
	case s.next != nil:
		sh.sessions[s.info.Session] = s.next
	default:
		delete(sh.sessions, s.info.Session)
	}
	s.prev, s.next = nil, nil
}

// Cut ends every stream of a session and returns how many they are.
func (r *Registry) Cut(session string, why Reason) int {
	return r.order(session, func(Info) (Reason, bool) { return why, true })
}

// Review ends those streams of a session that match says to end.
func (r *Registry) Review(session string, match func(Info) (Reason, bool)) int {
	return r.order(session, match)
}

// CutIf ends every stream that match says to end. match is called without a lock held,
// and for some seconds after CutIf has returned for streams that are opened with an older
// Epoch.
func (r *Registry) CutIf(match func(Info) (Reason, bool)) int { return r.order("", match) }

// CutAll ends every stream.
func (r *Registry) CutAll(why Reason) int {
	return r.order("", func(Info) (Reason, bool) { return why, true })
}

func (r *Registry) order(session string, match func(Info) (Reason, bool)) int {
	at := r.cfg.Now()
	r.remember(order{at: at, session: session, match: match})
	var found []*Stream
	collect := func(s *Stream) {
		for ; s != nil; s = s.next {
			found = append(found, s)
		}
	}
	if session != "" {
		sh := &r.shards[maphash.String(r.seed, session)%shards]
		sh.Lock()
		collect(sh.sessions[session])
		sh.Unlock()
	} else {
		for i := range r.shards {
			sh := &r.shards[i]
			sh.Lock()
			for _, s := range sh.sessions {
				collect(s)
			}
			sh.Unlock()
		}
	}
	// First all are marked, which stops what their clients send; then each is ended.
	orders := map[Reason]*Cut{}
	ordered := found[:0]
	for _, s := range found {
		why, ok := match(s.Info())
		if !ok {
			continue
		}
		c := orders[why]
		if c == nil {
			c = &Cut{Reason: why, At: at}
			orders[why] = c
		}
		if s.order.CompareAndSwap(nil, c) {
			ordered = append(ordered, s)
		}
	}
	var all *peers
	if len(ordered) > 1 {
		all = newPeers(len(ordered), 4*r.cfg.Grace)
	}
	for _, s := range ordered {
		s.sever(all)
	}
	return len(ordered)
}

// remember puts o in the list before any stream is looked for.
func (r *Registry) remember(o order) {
	l := &r.orders
	l.Lock()
	defer l.Unlock()
	o.epoch = r.epoch.Load() + 1
	if len(l.list) >= rememberOrders {
		l.drop(len(l.list) / 2)
	}
	l.list = append(l.list, o)
	r.epoch.Store(o.epoch)
	if l.timer == nil {
		l.timer = time.AfterFunc(rememberFor, r.forget)
	}
}

// forget drops old orders: what match refers to may be large.
func (r *Registry) forget() {
	l := &r.orders
	l.Lock()
	defer l.Unlock()
	l.timer = nil
	old, now := 0, r.cfg.Now()
	for old < len(l.list) && now.Sub(l.list[old].at) >= rememberFor/2 {
		old++
	}
	l.drop(old)
	if len(l.list) > 0 {
		l.timer = time.AfterFunc(rememberFor, r.forget)
	}
}

// missed returns the order since epoch that names the stream. If orders since epoch have
// been forgotten, the request is cut: its judgement may no longer hold.
func (r *Registry) missed(epoch uint64, info Info) *Cut {
	l := &r.orders
	l.Lock()
	var since []order
	for i := len(l.list) - 1; i >= 0 && l.list[i].epoch > epoch; i-- {
		if o := l.list[i]; o.session == "" || o.session == info.Session {
			since = append(since, o)
		}
	}
	forgot := l.forgot > epoch
	l.Unlock()
	if forgot {
		return &Cut{Reason: Ended, At: r.cfg.Now()}
	}
	for _, o := range since {
		if why, ok := o.match(info); ok {
			return &Cut{Reason: why, At: r.cfg.Now()}
		}
	}
	return nil
}

// Count returns the number of open streams of a kind.
func (r *Registry) Count(k Kind) int { return int(r.counts[k].Load()) }

// Total returns the number of open streams.
func (r *Registry) Total() (n int) {
	for k := range kinds {
		n += r.Count(k)
	}
	return n
}

// SessionCount returns the number of open streams of a session: for limits.
func (r *Registry) SessionCount(session string) (n int) {
	sh := &r.shards[maphash.String(r.seed, session)%shards]
	sh.Lock()
	defer sh.Unlock()
	for s := sh.sessions[session]; s != nil; s = s.next {
		n++
	}
	return n
}
