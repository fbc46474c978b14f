package passkey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-webauthn/webauthn/webauthn"

	"sallyport/authn"
)

// Ceremony is a begun registration or assertion.
type Ceremony struct {
	ID string // to be handed back when finishing; useless to any other session
	// Options is what PublicKeyCredential.parseCreationOptionsFromJSON or
	// parseRequestOptionsFromJSON takes.
	Options json.RawMessage
}

type purpose string

const (
	registration purpose = "passkey-registration"
	assertion    purpose = "passkey-assertion"
)

// begin remembers data under a key that only the same session, person and
// purpose can name again.
func (rp *RelyingParty) begin(ctx context.Context, p purpose, s authn.Session, data *webauthn.SessionData, options any) (Ceremony, error) {
	var id [32]byte
	rand.Read(id[:])
	c := Ceremony{ID: base64.RawURLEncoding.EncodeToString(id[:])}
	payload, err := json.Marshal(data)
	if err != nil {
		return Ceremony{}, fmt.Errorf("passkey: begin %s: %w", p, err)
	}
	if c.Options, err = json.Marshal(options); err != nil {
		return Ceremony{}, fmt.Errorf("passkey: begin %s: %w", p, err)
	}
	if err := rp.ceremonies.Put(ctx, string(p), key(p, s, c.ID), payload, rp.now().Add(ceremonyFor)); err != nil {
		return Ceremony{}, fmt.Errorf("passkey: begin %s: %w", p, err)
	}
	return c, nil
}

// take gives the ceremony back, once. It comes before anything else is looked
// at, so that a challenge has one answer, and a bad one uses it up.
func (rp *RelyingParty) take(ctx context.Context, p purpose, s authn.Session, id string) (webauthn.SessionData, error) {
	var data webauthn.SessionData
	if s.Level() == authn.None {
		return data, refuse(CodeNotSignedIn, nil)
	}
	payload, err := rp.ceremonies.Take(ctx, string(p), key(p, s, id), rp.now())
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return data, refuse(CodeChallengeUnknown, nil)
	case err != nil:
		return data, fmt.Errorf("passkey: finish %s: %w", p, err)
	}
	if err := json.Unmarshal(payload, &data); err != nil {
		return data, fmt.Errorf("passkey: stored ceremony: %w", err)
	}
	return data, nil
}

// key binds a ceremony to its purpose, session and person: whoever presents the
// id from another session looks up a row that does not exist. Every part is
// length-prefixed, so that no two combinations share a key.
func key(p purpose, s authn.Session, id string) [32]byte {
	h := sha256.New()
	for _, part := range []string{string(p), s.ID, s.Person.Subject.Key(), id} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return [32]byte(h.Sum(nil))
}
