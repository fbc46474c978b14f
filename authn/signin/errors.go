package signin

import (
	"errors"
	"fmt"
)

var (
	// ErrUnavailable is wrapped by every error that says nothing about the person: the
	// provider or the flow store cannot be reached. Try again later; meanwhile sign-in is
	// refused.
	ErrUnavailable = errors.New("sign-in is unavailable")

	// ErrGone is wrapped by errors of [Provider.Refresh] that are the provider's
	// definite answer: it no longer vouches for this person. End the session.
	ErrGone = errors.New("the provider no longer vouches for this person")
)

// Reason codes of [Error]. They appear in audit records and in tests, and are
// never renamed.
const (
	CodeUnavailable      = "provider_unavailable"
	CodeStoreUnavailable = "store_unavailable"

	CodeParameterRepeated   = "parameter_repeated"
	CodeStateMissing        = "state_missing"
	CodeStateUnknown        = "state_unknown" // never issued, another browser's, already used, or expired
	CodeStateSpent          = "state_spent"   // this browser brought the answer before, within a minute
	CodeStateOtherBrowser   = "state_other_browser"
	CodeIssuerParameter     = "issuer_parameter"         // RFC 9207: another provider answered
	CodeIssuerParamMissing  = "issuer_parameter_missing" // advertised, and not sent
	CodeAccessDenied        = "access_denied"
	CodeNotAssigned         = "access_not_assigned" // the account may not use this application
	CodeConditions          = "access_conditions"   // conditional access, device or network rules of the provider
	CodeConsent             = "access_consent"      // an administrator has to approve the application
	CodeProviderError       = "provider_error"
	CodeCodeMissing         = "code_missing"
	CodeCodeRejected        = "code_rejected"
	CodeClientRejected      = "client_rejected"
	CodeRefreshRejected     = "refresh_rejected"
	CodeRefreshWithoutFacts = "refresh_without_claims"

	CodeTokenMissing     = "token_missing"
	CodeTokenMalformed   = "token_malformed"
	CodeTokenType        = "token_type" // another kind of JWT than the one asked for
	CodeTokenAlgorithm   = "token_algorithm"
	CodeTokenSignature   = "token_signature"
	CodeTokenIssuer      = "token_issuer"
	CodeTokenAudience    = "token_audience"
	CodeTokenParty       = "token_authorized_party"
	CodeTokenExpiry      = "token_expiry_missing"
	CodeTokenExpired     = "token_expired"
	CodeTokenNotYet      = "token_not_yet_valid"
	CodeTokenIssuedAt    = "token_issued_at_missing"
	CodeTokenStale       = "token_issued_before_flow"
	CodeProviderClock    = "provider_clock" // made for this very flow, and yet dated before it
	CodeTokenNonce       = "token_nonce"
	CodeTokenAccessHash  = "token_access_hash"
	CodeTokenSubject     = "token_subject"
	CodeSubjectChanged   = "subject_changed"
	CodeUserinfoSubject  = "userinfo_subject"
	CodeUserinfoRejected = "userinfo_rejected"

	CodeEmailMissing    = "email_missing"
	CodeEmailMalformed  = "email_malformed"
	CodeEmailUnverified = "email_unverified"
	CodeEmailNotStated  = "email_verified_absent" // the provider does not say either way
	CodeEmailConflict   = "email_conflict"        // ID token and userinfo name different addresses
	CodeClaimMalformed  = "claim_malformed"

	CodeLogoutEvent   = "logout_event"
	CodeLogoutNonce   = "logout_nonce"
	CodeLogoutNobody  = "logout_names_nobody"
	CodeLogoutTokenID = "logout_token_id"
	CodeLogoutReplay  = "logout_replayed"
)

// Error is a refusal.
type Error struct {
	Code    string // one of the Code constants
	Public  string // what to tell the person; no detail an attacker could use
	Err     error  // the cause, for logs and records; never holds a token, a code or a state
	Subject string // sub of a token with a valid signature, once one arrived; otherwise ""
	Payload []byte // what Begin was given, once the state proved to be this browser's; otherwise nil
}

func (e *Error) Error() string { return fmt.Sprintf("sign-in: %s: %v", e.Code, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// refuse makes an *Error with the text that belongs to its code.
func refuse(code, format string, args ...any) *Error {
	return &Error{Code: code, Public: publicText(code), Err: fmt.Errorf(format, args...)}
}

// publicText tells the person what to do next. Codes that differ only in what an
// attacker did share one text.
func publicText(code string) string {
	switch code {
	case CodeUnavailable:
		return "Your company's sign-in service cannot be reached right now. Wait a minute and try again; if it lasts, tell your IT team."
	case CodeStoreUnavailable:
		return "Sign-in is not available right now. Wait a minute and try again; if it lasts, tell your IT team."
	case CodeStateMissing, CodeStateUnknown, CodeStateSpent:
		return "This sign-in has expired or was already used. Start again from the page you wanted to open."
	case CodeStateOtherBrowser:
		return "This sign-in was started in another browser, or this browser does not keep cookies. Allow cookies for this site, then start again from the page you wanted to open."
	case CodeAccessDenied:
		return "Your company's sign-in service did not let you through, or you cancelled. Try again; if you should have access, ask your IT team to check your account."
	case CodeCodeRejected, CodeCodeMissing, CodeTokenNonce, CodeTokenStale, CodeParameterRepeated,
		CodeIssuerParameter, CodeIssuerParamMissing:
		return "This sign-in could not be completed safely. Start again from the page you wanted to open; if it happens twice, tell your security team."
	case CodeClientRejected:
		return "Your company's sign-in service does not accept this application: its secret is wrong or has expired. Your account is fine: tell your IT team, and give them the reference below."
	case CodeNotAssigned:
		return "Your account is not set up for this application at your company's sign-in service. Ask your IT team to assign you to it."
	case CodeConditions:
		return "Your company's sign-in service has a rule that this sign-in does not meet: the device, the network or the way of signing in. What it showed you says which; ask your IT team if that does not help."
	case CodeConsent:
		return "An administrator of your company's sign-in service has to approve this application first. Tell your IT team."
	case CodeTokenExpired, CodeTokenNotYet, CodeProviderClock:
		return "The sign-in arrived too late, or a clock is wrong. Try again; if it happens twice, tell your IT team that the server clocks differ."
	case CodeEmailMissing:
		return "Your account has no e-mail address that we may read. Ask your IT team to add one to your account, then sign in again."
	case CodeEmailNotStated:
		return "Your company's sign-in service does not say whether your e-mail address is confirmed. Your account is fine: tell your IT team, who can change a setting here."
	case CodeEmailUnverified:
		return "Your company's sign-in service says that the e-mail address of your account is not confirmed. Confirm it there, or ask your IT team, then sign in again."
	case CodeEmailMalformed, CodeEmailConflict:
		return "The e-mail address of your account is not in a form we accept. Ask your IT team to correct it, then sign in again."
	case CodeClaimMalformed:
		return "Your account's details could not be read. Ask your IT team to check your groups and countries, then sign in again."
	case CodeRefreshRejected, CodeSubjectChanged:
		return "Your company's sign-in service has ended this session. Sign in again; if that does not work, ask your IT team about your account."
	default:
		return "Your company's sign-in service gave an answer that could not be trusted. Try again; if it happens twice, tell your security team, and give them the reference below."
	}
}

// unavailable wraps cause so that callers find ErrUnavailable in it.
func unavailable(cause error) *Error {
	return refuse(CodeUnavailable, "%w: %w", ErrUnavailable, cause)
}
