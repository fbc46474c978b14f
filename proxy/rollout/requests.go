package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"sallyport/policy"
)

// Request is a policy that a command wants in force.
type Request struct {
	Seq              int64 // given by the store
	At               time.Time
	By, Name, Source string
	Forced, Rollback bool
	// Base is the hash of the policy that this one continues, or how it begins; "": any.
	Base string
	Note string // of the operator, for people
	// Onto is set for a file of exceptions: Source is one, and comes into force in the place
	// of the one with this hash only. "": Source is a policy.
	Onto string
}

// OntoExceptions is what a request says about a file of exceptions with this text, if that
// is to be replaced.
func OntoExceptions(source []byte) string { return policy.HashExceptions(source) }

func (r Request) candidate() Candidate {
	if r.Onto != "" {
		return WithExceptions(r.Onto, []byte(r.Source))
	}
	return WithPolicy([]byte(r.Source))
}

// Hash is that of the policy, as versions have it.
func (r Request) Hash() string { return textHash([]byte(r.Source)) }

func textHash(source []byte) string { return policy.Hash(source) }

// DataRequest asks the processes that serve to look at their IP data again.
type DataRequest struct {
	Seq     int64 // given by the store
	At      time.Time
	By      string
	Forced  bool              // the operator means what the sources hold, even where it locks people out
	Sources map[string]string // the hash of the content of each, by name
}

// States of a request.
const (
	RequestWaiting = "waiting"
	RequestTaken   = "taken"
	RequestApplied = "applied"
	RequestRefused = "refused"
)

// MaxWait is how long a command may wait for its request to be taken up. A command that
// was killed has not withdrawn its request, which must not come into force at the next
// start, weeks later.
const MaxWait = 10 * time.Minute

// Answer is what the running proxy says to a request.
type Answer struct {
	Error string `json:"error,omitempty"`
	Stale *Stale `json:"stale,omitempty"` // why it is refused, if it is made from another policy
	// Another: other exceptions are in force than the request was made for.
	Another bool   `json:"another,omitempty"`
	Report  Report `json:"report"`
}

func (a Answer) text() string {
	b, err := json.Marshal(a)
	if err != nil {
		return `{"error":"the answer could not be written"}` // it holds text and numbers only
	}
	return string(b)
}

// AnswerRequest takes one request for a policy, and answers it; authn.ErrNotFound if
// there is none. The command that asks writes the file: it may, and this process as a
// rule may not.
func (m *Manager) AnswerRequest(ctx context.Context) error {
	r, err := m.config.Store.TakePolicyRequest(ctx)
	if err != nil {
		return err
	}
	answer := func(state string, a Answer) error {
		return m.config.Store.AnswerPolicyRequest(context.WithoutCancel(ctx), r.Seq, state, a.text())
	}
	if age := time.Since(r.At); age > MaxWait {
		m.config.Logger.Warn("request for another policy is too old", "by", r.By, "at", r.At, "age", age.Round(time.Second).String())
		return answer(RequestRefused, Answer{Error: "no proxy answered in time"})
	}
	report, err := m.Apply(ctx, r.candidate(), Origin{Kind: "command", By: r.By, Force: r.Forced, Rollback: r.Rollback, Base: r.Base, Note: r.Note})
	if err != nil {
		m.config.Logger.Error("policy refused", "by", r.By, "error", err)
		stale, _ := errors.AsType[*Stale](err)
		return answer(RequestRefused, Answer{err.Error(), stale, errors.Is(err, ErrOtherExceptions), report})
	}
	return answer(RequestApplied, Answer{Report: report})
}
