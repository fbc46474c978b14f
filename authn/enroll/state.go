package enroll

import "time"

// State is the state of a ticket. The zero value is not open.
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

// State is the state of t at the given time. A change to the ticket outranks its expiry.
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
