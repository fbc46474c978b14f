package enroll

import "time"

// State is what has become of a ticket. The zero value is not open.
type State int

const (
	Expired State = iota
	Revoked
	Redeemed
	Open
)

func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case Redeemed:
		return "redeemed"
	case Revoked:
		return "revoked"
	default:
		return "expired"
	}
}

// State tells what t is worth at the given time. What was done to a ticket
// outranks what time did to it.
func (t Ticket) State(now time.Time) State {
	switch {
	case !t.RevokedAt.IsZero():
		return Revoked
	case !t.RedeemedAt.IsZero():
		return Redeemed
	case !now.Before(t.ExpiresAt):
		return Expired
	default:
		return Open
	}
}
