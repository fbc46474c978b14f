package rollout

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/rehearse"
	"sallyport/proxy/audit"
)

// JudgedEvents are the audit events that are one decision of the policy each. Others
// repeat the facts of a decision that has its own record.
var JudgedEvents = []string{"access", "sign_in", "step_up", "enroll", "sign_in_refused", "step_up_refused", "enroll_refused"}

// recordLine is what replay reads of a line; the rest of it is passed over.
type recordLine struct {
	Seq      int64         `json:"seq"`
	Time     time.Time     `json:"time"`
	Event    string        `json:"event"`
	User     string        `json:"user"`
	Action   string        `json:"action"`
	Rules    []string      `json:"rules"`
	Policy   string        `json:"policy"`
	Incident string        `json:"incident"`
	Count    int64         `json:"count"`
	Facts    *policy.Facts `json:"facts"`
	Version  int           `json:"facts_version"`
}

// Why a line is no decision to judge again.
var (
	errNoDecision = errors.New("no decision")
	errNoFacts    = errors.New("no facts")
)

// readRecord reads a decision from a line of the audit log. It is most of the work of a
// replay, so it uses the faster library, which is also stricter: a name that appears
// twice, or in other letters, is not taken for the fact.
func readRecord(raw []byte, names []string) (*rehearse.Recorded, error) {
	var l recordLine
	if err := json.Unmarshal(raw, &l, jsonv1.FormatDurationAsNano(true)); err != nil {
		return nil, err
	}
	if !slices.Contains(JudgedEvents, l.Event) {
		return nil, errNoDecision
	}
	if l.Facts == nil {
		return nil, errNoFacts
	}
	r := &rehearse.Recorded{Seq: l.Seq, Time: l.Time, User: l.User, Incident: l.Incident, Count: l.Count, Rules: l.Rules, Policy: l.Policy, Facts: *l.Facts}
	r.Facts.IP.Addr, _ = netip.ParseAddr(r.Facts.IP.Address) // what JSON does not carry
	if err := r.Action.UnmarshalText([]byte(l.Action)); err != nil {
		return nil, err
	}
	if !rehearse.MayLack(raw, l.Version) {
		return r, nil
	}
	var again struct {
		Facts jsontext.Value `json:"facts"`
	}
	err := json.Unmarshal(raw, &again)
	if err == nil {
		r.Lacking, err = rehearse.Lacking(again.Facts, l.Version, names)
	}
	return r, err
}

// Replay judges the records of a log again.
type Replay struct {
	Lines     iter.Seq2[audit.Line, error] // not decoded
	Candidate *policy.Policy
	Present   *policy.Policy    // nil: compared with what was recorded
	Was, Is   *ipintel.Snapshot // the addresses are looked up again: for the present policy, for the candidate; nil: as recorded
	Asked     bool              // with a present policy: compare, too, what it asks at all
	Routes    []string          // records of others are passed over
	Since     time.Time
	Progress  func(lines int64)
}

// Result is what came of it.
type Result struct {
	*rehearse.Replay
	Lines   int64            `json:"lines"`
	Skipped map[string]int64 `json:"skipped,omitempty"` // lines that were not judged, by why
}

const (
	replayBatch = 256 // lines that a worker takes at a time
	BeforeSince = "before the time asked for"
	NoDecision  = "other events"
	NoFacts     = "without facts"
	NoRoute     = "routes that are not configured any more"
	Unreadable  = "cannot be read"
)

// Run reads in one goroutine and judges in one for each processor, in bounded memory.
func (r Replay) Run(ctx context.Context) (*Result, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	work := make(chan [][]byte, 4)
	workers := make([]Result, runtime.GOMAXPROCS(0))
	var lines atomic.Int64
	var running sync.WaitGroup
	for i := range workers {
		w := &workers[i]
		w.Replay, w.Skipped = rehearse.New(r.Candidate, r.Present), map[string]int64{}
		w.Replay.Asked = r.Asked
		if r.Is != r.Was {
			now := time.Now()
			w.Changing(lookingUp(r.Was, now), lookingUp(r.Is, now))
		}
		running.Go(func() {
			names := r.Candidate.FactNames()
			for batch := range work {
				for _, raw := range batch {
					if why := r.one(w.Replay, raw, names); why != "" {
						w.Skipped[why]++
					}
				}
				if n := lines.Add(int64(len(batch))); r.Progress != nil {
					r.Progress(n)
				}
			}
		})
	}
	damaged, err := r.read(ctx, work)
	running.Wait()
	out := &workers[0]
	for i := range workers[1:] {
		out.Merge(workers[i+1].Replay)
		for why, n := range workers[i+1].Skipped {
			out.Skipped[why] += n
		}
	}
	out.Lines = lines.Load() + damaged
	if damaged > 0 {
		out.Skipped[Unreadable] += damaged
	}
	return out, errors.Join(err, context.Cause(ctx))
}

// lookingUp replaces the recorded facts of an address by those of the given data. Facts
// from comparing two addresses stay: the address where the passkey was used is not in the
// record.
func lookingUp(in *ipintel.Snapshot, now time.Time) func(*policy.Facts) {
	return func(f *policy.Facts) {
		if f.IP.Addr.IsValid() {
			internal := f.IP.Internal
			f.IP = in.Lookup(f.IP.Addr).Facts(now)
			f.IP.SetInternal(internal && f.IP.Private)
		}
	}
}

// read hands out the lines, and counts those that are none.
func (r Replay) read(ctx context.Context, work chan<- [][]byte) (damaged int64, err error) {
	defer close(work)
	var batch [][]byte
	send := func() bool {
		select {
		case work <- batch:
			batch = nil
			return true
		case <-ctx.Done():
			return false
		}
	}
	for line, err := range r.Lines {
		if _, bad := errors.AsType[*audit.LineError](err); bad {
			damaged++
			continue
		}
		if err != nil {
			return damaged, err
		}
		if batch = append(batch, slices.Clone(line.Raw)); len(batch) == replayBatch && !send() {
			return damaged, nil
		}
	}
	send()
	return damaged, nil
}

// one judges a line, or says why not.
func (r Replay) one(to *rehearse.Replay, raw []byte, names []string) string {
	rec, err := readRecord(raw, names)
	switch {
	case errors.Is(err, errNoDecision):
		return NoDecision
	case errors.Is(err, errNoFacts):
		return NoFacts
	case err != nil:
		return Unreadable
	case rec.Time.Before(r.Since):
		return BeforeSince
	case rec.Facts.Request.Route != "" && !slices.Contains(r.Routes, rec.Facts.Request.Route):
		return NoRoute
	}
	to.Add(rec)
	return ""
}
