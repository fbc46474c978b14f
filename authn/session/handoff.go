package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"sallyport/authn"
)

// A hand-off carries a session from the sign-in host to an app host:
//
//	app host      BeginHandoff: nonce into a cookie, a sealed bind into the redirect
//	sign-in host  Load, OpenBind, Handoff: a code for that host and that bind
//	app host      Redeem: the code, with the nonce's cookie, for a cookie of its own
//
// The code is in the body of a POST, never in a URL. One that leaks all the same is of
// no use in another browser, which lacks the nonce, nor from another network, nor on
// another host, nor a second time, nor a minute later. Nor can a code that was made
// for an attacker's session be slipped to another person.
//
// A code is sealed like a bind: what it is for, and whose, is known before anything is
// spent. What is single-use is a key in it, under which the session is kept.
const (
	handoffPurpose = "handoff"
	handoffLife    = time.Minute
	bindLife       = 15 * time.Minute // a sign-in and an assertion lie in between
	nonceLife      = 20 * time.Minute // longer than a bind and a code: a lost nonce looks like another browser
	maxCode        = 2048 + maxReturnTo*2
)

// handoff is what is kept under a code's key.
type handoff struct {
	Session      string             `json:"session"`
	Verification authn.Verification `json:"verification"`
}

// codeClaim is a code before it is sealed.
type codeClaim struct {
	Key      [32]byte   `json:"k"`
	Nonce    string     `json:"n"` // digest
	Host     string     `json:"h"`
	Began    netip.Addr `json:"b"` // where the app host saw the browser
	SignedIn netip.Addr `json:"s"` // where the sign-in host saw it
	ReturnTo string     `json:"p"`
	Expires  int64      `json:"e"` // in microseconds
	Again    bool       `json:"r,omitempty"`
	Asked    bool       `json:"q,omitempty"` // the assertion was made after the hand-off began
	Proofs   int        `json:"u,omitempty"` // Begun.Proofs
	Linked   bool       `json:"l,omitempty"` // Begun.Linked
	Owner    string     `json:"o,omitempty"` // e-mail address of the person whose session it carries
}

// id names the code in the audit log. The code cannot be made from it.
func (c *codeClaim) id() string {
	kept := sha256.Sum256(c.Key[:]) // the store's key: it is hashed again, to be of no use there either
	d := sha256.Sum256(kept[:])
	return hex.EncodeToString(d[:8])
}

// Why a code is refused.
const (
	CodeUnknown      = "unknown_code"  // made up, or sealed with a key that is gone
	CodeExpired      = "expired"       // a minute has passed
	CodeSpent        = "already_used"  // by this browser, a double submit
	CodeNoNonce      = "no_nonce"      // the browser did not bring the cookie; the code is not spent
	CodeOtherHost    = "other_host"    // made for another host
	CodeOtherBrowser = "other_browser" // shown by a browser that did not begin it
	CodeOtherNetwork = "other_network" // shown from neither of the two networks it is for
)

// HandoffError is why a bind or a code is refused. It is an [ErrHandoff].
type HandoffError struct {
	Code string
	// Leaked: the code was genuine and is in the wrong hands. It is spent.
	Leaked bool
	// ReturnTo is where the person was going, a path on this host; "" if not known.
	ReturnTo string
	// Began is where the hand-off was begun; not valid if that is not known.
	Began netip.Addr
	// Again: the hand-off was restarted once already.
	Again bool
	// Linked is [Beginning].Linked.
	Linked bool
	// Owner is the e-mail address of the person whose code it was, and ID tells the code
	// apart from that person's others; "" where the code is not ours.
	Owner, ID string
	why       string
}

func (e *HandoffError) Error() string { return ErrHandoff.Error() + ": " + e.why }

// Is makes every HandoffError an ErrHandoff.
func (e *HandoffError) Is(target error) bool { return target == ErrHandoff }

func refused(code, why string) *HandoffError { return &HandoffError{Code: code, why: why} }

// HandoffRequest is how a hand-off begins.
type HandoffRequest struct {
	Host string     // the app host
	Addr netip.Addr // of the client
	// CrossSite: browsers take the sign-in host and this one for different sites (or the
	// hand-off has to work as if they did), so that the nonce must come along with a form
	// that the sign-in host posts.
	CrossSite bool
	// Again: the browser came back without its nonce before.
	Again bool
	// Proofs is how many assertions in a row this host has asked for without being
	// satisfied.
	Proofs int
	// Linked: another origin's page may have chosen where the person is going. The app
	// host must not go there by itself: that would make it a link of its own, with its
	// SameSite=Strict cookies.
	Linked bool
	// Has is what the app host has already where it asks for an assertion.
	Has Proof
}

// BeginHandoff gives the browser a nonce for this host and returns the bind, which the
// redirect to the sign-in host carries. A nonce that the browser has already is used
// again. Tabs that are restored together ask before any of them has an answer, and each
// gets a nonce: it is in a cookie of its own, so that none undoes another's.
func (m *Manager) BeginHandoff(w http.ResponseWriter, r *http.Request, b HandoffRequest) (bind string, err error) {
	var nonce string
	if had := m.nonces(r); len(had) > 0 {
		nonce = had[0]
	} else {
		var raw [32]byte
		rand.Read(raw[:])
		nonce = encoding.EncodeToString(raw[:])
	}
	claim := bindClaim{Nonce: digestOf(nonce), Host: b.Host, Addr: b.Addr, At: m.clock.now().Unix(), Again: b.Again, Proofs: b.Proofs, Linked: b.Linked}
	if b.Has.Session != "" {
		claim.Session, claim.Proven = b.Has.Session, b.Has.At.UnixMicro()
	}
	bind, err = m.ring.sealValue(bindName, claim)
	if err != nil {
		return "", err
	}
	c := m.newCookie(m.handoffCookie+digestOf(nonce)[:nonceName], nonce, int(nonceLife/time.Second))
	if b.CrossSite {
		m.acrossSites(w, c)
	}
	send(w, c)
	return bind, nil
}

// acrossSites lets a cookie come along with a POST that another site makes. SameSite=None
// takes Secure. On plain http (loopback) no attribute at all does it, for two minutes
// after the cookie was made (Chromium's "Lax+POST"): it is deleted first, for a cookie
// that is set again with its old value keeps its age.
//
// The nonce opens nothing: it only proves which browser began.
func (m *Manager) acrossSites(w http.ResponseWriter, c *http.Cookie) {
	if m.options.Secure {
		c.SameSite = http.SameSiteNoneMode
		return
	}
	c.SameSite = 0
	gone := *c
	gone.Value, gone.MaxAge, gone.Expires = "", -1, time.Unix(1, 0)
	send(w, &gone)
}

const (
	nonceName = 8  // characters of a nonce's digest that its cookie is named by
	maxNonces = 64 // of one browser that count
)

// nonces returns the browser's nonces. Each is under the name that belongs to it.
func (m *Manager) nonces(r *http.Request) (list []string) {
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			name, ok := strings.CutPrefix(textproto.TrimString(part), m.handoffCookie)
			if !ok || len(name) != nonceName+1+secretChars || len(list) == maxNonces {
				continue
			}
			name, v, _ := strings.Cut(name, "=")
			if isSecret(v) && name == digestOf(v)[:nonceName] && !slices.Contains(list, v) {
				list = append(list, v)
			}
		}
	}
	return list
}

// isSecret reports whether s is 32 bytes in the one spelling that we give them.
func isSecret(s string) bool {
	if len(s) != secretChars {
		return false
	}
	b, err := encoding.DecodeString(s)
	return err == nil && len(b) == 32
}

func digestOf(nonce string) string {
	d := sha256.Sum256([]byte(nonce))
	return encoding.EncodeToString(d[:])
}

// Handoff makes a code for s, for the host and the browser that begun names. s is the
// session just loaded on the sign-in host, where addr is the client; its freshness goes
// with it. returnTo is a path of the target host or a URL on it (ErrReturnTo otherwise).
func (m *Manager) Handoff(ctx context.Context, s authn.Session, begun Bind, addr netip.Addr, returnTo string) (code string, err error) {
	switch {
	case s.Level() == authn.None:
		return "", errAbsent
	case begun.Host == "", !isSecret(begun.nonce):
		return "", refused(CodeUnknown, "it names no host or no browser")
	}
	path, err := returnPath(returnTo, begun.Host)
	if err != nil {
		return "", err
	}
	expires := m.clock.now().Add(handoffLife)
	payload, err := json.Marshal(handoff{s.ID, s.Verification})
	if err != nil {
		return "", fmt.Errorf("session: encoding a hand-off: %w", err)
	}
	c := codeClaim{Nonce: begun.nonce, Host: begun.Host, Began: begun.Addr, SignedIn: addr, ReturnTo: path, Expires: expires.UnixMicro(), Again: begun.Again, Proofs: begun.Proofs, Linked: begun.Linked,
		Asked: !s.Verification.At.Before(begun.At), Owner: string(s.Person.Email)}
	rand.Read(c.Key[:])
	if code, err = m.ring.sealValue(codeName, c); err != nil {
		return "", err
	}
	if err := m.codes.Put(ctx, handoffPurpose, sha256.Sum256(c.Key[:]), payload, expires); err != nil {
		return "", unavailable("storing a hand-off", err)
	}
	return code, nil
}

// Presented is a code as it was shown to an app host.
type Presented struct {
	Host   string     // that it was shown to
	Code   string     // what was shown
	Addr   netip.Addr // of the client
	Family string     // of the browser, which the cookie remembers; may be ""
	// Near reports whether two addresses are of one network or one provider.
	Near func(a, b netip.Addr) bool
}

// Arrival is where a browser goes once its code is redeemed.
type Arrival struct {
	Path   string // on this host
	Linked bool   // [Beginning].Linked
}

// Redeem takes a code and sends the cookie of the session it stands for. A [HandoffError]
// says why it does not.
//
// A genuine code that is shown on another host, by another browser or from elsewhere has
// leaked: it is spent, so that it is worth nothing to its owner either. A browser that
// does not bring its nonce, and is where the hand-off is, may be one that keeps no
// cookies or lost this one: nothing is spent for that.
func (m *Manager) Redeem(w http.ResponseWriter, r *http.Request, p Presented) (s authn.Session, to Arrival, err error) {
	c, err := m.proven(r, p)
	if err != nil {
		return authn.Session{}, Arrival{}, err
	}
	h, err := m.redeemCode(r.Context(), c)
	if err != nil {
		return authn.Session{}, Arrival{}, err
	}
	rec, err := m.recordByID(r.Context(), h.Session)
	if err != nil {
		return authn.Session{}, Arrival{}, err
	}
	if err := m.endPrevious(r, p.Host, rec.ID); err != nil {
		return authn.Session{}, Arrival{}, err
	}
	digest, cookie, err := m.issue()
	if err != nil {
		return authn.Session{}, Arrival{}, err
	}
	b := &h.Verification.Browser
	b.HandedTo, b.HandedAt = p.Family, m.clock.now().Unix()
	b.AskedFrom, b.Proofs = netip.Addr{}, c.Proofs
	if c.Asked {
		b.Proofs++
	}
	if c.Asked && p.Near(c.Began, p.Addr) {
		b.AskedFrom = c.Began
	}
	tok := Token{Digest: digest, SessionID: rec.ID, Host: p.Host, CreatedAt: m.clock.now(), Verification: h.Verification}
	err = m.store.PutToken(r.Context(), tok)
	m.changed(rec.ID) // the tokens that PutToken removed, also on an error
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return authn.Session{}, Arrival{}, errUnknown
	case err != nil:
		return authn.Session{}, Arrival{}, unavailable("storing a token", err)
	}
	send(w, cookie)
	return m.session(rec, tok), Arrival{c.ReturnTo, c.Linked}, nil
}

// proven opens a code and says whether it is in the right hands, cheapest first. It
// spends a code that is not.
func (m *Manager) proven(r *http.Request, p Presented) (codeClaim, error) {
	var c codeClaim
	if len(p.Code) > maxCode {
		return c, refused(CodeUnknown, "it is too long")
	}
	if err := m.ring.openValue(r.Context(), codeName, p.Code, &c); err != nil {
		return c, err
	}
	nonces := m.nonces(r)
	brought := len(nonces) > 0
	mine := slices.ContainsFunc(nonces, func(nonce string) bool {
		return subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(digestOf(nonce))) == 1
	})
	near := p.Near(c.Began, p.Addr) || p.Near(c.SignedIn, p.Addr)
	why := &HandoffError{ReturnTo: c.ReturnTo, Began: c.Began, Again: c.Again, Linked: c.Linked, Owner: c.Owner, ID: c.id()}
	switch left := time.UnixMicro(c.Expires).Sub(m.clock.now()); {
	case c.Host != p.Host:
		why.Code, why.Leaked, why.ReturnTo, why.why = CodeOtherHost, true, "", "it is for another host"
	case brought && !mine:
		why.Code, why.Leaked, why.why = CodeOtherBrowser, true, "another browser began it"
	case !near:
		why.Code, why.Leaked, why.why = CodeOtherNetwork, true, "it was begun and approved on other networks"
	case !brought:
		why.Code, why.why = CodeNoNonce, "the browser did not bring its nonce"
	// The store checks the end of its life as well; this also catches a clock that was
	// set back since.
	case left <= 0, left > handoffLife+clockSkew:
		why.Code, why.why = CodeExpired, "expired"
	default:
		return c, nil
	}
	if why.Leaked {
		// Gone already is as good, and so is what has expired.
		if _, err := m.redeemCode(r.Context(), c); err != nil && !errors.Is(err, ErrHandoff) {
			return c, err
		}
	}
	return c, why
}

// redeemCode spends a code.
func (m *Manager) redeemCode(ctx context.Context, c codeClaim) (handoff, error) {
	var h handoff
	payload, err := m.codes.Take(ctx, handoffPurpose, sha256.Sum256(c.Key[:]), m.clock.now())
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return h, &HandoffError{Code: CodeSpent, ReturnTo: c.ReturnTo, Began: c.Began, Again: c.Again, Linked: c.Linked, Owner: c.Owner, ID: c.id(), why: "it was used"}
	case err != nil:
		return h, unavailable("taking a hand-off", err)
	}
	if err := json.Unmarshal(payload, &h); err != nil {
		return h, refused(CodeUnknown, "its record cannot be read")
	}
	return h, nil
}

// recordByID returns the living session with this id.
func (m *Manager) recordByID(ctx context.Context, id string) (Record, error) {
	recs, err := m.store.ListSessions(ctx, Filter{ID: id})
	if err != nil {
		return Record{}, unavailable("loading a session", err)
	}
	if id == "" || len(recs) != 1 || recs[0].ID != id {
		return Record{}, errUnknown
	}
	return recs[0], m.refuseDead(ctx, recs[0])
}
