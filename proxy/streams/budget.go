package streams

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Budget bounds the bytes that are held of messages which have to be read to their end before any of them may go
// on: by session, so that one cannot take it all, and in all. The zero Budget, and nil, hold everything.
// It is safe for concurrent use.
type Budget struct {
	session, total int64

	used    atomic.Int64
	refused atomic.Uint64
	seed    maphash.Seed
	parts   [16]struct {
		sync.Mutex
		held map[string]int64 // no entry: nothing
	}
}

// NewBudget returns a budget of bytes; 0 is no bound.
func NewBudget(session, total int64) *Budget {
	b := &Budget{session: session, total: total, seed: maphash.MakeSeed()}
	for i := range b.parts {
		b.parts[i].held = map[string]int64{}
	}
	return b
}

// Take reserves n bytes for a session, before they are allocated. What is taken has to be given back.
func (b *Budget) Take(session string, n int) bool {
	if b == nil || b.parts[0].held == nil {
		return true
	}
	p := &b.parts[maphash.String(b.seed, session)%uint64(len(b.parts))]
	p.Lock()
	defer p.Unlock()
	now := p.held[session] + int64(n)
	if b.session > 0 && now > b.session || !b.add(int64(n)) {
		b.refused.Add(1)
		return false
	}
	p.held[session] = now
	return true
}

// add adds to what is used in all, unless that were too much.
func (b *Budget) add(n int64) bool {
	for {
		used := b.used.Load()
		if b.total > 0 && used+n > b.total {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// Give returns n bytes that were taken for a session.
func (b *Budget) Give(session string, n int) {
	if b == nil || n == 0 || b.parts[0].held == nil {
		return
	}
	b.used.Add(-int64(n))
	p := &b.parts[maphash.String(b.seed, session)%uint64(len(b.parts))]
	p.Lock()
	defer p.Unlock()
	if p.held[session] -= int64(n); p.held[session] <= 0 {
		delete(p.held, session)
	}
}

// Used is how many bytes are taken now.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Refused is how often there was no room.
func (b *Budget) Refused() uint64 {
	if b == nil {
		return 0
	}
	return b.refused.Load()
}
