package behavior

import (
	"math"
	"slices"
	"time"
)

// The windows that the facts of package policy are defined by.
const (
	hour       = time.Hour
	day        = 24 * time.Hour
	month      = 30 * day
	recently   = 15 * time.Minute // session.concurrent
	journeyMax = 48 * time.Hour   // beyond that any place on Earth is within easy reach
)

// moment is a time as the memory keeps it: seconds since 1970, until 2106. 0 is never.
type moment uint32

func momentOf(t time.Time) moment {
	return moment(min(max(t.Unix(), 0), math.MaxUint32))
}

// within reports whether m is at most d before now. A moment that lies in the future,
// because a clock was set back or another machine's is ahead, counts as now.
func (m moment) within(d time.Duration, now moment) bool {
	return m >= now || time.Duration(now-m)*time.Second <= d
}

// kept is something that was seen, and when it was last.
type kept[T comparable] struct {
	what T
	last moment
}

// keep records that what was seen at a moment. If there are more than limit things, the
// one not seen for the longest time is dropped, which may be this one.
func keep[T comparable](list []kept[T], what T, at moment, limit int) []kept[T] {
	for i := range list {
		if list[i].what == what {
			list[i].last = max(list[i].last, at)
			return list
		}
	}
	if len(list) < limit {
		return append(list, kept[T]{what, at})
	}
	oldest := &list[0]
	for i := range list {
		if list[i].last < oldest.last {
			oldest = &list[i]
		}
	}
	if oldest.last < at {
		*oldest = kept[T]{what, at}
	}
	return list
}

func holds[T comparable](list []kept[T], what T) bool {
	for i := range list {
		if list[i].what == what {
			return true
		}
	}
	return false
}

// expire drops things not seen for d, and frees their memory.
func expire[T comparable](list []kept[T], d time.Duration, now moment) []kept[T] {
	n := len(list)
	list = slices.DeleteFunc(list, func(k kept[T]) bool { return !k.last.within(d, now) })
	switch {
	case len(list) == 0:
		return nil
	case len(list) < n:
		return slices.Clip(slices.Clone(list))
	}
	return list
}

// country is an ISO 3166-1 alpha-2 code in two bytes; 0 is not known.
type country uint16

func countryOf(code string) country {
	if len(code) != 2 || code == "ZZ" || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' {
		return 0
	}
	return country(code[0])<<8 | country(code[1])
}
