// Package policy judges requests: facts in, a decision out.
//
// It is a pure function of a policy file and of [Facts]: it opens no file, asks no clock
// and reads no request. A policy is compiled once; after that it is immutable and safe
// for concurrent use. There are five ways to evaluate it:
//
//	Decide(f)            one request, whole
//	Partial(f)           the part that stays the same for one session token, address,
//	                     route and purpose; the gate keeps it
//	Finish(f, p)         the rest, for one request: Decide(f) is Finish(f, Partial(f))
//	Judge(f, p)          Finish that also says what came of each rule, for those who count
//	DecideSession(f, p)  a session between its requests
//
// [Policy.Explain] says how each rule came out and why; its verdict is that of Decide.
//
// To read the package: facts.go (what a rule can see), compile.go (a document becomes
// rules), decide.go (which rules match), readings.go (about which paths and addresses),
// verdict.go (what follows from that), exceptions.go (for which person a rule is
// suspended), then explain.go. reverify.go and enforcement.go
// are the two things that are drawn at random, by a key. Model and Batch are for tools.
//
// What it is not: it does not find out who or where a person is (facts come from
// outside), and it grants nothing. A rule can only narrow what a route's `allow` gives
// ([Grant]): there is no allow rule. [Compile] neither runs the tests of a file nor
// proves its invariants: package load does, and a policy that is to be enforced comes
// from there.
//
// How it fails: the zero [Action], [Decision] and [Partial] block. A rule that
// cannot be evaluated matches. A policy with any mistake in it is not compiled
// at all; [Compile] returns every mistake as [Diagnostics].
package policy

import "sallyport/policy/internal/vocabulary"

// Config is what a policy is compiled from.
type Config struct {
	// Name is the file name to use in messages.
	Name string
	// Source is the policy file (YAML). At most 1 MiB.
	Source []byte
	// Routes are the names that rules may mention. Nil: not checked.
	Routes []string
	// Grants maps a route name to the people that its `allow` names. Nil: this policy
	// does not check grants. Not nil: a route that is missing here is granted to no one.
	Grants map[string]Grant
	// Provides says what the configured IP sources can answer. A rule over anything
	// else would never match, and is refused. Nil: not checked.
	Provides *Provides
	// Pinned are invariants that the policy has to fulfil beside its own. Nil: none.
	Pinned *Pinned
	// Exceptions suspend rules for single people. Nil: none.
	Exceptions *Exceptions
	// NoAttestation says that no attestation is judged, so that no passkey is ever
	// "attested": a rule that requires it would lock out all people, and is refused.
	NoAttestation bool
}

// Provides is what the configured IP sources can answer, whether or not
// they are loaded at the moment.
type Provides struct {
	// Signals holds names of IP facts: "country", "subdivisions", "asn", "org", "provider",
	// "location", "vpn", "hosting", "tor", "proxy", "residential_proxy", "relay". Nil: not checked.
	Signals map[string]bool
	// Lists holds the names of the configured address lists (ip.lists). Nil: not checked.
	Lists map[string]bool
	// Providers are the names that ip.provider can be. Nil: not known.
	Providers []string
}

// IsRegion reports whether a text has the form of an ISO 3166-2 code, as ip.region and
// user.region have it: "US-CA".
func IsRegion(code string) bool { return vocabulary.SubdivisionPattern.MatchString(code) }
