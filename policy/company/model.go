package company

// Model is the made-up company in figures. Shares and probabilities are 0 to 1. A model
// file has the same figures under the keys of [keys].
type Model struct {
	// The people who belong here.
	People   int
	Remote   float64 // have no office to go to
	Joining  float64 // start during the run
	Named    []Named // the first of People, as a roster and a log know them
	Groups   map[string]float64
	Passkeys map[string]float64 // by credential.class; what is left of 1 is unattested

	// Of what kind they are, as shares of all that add up to 1 at most. Who is of no other
	// kind is an ordinary employee. Couples are two people who share a home.
	Travelers, OnCall, Couples, CoWorking, Relay, Contractors, Cloud, Mobile float64

	// Where they live and through which networks. Without countries: in all places alike.
	Countries map[string]float64 // by ISO 3166-1 code; the shares add up to 1 at most
	Networks  []Network          // of people at home, and others; the rest is made up

	// What they ask for. Without routes: all of the configuration alike.
	Routes   map[string]float64 // by weight
	Requests []Request          // what is left of 1 is GET /

	// Their days. Hours are local, from midnight.
	WorkBegins, WorkEnds, NightBegins, NightEnds                                                     float64
	WeekendWork, OfficeDay, CafeDay, EveningPhone, NightCall, LeaseChange, LostCookies, OtherBrowser float64 // of a day
	PromptLeft, NewPasskey                                                                           float64 // of prompts, that is not answered in time; of sign-ins
	Trip, TravelersTrip                                                                              float64 // begins on a working day
	Abroad, Announced, StaleClock                                                                    float64 // of trips; StaleClock: the laptop does not notice where it is
	AnnouncedGroup                                                                                   string  // that people are in who have announced a trip

	// The IP data.
	WrongCountry, WrongCity, InfectedHome       float64 // of homes
	CarrierElsewhere                            float64 // of mobile exits
	VPNListed, VPNSeenAsHosting                 float64 // of VPN exits; the rest is not known to be anything
	StolenViaVPN, StolenViaHosting, StolenLooks float64 // of thefts: through what; the thief's browser calls itself the victim's

	// Those who do not belong here: accounts, and thefts of sessions.
	Farm, Hoppers, Abroads, Accounts, Shifts, Thefts int
	NotAtSensor                                      float64 // of prompts of those accounts: not answered in time
}

// Named is a person by their address.
type Named struct {
	Email    string
	Country  string // where they live; "": as for all others
	TimeZone string // user.time_zone, from the roster; "" when not known
	Groups   []string
}

// Network is an autonomous system that people come from.
type Network struct {
	ASN     uint32
	Org     string
	Country string
	Kind    string  // home, mobile, vpn or hosting
	Share   float64 // of the people of that country, of those of its kind
}

// Request is a kind of request, and the share of all that are like it.
type Request struct {
	Method, Path string
	Share        float64
}

// DefaultModel returns the company of the figures in policy/rollout.md. It is what a model
// file starts from.
func DefaultModel() Model {
	return Model{
		People: 100, Remote: 0.7, Joining: 0.2,
		Travelers: 0.12, OnCall: 0.08, Couples: 0.04, CoWorking: 0.04, Relay: 0.05, Contractors: 0.03, Cloud: 0.02,
		Requests:   []Request{{"POST", "/payments", 0.05}},
		WorkBegins: 8.7, WorkEnds: 17.4, NightBegins: 0, NightEnds: 5,
		WeekendWork: 0.06, OfficeDay: 0.4, CafeDay: 0.1, EveningPhone: 0.15, NightCall: 0.25, LeaseChange: 0.01, LostCookies: 0.004, OtherBrowser: 0.01, PromptLeft: 0.02, NewPasskey: 0.002,
		Trip: 0.006, TravelersTrip: 0.05, Abroad: 0.35, Announced: 0.8, StaleClock: 0.2, AnnouncedGroup: "travelling",
		WrongCountry: 0.01, WrongCity: 0.03, InfectedHome: 0.01, CarrierElsewhere: 0.02, VPNListed: 0.6, VPNSeenAsHosting: 0.25,
		StolenViaVPN: 0.4, StolenViaHosting: 0.2, StolenLooks: 0.6,
		Farm: 6, Hoppers: 4, Abroads: 3, Accounts: 3, Shifts: 2, Thefts: 40, NotAtSensor: 0.3,
	}
}
