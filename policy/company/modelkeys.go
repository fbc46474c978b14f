package company

// key is one figure of a model file: `section: {name: value}`. The table is the one
// definition of reader and writer.
type key struct {
	section, name string
	of            func(*Model) any // *int: a number of people; *float64: a share; *string: text
	most          float64          // of a *float64 that is no share; 0: it is one
	doc           string
}

// The most that a model may have: an hour of work for one processor.
const (
	MaxPeople    = 5000
	maxAttackers = 500
	maxEntries   = 5000 // of groups, countries, networks, routes, requests
)

var keys = []key{
	{"people", "count", func(m *Model) any { return &m.People }, 0, "how many belong here"},
	{"people", "remote", func(m *Model) any { return &m.Remote }, 0, "share without an office to go to"},
	{"people", "joining", func(m *Model) any { return &m.Joining }, 0, "share who start during the run"},

	{"shares", "travelers", func(m *Model) any { return &m.Travelers }, 0, "often on trips"},
	{"shares", "on_call", func(m *Model) any { return &m.OnCall }, 0, "up at night, one week of six"},
	{"shares", "couples", func(m *Model) any { return &m.Couples }, 0, "two people who share a home address"},
	{"shares", "co_working", func(m *Model) any { return &m.CoWorking }, 0, "in a shared space on most days"},
	{"shares", "relay_users", func(m *Model) any { return &m.Relay }, 0, "behind a privacy relay at home"},
	{"shares", "contractors", func(m *Model) any { return &m.Contractors }, 0, "behind a commercial VPN, all day"},
	{"shares", "cloud_desktops", func(m *Model) any { return &m.Cloud }, 0, "from a hosted address, all day"},
	{"shares", "mobile", func(m *Model) any { return &m.Mobile }, 0, "through a mobile carrier, all day"},

	{"days", "work_begins", func(m *Model) any { return &m.WorkBegins }, 24, "local hour, on average"},
	{"days", "work_ends", func(m *Model) any { return &m.WorkEnds }, 24, "local hour, on average"},
	{"days", "weekend_work", func(m *Model) any { return &m.WeekendWork }, 0, "of weekend days"},
	{"days", "office", func(m *Model) any { return &m.OfficeDay }, 0, "of days, of those who have an office"},
	{"days", "cafe", func(m *Model) any { return &m.CafeDay }, 0, "of afternoons"},
	{"days", "evening_phone", func(m *Model) any { return &m.EveningPhone }, 0, "of evenings"},
	{"days", "night_call", func(m *Model) any { return &m.NightCall }, 0, "of nights on call"},
	{"days", "night_begins", func(m *Model) any { return &m.NightBegins }, 24, "local hour of the earliest call"},
	{"days", "night_ends", func(m *Model) any { return &m.NightEnds }, 24, "local hour of the latest call"},
	{"days", "new_home_address", func(m *Model) any { return &m.LeaseChange }, 0, "of days, given by the provider"},
	{"days", "cookies_lost", func(m *Model) any { return &m.LostCookies }, 0, "of days"},
	{"days", "other_browser", func(m *Model) any { return &m.OtherBrowser }, 0, "of days, for an afternoon"},
	{"days", "prompt_left", func(m *Model) any { return &m.PromptLeft }, 0, "of prompts for the passkey: the tab is closed, and opened again later"},
	{"days", "new_passkey", func(m *Model) any { return &m.NewPasskey }, 0, "of sign-ins: another passkey is enrolled"},

	{"trips", "begin", func(m *Model) any { return &m.Trip }, 0, "of days, of those who seldom travel"},
	{"trips", "travelers_begin", func(m *Model) any { return &m.TravelersTrip }, 0, "of days, of travelers"},
	{"trips", "abroad", func(m *Model) any { return &m.Abroad }, 0, "of trips"},
	{"trips", "announced", func(m *Model) any { return &m.Announced }, 0, "of trips"},
	{"trips", "announced_group", func(m *Model) any { return &m.AnnouncedGroup }, 0, "the group of those who announced a trip"},
	{"trips", "stale_clock", func(m *Model) any { return &m.StaleClock }, 0, "of trips: the laptop keeps the time of home"},

	{"data", "home_in_wrong_country", func(m *Model) any { return &m.WrongCountry }, 0, "of homes"},
	{"data", "home_in_wrong_city", func(m *Model) any { return &m.WrongCity }, 0, "of homes"},
	{"data", "home_is_residential_proxy", func(m *Model) any { return &m.InfectedHome }, 0, "of homes"},
	{"data", "carrier_elsewhere", func(m *Model) any { return &m.CarrierElsewhere }, 0, "of mobile exits: seen in another country"},
	{"data", "vpn_listed", func(m *Model) any { return &m.VPNListed }, 0, "of VPN exits"},
	{"data", "vpn_seen_as_hosting", func(m *Model) any { return &m.VPNSeenAsHosting }, 0, "of VPN exits; the rest is not known"},

	{"attackers", "laptop_farm", func(m *Model) any { return &m.Farm }, 0, "accounts in one home"},
	{"attackers", "vpn_hoppers", func(m *Model) any { return &m.Hoppers }, 0, "accounts behind changing VPN exits"},
	{"attackers", "third_country", func(m *Model) any { return &m.Abroads }, 0, "accounts in CN, RU and KP, without hiding"},
	{"attackers", "one_device", func(m *Model) any { return &m.Accounts }, 0, "accounts on one computer"},
	{"attackers", "worked_in_shifts", func(m *Model) any { return &m.Shifts }, 0, "accounts used around the clock"},
	{"attackers", "stolen_sessions", func(m *Model) any { return &m.Thefts }, 0, "thefts during the run"},
	{"attackers", "stolen_via_vpn", func(m *Model) any { return &m.StolenViaVPN }, 0, "of thefts"},
	{"attackers", "stolen_via_hosting", func(m *Model) any { return &m.StolenViaHosting }, 0, "of thefts; the rest through homes and cafés"},
	{"attackers", "stolen_looks_alike", func(m *Model) any { return &m.StolenLooks }, 0, "of thefts: the thief's browser calls itself the victim's"},
	{"attackers", "not_at_sensor", func(m *Model) any { return &m.NotAtSensor }, 0, "of prompts of such accounts: not answered in time"},
}

// sections of a model file with keys of their own, in the order of the table.
var sections = []string{"people", "shares", "days", "trips", "data", "attackers"}

// Keys of which each is a mapping of the author's words to shares, or a list.
const (
	groupsKey    = "groups"
	passkeysKey  = "passkeys"
	countriesKey = "countries"
	networksKey  = "networks"
	routesKey    = "routes"
	requestsKey  = "requests"
	namedKey     = "named_people"
)

// sum is a set of shares of one thing, which cannot be more than all of it.
type sum struct {
	what  string
	names []string // section.name
}

var sums = []sum{
	{"the shares of people", []string{"shares.travelers", "shares.on_call", "shares.couples", "shares.co_working", "shares.relay_users", "shares.contractors", "shares.cloud_desktops", "shares.mobile"}},
	{"the shares of homes with wrong data", []string{"data.home_in_wrong_country", "data.home_in_wrong_city"}},
	{"the shares of VPN exits", []string{"data.vpn_listed", "data.vpn_seen_as_hosting"}},
	{"the shares of thefts", []string{"attackers.stolen_via_vpn", "attackers.stolen_via_hosting"}},
}
