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
	"unsafe"

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
	Seq      int64             `json:"seq"`
	Time     time.Time         `json:"time"`
	Event    string            `json:"event"`
	User     string            `json:"user"`
	Action   string            `json:"action"`
	Rules    []string          `json:"rules"`
	Excepted []policy.Excepted `json:"excepted"`
	Policy   string            `json:"policy"`
	Incident string            `json:"incident"`
	Count    int64             `json:"count"`
	Facts    *policy.Facts     `json:"facts"`
	Version  int               `json:"facts_version"`
}

// Why a line is no decision to judge again.
var (
	errNoDecision = errors.New("no decision")
	errNoFacts    = errors.New("no facts")
)

// readRecord reads a decision from any line of the audit log. It says what a line means;
// see decoder for what reads most of them. It uses the stricter library: a name that
// appears twice, or in other letters, is not taken for the fact.
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
	r := &rehearse.Recorded{Seq: l.Seq, Time: l.Time, User: l.User, Incident: l.Incident, Count: l.Count, Rules: l.Rules, Excepted: l.Excepted, Policy: l.Policy, Facts: *l.Facts}
	r.Facts.IP.Addr, _ = netip.ParseAddr(r.Facts.IP.Address) // what JSON does not carry
	if err := r.Action.UnmarshalText([]byte(l.Action)); err != nil {
		return nil, err
	}
	if !rehearse.MayLack(raw, l.Version) {
		return r, nil
	}
	r.Facts.IP.DeriveRegion()
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
	// Clocks has each record judged once more by each of them, as if its time were the one
	// that the clock makes of it. It needs a present policy.
	Clocks []func(time.Time) time.Time
	Since  time.Time
}

// Result is what came of it.
type Result struct {
	*rehearse.Replay
	Lines   int64            `json:"lines"`
	Skipped map[string]int64 `json:"skipped,omitempty"` // lines that were not judged, by why
}

const (
	replayBatch = 16 // lines that a worker takes at a time: together they stay in the processor's cache
	BeforeSince = "before the time asked for"
	NoDecision  = "other events"
	NoFacts     = "without facts"
	NoRoute     = "routes that are not configured any more"
	Unreadable  = "cannot be read"
)

// Run judges with the candidate.
func (r Replay) Run(ctx context.Context) (*Result, error) {
	list, err := r.RunEach(ctx, []*policy.Policy{r.Candidate})
	return list[0], err
}

// RunEach judges with several candidates in one pass, and returns a result for each, and
// one for each of the clocks behind it. It reads in one goroutine and judges in one for each
// processor, in bounded memory.
func (r Replay) RunEach(ctx context.Context, candidates []*policy.Policy) ([]*Result, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	work := make(chan *lineBatch, 2)
	free := make(chan *lineBatch, cap(work)+runtime.GOMAXPROCS(0)+1)
	judges := make([]*judge, runtime.GOMAXPROCS(0))
	var lines atomic.Int64
	var running sync.WaitGroup
	for i := range judges {
		w := r.newJudge(candidates)
		judges[i] = w
		running.Go(func() {
			for batch := range work {
				lines.Add(int64(len(batch.ends)))
				if kept := batch.each(w.line); kept {
					batch = new(lineBatch)
				}
				free <- batch
			}
		})
	}
	for range cap(free) {
		free <- new(lineBatch)
	}
	damaged, err := r.read(ctx, work, free)
	running.Wait()
	first := judges[0]
	for _, w := range judges[1:] {
		first.merge(w)
	}
	if damaged > 0 {
		first.skipped[Unreadable] += damaged
	}
	out := make([]*Result, len(first.replays))
	for i, replay := range first.replays {
		out[i] = &Result{Replay: replay, Lines: lines.Load() + damaged, Skipped: first.skipped}
	}
	return out, errors.Join(err, context.Cause(ctx))
}

// lineBatch is lines on their way to a judge, one after the other. Batches are used again:
// memory that is new each time is never in the processor's cache, which costs a third of
// the whole.
type lineBatch struct {
	text []byte
	ends []int
}

// each gives the lines to a judge, and reports whether it keeps any of them.
func (b *lineBatch) each(do func(line string) (kept bool)) (kept bool) {
	// The texts of a decision are parts of its line. They change when the batch is used
	// again, so that a judge either copies a text that it keeps, or says that it keeps the
	// line: then the batch is left to it.
	text := unsafe.String(unsafe.SliceData(b.text), len(b.text))
	begin := 0
	for _, end := range b.ends {
		kept = do(text[begin:end]) || kept
		begin = end
	}
	return kept
}

// judge is one goroutine's share of the work.
type judge struct {
	decoder *decoder
	routes  []string
	since   time.Time
	replays []*rehearse.Replay // by candidate
	skipped map[string]int64
}

func (r Replay) newJudge(candidates []*policy.Policy) *judge {
	w := &judge{decoder: newDecoder(r.Since), routes: r.Routes, since: r.Since, skipped: map[string]int64{}}
	now := time.Now()
	for _, c := range candidates {
		replay := rehearse.New(c, r.Present)
		replay.Asked = r.Asked
		if r.Is != r.Was {
			replay.Changing(lookingUp(r.Was, now), lookingUp(r.Is, now))
		}
		w.replays = append(w.replays, replay)
		for _, clock := range r.Clocks {
			at := func(f *policy.Facts) { f.Time.Now = clock(f.Time.Now) }
			later := rehearse.New(c, r.Present)
			later.Asked = r.Asked
			later.Changing(at, at)
			w.replays = append(w.replays, later)
		}
	}
	return w
}

// line judges a line, or counts why not. It reports whether the line is kept as an example.
func (w *judge) line(line string) (kept bool) {
	rec, err := w.decoder.decode(line)
	switch {
	case errors.Is(err, errNoDecision):
		w.skipped[NoDecision]++
	case errors.Is(err, errNoFacts):
		w.skipped[NoFacts]++
	case errors.Is(err, errBefore) || err == nil && rec.Time.Before(w.since):
		w.skipped[BeforeSince]++
	case err != nil:
		w.skipped[Unreadable]++
	case rec.Facts.Request.Route != "" && !slices.Contains(w.routes, rec.Facts.Request.Route):
		w.skipped[NoRoute]++
	default:
		for _, r := range w.replays {
			kept = r.Add(rec) || kept
		}
	}
	return kept
}

func (w *judge) merge(o *judge) {
	for i, r := range w.replays {
		r.Merge(o.replays[i])
	}
	for why, n := range o.skipped {
		w.skipped[why] += n
	}
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
func (r Replay) read(ctx context.Context, work chan<- *lineBatch, free <-chan *lineBatch) (damaged int64, err error) {
	defer close(work)
	batch := <-free
	// There are as many batches as can be under way, and one: free is never empty for long.
	send := func() bool {
		if ctx.Err() != nil {
			return false
		}
		select {
		case work <- batch:
			batch = <-free
			batch.text, batch.ends = batch.text[:0], batch.ends[:0]
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
		batch.text = append(batch.text, line.Raw...)
		if batch.ends = append(batch.ends, len(batch.text)); len(batch.ends) == replayBatch && !send() {
			return damaged, nil
		}
	}
	send()
	return damaged, nil
}
