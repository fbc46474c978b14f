package policy

import (
	"net/netip"
	"time"
)

// Facts is everything a rule can see about one request. This file is the whole
// list: what is not here cannot be asked about, and `policy/reference.md` is checked
// against it.
//
// The values are established once per request, at the edge, and are never
// errors: what is not known has a value of its own (country "ZZ", ASN 0, an empty list).
// The JSON form is what the audit log keeps, so that a decision can be judged
// again later with another policy.
type Facts struct {
	IP         IP         `cel:"ip" json:"ip"`
	User       User       `cel:"user" json:"user"`
	Session    Session    `cel:"session" json:"session"`
	Credential Credential `cel:"credential" json:"credential"`
	Seen       Seen       `cel:"seen" json:"seen,omitzero"`
	Travel     Travel     `cel:"travel" json:"travel,omitzero"`
	Address    Address    `cel:"address" json:"address,omitzero"`
	Device     Device     `cel:"device" json:"device,omitzero"`
	Activity   Activity   `cel:"activity" json:"activity,omitzero"`
	Browser    Browser    `cel:"browser" json:"browser,omitzero"`
	Handoff    Handoff    `cel:"handoff" json:"handoff,omitzero"`
	Request    Request    `cel:"request" json:"request"`
	TLS        TLS        `cel:"tls" json:"tls,omitzero"`
	Time       Time       `cel:"time" json:"time"`
}

// IP is the network a request comes from, as the configured sources know it.
type IP struct {
	// Address is the client address, canonical: unmapped, without a zone.
	Address string `cel:"address" json:"address,omitempty"`
	// Version is 4 or 6.
	Version int64 `cel:"version" json:"version,omitempty"`
	// Country is ISO 3166-1 alpha-2 in upper case; "ZZ" when it is not known.
	Country string `cel:"country" json:"country,omitempty"`
	// Subdivisions are ISO 3166-2 codes such as "UA-43"; empty when not known.
	Subdivisions []string `cel:"subdivisions" json:"subdivisions,omitempty"`
	// Region is the largest of Subdivisions, to compare with user.region; "" when not
	// known.
	Region string `cel:"region" json:"region,omitempty"`
	// ASN is the autonomous system number; 0 when not known.
	ASN int64 `cel:"asn" json:"asn,omitempty"`
	// Org is the name of the autonomous system or ISP.
	Org string `cel:"org" json:"org,omitempty"`
	// Provider is the name of the VPN or proxy that the address belongs to ("Mullvad"), as
	// the most believed source spells it; "" when none names one.
	Provider string `cel:"provider" json:"provider,omitempty"`
	// Private is true for loopback, RFC 1918, unique local, site-local, link-local and
	// carrier-grade NAT (100.64.0.0/10) addresses. Private alone does not make an address
	// ours: exempt with ip.internal.
	Private bool `cel:"private" json:"private,omitempty"`
	// Internal is true for private addresses that `internal_networks` in sallyport.yaml
	// says are ours, but for those of `trusted_proxies`.
	Internal bool `cel:"internal" json:"internal,omitempty"`
	// VPN is true for addresses that a source calls a VPN exit.
	VPN bool `cel:"vpn" json:"vpn,omitempty"`
	// Hosting is true for cloud, hosting and data-centre addresses.
	Hosting bool `cel:"hosting" json:"hosting,omitempty"`
	// Tor is true for Tor exits.
	Tor bool `cel:"tor" json:"tor,omitempty"`
	// Proxy is true for public proxies.
	Proxy bool `cel:"proxy" json:"proxy,omitempty"`
	// ResidentialProxy is true for home addresses that relay other people's traffic.
	ResidentialProxy bool `cel:"residential_proxy" json:"residential_proxy,omitempty"`
	// Relay is true for privacy relays such as iCloud Private Relay.
	Relay bool `cel:"relay" json:"relay,omitempty"`
	// Lists are the names of the configured lists that hold the address.
	Lists []string `cel:"lists" json:"lists,omitempty"`
	// DataAgeHours is the age of the oldest configured IP source, in whole hours.
	DataAgeHours int64 `cel:"data_age_hours" json:"data_age_hours"`
	// DataMissing names the configured sources that could not be loaded at all.
	DataMissing []string `cel:"data_missing" json:"data_missing,omitempty"`

	// Addr is Address parsed; ip.within() reads it. Not visible to rules.
	Addr netip.Addr `cel:"-" json:"-"`
	// Readings are what the facts are for the address alone and for each IPv4 address
	// inside it (6to4, Teredo, NAT64 and so on), where it carries any. A rule matches if
	// it does for all of it together, or for any reading: an exception that only one of
	// them is does not excuse the others. Not visible to rules.
	Readings []IP `cel:"-" json:"readings,omitempty"`
}

// SetInternal says whether the address is in a network of ours. The reading of the
// address alone is internal with it. The IPv4 addresses that it carries are not: the
// client can write any there.
func (ip *IP) SetInternal(internal bool) {
	ip.Internal = internal
	if len(ip.Readings) > 0 {
		ip.Readings[0].Internal = internal
	}
}

// DeriveRegion gives an address, and its readings, the region that follows from the
// subdivisions. One that is there already stays.
func (ip *IP) DeriveRegion() {
	if ip.Region == "" && len(ip.Subdivisions) > 0 {
		ip.Region = ip.Subdivisions[0]
	}
	for i := range ip.Readings {
		ip.Readings[i].DeriveRegion()
	}
}

// User is the person the session belongs to.
type User struct {
	// Email is the address the OpenID provider verified, in lower case.
	Email string `cel:"email" json:"email,omitempty"`
	// Name is the display name.
	Name string `cel:"name" json:"name,omitempty"`
	// Subject is the sub claim.
	Subject string `cel:"subject" json:"subject,omitempty"`
	// Issuer is the iss claim.
	Issuer string `cel:"issuer" json:"issuer,omitempty"`
	// Groups come from the groups claim.
	Groups []string `cel:"groups" json:"groups,omitempty"`
	// Countries are the declared work countries, from the countries claim or the roster.
	Countries []string `cel:"countries" json:"countries,omitempty"`
	// TimeZone is the IANA zone from the roster; "" when not known.
	TimeZone string `cel:"time_zone" json:"time_zone,omitempty"`
	// Region is the part of a country in which the person works, from the roster (ISO
	// 3166-2, "US-CA"); "" when not known.
	Region string `cel:"region" json:"region,omitempty"`
	// StartedDays is how many days ago the person started, from the roster; -1 when not
	// known, so that `user.started_days < 90` holds for them too.
	StartedDays int64 `cel:"started_days" json:"started_days"`
	// Devices30d is how many devices this person was let through on in 30 days, this one
	// included if it is known; -1 when the history cannot be read (seen.known is false
	// then). More than 64 are not told apart, and private windows count as devices.
	Devices30d int64 `cel:"devices_30d" json:"devices_30d,omitempty"`
	// HomeKM is how far the address is from where the person lives, by the roster: whole
	// kilometres on the great circle, less the radii within which the two are known (10 km
	// and travel's). Less than 50 km is 0. -1 where either is not known, and at an address
	// at which its people are not (see travel.known).
	HomeKM int64 `cel:"home_km" json:"home_km"`
}

// Session is the signed-in browser.
type Session struct {
	// ID is the session's public handle. Not a secret.
	ID string `cel:"id" json:"id,omitempty"`
	// Level is "none", "signed_in" or "verified".
	Level string `cel:"level" json:"level,omitempty"`
	// Age is the time since sign-in.
	Age time.Duration `cel:"age" json:"age,omitempty"`
	// VerifiedAge is the time since the last passkey assertion of this session.
	VerifiedAge time.Duration `cel:"verified_age" json:"verified_age,omitempty"`
	// VerifiedHere is true when that assertion was made from this address (IPv6: this /64).
	VerifiedHere bool `cel:"verified_here" json:"verified_here,omitempty"`
	// Concurrent is how many sessions of this person were used in the last 15 minutes,
	// this one included.
	Concurrent int64 `cel:"concurrent" json:"concurrent,omitempty"`
	// CountryChanged is true when the country is another than that of the address the
	// last assertion of this session was made from. Unknown countries never differ.
	CountryChanged bool `cel:"country_changed" json:"country_changed,omitempty"`
	// ASNChanged is the same for the autonomous system.
	ASNChanged bool `cel:"asn_changed" json:"asn_changed,omitempty"`
	// UAChanged is true when the User-Agent is of another family (browser and system,
	// without versions) than at the last assertion of this session.
	UAChanged bool `cel:"ua_changed" json:"ua_changed,omitempty"`
	// TLSChanged is true when the TLS fingerprint is another than at the last assertion
	// of this session. Fingerprints that are not known never differ.
	TLSChanged bool `cel:"tls_changed" json:"tls_changed,omitempty"`
}

// Credential is the passkey that the session was last verified with.
type Credential struct {
	// Class is "none", "synced", "unattested" or "attested".
	Class string `cel:"class" json:"class,omitempty"`
	// AAGUID is the authenticator model, as UUID text. Proven only for class "attested".
	AAGUID string `cel:"aaguid" json:"aaguid,omitempty"`
	// BackupEligible is the BE flag: the key may be synced to other devices.
	BackupEligible bool `cel:"backup_eligible" json:"backup_eligible,omitempty"`
	// BackedUp is the BS flag of the last assertion.
	BackedUp bool `cel:"backed_up" json:"backed_up,omitempty"`
	// Age is the time since enrolment.
	Age time.Duration `cel:"age" json:"age,omitempty"`
	// Transports are the authenticator's transports ("internal", "usb", "hybrid", ...).
	Transports []string `cel:"transports" json:"transports,omitempty"`
	// AttestationFormat is the attestation statement format ("none", "packed", ...).
	AttestationFormat string `cel:"attestation_format" json:"attestation_format,omitempty"`
}

// Seen is how this person's recent connections compare with those before. Connections
// that were blocked count towards the numbers, and never become a normal place; nor do
// addresses that are called VPN, hosting, Tor, proxy or relay.
type Seen struct {
	// Known is false when the history cannot be read or written for more than 5 minutes,
	// is not loaded yet, or no person is signed in. All else here is then zero.
	Known bool `cel:"known" json:"known,omitempty"`
	// Countries1h is how many countries the person connected from in the last hour, this
	// request included. An ASN that was also used by IPv4 adds none for IPv6; unknown
	// countries do not count.
	Countries1h int64 `cel:"countries_1h" json:"countries_1h,omitempty"`
	// Countries24h is the same for 24 hours.
	Countries24h int64 `cel:"countries_24h" json:"countries_24h,omitempty"`
	// ASNs24h is how many autonomous systems the person connected from in 24 hours, this
	// request included. Unknown ones do not count.
	ASNs24h int64 `cel:"asns_24h" json:"asns_24h,omitempty"`
	// Prefixes24h is how many networks (/24 of IPv4, /48 of IPv6) the person connected
	// from in 24 hours, this request included. Configured offices and internal addresses
	// do not count.
	Prefixes24h int64 `cel:"prefixes_24h" json:"prefixes_24h,omitempty"`
	// NewCountry is true when the person was never let through from this country before.
	// False where the country is not known.
	NewCountry bool `cel:"new_country" json:"new_country,omitempty"`
	// NewASN is the same for the autonomous system.
	NewASN bool `cel:"new_asn" json:"new_asn,omitempty"`
	// NewDevice is true when the person was never let through on this device before, or
	// the device is not known.
	NewDevice bool `cel:"new_device" json:"new_device,omitempty"`
	// FirstDays is how many days ago this person was let through for the first time, as
	// far as the history reaches; 0 in the first 24 hours.
	FirstDays int64 `cel:"first_days" json:"first_days,omitempty"`
	// AbandonedStepUps24h is how many times in 24 hours a passkey was asked for in a session
	// of this person and not given within 10 minutes. Prompts that a session repeats
	// meanwhile are one; more than 64 are not told apart.
	AbandonedStepUps24h int64 `cel:"abandoned_step_ups_24h" json:"abandoned_step_ups_24h,omitempty"`
}

// Travel is the way from where this person was let through last, in the last 48 hours, to
// here.
type Travel struct {
	// Known is false unless both places have coordinates, and neither is an address at
	// which its people are not: what is called relay, VPN, proxy, Tor or hosting, mobile
	// carriers, satellite, internal addresses and configured offices.
	Known bool `cel:"known" json:"known,omitempty"`
	// DistanceKM is the great-circle distance in kilometres, less the radii within which
	// the two places are known (100 km where a source does not say). Less than 50 km is
	// none.
	DistanceKM float64 `cel:"distance_km" json:"distance_km,omitempty"`
	// SpeedKMH is DistanceKM over the exact time between (at least a second), in km/h.
	SpeedKMH float64 `cel:"speed_kmh" json:"speed_kmh,omitempty"`
}

// Address is who else uses this address.
type Address struct {
	// Known is false when the history cannot be read, and for addresses that many share
	// by their nature (internal, configured offices, mobile carriers, satellite, and what
	// is called VPN, hosting, Tor, proxy or relay).
	Known bool `cel:"known" json:"known,omitempty"`
	// People30d is how many people were let through from this address (IPv6: this /64, or
	// the household's /56 if more) in 30 days, this person included. More than 250 are
	// not told apart.
	People30d int64 `cel:"people_30d" json:"people_30d,omitempty"`
	// Enrolments30d is how many people enrolled a passkey from this address (or household)
	// in 30 days. Who enrols one now is not counted yet.
	Enrolments30d int64 `cel:"enrolments_30d" json:"enrolments_30d,omitempty"`
}

// Device is the browser, recognised by a signed cookie that lasts a year.
type Device struct {
	// Known is false without such a cookie, or when the history cannot be read.
	Known bool `cel:"known" json:"known,omitempty"`
	// People30d is how many people were let through on this device in 30 days, this
	// person included.
	People30d int64 `cel:"people_30d" json:"people_30d,omitempty"`
	// Enrolments30d is how many people enrolled a passkey on this device in 30 days. Who
	// enrols one now is not counted yet.
	Enrolments30d int64 `cel:"enrolments_30d" json:"enrolments_30d,omitempty"`
}

// Activity is when this person was at work: what they did themselves (navigations, with a
// session that a passkey was used in), not what a page does by itself.
type Activity struct {
	// Known is false when the history cannot be read (or no person is signed in).
	Known bool `cel:"known" json:"known,omitempty"`
	// ActiveHours24h is how many of the last 24 hours, counted back from now, had
	// activity in them.
	ActiveHours24h int64 `cel:"active_hours_24h" json:"active_hours_24h,omitempty"`
	// LongestBreak48h is the longest time without activity in the last 48 hours, to 5
	// minutes.
	LongestBreak48h time.Duration `cel:"longest_break_48h" json:"longest_break_48h,omitempty"`
	// UsualHours is on how many of 100 active days of the last 29 the person was active at
	// this time of the day, within an hour, by the clock of user.time_zone (UTC without
	// one): 0 is a time at which they never were. -1 with fewer than 5 active days, and
	// when activity is not known. The last 12 hours do not count.
	UsualHours int64 `cel:"usual_hours" json:"usual_hours,omitempty"`
}

// Browser is what the browser said about itself when the passkey was last used. Its user
// can forge all of it.
type Browser struct {
	// TimezoneKnown is false when the browser named no time zone, or that of the address
	// is not known.
	TimezoneKnown bool `cel:"timezone_known" json:"timezone_known,omitempty"`
	// TimezoneOffsetDiff is how far the browser's clock offset from UTC is, now, from
	// that of the address's time zone, or of the nearest of its country's zones (of a
	// mobile carrier always that; of satellite none).
	TimezoneOffsetDiff time.Duration `cel:"timezone_offset_diff" json:"timezone_offset_diff,omitempty"`
}

// Handoff is the host that the session of the sign-in host is about to go to, and the
// address that asks for it: a person opened a tool, was sent to the sign-in host, and is
// to be sent back with a session. It is judged before that happens, with request.purpose
// "sign_in".
type Handoff struct {
	// Known is true while the sign-in host is asked for a hand-off. All else here is zero
	// otherwise.
	Known bool `cel:"known" json:"known,omitempty"`
	// Host is the tool's host, without port.
	Host string `cel:"host" json:"host,omitempty"`
	// Country is that of the address from which the tool was opened; "ZZ" when it is not
	// known.
	Country string `cel:"country" json:"country,omitempty"`
	// ASN is the autonomous system of that address; 0 when not known.
	ASN int64 `cel:"asn" json:"asn,omitempty"`
	// SameNetwork is true when the tool was opened from this very address (IPv6: this /64).
	SameNetwork bool `cel:"same_network" json:"same_network,omitempty"`
	// SameProvider is true when it was opened from this network, or from an address of
	// the same autonomous system. Where false, the person was asked whether it was them.
	SameProvider bool `cel:"same_provider" json:"same_provider,omitempty"`
}

// Purposes of a request.
const (
	PurposeAccess = "access"  // a request for a route
	PurposeSignIn = "sign_in" // signing in
	PurposeEnroll = "enroll"  // enrolling a passkey
	PurposeStepUp = "step_up" // proving oneself with a passkey
)

// Request is what is asked for, in canonical form.
type Request struct {
	// Purpose is "access", "sign_in", "enroll" or "step_up".
	Purpose string `cel:"purpose" json:"purpose,omitempty"`
	// Route is the name of the matched route; "" for the sign-in pages.
	Route string `cel:"route" json:"route,omitempty"`
	// Method is the HTTP method from the request line.
	Method string `cel:"method" json:"method,omitempty"`
	// Host is the canonical host, without port.
	Host string `cel:"host" json:"host,omitempty"`
	// Path is the canonical path, the one that is forwarded.
	Path string `cel:"path" json:"path,omitempty"`
	// PathFolded is Path as tools read it that do not care about case: see Paths in the
	// policy reference. Rules over either are asked about both.
	PathFolded string `cel:"path_folded" json:"path_folded,omitempty"`
	// UserAgent is the User-Agent header, cut at 512 bytes. Clients can send any text
	// here.
	UserAgent string `cel:"user_agent" json:"user_agent,omitempty"`
	// WebSocket is true for a WebSocket handshake.
	WebSocket bool `cel:"websocket" json:"websocket,omitempty"`
	// RPCMethods are the JSON-RPC methods that the request, or a message inside its
	// WebSocket, calls. Only on routes with `rpc: jsonrpc`.
	RPCMethods []string `cel:"rpc_methods" json:"rpc_methods,omitempty"`
}

// TLS is what the connection to Sallyport proves. Empty where something else terminates
// TLS.
type TLS struct {
	// ClientCert is true if the client proved to hold a certificate of the configured
	// authority.
	ClientCert bool `cel:"client_cert" json:"client_cert,omitempty"`
	// ClientSubject is that certificate's subject (RFC 2253).
	ClientSubject string `cel:"client_subject" json:"client_subject,omitempty"`
	// ClientSANs are its subject alternative names with their kinds, such as
	// "dns:agent.corp.example".
	ClientSANs []string `cel:"client_sans" json:"client_sans,omitempty"`
	// JA4 is the JA4 fingerprint of the client's TLS hello; "" when not known.
	JA4 string `cel:"ja4" json:"ja4,omitempty"`
}

// Time is when the request is judged. Rules also have time.hour(zone) (0-23) and
// time.weekday(zone) ("Mon" ... "Sun"), for an IANA zone name.
type Time struct {
	// Now is the moment of judgement.
	Now time.Time `cel:"now" json:"now"`
}
