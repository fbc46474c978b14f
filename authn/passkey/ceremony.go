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
	proposal     purpose = "passkey-proposal"
	vouching     purpose = "passkey-vouching"
)

// begin remembers data under a key that only the same session, person and
// purpose can name again.
func (rp *RelyingParty) begin(ctx context.Context, p purpose, s authn.Session, data, options any) (Ceremony, error) {
	c := Ceremony{ID: newID()}
	payload, err := json.Marshal(data)
	if err != nil {
		return Ceremony{}, fmt.Errorf("passkey: begin %s: %w", p, err)
	}
	if c.Options, err = json.Marshal(options); err != nil {
		return Ceremony{}, fmt.Errorf("passkey: begin %s: %w", p, err)
	}
	if err := rp.ceremonies.PutBounded(ctx, string(p), key(p, s, c.ID), payload, rp.now().Add(ceremonyFor), boundOf(s)); err != nil {
		return Ceremony{}, fmt.Errorf("passkey: begin %s: %w", p, err)
	}
	return c, nil
}

func newID() string {
	var id [32]byte
	rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// redeem gives what was begun back, once. It comes before anything else is looked
// at, so that a challenge has one answer, and a bad one uses it up.
func (rp *RelyingParty) redeem(ctx context.Context, p purpose, s authn.Session, id string, into any) error {
	if s.Level() == authn.None {
		return refuse(CodeNotSignedIn, nil)
	}
	payload, err := rp.ceremonies.Take(ctx, string(p), key(p, s, id), rp.now())
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return refuse(CodeChallengeUnknown, nil)
	case err != nil:
		return fmt.Errorf("passkey: finish %s: %w", p, err)
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return fmt.Errorf("passkey: stored ceremony: %w", err)
	}
	return nil
}

// key binds a ceremony to its purpose, session and person: presenting the id from another
// session looks up a row that does not exist. Every part is length-prefixed, so that no
// two combinations share a key.
func key(p purpose, s authn.Session, id string) [32]byte {
	return digest(string(p), s.ID, s.Person.Subject.Key(), id)
}

func digest(parts ...string) [32]byte {
	h := sha256.New()
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return [32]byte(h.Sum(nil))
}

// boundOf is how many ceremonies a session may have under way: more than a person has
// tabs, and few for a script that has a password. Beyond the total bound, the person with
// the most loses their oldest.
func boundOf(s authn.Session) authn.Bound {
	return authn.Bound{Group: s.ID, Wide: s.Person.Subject.Key(), PerGroup: 50, InAll: 20_000}
}
