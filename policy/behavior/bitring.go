package behavior

// A ring of bits records in which of the last stretches of time something was done: one bit
// a stretch, numbered since 1970. Of 64*len(bits) of them, up to last, the bits have a
// meaning; those of stretches in which nothing was done are 0.

// ringSet records activity. What is too old for the ring is dropped; if the ring lies its
// whole length or more in the future, a wrong clock made it, and it begins anew.
func ringSet[N ~uint32](bits []uint64, last *N, n, now N) (anew bool) {
	size := N(64 * len(bits))
	switch {
	case n > *last && n-*last >= size:
		clear(bits)
		*last = n
	case n > *last:
		for i := *last + 1; i < n; i++ {
			bits[i%size/64] &^= 1 << (i % 64)
		}
		*last = n
	case *last-n >= size && n < now:
		return false
	case *last-n >= size:
		clear(bits)
		*last, anew = n, true
	}
	bits[n%size/64] |= 1 << (n % 64)
	return anew
}
