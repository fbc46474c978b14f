package passkey

import (
	"bytes"
	"context"
	"crypto/rand"
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

// A further passkey takes two ceremonies. The first makes it, and stores nothing but a
// proposal. The second is an assertion with a passkey that the person has, over a
// challenge that commits to the new key: what is signed says "I add this key", and is
// good for nothing else. A fresh session is therefore never enough: a script on a page
// of ours, a stolen cookie or a browser left open can propose a key of its own, and
// has nothing that signs for it.
//
// What this does not stop: a script on a page of ours can show the prompt of the second
// ceremony, and a person who believes that it is for something else can confirm it.
// Authenticators do not show what they sign.

// commitTo separates the challenges of vouching from all other uses of SHA-256 here.
const commitTo = "sallyport: vouching for a further passkey, version 1"

// proposed is a further passkey that was made and verified, and that no other passkey
// has vouched for yet.
type proposed struct {
	Record  Record
	Expires time.Time
}

// vouch is an assertion that was begun for a proposal. It does not hold the challenge,
// which is computed again from the values that it commits to.
type vouch struct {
	Proposal string
	Nonce    []byte
	Data     challenge
}

// Vouched is a further passkey that another passkey of the same person has vouched for.
// Only FinishVouching makes one.
type Vouched struct {
	record Record
	by     authn.Credential
}

// Record is the new passkey, and By is the one that vouched for it.
func (v Vouched) Record() Record       { return v.record }
func (v Vouched) By() authn.Credential { return v.by }

// Propose keeps what FinishRegistration returned until another passkey of the person
// vouches for it: five minutes, for this session alone. It gives the proposal's id.
func (rp *RelyingParty) Propose(ctx context.Context, s authn.Session, r Record) (string, error) {
	if s.Level() != authn.Verified {
		return "", refuse(CodeNotFresh, nil)
	}
	if r.Subject != s.Person.Subject {
		return "", refuse(CodeWrongCredential, errors.New("the record is another person's"))
	}
	if err := rp.room(ctx, r); err != nil {
		return "", err
	}
	id := newID()
	if err := rp.keep(ctx, s, id, proposed{r, rp.now().Add(ceremonyFor)}); err != nil {
		return "", err
	}
	return id, nil
}

// room refuses a further passkey that could not be stored.
func (rp *RelyingParty) room(ctx context.Context, r Record) error {
	records, err := rp.store.Credentials(ctx, r.Subject)
	if err != nil {
		return fmt.Errorf("passkey: list credentials: %w", err)
	}
	if _, ok := find(records, r.ID); ok {
		return refuse(CodeCredentialExists, nil)
	}
	if len(records) >= MaxCredentials {
		return refuse(CodeTooManyCredentials, nil)
	}
	return nil
}

// keep stores a proposal, or puts it back. It does not end with the request: a person
// whose connection broke may try again.
func (rp *RelyingParty) keep(ctx context.Context, s authn.Session, id string, p proposed) error {
	payload, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("passkey: encode proposal: %w", err)
	}
	if err := rp.ceremonies.PutBounded(context.WithoutCancel(ctx), string(proposal), key(proposal, s, id), payload, p.Expires, boundOf(s)); err != nil {
		return fmt.Errorf("passkey: keep proposal: %w", err)
	}
	return nil
}

// BeginVouching asks the session's person to vouch for a proposed passkey with another
// one of theirs. It may be begun again while the proposal lives.
func (rp *RelyingParty) BeginVouching(ctx context.Context, s authn.Session, proposalID string) (Ceremony, error) {
	if s.Level() != authn.Verified {
		return Ceremony{}, refuse(CodeNotFresh, nil)
	}
	var p proposed
	if err := rp.redeem(ctx, proposal, s, proposalID, &p); err != nil {
		return Ceremony{}, err
	}
	if err := rp.keep(ctx, s, proposalID, p); err != nil {
		return Ceremony{}, err
	}
	records, err := rp.store.Credentials(ctx, s.Person.Subject)
	if err != nil {
		return Ceremony{}, fmt.Errorf("passkey: list credentials: %w", err)
	}
	// No key vouches for itself, should it have been stored by another way meanwhile.
	records = slices.DeleteFunc(records, func(r Record) bool { return bytes.Equal(r.ID, p.Record.ID) })
	credentials, err := usable(records)
	switch {
	case err != nil:
		return Ceremony{}, err
	case len(credentials) == 0:
		return Ceremony{}, refuse(CodeCredentialBlocked, nil)
	}
	handle, err := rp.userHandle(ctx, s.Person.Subject)
	if err != nil {
		return Ceremony{}, err
	}
	v := vouch{Proposal: proposalID, Nonce: make([]byte, 32)}
	rand.Read(v.Nonce)
	commitment := rp.commitment(v.Nonce, s, p.Record)
	request, data, err := rp.library.BeginLogin(newWebauthnUser(s.Person, handle, credentials), webauthn.WithChallenge(commitment))
	if err != nil {
		return Ceremony{}, fmt.Errorf("passkey: begin vouching: %w", err)
	}
	v.Data = newChallenge(*data, credentials)
	v.Data.Challenge = ""
	return rp.begin(ctx, vouching, s, v, request.Response)
}

// FinishVouching verifies a browser's answer to BeginVouching, and remembers the use of
// the passkey that vouched. It stores nothing: see [RelyingParty.Add]. A proposal is
// good for one answer that is right. After one that is refused and that an honest
// browser can cause, it can be tried again; after any other it is gone.
func (rp *RelyingParty) FinishVouching(ctx context.Context, s authn.Session, ceremonyID string, body []byte) (Vouched, error) {
	if s.Level() != authn.Verified {
		return Vouched{}, refuse(CodeNotFresh, nil)
	}
	var v vouch
	if err := rp.redeem(ctx, vouching, s, ceremonyID, &v); err != nil {
		return Vouched{}, err
	}
	var p proposed
	if err := rp.redeem(ctx, proposal, s, v.Proposal, &p); err != nil {
		return Vouched{}, err
	}
	// From the record that will be stored, and from nothing that was stored beside it:
	// a signature over another key's challenge is one over another challenge.
	v.Data.Challenge = protocol.URLEncodedBase64(rp.commitment(v.Nonce, s, p.Record)).String()
	by, err := rp.asserted(ctx, s, v.Data, body)
	if err == nil && bytes.Equal(by.ID, p.Record.ID) {
		err = refuse(CodeWrongCredential, errors.New("a passkey vouched for itself"))
	}
	if err != nil {
		if refusal, ok := errors.AsType[*Error](err); !ok || !refusal.Risk {
			if lost := rp.keep(ctx, s, v.Proposal, p); lost != nil {
				rp.log.LogAttrs(ctx, slog.LevelError, "proposed passkey could not be kept", slog.Any("error", lost))
			}
		}
		return Vouched{}, err
	}
	return Vouched{record: p.Record, by: by}, nil
}

// commitment is the challenge that stands for adding exactly this key to exactly this
// person's passkeys: SHA-256 over length-prefixed parts, so that no two keys share one.
func (rp *RelyingParty) commitment(nonce []byte, s authn.Session, r Record) []byte {
	sum := digest(commitTo, string(nonce), rp.library.Config.RPID, s.Person.Subject.Key(), string(r.ID), string(r.PublicKey))
	return sum[:]
}

// Add stores a further passkey that another one has vouched for, if that one is still
// good when it is stored: one that is blocked meanwhile leaves no other behind.
func (rp *RelyingParty) Add(ctx context.Context, v Vouched) error {
	if len(v.by.ID) == 0 {
		return refuse(CodeNotFresh, errors.New("no passkey has vouched"))
	}
	if err := rp.room(ctx, v.record); err != nil {
		return err
	}
	err := rp.store.AddCredential(ctx, v.record, v.by.ID)
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return refuse(CodeNotFresh, errVouched)
	case errors.Is(err, ErrCredentialExists):
		return refuse(CodeCredentialExists, err)
	case err != nil:
		return fmt.Errorf("passkey: add credential: %w", err)
	}
	return nil
}

var errVouched = errors.New("the passkey that vouched is blocked or gone")
