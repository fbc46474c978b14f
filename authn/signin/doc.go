// Package signin turns a visit to the company's OpenID provider into a verified
// [authn.Person], and keeps that answer true afterwards.
//
// # What it is
//
// A relying party for the OpenID Connect authorization code flow: discovery, PKCE with
// S256, a single-use state kept on the server and bound to one browser, a nonce, every
// claim check of OpenID Connect Core 1.0 section 3.1.3.7, the iss parameter of RFC 9207,
// refresh of groups with a refresh token, RP-initiated logout, and the logout tokens of
// OpenID Connect Back-Channel Logout 1.0. go-oidc fetches metadata and keys and checks
// signatures; every claim is judged here, in one ordered switch per kind of token, so
// that each refusal has its own stable reason code.
//
// # What it is not
//
// It makes no session, sets no cookie and renders no page: [Provider.Begin] hands out
// where to send the browser and the value of a cookie, and [Provider.Finish] says who
// came back. The caller decides where people return to, carried as an opaque payload. It
// trusts the provider to know its people: an attacker who controls the provider, its
// signing keys or its DNS name over HTTPS can be any person here. Such an attacker still
// lacks the passkey that every access needs as well.
//
// # How it fails
//
// Nothing is done in [New]; [Provider.Run] discovers in the background and keeps trying,
// so a provider that is down does not stop the proxy from starting. Until discovery has
// succeeded [Provider.Ready] says why and sign-in answers [ErrUnavailable]. Once metadata
// is known a failing re-discovery keeps it. Sessions that exist already do not notice an
// outage until their refresh is due.
//
// Every refusal is an [*Error]: a code for logs and audit, a text for the page that tells
// the person what to do, and the cause. Neither carries a token, a code or a state. A
// claim that is present and cannot be understood is a refusal, never an empty value:
// rules written as "if countries are declared" would otherwise be skipped for exactly the
// person whose record is damaged.
package signin
