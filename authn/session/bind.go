package session

import (
	"context"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sallyport/authn"
)

// A bind describes, for a tool's host, the browser that begins a hand-off. It travels
// through the address bar, where it can be read and copied. It is sealed: only a host of
// ours can make one, and it names the host, the address, the time and the nonce.
//
// A copied bind is useless: its code is valid only with the nonce, which is a cookie of
// the browser that began.

// The data authenticated with what the "handoff" keys seal: a bind is not a code.
const (
	bindName = "sallyport bind"
	codeName = "sallyport code"
)

// maxBind is longer than every bind: a host name has 253 characters at most.
const maxBind = 1024

// Bind is what a bind says.
type Bind struct {
	Host  string     // that began, and that a code will be for
	Addr  netip.Addr // that it was begun from
	At    time.Time
	Again bool // the browser did not bring its nonce back the first time
	// Proofs is how many assertions in a row, before this hand-off, the host has asked for.
	Proofs int
	Linked bool // Beginning.Linked
	Has    Proof

	nonce string // digest
}

// Proof is what a host knows when it asks for another assertion: the newest one there,
// and the session it is of. The zero value is none.
type Proof struct {
	Session string // authn.Session.ID
	At      time.Time
}

// NewerIn reports whether a session is the same one, with an assertion that the host has
// not seen.
func (p Proof) NewerIn(s authn.Session) bool {
	return p.Session != "" && p.Session == s.ID && s.Verification.At.UnixMicro() > p.At.UnixMicro()
}

// bindClaim is a bind before it is sealed. The names are short: it is part of a URL.
type bindClaim struct {
	Nonce string     `json:"n"`
	Host  string     `json:"h"`
	Addr  netip.Addr `json:"a"`
	At    int64      `json:"t"`
	Again bool       `json:"r,omitempty"`

	Proofs int  `json:"u,omitempty"`
	Linked bool `json:"l,omitempty"`

	Session string `json:"s,omitempty"` // Proof
	Proven  int64  `json:"p,omitempty"`
}

// ErrBindExpired says that a bind was ours and has become too old. The remedy is to
// begin again, which the tool's host does by itself.
var ErrBindExpired = errors.New("the hand-off was begun too long ago")

// OpenBind reads a bind. It does not check which browser brings it. A bind that no host
// of ours has sealed is ErrHandoff; one that is older than a sign-in takes is
// ErrBindExpired.
func (m *Manager) OpenBind(ctx context.Context, bind string) (Bind, error) {
	var c bindClaim
	if len(bind) > maxBind {
		return Bind{}, refused(CodeUnknown, "its bind does not open")
	}
	if err := m.ring.openValue(ctx, bindName, bind, &c); err != nil {
		return Bind{}, err
	}
	b := Bind{Host: c.Host, Addr: c.Addr, At: time.Unix(c.At, 0).UTC(), Again: c.Again, Proofs: c.Proofs, Linked: c.Linked, nonce: c.Nonce}
	if c.Session != "" {
		b.Has = Proof{c.Session, time.UnixMicro(c.Proven)}
	}
	// A bind from the future was made by a clock that was set back since: it would last
	// too long.
	if age := m.clock.now().Sub(b.At); age >= bindLife || age < -clockSkew {
		return Bind{}, ErrBindExpired
	}
	return b, nil
}

func (g *ring) sealValue(name string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("session: encoding a %s: %w", name, err)
	}
	return encoding.EncodeToString(g.keys.Load().handoffs[0].Seal(nil, nil, plain, []byte(name))), nil
}

// openValue reads what sealValue gave. A key that could not be read is not "no".
func (g *ring) openValue(ctx context.Context, name, sealed string, into any) error {
	if sealed == "" || strings.ContainsAny(sealed, "\r\n") { // which encoding/base64 skips
		return refused(CodeUnknown, "it does not open")
	}
	raw, err := encoding.DecodeString(sealed)
	if err != nil {
		return refused(CodeUnknown, "it does not open")
	}
	plain, ok := openAny(g.keys.Load().handoffs, raw, name)
	if !ok {
		if err := g.reloadSoon(ctx); err != nil {
			return unavailable("reading keys", err)
		}
		if plain, ok = openAny(g.keys.Load().handoffs, raw, name); !ok {
			return refused(CodeUnknown, "it was not sealed by us, or with a key that is gone")
		}
	}
	if json.Unmarshal(plain, into) != nil {
		return refused(CodeUnknown, "it cannot be read")
	}
	return nil
}

func openAny(keys []cipher.AEAD, sealed []byte, name string) ([]byte, bool) {
	for _, a := range keys {
		if plain, err := a.Open(nil, nil, sealed, []byte(name)); err == nil {
			return plain, true
		}
	}
	return nil, false
}
