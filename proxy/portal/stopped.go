package portal

import (
	"net/http"
	"slices"

	"sallyport/policy"
)

// What the script reports about a ceremony that the browser did not complete. Anything
// else is "other": no free text of a client reaches the logs, and a metric has only these
// series.
var (
	stopErrors = []string{
		// Names of DOMException (Web IDL section 2.8.1) that browsers reject ceremonies with.
		"NotAllowedError", "InvalidStateError", "NotSupportedError", "ConstraintError", "SecurityError", "AbortError",
		"UnknownError", "NotReadableError", "OperationError", "DataError", "EncodingError", "TimeoutError", "NetworkError", "TypeError",
		// Our own.
		"in_app_browser", "no_webauthn", "insecure_page", "timed_out", "cancelled",
	}
	stopPhases         = []string{"load", "create", "get", "encode"}
	stopPages          = []string{"enroll", "step-up", "confirm"}
	stopAuthenticators = []string{"platform", "cross-platform"}
)

// stoppedRequest is the report. It is unsigned: any client with a session can invent one,
// so no decision uses it.
type stoppedRequest struct {
	Error         string `json:"error"`
	Phase         string `json:"phase"`
	Page          string `json:"page"`
	Authenticator string `json:"authenticator"` // if it answered
}

const maxStopped = 1 << 10

// ceremonyStopped records that a browser did not complete a ceremony, which otherwise
// only the person would see. The auditor limits how much of the log these records may
// fill.
func (p *Portal) ceremonyStopped(w http.ResponseWriter, r *http.Request, v PageRequest) error {
	var c stoppedRequest
	if err := decodeJSON(w, r, maxStopped, &c); err != nil {
		return err
	}
	j, err := v.Judge(policy.PurposeStepUp)
	if err != nil {
		return err
	}
	if err := p.needSession(j, ""); err != nil {
		return err
	}
	detail := map[string]string{
		"error": knownOrOther(stopErrors, c.Error), "phase": knownOrOther(stopPhases, c.Phase),
		"page": knownOrOther(stopPages, c.Page), "authenticator": knownOrOther(stopAuthenticators, c.Authenticator),
	}
	if err := v.Record(r.Context(), "ceremony_stopped", j, detail); err != nil {
		return err
	}
	if p.cfg.Stopped != nil {
		p.cfg.Stopped(detail["phase"], detail["error"])
	}
	SecurityHeaders(w.Header())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func knownOrOther(words []string, word string) string {
	switch {
	case word == "":
		return "unknown"
	case slices.Contains(words, word):
		return word
	}
	return "other"
}
