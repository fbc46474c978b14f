package policy

import (
	"net/netip"
	"time"
)

// Facts is everything a rule can see about one request. This file is the whole
// list: what is not here cannot be asked about, and `policy/README.md` is checked
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
	// ASN is the autonomous system number; 0 when not known.
	ASN int64 `cel:"asn" json:"asn,omitempty"`
	// Org is the name of the autonomous system or ISP.
	Org string `cel:"org" json:"org,omitempty"`
	// Private is true for loopback, RFC 1918, unique local, link-local and carrier-grade NAT (100.64.0.0/10) addresses.
	Private bool `cel:"private" json:"private,omitempty"`
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
	// UserAgent is the User-Agent header, cut at 512 bytes. Anybody can send anything here.
	UserAgent string `cel:"user_agent" json:"user_agent,omitempty"`
	// WebSocket is true for a WebSocket handshake.
	WebSocket bool `cel:"websocket" json:"websocket,omitempty"`
	// RPCMethods are the JSON-RPC methods that the request, or a message inside its WebSocket, calls. Only on routes with `rpc: jsonrpc`.
	RPCMethods []string `cel:"rpc_methods" json:"rpc_methods,omitempty"`
}

// TLS is what the connection to Sallyport proves. Empty where something else terminates TLS.
type TLS struct {
	// ClientCert is true if the client proved to hold a certificate of the configured authority.
	ClientCert bool `cel:"client_cert" json:"client_cert,omitempty"`
	// ClientSubject is that certificate's subject (RFC 2253).
	ClientSubject string `cel:"client_subject" json:"client_subject,omitempty"`
	// ClientSANs are its subject alternative names with their kinds, such as "dns:agent.corp.example".
	ClientSANs []string `cel:"client_sans" json:"client_sans,omitempty"`
}

// Time is when the request is judged. Rules also have time.hour(zone) (0-23) and
// time.weekday(zone) ("Mon" ... "Sun"), for an IANA zone name.
type Time struct {
	// Now is the moment of judgement.
	Now time.Time `cel:"now" json:"now"`
}
