package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

// ErrManyCalls is returned by Allow when one person has used up their lines of the log.
// Nothing was recorded; the request must not be let through.
var ErrManyCalls = errors.New("too many different calls")

// Record writes rec and returns when it is on disk, with the incident to search for.
// Records that strangers cause, and refusals, have a budget: within it the record is a
// line, repeats of it are counted under its incident, and a record beyond the budget is
// counted under the first of its kind. So the incident may differ from rec's: show the
// person the one that Record returns.
//
// After an error there may or may not be a record; the caller must behave as if there
// were none. When ctx ends first, the record may still be written.
func (l *Log) Record(ctx context.Context, rec Record) (incident string, err error) {
	c := classOf(&rec)
	if c == trusted {
		return rec.Incident, l.write(ctx, rec)
	}
	k := refusalOf(&rec, l.cfg.Translators)
	if incident, known, err := l.repeats.count(&k); known || err != nil {
		return incident, err
	}
	paid, over := l.budget.pay(c, rates[c], &rec, l.cfg.Now())
	t := terms{slow: true, ends: true, brief: c != verified, paid: paid}
	if over != nil {
		k = overOf(&rec, *over)
		if incident, known, err := l.repeats.count(&k); known || err != nil {
			return incident, err
		}
		rec.Detail = maps.Clone(rec.Detail)
		if rec.Detail == nil {
			rec.Detail = map[string]string{}
		}
		rec.Detail["counted_by"], rec.Detail["counted_for"] = string(over.scope), over.text
	}
	if over != nil || c != verified {
		if t.body, err = summary(rec, over); err != nil {
			return "", err
		}
	}
	return l.repeats.first(ctx, k, rec, t)
}

// Append is Record for callers that show the incident to no person.
func (l *Log) Append(ctx context.Context, rec Record) error {
	_, err := l.Record(ctx, rec)
	return err
}

// summary is the line that counts repeats of r. For the same refusal it has the facts,
// which a replay judges; for a count beyond the budget it has only what is true of all.
func summary(r Record, over *bucketKey) ([]byte, error) {
	r.Data, r.Sources = nil, nil // is in the first
	if over != nil {
		r.Facts, r.Reported, r.Shadow = nil, nil, nil
		r.Method, r.Host, r.Path, r.Route, r.Rules, r.Reasons = "", "", "", "", nil, nil
		by := map[string]string{"counted_by": string(over.scope), "counted_for": over.text}
		if over.class == highRisk || over.class == unverifiedRisk { // what overOf tells apart
			for _, name := range []string{"risk", "code", "reason", "owner"} {
				if value, ok := r.Detail[name]; ok {
					by[name] = value
				}
			}
		}
		r.Detail = by
	}
	return encodeWithin(&r, briefCuts)
}

// write makes rec a line. It does not look at the budget.
func (l *Log) write(ctx context.Context, rec Record) error {
	if s := l.fault.Load(); s != nil {
		return s.err
	}
	b, err := encode(&rec)
	if err != nil {
		return err
	}
	e := &entry{body: b, at: rec.Time, count: rec.Count, sources: rec.Sources, done: make(chan error, 1)}
	if e.at.IsZero() {
		e.at = l.cfg.Now()
	}
	if err := l.enqueue(false, e); err != nil {
		return err
	}
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("audit record: %w", context.Cause(ctx))
	}
}

// Count counts one more allow of a run whose first record is on disk, and
// reports whether there is one; if not, the caller makes the record and calls
// AppendRun. It is the hot path: no allocation, no I/O, no lock but that of
// a 64th of all runs. The error means what it means for Append.
func (l *Log) Count(k RunKey) (bool, error) {
	_, known, err := l.repeats.count(&k)
	return known, err
}

// AppendRun records that a request was let through. The first of a run is on disk when it
// returns; the rest are counted, and written once a minute. What may change something is
// a run of its own for each method and path, of which a session may have so many, and
// then gets ErrManyCalls. An allow without a session is never one of a run.
func (l *Log) AppendRun(ctx context.Context, rec Record) error {
	if rec.Session == "" {
		return l.write(ctx, rec)
	}
	k := RunKeyOf(&rec)
	if known, err := l.Count(k); known || err != nil {
		return err
	}
	return l.appendFirst(ctx, k, rec)
}

// appendFirst is apart from AppendRun so that a repeat allocates nothing.
func (l *Log) appendFirst(ctx context.Context, k RunKey, rec Record) error {
	rs, c := l.budget.visits, class("visit")
	t := terms{}
	if k.Method != "" || rec.Detail["rpc_methods"] != "" || rec.Detail["upgrade"] != "" {
		rs, c, t.ends = l.budget.calls, "call", true
	}
	paid, over := l.budget.pay(c, rs, &rec, l.cfg.Now())
	if over != nil {
		return ErrManyCalls
	}
	t.paid = paid
	_, err := l.repeats.first(ctx, k, rec, t)
	return err
}
