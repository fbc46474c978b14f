package enroll

// Error is a refusal.
type Error struct {
	Code   string // stable; audit records hold it
	Public string // for the person: what to do next

	kind *Error // what this is a case of, if anything
}

func (e *Error) Error() string { return "enroll: " + e.Code }

// Is makes a case of a refusal the same to [errors.Is] as the refusal.
func (e *Error) Is(target error) bool { return e.kind != nil && target == error(e.kind) }

// Refusals; compare with [errors.Is]. ErrUnknown, ErrWrongPerson and ErrOtherAccount
// say the same in public, so that a stranger cannot tell a ticket from no ticket.
var (
	ErrUnknown      = &Error{Code: "ticket_unknown", Public: adviceStranger}
	ErrWrongPerson  = &Error{Code: "ticket_wrong_person", Public: adviceStranger}
	ErrOtherAccount = &Error{Code: "ticket_other_account", Public: adviceStranger}
	ErrSpent        = &Error{Code: "ticket_spent", Public: "This enrolment link was used already. If that was you, sign in and use your passkey. If not, tell your security team at once."}
	// ErrSpentByYou is the ErrSpent of the person who redeemed the ticket: they opened
	// their own link again. It is no alarm.
	ErrSpentByYou       = &Error{Code: "ticket_spent", Public: "You have created your passkey with this link already.", kind: ErrSpent}
	ErrExpired          = &Error{Code: "ticket_expired", Public: "This enrolment link has expired. Ask your security team for a new one."}
	ErrRevoked          = &Error{Code: "ticket_revoked", Public: "This enrolment link was withdrawn. Ask your security team for a new one."}
	ErrCredentialExists = &Error{Code: "credential_exists", Public: "This authenticator already holds a passkey. Use it, or choose another authenticator."}
)

const adviceStranger = "This enrolment link is not valid for the account you are signed in with. Sign in with the account it was made for, or ask your security team for a new link."
