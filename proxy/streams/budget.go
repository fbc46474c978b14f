package streams

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Budget bounds the bytes that are held of messages which have to be read to their end
// before any of them may go on: by session, by person, and in all, so that none of them
// can take it all. It is safe for concurrent use.
type Budget struct {
	session, person, total int64

	used    atomic.Int64
	refused atomic.Uint64
	seed    maphash.Seed
	parts   [16]struct {
		sync.Mutex
		held map[holder]int64 // no entry: nothing
	}
}

// holder is a session, or a person with all of theirs.
type holder struct {
	name   string
	person bool
}

// sessionsPerPerson is how many sessions' bytes one person may hold, however many
// sessions they have: two browsers may both be busy, and twenty sessions are not twenty
// shares.
const sessionsPerPerson = 2

// NewBudget returns a budget of bytes; 0 is no room. A person may hold what two sessions
// may.
func NewBudget(session, total int64) *Budget {
	b := &Budget{session: session, person: sessionsPerPerson * session, total: total, seed: maphash.MakeSeed()}
	for i := range b.parts {
		b.parts[i].held = map[holder]int64{}
	}
	return b
}

// Take reserves n bytes for a session and its person, before they are allocated. Return
// them with the same arguments. The person "" is bounded by session only.
func (b *Budget) Take(session, person string, n int) bool {
	s, p, size := holder{name: session}, holder{person, true}, int64(n)
	switch {
	case !b.reserve(s, size, b.session):
	case person != "" && !b.reserve(p, size, b.person):
		b.release(s, size)
	case !b.add(size):
		b.release(s, size)
		if person != "" {
			b.release(p, size)
		}
	default:
		return true
	}
	b.refused.Add(1)
	return false
}

// reserve adds to what h holds, unless that were more than limit.
func (b *Budget) reserve(h holder, n, limit int64) bool {
	p := &b.parts[maphash.String(b.seed, h.name)%uint64(len(b.parts))]
	p.Lock()
	defer p.Unlock()
	now := p.held[h] + n
	if now > limit {
		return false
	}
	p.held[h] = now
	return true
}

func (b *Budget) release(h holder, n int64) {
	p := &b.parts[maphash.String(b.seed, h.name)%uint64(len(b.parts))]
	p.Lock()
	defer p.Unlock()
	if p.held[h] -= n; p.held[h] <= 0 {
		delete(p.held, h)
	}
}

// add adds to the total, unless that would exceed it.
func (b *Budget) add(n int64) bool {
	for {
		used := b.used.Load()
		if used+n > b.total {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// Give returns n bytes that were taken.
func (b *Budget) Give(session, person string, n int) {
	if n == 0 {
		return
	}
	b.used.Add(-int64(n))
	b.release(holder{name: session}, int64(n))
	if person != "" {
		b.release(holder{person, true}, int64(n))
	}
}

// Used is how many bytes are taken now.
func (b *Budget) Used() int64 { return b.used.Load() }

// Refused is how often there was no room.
func (b *Budget) Refused() uint64 { return b.refused.Load() }
