package behavior

import (
	"context"
	"net/netip"
	"time"

	"sallyport/authn"
)

// Sighting is a person at a place, as it is stored: a visit of some minutes, or, with
// First long before At, all visits to one place with one device.
type Sighting struct {
	Subject authn.Subject
	First   time.Time // never after At
	At      time.Time
	Addr    netip.Addr // zero once it is not kept any more, or never was
	// Host and Network are keyed hashes of the address (IPv6: of its /64) and of its
	// network (/24, /48). They fit 63 bits; 0 is none that counts.
	Host, Network uint64
	// Site is a keyed hash of the IPv6 network of a household, which has several /64s. It
	// follows from Host, and goes with it; 0 in rows from before there was one.
	Site    uint64
	Country string // "ZZ" when not known
	ASN     uint32
	Six     bool // IPv6
	Flagged bool // not a normal place
	Allowed bool // let through
	// Point is not known where no journey begins or ends. Degrees are to four digits,
	// the radius is whole kilometres.
	Point   Point
	Device  string
	Session string
}

// Activity is one hour of what a person did themselves: bit 0 is its first five minutes.
type Activity struct {
	Subject authn.Subject
	Hour    int64 // since 1970
	Bits    uint16
}

// Batch is a number of these. Days are only read: the store makes them of Activity.
type Batch struct {
	Sightings []Sighting
	Activity  []Activity
	Events    []Event
	Days      []Day
}

// Len is the number of numbered rows in it.
func (b Batch) Len() int { return len(b.Sightings) + len(b.Activity) + len(b.Events) }

// Limits says what a store has to forget, each as a time that has passed.
type Limits struct {
	Forget   time.Time // nothing that ended before this is kept
	Addrs    time.Time // no address that was last seen before this is kept
	Hosts    time.Time // nor the hash of one (of its network it is), nor an enrolment or a day before this
	Condense time.Time // sightings before this are one row a place and device; those that were blocked, and step-ups, none
}

// Store keeps history. Sightings, hours and events are numbered as they are written, by all
// processes that share the store in one order. Times are kept to the microsecond, in UTC.
type Store interface {
	// AppendBehavior stores b in one transaction. The bits of an hour that is there are
	// joined with the new ones, under a new number, and so are those of its day. Durable
	// when it returns.
	AppendBehavior(ctx context.Context, b Batch) error
	// BehaviorSince returns rows numbered above `after`, oldest first, at most limit
	// sightings, limit hours and limit events, and the number to continue from. No row with a lower
	// number appears later. Condensed rows have no number and are not among them.
	BehaviorSince(ctx context.Context, after int64, limit int) (b Batch, last int64, err error)
	// BehaviorPlaces calls each with every condensed row, until one fails.
	BehaviorPlaces(ctx context.Context, each func(Sighting) error) error
	// BehaviorDays calls each with every day of every person, until one fails.
	BehaviorDays(ctx context.Context, each func(Day) error) error
	// BehaviorOf returns everything there is about one person.
	BehaviorOf(ctx context.Context, s authn.Subject) (Batch, error)
	// TidyBehavior applies l. A condensed row is in BehaviorPlaces before it disappears
	// from BehaviorSince.
	TidyBehavior(ctx context.Context, l Limits) error
}
