package behavior

import (
	"math/bits"
	"time"

	"sallyport/policy"
)

const (
	bucketLen = 5 * time.Minute
	ring      = 576 // buckets in 48 hours
	words     = ring / 64
	perHour   = 12
)

// bucket is a number of five minutes since 1970.
type bucket uint32

func bucketOf(m moment) bucket { return bucket(m / moment(bucketLen/time.Second)) }

// buckets records in which five minutes of the last 48 hours a person was active, in a ring
// of bits.
type buckets struct {
	bits    [words]uint64
	last    bucket
	unsaved bucket // the oldest that the store may not have
}

func (b *buckets) has(n bucket) bool {
	return n <= b.last && b.last-n < ring && b.bits[n%ring/64]>>(n%64)&1 != 0
}

// set records activity: see ringSet.
func (b *buckets) set(n bucket, now bucket) {
	if ringSet(b.bits[:], &b.last, n, now) {
		b.unsaved = n
	}
}

// line is the ring of the 48 hours up to now as a line: bit 0 of word 0 is the oldest
// bucket.
func (b *buckets) line(now bucket) (l [words]uint64) {
	first := now - (ring - 1)
	start := first % ring
	for k := range words {
		i, s := (int(start)/64+k)%words, start%64
		l[k] = b.bits[i]>>s | b.bits[(i+1)%words]<<(64-s)
	}
	// What lies outside of the ring's own two days is another day's bits.
	lost, late := uint64(0), uint64(0)
	if b.last > now {
		lost = min(uint64(b.last-now), ring)
	} else {
		late = min(uint64(now-b.last), ring)
	}
	for k := range words {
		lo, hi := uint64(k)*64, uint64(k)*64+64
		if lost > lo {
			l[k] &= ^uint64(0) << min(lost-lo, 64)
		}
		if end := ring - late; end < hi {
			l[k] &= ^(^uint64(0) << (max(end, lo) - lo))
		}
	}
	return l
}

// activity is policy.Activity as of now. An hour is one of the 24 that go back from the
// current five minutes, not one of the clock.
func (b *buckets) activity(now bucket) policy.Activity {
	a := policy.Activity{Known: true}
	l := b.line(now)
	for h := range 24 {
		at := ring - perHour*(h+1)
		v := l[at/64] >> (at % 64)
		if at%64 > 64-perHour {
			v |= l[at/64+1] << (64 - at%64)
		}
		if v&(1<<perHour-1) != 0 {
			a.ActiveHours24h++
		}
	}
	longest, run := 0, 0
	for _, w := range l {
		if w == 0 {
			run += 64
			continue
		}
		gone := 0
		for w != 0 {
			zeros := bits.TrailingZeros64(w)
			longest, run = max(longest, run+zeros), 0
			w >>= zeros
			ones := bits.TrailingZeros64(^w)
			gone += zeros + ones
			w >>= ones
		}
		run = 64 - gone
	}
	a.LongestBreak48h = time.Duration(max(longest, run)) * bucketLen
	return a
}

// hours returns the bits, by hour, that the store may not have.
func (b *buckets) hours(visit func(hour int64, bits uint16)) {
	from := max(b.unsaved, b.last-min(b.last, ring-1))
	for h := from / perHour; h <= b.last/perHour; h++ {
		var v uint16
		for i := range bucket(perHour) {
			if b.has(h*perHour + i) {
				v |= 1 << i
			}
		}
		if v != 0 {
			visit(int64(h), v)
		}
	}
}
