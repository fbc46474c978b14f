package behavior

import (
	"net/netip"
	"time"

	"sallyport/authn"
	"sallyport/policy"
)

// Place is a network address with the caller's IP intelligence about it.
type Place struct {
	Addr     netip.Addr // canonical: unmapped, without a zone
	Country  string     // ISO 3166-1 alpha-2; "ZZ" when not known
	ASN      uint32     // 0 when not known
	Org      string     // name of the autonomous system; "" when not known
	TimeZone string     // IANA; "" when not known
	Point    Point
	// Flagged: the address stands for many places (VPN, hosting, Tor, proxy, residential
	// proxy, relay). It is no person's normal place, and no journey begins or ends there.
	Flagged bool
	// Private: a private network that is known to be ours. Moving within it means nothing.
	Private bool
}

// Point is a place on the globe with the radius within which it is known.
type Point struct {
	Lat, Lon float64 // degrees
	RadiusKm float64 // 0 when not known, which is not precision
	Known    bool    // false: Lat and Lon mean nothing
}

// Visit is one request as behaviour sees it.
type Visit struct {
	Subject authn.Subject // zero: no person is signed in
	At      time.Time
	Place   Place
	Device  string     // the device cookie's public handle; "" without one
	Session string     // the session's public handle
	Zone    string     // the IANA time zone that the browser named; ""
	Clock   string     // the IANA time zone of the person; "": UTC
	Home    authn.Home // of the person
}

// Assessment is what history says of a visit.
type Assessment struct {
	Seen       policy.Seen
	Travel     policy.Travel
	Address    policy.Address
	Device     policy.Device
	Activity   policy.Activity
	Browser    policy.Browser
	Concurrent int64
	Devices30d int64 // policy.User.Devices30d; -1 when not known
	HomeKM     int64 // policy.User.HomeKM; it needs no history
}

// Unread is what is said of a visit where the history cannot be read.
func Unread() Assessment {
	return Assessment{Devices30d: -1, HomeKM: -1, Activity: policy.Activity{UsualHours: notEnough}}
}
