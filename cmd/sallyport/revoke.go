package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"sallyport/authn"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
)

// peopleRevokePasskeyCmd is for a lost or stolen authenticator: its owner cannot
// remove it from their account page, because that takes another passkey.
type peopleRevokePasskeyCmd struct {
	storeFlag `embed:""`

	User   string `arg:"" placeholder:"PERSON" help:"Whose passkey: an address that they have or had, or their subject."`
	ID     string `arg:"" name:"credential-id-prefix" help:"How its id begins, as \"people show\" prints it or as the audit log has it; at least 4 characters."`
	Reason string `default:"revoked by the security team" placeholder:"TEXT" help:"Why, for the record (default: \"revoked by the security team\")."`
}

const minPrefix, maxReason = 4, 200

func (p peopleRevokePasskeyCmd) Run(ctx context.Context, g *globals, std stdio) error {
	switch err := personText(p.User); {
	case err != nil:
		return err
	case len(p.ID) < minPrefix:
		return fmt.Errorf("people revoke-passkey: %q is too short: give at least %d characters of the passkey's id", p.ID, minPrefix)
	}
	if err := reason("--reason", p.Reason); err != nil {
		return err
	}
	return p.withSessions(ctx, g, std, func(_ *config.Config, db *sqlstore.DB, m *session.Manager) error {
		who, err := findOne(ctx, db, p.User)
		if err != nil {
			return fmt.Errorf("people revoke-passkey: %w", err)
		}
		sayFormer(std.err, p.User, who)
		email := plain(p.User)
		var found []passkey.Record
		if who != nil {
			email = string(who.Emails[0])
			found, err = passkeysOf(ctx, db, who.Subject, p.ID)
		}
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			fmt.Fprintf(std.err, "%s has no passkey whose id begins with %q.\n", email, p.ID)
			return errNo
		case len(found) > 1: // never a guess: blocking the wrong passkey locks a person out
			return ambiguous(p.ID, found)
		}
		c := found[0]
		if err := recordOperatorEvent(ctx, db, "passkey_revoke", map[string]string{"user": email, "subject": c.Subject.ID, "issuer": c.Subject.Issuer,
			"credential": passkeyHandle(c.ID), "reason": p.Reason}); err != nil {
			return err
		}
		// A block rather than a removal: its owner sees why it does not work, and
		// the next investigation that there was one.
		err = db.BlockCredential(ctx, c.Subject, c.ID, p.Reason)
		if errors.Is(err, authn.ErrNotFound) {
			fmt.Fprintf(std.err, "%s has just removed that passkey.\n", email)
			return errNo
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "Passkey %s (%s) of %s is revoked, and all their sessions have ended.\n", passkeyHandle(c.ID), plain(c.Name), email)
		if c.Blocked != "" {
			fmt.Fprintf(std.out, "It was blocked before: %s\n", plain(c.Blocked))
		}
		return nil
	})
}

// passkeysOf finds a person's passkeys by the beginning of their ids, in either of
// the two spellings that we print.
func passkeysOf(ctx context.Context, db *sqlstore.DB, owner authn.Subject, prefix string) (found []passkey.Record, err error) {
	records, err := db.Credentials(ctx, owner)
	if err != nil {
		return nil, err
	}
	for _, c := range records {
		if strings.HasPrefix(hex.EncodeToString(c.ID), strings.ToLower(prefix)) ||
			strings.HasPrefix(base64.RawURLEncoding.EncodeToString(c.ID), prefix) {
			found = append(found, c)
		}
	}
	return found, nil
}

func ambiguous(prefix string, found []passkey.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "people revoke-passkey: %q is the beginning of %d ids; give more of one of them:", prefix, len(found))
	for _, c := range found {
		fmt.Fprintf(&b, "\n  %x  %s", c.ID, plain(c.Name))
	}
	return errors.New(b.String())
}

// passkeyHandle names a passkey as the audit log does.
func passkeyHandle(id []byte) string {
	s := base64.RawURLEncoding.EncodeToString(id)
	return s[:min(len(s), 16)]
}
