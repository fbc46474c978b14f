package session

import (
	"crypto/sha256"
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/authn"
)

// cache keeps what the store said about a cookie until the session changes.
//
// It is two sharded maps rather than a cache library, because of what dropping a
// session must guarantee: when drop returns, no cookie of that session, on any
// host, is answered from memory, and no load that read the store before the
// change can put the old state back. Entries point to one live per session;
// killing it makes them all void at once, wherever they are. A library would
// still need the index from session to cookies, its lock, and the epoch.
//
// No lock is held while another is taken. Reading takes one shard's read lock.
type cache struct {
	epoch   atomic.Uint64 // grows with every drop, before the drop
	seed    maphash.Seed
	perPart int
	entries [parts]struct {
		sync.RWMutex
		m map[cacheKey]*entry
	}
	lives [parts]struct {
		sync.RWMutex
		m map[string]*live
	}
	voided atomic.Bool // an entry may be void, so a sweep is worth its locks
	// stray holds last-seen times, to be flushed, of sessions that are not (or no
	// longer) in lives.
	strayMu sync.Mutex
	stray   map[string]int64
}

const parts = 64

// cacheKey is the SHA-256 of the sealed cookie: cookies themselves are not kept
// in memory, and no two cookies share a key.
type cacheKey [32]byte

func keyOf(sealed string) cacheKey {
	var b [sealedLen]byte
	copy(b[:], sealed)
	return sha256.Sum256(b[:])
}

// entry is one host's cookie. It is immutable: identities are copied out of it.
type entry struct {
	live *live
	sess authn.Session
}

// live is what all cached cookies of a session share.
type live struct {
	id   string
	dead atomic.Bool  // set once, when the session ended or changed
	seen atomic.Int64 // microseconds; only grows
	kept atomic.Int64 // the seen that the store has
}

// touch moves the last-seen time on. Once a second is enough for an idle limit,
// and keeps a busy session's cores from fighting over one cache line.
func (l *live) touch(now int64) {
	for {
		old := l.seen.Load()
		if now-old < int64(time.Second/time.Microsecond) || l.seen.CompareAndSwap(old, now) {
			return
		}
	}
}

func newCache(size int) *cache {
	c := &cache{seed: maphash.MakeSeed(), perPart: max(size/parts, 1), stray: map[string]int64{}}
	for i := range parts {
		c.entries[i].m = map[cacheKey]*entry{}
		c.lives[i].m = map[string]*live{}
	}
	return c
}

func (c *cache) part(id string) int { return int(maphash.String(c.seed, id) % parts) }

// get returns the entry, or nil if there is none or its session has changed.
func (c *cache) get(k cacheKey) *entry {
	p := &c.entries[k[0]%parts]
	p.RLock()
	e := p.m[k]
	p.RUnlock()
	if e == nil || e.live.dead.Load() {
		return nil
	}
	return e
}

// put remembers s, loaded from the store after epoch was read, and last seen at
// `seen`, of which the store has `kept`.
func (c *cache) put(epoch uint64, k cacheKey, s authn.Session, kept, seen int64) {
	l := c.attach(epoch, s.ID, kept)
	if l == nil {
		c.touchStray(s.ID, seen)
		return
	}
	l.touch(seen)
	p := &c.entries[k[0]%parts]
	p.Lock()
	defer p.Unlock()
	if _, there := p.m[k]; !there && len(p.m) >= c.perPart {
		evict(p.m, func(e *entry) int64 {
			if e.live.dead.Load() {
				return 0
			}
			return e.live.seen.Load()
		})
	}
	p.m[k] = &entry{live: l, sess: s}
}

// attach returns the session's live, or nil if any session changed since epoch: then the
// loaded state may be older than that change.
func (c *cache) attach(epoch uint64, id string, kept int64) *live {
	p := &c.lives[c.part(id)]
	p.Lock()
	defer p.Unlock()
	// Under the lock: a drop that counts up after this line waits for the lock
	// and then finds the live.
	if c.epoch.Load() != epoch {
		return nil
	}
	if l := p.m[id]; l != nil {
		return l
	}
	if len(p.m) >= c.perPart {
		// An entry whose live is not indexed could not be dropped: void it.
		if _, l, ok := evict(p.m, func(l *live) int64 { return l.seen.Load() }); ok {
			c.kill(l)
		}
	}
	l := &live{id: id}
	l.seen.Store(kept)
	l.kept.Store(kept)
	p.m[id] = l
	return l
}

// evict removes the least recently seen of a few entries that the map happens to
// yield first; Go starts at a random place. Removing any is correct.
func evict[K comparable, V any](m map[K]V, seen func(V) int64) (key K, value V, ok bool) {
	var oldest int64
	n := 0
	for k, v := range m {
		if s := seen(v); !ok || s < oldest {
			key, value, oldest, ok = k, v, s, true
		}
		if n++; n == 8 {
			break
		}
	}
	delete(m, key)
	return key, value, ok
}

// drop makes the cache forget a session.
func (c *cache) drop(id string) {
	c.epoch.Add(1)
	p := &c.lives[c.part(id)]
	p.Lock()
	l := p.m[id]
	delete(p.m, id)
	p.Unlock()
	if l != nil {
		c.kill(l)
	}
}

// clear makes it forget all.
func (c *cache) clear() {
	c.epoch.Add(1)
	for i := range parts {
		p := &c.lives[i]
		p.Lock()
		old := p.m
		p.m = map[string]*live{}
		p.Unlock()
		for _, l := range old {
			c.kill(l)
		}
	}
	c.sweep()
}

// kill voids every entry of l and keeps the touch that was not flushed yet.
func (c *cache) kill(l *live) {
	l.dead.Store(true)
	c.voided.Store(true)
	if seen := l.seen.Load(); seen > l.kept.Load() {
		c.touchStray(l.id, seen)
	}
}

// sweep frees void entries, if there can be any.
func (c *cache) sweep() {
	if !c.voided.Swap(false) {
		return
	}
	for i := range parts {
		p := &c.entries[i]
		p.Lock()
		maps.DeleteFunc(p.m, func(_ cacheKey, e *entry) bool { return e.live.dead.Load() })
		p.Unlock()
	}
}

func (c *cache) touchStray(id string, seen int64) {
	c.strayMu.Lock()
	defer c.strayMu.Unlock()
	if seen > c.stray[id] {
		c.stray[id] = seen
	}
}

// lastSeen returns the last-seen time that this process knows, 0 if it knows none.
func (c *cache) lastSeen(id string) int64 {
	p := &c.lives[c.part(id)]
	p.RLock()
	l := p.m[id]
	p.RUnlock()
	var known int64
	if l != nil {
		known = l.seen.Load()
	}
	c.strayMu.Lock()
	defer c.strayMu.Unlock()
	return max(known, c.stray[id])
}

// unflushed takes the last-seen times that the store does not have. The caller
// gives them back with kept or touchStray.
func (c *cache) unflushed() map[string]int64 {
	c.strayMu.Lock()
	batch := c.stray
	c.stray = map[string]int64{}
	c.strayMu.Unlock()
	for i := range parts {
		p := &c.lives[i]
		p.RLock()
		for id, l := range p.m {
			if seen := l.seen.Load(); seen > l.kept.Load() {
				batch[id] = max(seen, batch[id])
			}
		}
		p.RUnlock()
	}
	return batch
}

// kept notes that the store has the touch.
func (c *cache) kept(id string, seen int64) {
	p := &c.lives[c.part(id)]
	p.RLock()
	defer p.RUnlock()
	if l := p.m[id]; l != nil && seen > l.kept.Load() {
		l.kept.Store(seen)
	}
}
