package passkey

import (
	"context"
	"time"

	"sallyport/authn"
)

// Record is a passkey as it is stored.
type Record struct {
	authn.Credential
	Subject   authn.Subject
	PublicKey []byte // COSE_Key (RFC 9052), as the authenticator gave it
	SignCount uint32
	// Data is the library's own credential record (JSON), stored verbatim: what
	// this package does not interpret is still there for the next ceremony.
	Data []byte
	// Blocked holds why the credential must not be used any more ("" = usable):
	// a sign count that went back, a backup flag that changed.
	Blocked string
}

// Use is what one assertion changes in a stored record.
type Use struct {
	OldSignCount uint32 // compare-and-swap: the row must still hold this
	SignCount    uint32
	BackedUp     bool
	At           time.Time
	Data         []byte
}

// Store keeps credentials and user handles.
type Store interface {
	// UserHandle returns the subject's user handle (WebAuthn section 5.4.3),
	// storing fresh if there is none: 64 random bytes, no personal data.
	UserHandle(ctx context.Context, s authn.Subject, fresh []byte) ([]byte, error)
	// Credentials returns every record of the subject, oldest first, blocked
	// ones included.
	Credentials(ctx context.Context, s authn.Subject) ([]Record, error)
	// AddCredential stores r; a credential id that exists, for any person, is
	// ErrCredentialExists. If by is given, it is the credential that its person has just
	// used: if that is blocked, gone or another person's by now, nothing is stored, and
	// the error is authn.ErrNotFound.
	AddCredential(ctx context.Context, r Record, by []byte) error
	// RecordUse applies u if the row still holds u.OldSignCount and is not
	// blocked; otherwise authn.ErrNotFound.
	RecordUse(ctx context.Context, s authn.Subject, id []byte, u Use) error
	// BlockCredential marks the credential as unusable, for the given reason, and ends
	// every session of the subject in the same transaction, each noted in the change log:
	// an attacker with a copy of the key may hold any of them. The first reason stays.
	BlockCredential(ctx context.Context, s authn.Subject, id []byte, reason string) error
	// RenameCredential and RemoveCredential fail with authn.ErrNotFound if the
	// subject has no such credential. The last usable credential cannot be
	// removed: ErrLastCredential. RemoveCredential ends, in the same transaction
	// and noted in the change log, every session of which a token was verified
	// with the credential; one that is verified with it from then on is refused by
	// the session store (ReplaceToken, PutToken).
	RenameCredential(ctx context.Context, s authn.Subject, id []byte, name string) error
	RemoveCredential(ctx context.Context, s authn.Subject, id []byte) error
}

// Once keeps ceremonies (the challenge and what it is bound to) until they are
// taken, exactly once.
type Once interface {
	// PutBounded stores payload until expires. A client with only a password can make
	// these, so those beyond the bound are removed, oldest first.
	PutBounded(ctx context.Context, purpose string, key [32]byte, payload []byte, expires time.Time, b authn.Bound) error
	// Take removes and returns; authn.ErrNotFound if absent, taken or expired.
	Take(ctx context.Context, purpose string, key [32]byte, now time.Time) ([]byte, error)
}
