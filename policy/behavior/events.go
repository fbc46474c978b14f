package behavior

import (
	"slices"
	"sync"
	"time"

	"sallyport/authn"
)

// EventKind is what a person did with a passkey.
type EventKind uint8

const (
	Enrolled    EventKind = 1 + iota // a passkey was stored
	StepUpBegun                      // a prompt for the passkey was shown
	StepUpDone                       // and answered
)

// Event is something that a person did, or did not do, with a passkey. Enrolments are
// kept for 30 days, the others as long as sightings.
type Event struct {
	Subject    authn.Subject
	At         time.Time
	Kind       EventKind
	Host, Site uint64 // of an enrolment, as in Sighting
	Device     string // of an enrolment
	Session    string // of a step-up
}

// Begun notes that a prompt for the passkey is shown in a session.
func (t *Tracker) Begun(v Visit) { t.event(v, StepUpBegun) }

// Answered notes that a session was proven with a passkey.
func (t *Tracker) Answered(v Visit) { t.event(v, StepUpDone) }

// Enrolled notes that a person has a new passkey, and where and on what it was made.
func (t *Tracker) Enrolled(v Visit) { t.event(v, Enrolled) }

// event remembers one, and queues it. It never blocks.
func (t *Tracker) event(v Visit, kind EventKind) {
	if v.Subject.IsZero() {
		return
	}
	e := Event{Subject: v.Subject, At: v.At, Kind: kind, Session: v.Session}
	if kind == Enrolled {
		where := t.nets.places(&v.Place)
		e.Host, e.Site, e.Device, e.Session = where.host, where.site, v.Device, ""
	}
	if fresh := t.rememberEvent(&e, momentOf(t.cfg.Now())); fresh && t.cfg.Store != nil {
		t.events.add(e)
	}
}

// rememberEvent takes an event up, and reports whether it says anything new.
func (t *Tracker) rememberEvent(e *Event, now moment) (fresh bool) {
	me, at := t.people.ref(e.Subject), momentOf(e.At)
	if e.Kind == Enrolled {
		if !at.within(month, now) {
			return false
		}
		for _, where := range []uint64{e.Host, e.Site} {
			if where != 0 {
				t.enrolledAt.add(where, me, at)
			}
		}
		if device := t.people.text(e.Device); device != 0 {
			t.enrolledOn.add(device, me, at)
		}
		return true
	}
	session := t.people.text(e.Session)
	if session == 0 || !at.within(day, now) {
		return false
	}
	part := t.people.part(me)
	part.Lock()
	defer part.Unlock()
	p := t.people.personOf(part, e.Subject)
	p.last = max(p.last, at)
	if e.Kind == StepUpDone {
		return p.prompts.answer(session, at)
	}
	return p.prompts.begin(session, at)
}

// patience is how long a prompt waits. Prompts that a session shows meanwhile are the
// same one: people reload, and try another device.
const patience = 10 * time.Minute

// maxPrompts bounds the prompts of one person that are told apart; the oldest makes room.
const maxPrompts = 64

// prompt is one that was shown.
type prompt struct {
	session  uint64
	at       moment
	answered bool
}

// prompts are those of one person in a day, in the order in which they came.
type prompts []prompt

// waits reports whether an answer at a moment would be one to this prompt.
func (p *prompt) waits(session uint64, at moment) bool {
	return p.session == session && !p.answered && p.at <= at && at-p.at < moment(patience/time.Second)
}

func (l *prompts) begin(session uint64, at moment) bool {
	for i := range *l {
		if p := &(*l)[i]; p.waits(session, at) || p.session == session && p.at == at {
			return false
		}
	}
	if len(*l) == maxPrompts {
		*l = slices.Delete(*l, 0, 1)
	}
	*l = append(*l, prompt{session: session, at: at})
	return true
}

// answer reports whether a prompt waited for it. All that the session shows are answered.
func (l *prompts) answer(session uint64, at moment) (waited bool) {
	for i := range *l {
		if p := &(*l)[i]; p.waits(session, at) {
			p.answered, waited = true, true
		}
	}
	return waited
}

// abandoned counts those of the last 24 hours that waited in vain.
func (l prompts) abandoned(now moment) (n int64) {
	for _, p := range l {
		if !p.answered && p.at.within(day, now) && !p.at.within(patience, now) {
			n++
		}
	}
	return n
}

func (l prompts) expire(now moment) prompts {
	l = slices.DeleteFunc(l, func(p prompt) bool { return !p.at.within(day, now) })
	if len(l) == 0 {
		return nil
	}
	return l
}

// eventQueue holds events that are to be written, oldest first. There are few of them: at
// its limit the newest is lost, and counted.
type eventQueue struct {
	mu    sync.Mutex
	rows  []Event
	limit int
	lost  uint64
}

func (q *eventQueue) add(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.rows) >= q.limit {
		q.lost++
		return
	}
	q.rows = append(q.rows, e)
}

func (q *eventQueue) dequeue(n int) []Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := slices.Clone(q.rows[:min(n, len(q.rows))])
	q.rows = slices.Delete(q.rows, 0, len(batch))
	return batch
}

// restore puts back what could not be written.
func (q *eventQueue) restore(batch []Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rows = append(batch, q.rows...)
	if over := len(q.rows) - q.limit; over > 0 {
		q.rows, q.lost = q.rows[:q.limit], q.lost+uint64(over)
	}
}

func (q *eventQueue) stats() (waiting int, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.rows), q.lost
}
