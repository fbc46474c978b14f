package passkey

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"sallyport/authn"
)

// challenge is the stored state of an assertion under way. It embeds the library's part,
// so that an assertion begun before an update is still understood.
type challenge struct {
	webauthn.SessionData
	// SignCounts are those that the asked passkeys had when the ceremony began, in the
	// order of AllowedCredentialIDs.
	SignCounts []uint32 `json:"sign_counts,omitempty"`
}

func newChallenge(data webauthn.SessionData, credentials []webauthn.Credential) challenge {
	c := challenge{SessionData: data}
	for _, id := range data.AllowedCredentialIDs {
		i := slices.IndexFunc(credentials, func(o webauthn.Credential) bool { return bytes.Equal(o.ID, id) })
		c.SignCounts = append(c.SignCounts, credentials[i].Authenticator.SignCount)
	}
	return c
}

// countOf is the sign count that a passkey had when the ceremony began; if that is not
// known, the one it has now.
func (c challenge) countOf(stored webauthn.Credential) uint32 {
	i := slices.IndexFunc(c.AllowedCredentialIDs, func(id []byte) bool { return bytes.Equal(id, stored.ID) })
	if i < 0 || i >= len(c.SignCounts) {
		return stored.Authenticator.SignCount
	}
	return c.SignCounts[i]
}

// BeginAssertion asks the session's person to prove themselves with one of their
// passkeys. [ErrNoCredential] if they never had one.
func (rp *RelyingParty) BeginAssertion(ctx context.Context, s authn.Session) (Ceremony, error) {
	if s.Level() == authn.None {
		return Ceremony{}, refuse(CodeNotSignedIn, nil)
	}
	records, err := rp.store.Credentials(ctx, s.Person.Subject)
	if err != nil {
		return Ceremony{}, fmt.Errorf("passkey: list credentials: %w", err)
	}
	credentials, err := usable(records)
	switch {
	case err != nil:
		return Ceremony{}, err
	case len(records) == 0:
		return Ceremony{}, refuse(CodeNoCredential, nil)
	case len(credentials) == 0:
		return Ceremony{}, refuse(CodeCredentialBlocked, nil)
	}
	handle, err := rp.userHandle(ctx, s.Person.Subject)
	if err != nil {
		return Ceremony{}, err
	}
	request, data, err := rp.library.BeginLogin(newWebauthnUser(s.Person, handle, credentials))
	if err != nil {
		return Ceremony{}, fmt.Errorf("passkey: begin assertion: %w", err)
	}
	return rp.begin(ctx, assertion, s, newChallenge(*data, credentials), request.Response)
}

// FinishAssertion verifies a browser's answer, remembers the use, and returns
// the credential as it is now. Nil error means: this person, with this passkey,
// user-verified, just now.
func (rp *RelyingParty) FinishAssertion(ctx context.Context, s authn.Session, ceremonyID string, body []byte) (authn.Credential, error) {
	var data challenge
	if err := rp.redeem(ctx, assertion, s, ceremonyID, &data); err != nil {
		return authn.Credential{}, err
	}
	return rp.asserted(ctx, s, data, body)
}

// asserted verifies the answer to a challenge that has been taken, and remembers the use.
func (rp *RelyingParty) asserted(ctx context.Context, s authn.Session, data challenge, body []byte) (authn.Credential, error) {
	if len(body) > MaxBody {
		return authn.Credential{}, refuse(CodeResponseTooLarge, nil)
	}
	read, err := readAnswer(protocol.AssertCeremony, body)
	if err != nil {
		return authn.Credential{}, refuse(CodeResponseMalformed, err)
	}
	answer, err := protocol.ParseCredentialRequestResponseBytes(read)
	if err != nil {
		return authn.Credential{}, refuse(CodeResponseMalformed, detail(err))
	}
	if err := rp.checkClientData(answer.Response.CollectedClientData, protocol.AssertCeremony, data.Challenge); err != nil {
		return authn.Credential{}, err
	}
	var used authn.Credential
	for range 4 {
		// The store holds another count than it was judged by: another answer of this
		// passkey was stored between reading and writing. It is judged again by that
		// one: then two equal counts are a copy, and the higher of two counts is good.
		if used, err = rp.checkAnswer(ctx, s, data, answer); !errors.Is(err, authn.ErrNotFound) {
			return used, err
		}
	}
	return used, err
}

// checkAnswer compares the answer with the store as it is now, and remembers the use.
func (rp *RelyingParty) checkAnswer(ctx context.Context, s authn.Session, data challenge, answer *protocol.ParsedCredentialAssertionData) (authn.Credential, error) {
	records, err := rp.store.Credentials(ctx, s.Person.Subject)
	if err != nil {
		return authn.Credential{}, fmt.Errorf("passkey: list credentials: %w", err)
	}
	record, err := pick(records, data, answer)
	if err != nil {
		return authn.Credential{}, err
	}
	credential, err := rp.verify(ctx, s, data, record, answer)
	if err != nil {
		return authn.Credential{}, err
	}
	return rp.remember(ctx, record, credential)
}

// pick finds the record that answered: one that was asked for, and is its
// person's own.
func pick(records []Record, data challenge, answer *protocol.ParsedCredentialAssertionData) (Record, error) {
	asked := slices.ContainsFunc(data.AllowedCredentialIDs, func(id []byte) bool { return bytes.Equal(id, answer.RawID) })
	record, owned := find(records, answer.RawID)
	handle := answer.Response.UserHandle
	switch {
	case !asked:
		// Options name the person's own passkeys only; this one is another person's,
		// blocked, or unknown.
		return Record{}, refuse(CodeWrongCredential, nil)
	case len(handle) > 0 && !bytes.Equal(handle, data.UserID):
		return Record{}, refuse(CodeUserHandleMismatch, nil) // the passkey of another account
	case !owned:
		return Record{}, refuse(CodeCredentialGone, nil)
	case record.Blocked != "":
		return Record{}, refuse(CodeCredentialBlocked, errors.New(record.Blocked))
	}
	return record, nil
}

// verify checks the authenticator's part of the answer. The order matters: what
// contradicts the record blocks the credential, hence is believed only once the
// signature over it has been verified.
func (rp *RelyingParty) verify(ctx context.Context, s authn.Session, data challenge, r Record, answer *protocol.ParsedCredentialAssertionData) (*webauthn.Credential, error) {
	stored, err := decode(r)
	if err != nil {
		return nil, err
	}
	if err := rp.checkAuthenticator(answer.Response.AuthenticatorData); err != nil {
		return nil, err
	}
	c := rp.library.Config
	if err := answer.Verify(data.Challenge, c.RPID, "", c.RPOrigins, nil, nil, c.RPTopOriginVerificationMode, false, true, true, stored.PublicKey, c.Signature); err != nil {
		return nil, refuse(CodeSignatureInvalid, detail(err))
	}
	if refusal := checkHistory(stored, data.countOf(stored), answer.Response.AuthenticatorData); refusal != nil {
		if refusal.Code == CodeOvertaken { // late, which proves nothing
			return nil, refusal
		}
		return nil, rp.block(ctx, r, refusal)
	}
	// The library's own verdict on the whole.
	credential, err := rp.library.ValidateLogin(newWebauthnUser(s.Person, data.UserID, []webauthn.Credential{stored}), only(data.SessionData, r.ID), answer)
	if err != nil {
		return nil, refuse(CodeResponseRefused, detail(err))
	}
	return credential, nil
}

// only narrows a ceremony to the credential that pick found among those it
// allowed, so that removing another passkey meanwhile does no harm.
func only(data webauthn.SessionData, id []byte) webauthn.SessionData {
	data.AllowedCredentialIDs = [][]byte{id}
	return data
}

// block makes a refusal durable. It does not end with the request: otherwise an attacker
// with a copied key could hang up in time.
func (rp *RelyingParty) block(ctx context.Context, r Record, refusal *Error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	rp.log.LogAttrs(ctx, slog.LevelWarn, "passkey blocked",
		slog.String("issuer", r.Subject.Issuer), slog.String("subject", r.Subject.ID),
		slog.String("code", refusal.Code), slog.String("reason", refusal.Err.Error()))
	if err := rp.store.BlockCredential(ctx, r.Subject, r.ID, refusal.Err.Error()); err != nil {
		// Still refused, and still a risk; but the next answer is judged anew.
		rp.log.LogAttrs(ctx, slog.LevelError, "passkey could not be blocked", slog.Any("error", err))
		refusal.Err = errors.Join(refusal.Err, fmt.Errorf("block credential: %w", err))
	}
	return refusal
}

// remember stores the use, by compare-and-swap on the sign count: what is stored never
// goes back. The loser of two simultaneous answers gets CodeOvertaken around
// authn.ErrNotFound.
func (rp *RelyingParty) remember(ctx context.Context, r Record, c *webauthn.Credential) (authn.Credential, error) {
	encoded, err := json.Marshal(c)
	if err != nil {
		return authn.Credential{}, fmt.Errorf("passkey: encode credential: %w", err)
	}
	use := Use{
		OldSignCount: r.SignCount,
		SignCount:    c.Authenticator.SignCount,
		BackedUp:     c.Flags.BackupState,
		At:           rp.now(),
		Data:         encoded,
	}
	err = rp.store.RecordUse(ctx, r.Subject, r.ID, use)
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return authn.Credential{}, refuse(CodeOvertaken, err)
	case err != nil:
		return authn.Credential{}, fmt.Errorf("passkey: record use: %w", err)
	}
	out := r.Credential
	out.BackedUp, out.LastUsedAt = use.BackedUp, use.At
	return out, nil
}
