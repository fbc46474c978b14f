// Package session issues, finds, rotates and ends sign-in sessions, and writes the
// cookies that name them.
//
// A session is a row in a [Store]; a browser holds one cookie per host that names it. The
// cookie is a random 256-bit token, sealed with AES-256-GCM (the cookie's name is
// authenticated with it), and the store keeps the token's SHA-256 only: neither a copy of
// the database nor a guess gives a session away. Sealing an already random token keeps
// invented cookies away from the database: a cookie that does not open is refused in
// memory.
//
// # What it promises
//
//   - A new session and token at every sign-in, a new token at every assertion. The old
//     token is dead when the call returns; of two concurrent assertions with one cookie,
//     one wins.
//   - Freshness ([authn.Verification]) belongs to the token that earned it. The cookie
//     that the same session has on another host does not become fresher until it is
//     replaced through [Manager.Handoff] and [Manager.Redeem].
//   - A token is good on the host it was issued for, and on no other.
//   - Absolute and idle lifetime are checked here, on every request, independent of the
//     cookie's lifetime. A session found dead is deleted on sight, so that a clock set
//     back does not revive it.
//   - A session ends with the passkey that raised it: the store ends it together with the
//     passkey's removal or block, and refuses to raise one afterwards. The caller that
//     removes or blocks it calls [Manager.Sync].
//   - [Manager.Revoke], [Manager.SignOut] and [Manager.Verify] take effect in this
//     process before they return, and in others that run [Manager.Run] at their next
//     poll, 250 ms later.
//
// # How it fails
//
// Everything wrong with a cookie is [ErrNoSession]: absent, twice there, of the wrong
// length, altered, of another host, expired, idle, revoked. A store that cannot answer is
// [ErrUnavailable], never "no session": the caller answers 503 and does not send people
// round a sign-in that cannot end well. Sessions in the cache outlive an outage by no
// more than five seconds: a process that has not learnt of revocations for longer asks
// the store every time.
//
// LastSeenAt is written in batches of up to ten seconds. A crash, or a second process
// asked within those seconds, may therefore see a session as idle ten seconds early;
// never late.
//
// # What it is not
//
// It does not authenticate people, judges no request, and does not canonicalise hosts:
// `host` is always the caller's canonical host, with a port if it is not the scheme's
// own. It gives no protection against cross-site requests beyond SameSite=Lax; handlers
// that change something check the origin themselves.
//
// # gorilla/sessions
//
// [Manager] is a [sessions.Store]. The typed methods are what the product calls; Get, New
// and Save are the same code in gorilla's shape. It keeps identities and nothing else:
// there are no anonymous sessions (so none to fixate) and no free-form values.
package session
