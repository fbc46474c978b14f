package behavior

// maxSessions bounds the sessions of one person that are told apart.
const maxSessions = 32

// concurrent counts the sessions that were used in the last 15 minutes, this one
// included; this is 0 for none.
func concurrent(used []kept[uint64], this uint64, now moment) (n int64) {
	if this != 0 {
		n++
	}
	for _, s := range used {
		if s.what != this && s.last.within(recently, now) {
			n++
		}
	}
	return n
}
