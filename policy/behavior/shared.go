package behavior

import (
	"sync"
)

// sharers is who was let through at one address, or on one device. Nearly all are a
// single person, who takes no memory beyond the entry itself.
type sharers struct {
	one  kept[uint64]
	more *[]kept[uint64]
}

// maxSharers bounds the people that are told apart: that many are one fact with more.
const maxSharers = 250

// count counts those of the last 30 days, me included; me is 0 for none.
func (c sharers) count(me uint64, now moment) (n int64) {
	counts := func(k kept[uint64]) bool { return k.what != 0 && k.what != me && k.last.within(month, now) }
	if me != 0 {
		n++
	}
	if counts(c.one) {
		n++
	}
	if c.more == nil {
		return n
	}
	for _, k := range *c.more {
		if counts(k) {
			n++
		}
	}
	return n
}

// add notes that a person was let through.
func (c sharers) add(who uint64, at moment) sharers {
	switch {
	case c.one.what == who:
		c.one.last = max(c.one.last, at)
	case c.one.what == 0:
		c.one = kept[uint64]{who, at}
	case c.more == nil:
		c.more = &[]kept[uint64]{{who, at}}
	default:
		*c.more = keep(*c.more, who, at, maxSharers-1)
	}
	return c
}

// expire drops people not seen for 30 days; the zero sharers has none left.
func (c sharers) expire(now moment) sharers {
	if c.more != nil {
		if *c.more = expire(*c.more, month, now); *c.more == nil {
			c.more = nil
		}
	}
	if c.one.what == 0 || c.one.last.within(month, now) {
		return c
	}
	c.one = kept[uint64]{}
	if c.more != nil {
		rest := *c.more
		c.one = rest[0]
		if c.more = nil; len(rest) > 1 {
			rest = rest[1:]
			c.more = &rest
		}
	}
	return c
}

// last is when any person of it was seen.
func (c sharers) last() moment {
	m := c.one.last
	if c.more != nil {
		for _, k := range *c.more {
			m = max(m, k.last)
		}
	}
	return m
}

// sharerTable are the crowds of all addresses, or of all devices, by hash.
type sharerTable struct {
	limit int // per part
	parts [parts]struct {
		sync.RWMutex
		m map[uint64]sharers
	}
}

func newSharerTable(limit int) *sharerTable {
	c := &sharerTable{limit: max(limit/parts, 1)}
	for i := range c.parts {
		c.parts[i].m = map[uint64]sharers{}
	}
	return c
}

func (c *sharerTable) count(where, me uint64, now moment) int64 {
	p := &c.parts[where>>8%parts]
	p.RLock()
	defer p.RUnlock()
	return p.m[where].count(me, now)
}

// add notes that a person was let through there. At the bound, the place makes room that
// was not used for longest of a few picked at random, as Go's maps are walked from
// anywhere.
func (c *sharerTable) add(where, who uint64, at moment) {
	p := &c.parts[where>>8%parts]
	p.Lock()
	defer p.Unlock()
	there, ok := p.m[where]
	if !ok && len(p.m) >= c.limit {
		var victim uint64
		oldest, looked := ^moment(0), 0
		for k, v := range p.m {
			if l := v.last(); l < oldest {
				victim, oldest = k, l
			}
			if looked++; looked == 8 {
				break
			}
		}
		delete(p.m, victim)
	}
	p.m[where] = there.add(who, at)
}

func (c *sharerTable) expire(now moment) {
	for i := range c.parts {
		p := &c.parts[i]
		p.Lock()
		for k, v := range p.m {
			if v = v.expire(now); v.one.what == 0 {
				delete(p.m, k)
			} else {
				p.m[k] = v
			}
		}
		p.Unlock()
	}
}

func (c *sharerTable) len() (n int) {
	for i := range c.parts {
		c.parts[i].RLock()
		n += len(c.parts[i].m)
		c.parts[i].RUnlock()
	}
	return n
}
