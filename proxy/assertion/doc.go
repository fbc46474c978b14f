// Package assertion tells upstreams who a request comes from in a way they can check: a
// short-lived signed JWT, one for each session and route, in X-Sallyport-Assertion.
//
// # What it says
//
// The token is a JWS in compact form, alg ES256, typ "sallyport+jwt". The type is
// explicit (RFC 8725 section 3.11) so that neither an ID token of the OpenID provider can
// be shown to an upstream as an assertion, nor an assertion elsewhere as an ID token or
// access token. A verifier requires it. Claims:
//
//	iss        external_url of the configuration
//	aud        name of the route: a tool must not accept what was meant for another
//	sub, idp   the person: sub and iss claims of the OpenID provider. sub is the key
//	           to store things under; an e-mail address can pass to another person
//	email      in canonical form, lower case
//	groups     as the OpenID provider (or roster) says, always an array
//	sid        public handle of the session, as in the audit log
//	auth_time  when the person signed in at the OpenID provider
//	uv_time    when they last proved themselves with a passkey in this session
//	credential class of that passkey: synced, unattested or attested
//	amr, acr   the same in registered terms, below
//	risk       score of the policy's matched rules, 0 if none scores
//	reasons    the kinds of fact that the verdict rests on, if any: network, person, ...
//	iat, nbf, exp, jti
//
// exp is at most 60 seconds after nbf. nbf lies a few seconds before iat for upstreams
// whose clock is slow. A request is authenticated when it begins: an upstream that keeps
// a stream open does not check exp again, the proxy cuts it when the session ends.
//
// amr (RFC 8176 and the IANA registry) claims only what is known. User verification was
// demanded and checked, so there are always "user" and "mfa" (the passkey, and the PIN,
// finger or face that opened it; which of these a server cannot know, so no "pin", "fpt"
// or "face"). Where the key lives: "hwk" only if attestation proves it, "swk" if the key
// may be synced, otherwise "pop" (possession of a key, of unproven kind). acr is "phrh"
// (phishing-resistant, hardware-protected) for an attested passkey and "phr"
// (phishing-resistant) for the others, as in OpenID EAP ACR values.
//
// # Keys
//
// P-256 keys live in the key store as PKCS#8 and are shared by all processes. kid is the
// RFC 7638 thumbprint. A key made by [Signer.Rotate] is published at once and signs only
// when every cached key set must have it: after the cache lifetime of the set, and twice
// the time other processes take to reread the store. A key that no longer signs stays
// published as long again. [Signer.Revoke] is for a key that leaked: there the new key
// signs at once, and verifiers that refetch on an unknown kid (those in examples/ do, at
// most every few seconds) follow.
//
// # How it fails
//
// [New] fails without a key. Later, when the store is down, the last keys go on: a
// revoked key may then sign until the store is back, but no other process publishes it.
// Nothing is ever signed for a session that is not verified.
package assertion
