package passkey

import (
	"errors"
	"fmt"
)

// Codes of refusals. They are stable: audit records and tests hold them.
const (
	CodeNotSignedIn             = "not_signed_in"
	CodeNoCredential            = "no_credential"
	CodeCredentialBlocked       = "credential_blocked"
	CodeCredentialGone          = "credential_gone"
	CodeCredentialExists        = "credential_exists"
	CodeTooManyCredentials      = "too_many_credentials"
	CodeLastCredential          = "last_credential"
	CodeNameInvalid             = "name_invalid"
	CodeNotFresh                = "not_fresh"
	CodeChallengeUnknown        = "challenge_unknown"
	CodeResponseTooLarge        = "response_too_large"
	CodeResponseMalformed       = "response_malformed"
	CodeResponseRefused         = "response_refused"
	CodeWrongCeremony           = "wrong_ceremony"
	CodeChallengeMismatch       = "challenge_mismatch"
	CodeOriginMismatch          = "origin_mismatch"
	CodeCrossOrigin             = "cross_origin"
	CodeRelyingPartyMismatch    = "rp_id_mismatch"
	CodeUserPresenceMissing     = "user_presence_missing"
	CodeUserVerificationMissing = "user_verification_missing"
	CodeWrongCredential         = "wrong_credential"
	CodeUserHandleMismatch      = "user_handle_mismatch"
	CodeSignatureInvalid        = "signature_invalid"
	CodeCounterRegressed        = "counter_regressed"
	CodeBackupFlagChanged       = "backup_flag_changed"
	CodeBackupStateIllegal      = "backup_state_illegal"
	CodeOvertaken               = "overtaken"
	CodeAlgorithmNotOffered     = "algorithm_not_offered"
	CodeKeyUnusable             = "key_unusable"
	CodeAttestationInvalid      = "attestation_invalid"
)

var (
	// ErrNoCredential: the person has no passkey at all, so there is nothing to
	// assert with. [errors.Is] matches every *Error of the code no_credential.
	ErrNoCredential = refuse(CodeNoCredential, nil)
	// ErrLastCredential is what a [Store] returns instead of removing a person's last
	// usable credential.
	ErrLastCredential = errors.New("the last usable credential cannot be removed")
	// ErrCredentialExists is what a [Store] returns for a credential id that is
	// stored already, whosever it is.
	ErrCredentialExists = errors.New("this credential id is stored already")
)

// Error is a refusal: the ceremony or the change was understood and denied.
type Error struct {
	Code   string // one of the Code constants
	Public string // for the person: what to do next; gives nothing away
	Risk   bool   // no honest browser and authenticator cause this: worth an alarm
	Err    error  // for the log; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return "passkey: " + e.Code
	}
	return fmt.Sprintf("passkey: %s: %v", e.Code, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes two refusals of one code the same to [errors.Is].
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// refuse makes the Error of a code. A code that the tables do not know cannot
// leave the package without a text: it gets the general one, and counts as a risk.
func refuse(code string, err error) *Error {
	text, ok := advice[code]
	if !ok {
		return &Error{Code: code, Public: adviceStranger, Risk: true, Err: err}
	}
	return &Error{Code: code, Public: text, Risk: risky[code], Err: err}
}

// risky holds the codes that an honest browser, with an honest authenticator, never
// causes: an attacker changed a page, replayed an answer, copied a key or tried another
// person's key. A missing user verification is not among them: a security key that never
// got a PIN causes it.
var risky = map[string]bool{
	CodeWrongCeremony:        true,
	CodeChallengeMismatch:    true,
	CodeOriginMismatch:       true,
	CodeCrossOrigin:          true,
	CodeRelyingPartyMismatch: true,
	CodeUserPresenceMissing:  true,
	CodeWrongCredential:      true,
	CodeUserHandleMismatch:   true,
	CodeSignatureInvalid:     true,
	CodeCounterRegressed:     true,
	CodeBackupFlagChanged:    true,
	CodeBackupStateIllegal:   true,
}

const (
	adviceAgain     = "That did not work. Please try again."
	adviceStranger  = "This passkey could not be verified. Reload the page and try again; if it happens again, tell your security team."
	adviceBlocked   = "This passkey has been blocked, because it looks as if it was copied. Use another passkey, or ask your security team for a new enrolment link."
	adviceAuthentic = "This authenticator cannot be used here. Try another one, or ask your security team which ones are accepted."
)

// advice is what the person reads for each code.
var advice = map[string]string{
	CodeNotSignedIn:             "You are not signed in any more. Sign in and try again.",
	CodeNoCredential:            "You have no passkey yet. Ask your security team for an enrolment link.",
	CodeCredentialBlocked:       adviceBlocked,
	CodeCredentialGone:          "This passkey has just been removed. Use another passkey, or ask your security team for a new enrolment link.",
	CodeCredentialExists:        "This authenticator already holds a passkey for you. Use it, or choose another authenticator.",
	CodeTooManyCredentials:      "You have as many passkeys as one person may have. Remove one that you do not use, then try again.",
	CodeLastCredential:          "This is your only usable passkey. Add another one before you remove it.",
	CodeNameInvalid:             "Choose a name of 1 to 64 characters.",
	CodeNotFresh:                "Verify it's you with a passkey you already have, then try again.",
	CodeChallengeUnknown:        "This took too long, or was answered already. Please try again.",
	CodeResponseTooLarge:        adviceAgain,
	CodeResponseMalformed:       "Your browser sent an answer that could not be read. Try again; if it happens again, update your browser or use another one.",
	CodeResponseRefused:         adviceStranger,
	CodeWrongCeremony:           adviceStranger,
	CodeChallengeMismatch:       adviceStranger,
	CodeOriginMismatch:          "This page is not where your passkey is used. Check the address in your browser, and open the tool from your usual bookmark.",
	CodeCrossOrigin:             "Passkeys cannot be used inside another site's page. Open the tool in a tab of its own.",
	CodeRelyingPartyMismatch:    adviceStranger,
	CodeUserPresenceMissing:     "Your authenticator was not touched. Try again, and touch it when it asks.",
	CodeUserVerificationMissing: "Your security key or device did not check that it is you. Set up a PIN on the security key, or a fingerprint, a face or a screen lock on the device, then try again.",
	CodeWrongCredential:         "This passkey does not belong to your account. Try again with your own passkey.",
	CodeUserHandleMismatch:      "This passkey does not belong to your account. Try again with your own passkey.",
	CodeSignatureInvalid:        adviceStranger,
	CodeCounterRegressed:        adviceBlocked,
	CodeBackupFlagChanged:       adviceBlocked,
	CodeBackupStateIllegal:      adviceAuthentic,
	CodeOvertaken:               "This passkey was used in another window or on another computer at the same moment. Please try again.",
	CodeAlgorithmNotOffered:     adviceAuthentic,
	CodeKeyUnusable:             adviceAuthentic,
	CodeAttestationInvalid:      adviceAuthentic,
}
