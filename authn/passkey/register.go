package passkey

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"sallyport/authn"
)

// BeginRegistration starts to make a passkey for the session's person. Whether
// they may have one is decided when it is stored: see [RelyingParty.Propose] and
// the enrolment desk.
func (rp *RelyingParty) BeginRegistration(ctx context.Context, s authn.Session) (Ceremony, error) {
	if s.Level() == authn.None {
		return Ceremony{}, refuse(CodeNotSignedIn, nil)
	}
	records, err := rp.store.Credentials(ctx, s.Person.Subject)
	if err != nil {
		return Ceremony{}, fmt.Errorf("passkey: list credentials: %w", err)
	}
	if len(records) >= MaxCredentials {
		return Ceremony{}, refuse(CodeTooManyCredentials, nil)
	}
	credentials, err := usable(records)
	if err != nil {
		return Ceremony{}, err
	}
	handle, err := rp.userHandle(ctx, s.Person.Subject)
	if err != nil {
		return Ceremony{}, err
	}
	// An authenticator that holds a usable passkey refuses to make a second one. A
	// blocked one is not excluded: with a new ticket its owner may make a new key
	// on the same device.
	var exclude []protocol.CredentialDescriptor
	for _, c := range credentials {
		exclude = append(exclude, c.Descriptor())
	}
	creation, data, err := rp.library.BeginRegistration(
		newWebauthnUser(s.Person, handle, credentials),
		webauthn.WithCredentialParameters(algorithms()),
		webauthn.WithExclusions(exclude),
	)
	if err != nil {
		return Ceremony{}, fmt.Errorf("passkey: begin registration: %w", err)
	}
	return rp.begin(ctx, registration, s, data, creation.Response)
}

// FinishRegistration verifies a browser's answer and returns the record to
// store. It stores nothing.
func (rp *RelyingParty) FinishRegistration(ctx context.Context, s authn.Session, ceremonyID string, body []byte) (Record, error) {
	var data webauthn.SessionData
	if err := rp.redeem(ctx, registration, s, ceremonyID, &data); err != nil {
		return Record{}, err
	}
	if len(body) > MaxBody {
		return Record{}, refuse(CodeResponseTooLarge, nil)
	}
	read, err := readAnswer(protocol.CreateCeremony, body)
	if err != nil {
		return Record{}, refuse(CodeResponseMalformed, err)
	}
	answer, err := protocol.ParseCredentialCreationResponseBytes(read)
	if err != nil {
		return Record{}, refuse(CodeResponseMalformed, detail(err))
	}
	if err := rp.checkClientData(answer.Response.CollectedClientData, protocol.CreateCeremony, data.Challenge); err != nil {
		return Record{}, err
	}
	auth := answer.Response.AttestationObject.AuthData
	if err := rp.checkAuthenticator(auth); err != nil {
		return Record{}, err
	}
	if !auth.Flags.HasBackupEligible() && auth.Flags.HasBackupState() {
		return Record{}, refuse(CodeBackupStateIllegal, nil) // a flag that no honest authenticator sends
	}
	if err := checkKey(auth.AttData.CredentialPublicKey, data.CredParams); err != nil {
		return Record{}, err
	}
	answer.Response.Transports = cleanTransports(answer.Response.Transports)
	credential, err := rp.library.CreateCredential(newWebauthnUser(s.Person, data.UserID, nil), data, answer)
	if err != nil {
		return Record{}, refuse(registrationCode(err), detail(err))
	}
	return newRecord(s.Person.Subject, credential, rp.now())
}

// registrationCode names the mistakes that our own checks leave to the library: in the
// attestation statement, or ids that do not belong together.
func registrationCode(err error) string {
	var e *protocol.Error
	if errors.As(err, &e) {
		switch e.Type {
		case protocol.ErrAttestation.Type, protocol.ErrInvalidAttestation.Type, protocol.ErrAttestationCertificate.Type:
			return CodeAttestationInvalid
		}
	}
	return CodeResponseRefused
}

// Fresh reports whether the session's assertion is recent enough to look at and remove
// the person's passkeys, and to begin with a further one; if not, the error is a
// refusal. An assertion of the future,
// beyond what clocks of two machines differ by, is not fresh.
func (rp *RelyingParty) Fresh(s authn.Session) error {
	if s.Level() != authn.Verified {
		return refuse(CodeNotFresh, nil)
	}
	if age := rp.now().Sub(s.Verification.At); age > FreshFor || age < -time.Minute {
		return refuse(CodeNotFresh, fmt.Errorf("the assertion is %v old", age))
	}
	return nil
}

func (rp *RelyingParty) userHandle(ctx context.Context, s authn.Subject) ([]byte, error) {
	fresh := make([]byte, 64)
	rand.Read(fresh)
	handle, err := rp.store.UserHandle(ctx, s, fresh)
	if err != nil {
		return nil, fmt.Errorf("passkey: user handle: %w", err)
	}
	return handle, nil
}

// detail unfolds the library's error, whose Error method leaves out what an
// operator needs.
func detail(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.DevInfo != "" {
		return fmt.Errorf("%w (%.300q)", err, e.DevInfo)
	}
	return err
}
