package passkey

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/authn"
)

// List returns every passkey of the person, oldest first, blocked ones included.
func (rp *RelyingParty) List(ctx context.Context, s authn.Subject) ([]Record, error) {
	records, err := rp.store.Credentials(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("passkey: list credentials: %w", err)
	}
	return records, nil
}

// Has reports whether a passkey is stored as the person's own and can be used.
func (rp *RelyingParty) Has(ctx context.Context, s authn.Subject, id []byte) (bool, error) {
	records, err := rp.List(ctx, s)
	if err != nil {
		return false, err
	}
	r, ok := find(records, id)
	return ok && r.Blocked == "", nil
}

// Rename gives a passkey a name for its owner's eyes: 1 to 64 characters, none
// of them invisible.
func (rp *RelyingParty) Rename(ctx context.Context, s authn.Subject, id []byte, name string) error {
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); n < 1 || n > 64 || !utf8.ValidString(name) || strings.ContainsFunc(name, invisible) {
		return refuse(CodeNameInvalid, nil)
	}
	return rp.changed(rp.store.RenameCredential(ctx, s, id, name))
}

// Remove deletes a passkey, except the last usable one. Who may ask for it is
// the caller's decision; for owners it is [RelyingParty.Fresh].
func (rp *RelyingParty) Remove(ctx context.Context, s authn.Subject, id []byte) error {
	return rp.changed(rp.store.RemoveCredential(ctx, s, id))
}

func (rp *RelyingParty) changed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, authn.ErrNotFound):
		return refuse(CodeCredentialGone, err)
	case errors.Is(err, ErrLastCredential):
		return refuse(CodeLastCredential, err)
	}
	return fmt.Errorf("passkey: change credential: %w", err)
}

// invisible is what could make two names look alike, or turn a line around.
func invisible(r rune) bool {
	return !unicode.IsPrint(r)
}
