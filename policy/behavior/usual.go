package behavior

import (
	"time"

	"sallyport/authn"
)

// Day is the hours, in UTC, of one day in which a person did something themselves: bit 0
// is the first.
type Day struct {
	Subject authn.Subject
	Day     int64 // since 1970
	Hours   uint32
}

const (
	hourRing    = 768 // hours: 32 days
	hoursPerDay = 24
	// usualDays is how many days back are looked at, without the present half day: what is
	// done now must not become usual by being done.
	usualDays = 29
	// enoughDays is how many active days it takes to say what is usual.
	enoughDays = 5
	// notEnough is activity.usual_hours with fewer.
	notEnough = -1
)

// hours records in which hours of the last 32 days a person was active, in a ring of bits.
type hours struct {
	bits [hourRing / 64]uint64
	last uint32 // hours since 1970
}

func hourOfBucket(n bucket) uint32 { return uint32(n / perHour) }

func (h *hours) set(n, now uint32) { ringSet(h.bits[:], &h.last, n, now) }

// any reports whether there was activity in the hours from first up to end, at most 64.
func (h *hours) any(first, end uint32) bool {
	if oldest := h.last - min(h.last, hourRing-1); first < oldest {
		first = oldest
	}
	if end > h.last {
		end = h.last + 1
	}
	if first >= end {
		return false
	}
	at, shift := first%hourRing/64, first%64
	window := h.bits[at]>>shift | h.bits[(at+1)%(hourRing/64)]<<(64-shift)
	return window<<(64-(end-first)) != 0
}

// usual is policy.Activity.UsualHours at a moment in a zone. A day is the 24 hours around
// the same time of the clock, so that summer time shifts nothing and midnight is no edge.
func (h *hours) usual(at time.Time, zone *time.Location) int64 {
	if h == nil {
		return notEnough
	}
	_, east := at.In(zone).Zone()
	since, _ := at.In(zone).ZoneBounds() // zero: always
	active, then := int64(0), int64(0)
	for d := 1; d <= usualDays; d++ {
		same := at.Add(-time.Duration(d) * day)
		if same.Before(since) {
			_, there := same.In(zone).Zone()
			same = same.Add(time.Duration(east-there) * time.Second)
		}
		n := uint32(momentOf(same) / moment(time.Hour/time.Second))
		switch {
		case n < hoursPerDay:
		case h.any(n-1, n+2):
			active++
			then++
		case h.any(n-hoursPerDay/2, n+hoursPerDay/2):
			active++
		}
	}
	if active < enoughDays {
		return notEnough
	}
	return 100 * then / active
}
