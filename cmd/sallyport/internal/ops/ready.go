package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sallyport/authn/session"
)

// condition is one thing that has to work for people to get through.
type condition struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Note  string `json:"note,omitempty"` // a problem that keeps no one out, and needs attention
}

func (o *ops) conditions(ctx context.Context) (list []condition, ready bool) {
	ready = true
	add := func(name string, err error) {
		c := condition{Name: name, OK: err == nil}
		if err != nil {
			c.Error, ready = err.Error(), false
		}
		list = append(list, c)
	}
	add("serving", o.serving())
	add("store", o.pingStore(ctx))
	add("audit", o.Audit.Health())
	add("openid_provider", o.Provider.Ready())
	add("history", o.historyUnknown())
	var missing []error
	var kept []string
	for _, s := range o.Intel.Current().Sources() {
		if s.Missing {
			missing = append(missing, fmt.Errorf("%s is not loaded: %s", s.Name, s.Err))
		} else if s.Err != "" {
			kept = append(kept, s.Name+" keeps what it had: "+s.Err)
		}
	}
	add("ip_data", errors.Join(missing...))
	list[len(list)-1].Note = strings.Join(kept, "; ")
	list = append(list, condition{Name: "policy", OK: true, Note: o.policyNote()})
	// Requests go on without a log, so that it is no reason to send them elsewhere.
	list = append(list, condition{Name: "log", OK: true})
	if err := o.logHealth(); err != nil {
		list[len(list)-1].Note = err.Error()
	}
	return list, ready
}

// serving fails from the order to stop on, so that a load balancer sends no more
// requests while the last ones finish.
func (o *ops) serving() error {
	if o.Stopping() {
		return errors.New("stopping")
	}
	return nil
}

// policyNote says why the policy, or the exceptions, that are wanted are not in force. People
// get through by the one that is.
func (o *ops) policyNote() string {
	var notes []string
	if why := o.Policies.ExceptionsProblem(); why != "" {
		why, _, _ = strings.Cut(why, "\n")
		notes = append(notes, fmt.Sprintf("%s; %d exceptions are in force", why, len(o.Gate.Current().Policy.Exceptions())))
	}
	p := o.Policies.Problem()
	if p == nil {
		return strings.Join(notes, "; ")
	}
	runs := fmt.Sprintf("; policy %.12s goes on", o.Gate.Current().Policy.Hash())
	if p.LastGood {
		runs = fmt.Sprintf("; policy %.12s, the last good one, runs since the start", o.Gate.Current().Policy.Hash())
	}
	why, _, _ := strings.Cut(p.Why, "\n")
	return strings.Join(append(notes, why+runs+" (refused since "+p.Since.UTC().Format(time.DateTime)+" UTC)"), "; ")
}

// logHealth reports problems of the reader of the log.
func (o *ops) logHealth() error {
	if o.Lines == nil {
		return nil
	}
	return o.Lines.Health()
}

// pingStore ends before the client gives up.
func (o *ops) pingStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return o.Store.Ping(ctx)
}

// countSessions ends before the client gives up.
func (o *ops) countSessions(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	list, err := o.Sessions.List(ctx, session.Filter{})
	return len(list), err
}

// readyz says whether people can get in, and if not, why not.
func (o *ops) readyz(w http.ResponseWriter, r *http.Request) {
	list, ready := o.conditions(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"ready": ready, "conditions": list})
}

// historyUnknown is why rules see seen.known == false, if they do.
func (o *ops) historyUnknown() error {
	if o.History.HistoryKnown() {
		return nil
	}
	return errors.New("what was seen before cannot be read, or not be written; rules see seen.known == false")
}
