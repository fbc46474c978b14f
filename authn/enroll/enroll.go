// Package enroll issues and redeems enrolment tickets.
//
// # What it is
//
// A ticket is the right of one person to enrol one passkey, once. The security team mints
// it after checking who the person is (a video interview, say), and gives them its
// secret, usually as part of a link. Every person's first passkey comes from a ticket;
// there is no trust on first use.
//
// The secret is 256 random bits, written in the 32 digits and letters that are not
// mistaken for one another; only its SHA-256 is stored, so that a reader of the store
// cannot enrol. It is shown once, by [Issuer.Mint].
//
// # What it is not
//
// It does not run the WebAuthn ceremony (passkey does), nor judge the network that the
// person enrols from (the policy does), nor decide who may mint.
//
// # How it fails
//
// A refusal is an [*Error]. Without the secret every question gets [ErrUnknown]; with the
// secret, but signed in as another person, [ErrWrongPerson], in every state of the
// ticket; as another account of the same address than the one that enrolled under it
// before, [ErrOtherAccount], unless the ticket was minted for a new account. All of them
// show the same words. Only the person that the ticket names learns that it was spent,
// has expired or was revoked. Any other error means that the store did not answer:
// nothing was redeemed, or it was redeemed together with the passkey, never one without
// the other.
package enroll

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport/authn"
	"sallyport/authn/passkey"
)

const (
	// DefaultExpiry is how long a ticket is good for if nothing is asked for.
	DefaultExpiry = 24 * time.Hour
	// MaxExpiry is the longest that may be asked for.
	MaxExpiry = 14 * 24 * time.Hour

	maxNote = 200 // characters
)

// Config is what a desk needs.
type Config struct {
	Store Store            // required
	Now   func() time.Time // nil: time.Now
}

// Issuer mints and redeems tickets. It is safe for concurrent use.
type Issuer struct {
	store Store
	now   func() time.Time
}

// New returns a desk over c.Store.
func New(c Config) *Issuer {
	d := &Issuer{store: c.Store, now: c.Now}
	if d.now == nil {
		d.now = time.Now
	}
	return d
}

// MintRequest says what ticket to make.
type MintRequest struct {
	Email   authn.Email   // of the person it is for
	Expires time.Duration // 0: DefaultExpiry; at most MaxExpiry
	Note    string        // why, for the list: "video interview 12 Nov"
	By      string        // who mints it
	// NewAccount says that the address was given to another account than the one
	// that has passkeys under it: a new employee of the same name, another provider.
	NewAccount bool
	// OnMint, if given, is called with the ticket just before it is stored; its error
	// stops the minting. It writes the record: no ticket exists without a record.
	OnMint func(context.Context, Ticket) error
}

// Mint makes a ticket. The secret is returned here and never again.
func (d *Issuer) Mint(ctx context.Context, r MintRequest) (Ticket, string, error) {
	email, err := authn.ParseEmail(string(r.Email))
	if err != nil {
		return Ticket{}, "", fmt.Errorf("enroll: %w", err)
	}
	if r.Expires == 0 {
		r.Expires = DefaultExpiry
	}
	switch {
	case r.Expires < 0 || r.Expires > MaxExpiry:
		return Ticket{}, "", fmt.Errorf("enroll: a ticket is good for up to %v, not %v", MaxExpiry, r.Expires)
	case !plain(r.Note) || utf8.RuneCountInString(r.Note) > maxNote:
		return Ticket{}, "", fmt.Errorf("enroll: a note is one line of at most %d printable characters", maxNote)
	case r.By == "" || !plain(r.By):
		return Ticket{}, "", errors.New("enroll: a ticket needs the name of who mints it")
	}
	secret, id := make([]byte, secretSize), make([]byte, 10)
	rand.Read(secret)
	rand.Read(id)
	now := d.now()
	t := Ticket{
		ID:        encoding.EncodeToString(id),
		Email:     email,
		Note:      r.Note,
		CreatedBy: r.By,
		CreatedAt: now,
		ExpiresAt: now.Add(r.Expires),

		NewAccount: r.NewAccount,
	}
	if r.OnMint != nil {
		if err := r.OnMint(ctx, t); err != nil {
			return Ticket{}, "", fmt.Errorf("enroll: write down the making of a ticket: %w", err)
		}
	}
	if err := d.store.CreateTicket(ctx, t, sha256.Sum256(secret)); err != nil {
		return Ticket{}, "", fmt.Errorf("enroll: store ticket: %w", err)
	}
	return t, encoding.EncodeToString(secret), nil
}

// Check returns the ticket if this person could redeem it now.
func (d *Issuer) Check(ctx context.Context, secret string, p authn.Person) (Ticket, error) {
	digest, ok := digestOf(secret)
	if !ok {
		return Ticket{}, ErrUnknown
	}
	return d.check(ctx, digest, p)
}

func (d *Issuer) check(ctx context.Context, digest Digest, p authn.Person) (Ticket, error) {
	t, err := d.store.TicketByDigest(ctx, digest)
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return Ticket{}, ErrUnknown
	case err != nil:
		return Ticket{}, fmt.Errorf("enroll: look up ticket: %w", err)
	case p.Email == "" || t.Email != p.Email || p.Subject.IsZero():
		// This check comes before any about the ticket's state. A link that was forwarded
		// or stolen enrols no one, and reveals nothing.
		return Ticket{}, ErrWrongPerson
	}
	if !t.NewAccount {
		// An address that was given to another person does not bring the tickets
		// of its first owner along, nor a provider account that claims it.
		other, err := d.store.OtherAccount(ctx, p.Email, p.Subject)
		switch {
		case err != nil:
			return Ticket{}, fmt.Errorf("enroll: look up who enrolled: %w", err)
		case other:
			return Ticket{}, ErrOtherAccount
		}
	}
	switch t.State(d.now()) {
	case Open:
		return t, nil
	case Revoked:
		return Ticket{}, ErrRevoked
	case Redeemed:
		if t.RedeemedBy == p.Subject {
			return Ticket{}, ErrSpentByYou
		}
		return Ticket{}, ErrSpent
	default:
		return Ticket{}, ErrExpired
	}
}

// Redeem stores the person's new passkey and spends the ticket, both or neither.
// Everything is checked again inside the store's transaction: the ticket may
// have been spent or revoked since [Issuer.Check].
func (d *Issuer) Redeem(ctx context.Context, secret string, p authn.Person, r passkey.Record) error {
	digest, ok := digestOf(secret)
	if !ok {
		return ErrUnknown
	}
	if p.Subject.IsZero() || r.Subject != p.Subject {
		return fmt.Errorf("%w: the passkey was not made by the person who redeems", ErrWrongPerson)
	}
	if _, err := d.check(ctx, digest, p); err != nil {
		return err
	}
	err := d.store.RedeemTicket(ctx, digest, p.Email, d.now(), r)
	switch {
	case errors.Is(err, passkey.ErrCredentialExists):
		return fmt.Errorf("%w: %w", ErrCredentialExists, err)
	case errors.Is(err, ErrOtherAccount):
		return err
	case errors.Is(err, authn.ErrNotFound):
		if _, why := d.check(ctx, digest, p); why != nil {
			return why
		}
		return ErrSpent // another request was faster, and the store has not shown it yet
	case err != nil:
		return fmt.Errorf("enroll: redeem ticket: %w", err)
	}
	return nil
}

// List returns tickets, newest first; email "" means those of all people.
func (d *Issuer) List(ctx context.Context, email authn.Email) ([]Ticket, error) {
	tickets, err := d.store.ListTickets(ctx, email)
	if err != nil {
		return nil, fmt.Errorf("enroll: list tickets: %w", err)
	}
	return tickets, nil
}

// Revoke ends an open ticket by its public ID. [ErrUnknown] if there is no open
// ticket of that ID.
func (d *Issuer) Revoke(ctx context.Context, id string) error {
	err := d.store.RevokeTicket(ctx, id, d.now())
	switch {
	case errors.Is(err, authn.ErrNotFound):
		return ErrUnknown
	case err != nil:
		return fmt.Errorf("enroll: revoke ticket: %w", err)
	}
	return nil
}

// encoding is Crockford's base 32 in lower case: no i, l, o or u, and nothing
// that a terminal or a mail reader takes for the end of a link.
var encoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const secretSize = 32 // bytes

// digestOf accepts exactly the spelling that Mint gave out. The decoder alone
// would skip line ends and ignore the unused bits of the last character.
func digestOf(secret string) (Digest, bool) {
	if len(secret) != encoding.EncodedLen(secretSize) {
		return Digest{}, false
	}
	b, err := encoding.DecodeString(secret)
	if err != nil || encoding.EncodeToString(b) != secret {
		return Digest{}, false
	}
	return sha256.Sum256(b), true
}

// plain is text that cannot break out of a line of a list or a log.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
