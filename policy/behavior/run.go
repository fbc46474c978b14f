package behavior

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sallyport/authn"
)

const (
	tickEvery  = 2 * time.Second // writes and polls
	tidyEvery  = time.Hour
	callFor    = 10 * time.Second // one call of the store
	loadFor    = 10 * time.Minute // the long-term history of all people
	batchSize  = 500              // rows of one write transaction
	pageSize   = 5000             // rows of one read
	condensed  = 48 * time.Hour   // after that, one row a place
	rereadFrom = 24 * time.Hour   // away for longer than this: what was condensed meanwhile was missed
)

// Farewell is how long Run tries to write queued rows after its context has ended.
const Farewell = 15 * time.Second

// Run loads history, and then writes, reads what other processes wrote, and forgets what
// is too old, until ctx ends. When it returns nil, everything passed to Record and Active
// before that is in the store; the error says how much is not. Without a store it only
// forgets.
func (t *Tracker) Run(ctx context.Context) error {
	if t.cfg.Store == nil {
		t.tend(ctx)
		return nil
	}
	t.write.renew(t.cfg.Now())
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	ok := t.step(ctx, true)
	var tidying sync.WaitGroup
	defer tidying.Wait()
	tidying.Go(func() { t.tend(ctx) }) // apart, so that it never keeps the rest waiting; and not before: what is loading has the store for itself
	for {
		select {
		case <-ctx.Done():
			return t.farewell(context.WithoutCancel(ctx))
		case <-tick.C:
			ok = t.step(ctx, ok)
		case <-t.queue.wake:
			if ok { // else the tick tries again, and not every sighting
				ok = t.step(ctx, ok)
			}
		case s := <-t.wanted:
			t.reread(ctx, s)
		}
	}
}

func (t *Tracker) tend(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		t.tidy(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// step is one tick; before is whether the last one went well.
func (t *Tracker) step(ctx context.Context, before bool) (ok bool) {
	errs := errors.Join(t.flush(ctx), t.poll(ctx))
	switch {
	case ctx.Err() != nil:
	case errs != nil && before:
		t.cfg.Logger.Error("history cannot be read or written", "lease", Lease.String(), "error", errs)
	case errs == nil && !before:
		t.cfg.Logger.Info("history can be read and written again")
	}
	if _, merged, lost := t.waiting(); merged != t.warned.merged || lost != t.warned.lost {
		t.cfg.Logger.Warn("there was no room for sightings that wait to be written", "merged", merged-t.warned.merged, "lost", lost-t.warned.lost)
		t.warned.merged, t.warned.lost = merged, lost
	}
	return errs == nil
}

// flush writes all that is queued.
func (t *Tracker) flush(ctx context.Context) error {
	for {
		batch := Batch{Sightings: t.queue.dequeue(batchSize), Activity: t.dirty(batchSize), Events: t.events.dequeue(batchSize)}
		if batch.Len() == 0 {
			t.write.renew(t.cfg.Now())
			return nil
		}
		err := t.call(ctx, callFor, func(ctx context.Context) error { return t.cfg.Store.AppendBehavior(ctx, batch) })
		if err != nil {
			t.writes.Add(1)
			t.queue.restore(batch.Sightings)
			t.soil(batch.Activity)
			t.events.restore(batch.Events)
			return fmt.Errorf("write: %w", err)
		}
		t.write.renew(t.cfg.Now())
	}
}

func (t *Tracker) call(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// dirty takes the hours of about n people that are to be written.
func (t *Tracker) dirty(n int) (rows []Activity) {
	for i := range t.people.parts {
		part := &t.people.parts[i]
		part.Lock()
		for s := range part.dirty {
			if len(rows) >= n {
				break
			}
			p := part.people[s]
			p.active.hours(func(h int64, bits uint16) { rows = append(rows, Activity{s, h, bits}) })
			p.dirty, p.active.unsaved = false, p.active.last
			delete(part.dirty, s)
		}
		part.Unlock()
	}
	return rows
}

// soil marks hours that could not be written after all.
func (t *Tracker) soil(rows []Activity) {
	for _, a := range rows {
		part := t.people.part(t.people.ref(a.Subject))
		for i := range bucket(perHour) {
			if a.Bits>>i&1 != 0 {
				t.active(part, a.Subject, bucket(a.Hour)*perHour+i, true)
			}
		}
	}
}

// poll reads rows written since the last time, also those of this process: adding a
// sighting twice changes nothing.
func (t *Tracker) poll(ctx context.Context) error {
	var err error
	if now := t.cfg.Now(); t.polled.IsZero() || now.Sub(t.polled) > rereadFrom {
		err = t.load(ctx)
	} else {
		err = t.catchUp(ctx)
	}
	if err != nil {
		t.reads.Add(1)
		return fmt.Errorf("read: %w", err)
	}
	t.polled = t.cfg.Now()
	t.read.renew(t.polled)
	return nil
}

// load reads everything, numbered rows first: a row that is condensed meanwhile is then
// read twice, and not missed.
func (t *Tracker) load(ctx context.Context) error {
	begin := time.Now()
	t.seq = 0
	if err := t.catchUp(ctx); err != nil {
		return err
	}
	places, now := 0, momentOf(t.cfg.Now())
	err := t.call(ctx, loadFor, func(ctx context.Context) error {
		return t.cfg.Store.BehaviorPlaces(ctx, func(s Sighting) error {
			places++
			t.remember(&s, now, 0)
			return nil
		})
	})
	if err != nil {
		return err
	}
	err = t.call(ctx, loadFor, func(ctx context.Context) error {
		return t.cfg.Store.BehaviorDays(ctx, func(d Day) error { t.takeUpDay(d, now); return nil })
	})
	if err != nil {
		return err
	}
	t.cfg.Logger.Info("history loaded", "people", t.people.count.Load(), "places", places, "took", time.Since(begin).Round(time.Millisecond).String())
	return t.catchUp(ctx)
}

func (t *Tracker) catchUp(ctx context.Context) error {
	for {
		var b Batch
		var last int64
		err := t.call(ctx, callFor, func(ctx context.Context) (err error) {
			b, last, err = t.cfg.Store.BehaviorSince(ctx, t.seq, pageSize)
			return err
		})
		if err != nil {
			return err
		}
		if last < t.seq {
			t.cfg.Logger.Warn("history was put back to an earlier state")
		}
		t.takeUp(b)
		done := last <= t.seq // a page can be empty: its rows were renumbered
		t.seq = last
		if done {
			return nil
		}
	}
}

func (t *Tracker) takeUp(b Batch) {
	now := momentOf(t.cfg.Now())
	for i := range b.Sightings {
		t.remember(&b.Sightings[i], now, 0)
	}
	for i := range b.Events {
		t.rememberEvent(&b.Events[i], now)
	}
	for _, d := range b.Days {
		t.takeUpDay(d, now)
	}
	for _, a := range b.Activity {
		part := t.people.part(t.people.ref(a.Subject))
		for i := range bucket(perHour) {
			n := bucket(a.Hour)*perHour + i
			if a.Bits>>i&1 != 0 && n <= bucketOf(now)+perHour && bucketOf(now)-min(n, bucketOf(now)) < ring {
				t.active(part, a.Subject, n, false)
			}
		}
	}
}

// takeUpDay takes up the hours of a day, but for those that have not been yet: a wrong
// clock made them.
func (t *Tracker) takeUpDay(d Day, now moment) {
	this := int64(hourOfBucket(bucketOf(now)))
	if d.Day*hoursPerDay > this || this-d.Day*hoursPerDay >= hourRing {
		return
	}
	part := t.people.part(t.people.ref(d.Subject))
	part.Lock()
	defer part.Unlock()
	p := t.people.personOf(part, d.Subject)
	for i := range int64(hoursPerDay) {
		if n := d.Day*hoursPerDay + i; d.Hours>>i&1 != 0 && n <= this+1 {
			p.hour(uint32(n), now)
			p.last = max(p.last, moment(n)*moment(time.Hour/time.Second))
		}
	}
}

// reread completes a person who had left the memory.
func (t *Tracker) reread(ctx context.Context, s authn.Subject) {
	part := t.people.part(t.people.ref(s))
	part.RLock()
	p := part.people[s]
	whole := p != nil && !p.partial
	part.RUnlock()
	if whole {
		return // asked for by two requests
	}
	var b Batch
	err := t.call(ctx, callFor, func(ctx context.Context) (err error) {
		b, err = t.cfg.Store.BehaviorOf(ctx, s)
		return err
	})
	if err != nil {
		t.reads.Add(1)
		t.cfg.Logger.Warn("a person's history cannot be read", "error", err)
		return
	}
	t.takeUp(b)
	part.Lock()
	t.people.personOf(part, s).partial = false
	part.Unlock()
}

// tidy forgets, in memory and in the store.
func (t *Tracker) tidy(ctx context.Context) {
	now := t.cfg.Now()
	for i := range t.people.parts {
		part := &t.people.parts[i]
		part.Lock()
		for s, p := range part.people {
			if p.expire(&t.cfg, momentOf(now)) {
				t.people.drop(part, s)
			}
		}
		part.Unlock()
	}
	t.at.expire(momentOf(now))
	t.on.expire(momentOf(now))
	t.enrolledAt.expire(momentOf(now))
	t.enrolledOn.expire(momentOf(now))
	if t.cfg.Store == nil {
		return
	}
	l := Limits{Forget: now.Add(-t.cfg.Retention), Addrs: now.Add(-t.cfg.RawAddresses), Hosts: now.Add(-month), Condense: now.Add(-condensed)}
	err := t.call(ctx, loadFor, func(ctx context.Context) error { return t.cfg.Store.TidyBehavior(ctx, l) })
	if err != nil && ctx.Err() == nil {
		t.cfg.Logger.Warn("history cannot be pruned", "error", err)
	}
}

// farewell writes the queued rows, and retries until the store accepts them or time is
// up.
func (t *Tracker) farewell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Farewell)
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		err := t.flush(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			waiting, _, _ := t.waiting()
			return fmt.Errorf("behavior: %d sightings could not be written: %w", waiting, err)
		}
	}
}
