package company

import "time"

// Model is the made-up company in figures. Shares and probabilities are 0 to 1.
type Model struct {
	// The people who belong here, and of what kind they are. Who is of no other kind is
	// an ordinary employee.
	People                                                            int
	Travellers, OnCall, Couples, CoWorking, Relay, Contractors, Cloud float64
	Office                                                            float64 // has an office to go to
	Joining                                                           float64 // starts during the year

	// Their days.
	WeekendWork, OfficeDay, CafeDay, EveningPhone, NightCall, LeaseChange, LostCookies, OtherBrowser float64 // of a day
	Trip, TravellersTrip                                                                             float64 // begins on a working day
	Abroad, Announced, StaleClock                                                                    float64 // of trips; StaleClock: the laptop does not notice where it is

	// The IP data.
	WrongCountry, WrongCity, InfectedHome       float64 // of homes
	CarrierElsewhere                            float64 // of mobile exits
	VPNListed, VPNSeenAsHosting                 float64 // of VPN exits; the rest is not known to be anything
	StolenViaVPN, StolenViaHosting, StolenLooks float64 // of thefts: through what; the thief's browser calls itself the victim's

	// The hostile.
	Farm, Hoppers, Abroads, Accounts, Shifts, Thefts int

	// What sallyport.yaml says if it says nothing of session and behavior. A test beside
	// package config holds DefaultModel to it.
	SessionMaxAge, SessionIdle, Retention time.Duration
	Household                             int
}

// DefaultModel is the company of the table in policy/rollout.md.
var DefaultModel = Model{
	People: 250, Travellers: 0.12, OnCall: 0.08, Couples: 0.04, CoWorking: 0.04, Relay: 0.05, Contractors: 0.03, Cloud: 0.02,
	Office: 0.3, Joining: 0.2,
	WeekendWork: 0.06, OfficeDay: 0.4, CafeDay: 0.1, EveningPhone: 0.15, NightCall: 0.25, LeaseChange: 0.01, LostCookies: 0.004, OtherBrowser: 0.01,
	Trip: 0.006, TravellersTrip: 0.05, Abroad: 0.35, Announced: 0.8, StaleClock: 0.2,
	WrongCountry: 0.01, WrongCity: 0.03, InfectedHome: 0.01, CarrierElsewhere: 0.02, VPNListed: 0.6, VPNSeenAsHosting: 0.25,
	StolenViaVPN: 0.4, StolenViaHosting: 0.2, StolenLooks: 0.6,
	Farm: 6, Hoppers: 4, Abroads: 3, Accounts: 3, Shifts: 2, Thefts: 40,
	SessionMaxAge: 10 * time.Hour, SessionIdle: time.Hour, Retention: 400 * 24 * time.Hour, Household: 56,
}
