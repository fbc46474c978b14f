package passkey

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"
)

// The checks below repeat much of what the library verifies after them. They come first
// for two reasons: each refusal gets its own code, which the library's errors do not
// carry, and each is at least as strict (origins byte for byte, regardless of library
// options).

// checkClientData checks what the browser says it was doing.
func (rp *RelyingParty) checkClientData(c protocol.CollectedClientData, want protocol.CeremonyType, challenge string) error {
	switch {
	case c.Type != want:
		// A registration's signature must not pass as an assertion, nor the reverse.
		return refuse(CodeWrongCeremony, fmt.Errorf("client data is for %q", c.Type))
	case challenge == "" || subtle.ConstantTimeCompare([]byte(c.Challenge), []byte(challenge)) != 1:
		// A challenge of the client's choosing is an answer recorded elsewhere.
		return refuse(CodeChallengeMismatch, nil)
	case !slices.Contains(rp.library.Config.RPOrigins, c.Origin):
		// Exactly one of ours. Prefixes, suffixes, user info and case folding
		// are how https://corp.com.evil becomes https://corp.com.
		return refuse(CodeOriginMismatch, fmt.Errorf("origin %q", c.Origin))
	case c.CrossOrigin || c.TopOrigin != "":
		// In a foreign frame the person cannot see what they approve.
		return refuse(CodeCrossOrigin, fmt.Errorf("top origin %q", c.TopOrigin))
	}
	return nil
}

// checkAuthenticator checks the flags of this ceremony's own authenticator data.
// The flags on a stored credential are no substitute: the library latches
// UserVerified there, it stays true once it was.
func (rp *RelyingParty) checkAuthenticator(a protocol.AuthenticatorData) error {
	hash := sha256.Sum256([]byte(rp.library.Config.RPID))
	switch {
	case !bytes.Equal(a.RPIDHash, hash[:]):
		return refuse(CodeRelyingPartyMismatch, nil) // made for another site
	case !a.Flags.UserPresent():
		return refuse(CodeUserPresenceMissing, nil)
	case !a.Flags.UserVerified():
		// A stolen key without its PIN answers like this, and so does an honest one
		// that never had a PIN, in a browser that does not insist: a refusal, no alarm.
		return refuse(CodeUserVerificationMissing, nil)
	}
	return nil
}

// checkKey refuses keys of an algorithm that was not offered, and keys that cannot verify
// any signature: for a statement of format "none" the library checks neither.
func checkKey(cose []byte, offered []protocol.CredentialParameter) error {
	var head webauthncose.PublicKeyData
	if err := webauthncbor.Unmarshal(cose, &head); err != nil {
		return refuse(CodeKeyUnusable, err)
	}
	if !slices.ContainsFunc(offered, func(p protocol.CredentialParameter) bool {
		return int64(p.Algorithm) == head.Algorithm
	}) {
		return refuse(CodeAlgorithmNotOffered, fmt.Errorf("COSE algorithm %d", head.Algorithm))
	}
	key, err := webauthncose.ParsePublicKey(cose)
	if err != nil {
		return refuse(CodeKeyUnusable, err)
	}
	if k, ok := key.(webauthncose.RSAPublicKeyData); ok {
		// The library takes any modulus, and an exponent of 1, with which every signature
		// verifies.
		e, err := webauthncose.ParseRSAPublicKeyDataExponent(&k)
		if bits := new(big.Int).SetBytes(k.Modulus).BitLen(); err != nil || bits < 2048 || e < 3 || e%2 == 0 {
			return refuse(CodeKeyUnusable, fmt.Errorf("RSA key of %d bits with exponent %d", bits, e))
		}
	}
	return nil
}

// checkHistory compares signed authenticator data with what is remembered of the
// credential, and with the sign count that it had when this ceremony began. A refusal
// other than CodeOvertaken is never an accident of the network: the key, or the
// authenticator's memory, exists twice. It must only see data whose signature was
// verified, or an attacker could have another person's passkey blocked.
//
// One security key in two computers signs 5 for the one and 6 for the other, and the
// answers may arrive as 6, 5. So a count that is too low is a copy only if it was so
// before the challenge existed, or if that very count was used already: no order of
// arrival makes these. What lies between is late. It is refused, as the store remembers
// the highest count alone, and the next answer of the same key is good again.
func checkHistory(stored webauthn.Credential, begun uint32, now protocol.AuthenticatorData) *Error {
	was, is := stored.Authenticator.SignCount, now.Counter
	eligible, backedUp := now.Flags.HasBackupEligible(), now.Flags.HasBackupState()
	switch {
	case stored.Flags.BackupEligible != eligible:
		// Backup eligibility is fixed when the key is made (section 6.1.3).
		return refuse(CodeBackupFlagChanged, fmt.Errorf("backup eligibility went from %t to %t", stored.Flags.BackupEligible, eligible))
	case !eligible && backedUp:
		return refuse(CodeBackupFlagChanged, fmt.Errorf("backed up, although not eligible for backup"))
	case is == 0 && begun == 0 && was == 0:
		// Section 6.1.1. Zero for ever means that the authenticator does not
		// count, which synced passkeys do not.
		return nil
	case is <= begun && (is != 0 || begun != 0):
		return refuse(CodeCounterRegressed, fmt.Errorf("sign count went from %d to %d", begun, is))
	case is == was:
		return refuse(CodeCounterRegressed, fmt.Errorf("sign count %d was used twice", is))
	case is < was:
		return refuse(CodeOvertaken, fmt.Errorf("sign count %d after %d, both above the %d at the beginning", is, was, begun))
	}
	return nil
}
