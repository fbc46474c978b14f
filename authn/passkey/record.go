package passkey

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"sallyport/authn"
)

// webauthnUser is the library's view of a person in one ceremony.
type webauthnUser struct {
	handle      []byte
	name        string
	displayName string
	credentials []webauthn.Credential
}

func (p webauthnUser) WebAuthnID() []byte                         { return p.handle }
func (p webauthnUser) WebAuthnName() string                       { return p.name }
func (p webauthnUser) WebAuthnDisplayName() string                { return p.displayName }
func (p webauthnUser) WebAuthnCredentials() []webauthn.Credential { return p.credentials }

func newWebauthnUser(p authn.Person, handle []byte, credentials []webauthn.Credential) webauthnUser {
	name := string(p.Email)
	if name == "" {
		name = p.Subject.ID
	}
	display := p.Name
	if display == "" {
		display = name
	}
	return webauthnUser{handle: handle, name: name, displayName: display, credentials: credentials}
}

// newRecord is what a verified registration is stored as.
func newRecord(s authn.Subject, c *webauthn.Credential, now time.Time) (Record, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return Record{}, fmt.Errorf("passkey: encode credential: %w", err)
	}
	r := Record{
		Credential: authn.Credential{
			ID:                c.ID,
			Class:             class(c.Flags.BackupEligible),
			AAGUID:            uuidText(c.Authenticator.AAGUID),
			AttestationFormat: c.AttestationFormat,
			AttestationType:   c.AttestationType,
			BackupEligible:    c.Flags.BackupEligible,
			BackedUp:          c.Flags.BackupState,
			CreatedAt:         now,
		},
		Subject:   s,
		PublicKey: c.PublicKey,
		SignCount: c.Authenticator.SignCount,
		Data:      data,
	}
	for _, t := range c.Transport {
		r.Transports = append(r.Transports, string(t))
	}
	r.Name = firstName(r, c.Authenticator.Attachment)
	return r, nil
}

// class says what is known about where the key lives. Nothing is ClassAttested:
// no attestation chain is judged here, and a statement that is merely consistent
// proves nothing about its maker.
func class(backupEligible bool) authn.Class {
	if backupEligible {
		return authn.ClassSynced
	}
	return authn.ClassUnattested
}

// firstName is what a passkey is called until its owner renames it.
func firstName(r Record, attachment protocol.AuthenticatorAttachment) string {
	switch {
	case r.BackupEligible:
		return "Synced passkey"
	case attachment == protocol.Platform || slices.Contains(r.Transports, string(protocol.Internal)):
		return "Passkey of this device"
	case attachment == protocol.CrossPlatform:
		return "Security key"
	}
	return "Passkey"
}

// decode gives the library's record. The row's own columns are authoritative: a
// Data that tells another key or id than the row is damage, and denies.
func decode(r Record) (webauthn.Credential, error) {
	var c webauthn.Credential
	if err := json.Unmarshal(r.Data, &c); err != nil {
		return c, fmt.Errorf("passkey: stored credential: %w", err)
	}
	if !bytes.Equal(c.ID, r.ID) || !bytes.Equal(c.PublicKey, r.PublicKey) || len(r.PublicKey) == 0 {
		return c, errors.New("passkey: stored credential contradicts its row")
	}
	c.Authenticator.SignCount = r.SignCount
	return c, nil
}

// usable decodes the records that have not been blocked.
func usable(records []Record) ([]webauthn.Credential, error) {
	var out []webauthn.Credential
	for _, r := range records {
		if r.Blocked != "" {
			continue
		}
		c, err := decode(r)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func find(records []Record, id []byte) (Record, bool) {
	i := slices.IndexFunc(records, func(r Record) bool { return bytes.Equal(r.ID, id) })
	if i < 0 {
		return Record{}, false
	}
	return records[i], true
}

// cleanTransports keeps what a browser may say about how to reach an
// authenticator. It is unsigned, is stored, and goes back out in options: at
// most a handful of short lower-case words.
func cleanTransports(in []protocol.AuthenticatorTransport) []protocol.AuthenticatorTransport {
	var out []protocol.AuthenticatorTransport
	for _, t := range in {
		word := len(t) > 0 && len(t) <= 32
		for _, c := range []byte(t) {
			word = word && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
		}
		if word && len(out) < 8 && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// uuidText is the canonical text of an AAGUID (RFC 9562 section 4).
func uuidText(b []byte) string {
	if len(b) != 16 {
		b = make([]byte, 16)
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
