package enroll

import (
	"context"
	"time"

	"sallyport/authn"
	"sallyport/authn/passkey"
)

// Ticket is the right of one person to enrol one passkey, once.
type Ticket struct {
	ID         string // public handle for list and revoke; not the secret
	Email      authn.Email
	Note       string
	CreatedBy  string // operating-system user or console user who minted it
	CreatedAt  time.Time
	ExpiresAt  time.Time
	RedeemedAt time.Time // zero: not yet
	RedeemedBy authn.Subject
	RevokedAt  time.Time // zero: not revoked
	// NewAccount: the issuer knows that the address now belongs to another account than
	// the one that enrolled under it before.
	NewAccount bool
}

// Digest is the SHA-256 of a ticket's secret.
type Digest [32]byte

// Store keeps tickets. Every write is durable when the method returns.
type Store interface {
	CreateTicket(ctx context.Context, t Ticket, d Digest) error
	// TicketByDigest returns the ticket in any state, or authn.ErrNotFound.
	TicketByDigest(ctx context.Context, d Digest) (Ticket, error)
	// RedeemTicket marks the ticket as redeemed by c.Subject and stores c, in one
	// transaction: never a spent ticket without a credential, nor the reverse.
	// authn.ErrNotFound if the ticket is not (d, email), or was redeemed, revoked
	// or has expired at `at`; passkey.ErrCredentialExists if the credential id is
	// stored already, whosever it is; ErrOtherAccount if OtherAccount is true of
	// (email, c.Subject) and the ticket is not for a new account.
	RedeemTicket(ctx context.Context, d Digest, email authn.Email, at time.Time, c passkey.Record) error
	// OtherAccount reports whether another subject than s redeemed a ticket for this
	// address and still has a passkey, blocked ones included.
	OtherAccount(ctx context.Context, email authn.Email, s authn.Subject) (bool, error)
	// ListTickets returns tickets newest first; email "" means those of all people.
	ListTickets(ctx context.Context, email authn.Email) ([]Ticket, error)
	// RevokeTicket revokes an open ticket; authn.ErrNotFound if there is no open
	// ticket with this id.
	RevokeTicket(ctx context.Context, id string, at time.Time) error
}
