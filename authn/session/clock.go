package session

import "time"

// clock reads the time for judging lifetimes. It cannot be stopped or turned
// back by setting the wall clock back: then it goes on with the monotonic clock
// from where the process started. A wall clock set forward is believed, which
// ends sessions early rather than late.
type clock struct {
	read  func() time.Time
	start time.Time // with its monotonic reading, if read gives one
}

func newClock(read func() time.Time) clock { return clock{read: read, start: read()} }

// now returns UTC to the microsecond, which is what stores keep.
func (c clock) now() time.Time {
	t := c.read()
	return later(c.start, t.Sub(c.start), t)
}

// later returns the later of the wall clock and start plus what has elapsed
// since. With a clock that has no monotonic reading both are the same.
func later(start time.Time, elapsed time.Duration, wall time.Time) time.Time {
	return time.UnixMicro(max(wall.UnixMicro(), start.UnixMicro()+elapsed.Microseconds())).UTC()
}

// state is what the clock says about a session. The zero value is the strictest.
type state int

const (
	expired state = iota
	idle          // not seen for too long
	ahead         // seen in the future: the clock was set back since
	alive
)

// stateAt is the only place that decides how long a session lives. A session is
// seen when it is made, so seen is never before that.
func (m *Manager) stateAt(expires, seen, now time.Time) state {
	switch since := now.Sub(seen); {
	case !now.Before(expires):
		return expired
	case since >= m.idle:
		return idle
	case since < -clockSkew:
		// Set back by hours, the clock would give the session those hours again.
		return ahead
	default:
		return alive
	}
}

// expiry holds old sessions to a MaxAge that was shortened since.
func (m *Manager) expiry(r Record) time.Time {
	if t := r.CreatedAt.Add(m.maxAge); t.Before(r.ExpiresAt) {
		return t
	}
	return r.ExpiresAt
}
