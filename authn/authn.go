// Package authn is the vocabulary of identity: who a request belongs to, and how this was
// proven.
//
// It holds values, no behaviour that needs a clock, a store or the network, and imports
// the standard library only. Every other package speaks in these types, so that an
// identity is established once, at the edge, and then passed as a typed value and never
// as a header or a string that has to be parsed again.
//
// Deny is the zero value throughout: the zero [Level] is no person, the zero [Class] is
// no credential, the zero [Session] is no session.
//
// It fails by denying, and with an error: [ParseEmail] and [ParseClass] refuse what they
// do not know, and never return a value that they have repaired.
package authn

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ErrNotFound is returned by every store for "there is no such row", so that a
// missing session, ticket or flow is never confused with a store that is down.
var ErrNotFound = errors.New("not found")

// ErrBlocked is returned where a session is to be made for a person that an operator has
// blocked.
var ErrBlocked = errors.New("the person is blocked")

// Email is an address in canonical form: ASCII, lower case, exactly one "@".
// Only [ParseEmail] makes one.
//
// An e-mail address is how people are named in configuration and tickets. It is
// never what a session or a credential belongs to: that is a [Subject].
type Email string

// ParseEmail returns the canonical form of s.
//
// Addresses with characters outside ASCII, with quotes, spaces or control
// characters, or with more than one "@" are refused rather than repaired: two
// spellings that look alike must not become one person (homoglyphs, NFKC), nor
// one mailbox two.
func ParseEmail(s string) (Email, error) {
	if len(s) > 254 { // RFC 5321 section 4.5.3.1.3
		return "", fmt.Errorf("e-mail address is longer than 254 bytes")
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),:;<>[\]`, c) >= 0 {
			return "", fmt.Errorf("e-mail address %q holds a character that is not accepted in one", s)
		}
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") {
		return "", fmt.Errorf("%q is not an e-mail address", s)
	}
	if strings.HasPrefix(domain, ".") || strings.HasSuffix(domain, ".") || strings.Contains(domain, "..") {
		return "", fmt.Errorf("%q has a malformed domain", s)
	}
	return Email(strings.ToLower(s)), nil
}

// Domain returns the part after the "@".
func (e Email) Domain() string {
	_, domain, _ := strings.Cut(string(e), "@")
	return domain
}

// Subject identifies a person at one OpenID provider: the iss and sub claims
// (OpenID Connect Core 1.0 section 2). It is the only key that sessions and
// credentials are stored under.
type Subject struct {
	Issuer string `json:"iss"`
	ID     string `json:"sub"`
}

// ParseSubject reads ISSUER|SUBJECT, as commands and files name an account. An issuer is a
// URL, which has no bar; a subject may have some. It is zero for any other text.
func ParseSubject(text string) Subject {
	issuer, id, _ := strings.Cut(text, "|")
	if !strings.Contains(issuer, "://") || id == "" {
		return Subject{}
	}
	return Subject{issuer, id}
}

// IsZero reports whether s names no person.
func (s Subject) IsZero() bool { return s == Subject{} }

// Key returns s as one string that no other Subject shares: the parts are
// length-prefixed, so that ("a","bc") and ("ab","c") differ.
func (s Subject) Key() string {
	return strconv.Itoa(len(s.Issuer)) + ":" + s.Issuer + s.ID
}

// Person is what the OpenID provider, completed by the roster, says about a
// subject.
type Person struct {
	Subject   Subject  `json:"subject"`
	Email     Email    `json:"email"`
	Name      string   `json:"name,omitempty"`
	Groups    []string `json:"groups,omitempty"`
	Countries []string `json:"countries,omitempty"` // declared work countries, ISO 3166-1 alpha-2, upper case
	TimeZone  string   `json:"time_zone,omitempty"` // IANA name, from the roster
	// Region is where in their country the person works, as an ISO 3166-2 code, from the
	// roster; "" when not known.
	Region string `json:"region,omitempty"`
	// Home is about where the person lives, from the roster. No JSON and no store has it.
	Home Home `json:"-"`
	// StartedAt is the person's first day, from the roster; zero when not known.
	StartedAt time.Time `json:"started_at,omitzero"`
}

// Level says how a person has proven who they are.
type Level int

const (
	None     Level = iota // no valid session
	SignedIn              // signed in at the OpenID provider
	Verified              // and proven by a user-verified passkey assertion in this session
)

func (l Level) String() string {
	switch l {
	case SignedIn:
		return "signed_in"
	case Verified:
		return "verified"
	default:
		return "none"
	}
}

// Class is what is known about where a credential's private key lives.
type Class int

const (
	ClassNone       Class = iota // no credential was used
	ClassSynced                  // backup eligible: the key may be copied to other devices (BE=1)
	ClassUnattested              // says it is device bound (BE=0); nothing proves it
	ClassAttested                // device bound, and its make is proven by a trusted attestation chain
)

func (c Class) String() string {
	switch c {
	case ClassSynced:
		return "synced"
	case ClassUnattested:
		return "unattested"
	case ClassAttested:
		return "attested"
	default:
		return "none"
	}
}

// ParseClass is the inverse of [Class.String].
func ParseClass(s string) (Class, error) {
	for _, c := range []Class{ClassNone, ClassSynced, ClassUnattested, ClassAttested} {
		if c.String() == s {
			return c, nil
		}
	}
	return ClassNone, fmt.Errorf("%q is not a credential class", s)
}

// Credential is a passkey as the rest of the product sees it: no key material.
type Credential struct {
	ID                []byte    `json:"id,omitempty"`
	Name              string    `json:"name,omitempty"` // given by its owner
	Class             Class     `json:"class"`
	AAGUID            string    `json:"aaguid,omitempty"` // canonical UUID text
	AttestationFormat string    `json:"attestation_format,omitempty"`
	AttestationType   string    `json:"attestation_type,omitempty"`
	Transports        []string  `json:"transports,omitempty"`
	BackupEligible    bool      `json:"backup_eligible"`
	BackedUp          bool      `json:"backed_up"`
	CreatedAt         time.Time `json:"created_at"`
	LastUsedAt        time.Time `json:"last_used_at"`
}

// Verification is one user-verified passkey assertion, as remembered by the
// session cookie that it raised. The zero value is "never".
type Verification struct {
	At         time.Time  `json:"at"`
	Addr       netip.Addr `json:"addr"` // where the assertion was made from
	Credential Credential `json:"credential"`
	Browser    Browser    `json:"browser,omitzero"` // what it was made with
}

// Browser describes the browser that an assertion was made with. Only Device is proven;
// the rest is the client's own statement.
type Browser struct {
	Device   string `json:"device,omitempty"`    // the device cookie's public handle; "" without one
	Family   string `json:"family,omitempty"`    // User-Agent without versions
	JA4      string `json:"ja4,omitempty"`       // TLS fingerprint, less what one client changes by itself; "" where something else terminates TLS
	TimeZone string `json:"time_zone,omitempty"` // IANA name, as the browser's script reports it
	HandedAt int64  `json:"handed_at,omitempty"` // when that was, in Unix seconds
	HandedTo string `json:"handed_to,omitempty"` // User-Agent, without versions, that a host's cookie was given to; "" on the sign-in host

	// AskedFrom is where the browser was, as the tool's host saw it, when that host asked
	// for this assertion: over IPv4, say, while the sign-in host is reached over IPv6.
	// The same browser did both, in one hand-off. Not valid if nothing was asked there.
	AskedFrom netip.Addr `json:"asked_from,omitzero"`
	// Proofs is how many assertions in a row that host has asked for, this one included.
	Proofs int `json:"proofs,omitempty"`
}

// Session is a signed-in browser on one host. The zero value means that no person is
// signed in.
type Session struct {
	ID           string       `json:"id"` // public handle, safe to log; never the cookie's secret
	Person       Person       `json:"person"`
	Host         string       `json:"host"` // the canonical host (with port) whose cookie was presented
	CreatedAt    time.Time    `json:"created_at"`
	ExpiresAt    time.Time    `json:"expires_at"` // absolute; the idle limit may end the session before
	LastSeenAt   time.Time    `json:"last_seen_at"`
	AuthTime     time.Time    `json:"auth_time"` // auth_time claim, or when the ID token was issued
	Verification Verification `json:"verification"`
}

// Level derives the level from what the session holds. The session package checks expiry:
// a session that it returns is alive.
func (s *Session) Level() Level {
	switch {
	case s.ID == "" || s.Person.Subject.IsZero():
		return None
	case s.Verification.At.IsZero():
		return SignedIn
	default:
		return Verified
	}
}
