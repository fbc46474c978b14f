package proxy

import (
	"context"
	"net/http"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/policy"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

// judged is what an open stream was let through on; it is judged again from this.
// It is immutable.
type judged struct {
	facts   policy.Facts
	session authn.Session
	route   *upstream.Route
}

// again judges what was let through as of now: another policy, other IP data, other
// groups, older proof. The proof stays the one that the stream was opened with: a
// stream on a stolen cookie gains nothing from its owner's next assertion.
func (j *judged) again(s *Snapshot, now time.Time) (policy.Facts, policy.Decision) {
	f := j.facts
	f.IP = s.Intel.Lookup(f.IP.Addr).Facts(now)
	f.Time.Now = now
	identityFacts(&f, j.session, now)
	sessionFacts(&f, j.session, f.IP.Addr, now)
	return f, s.Policy.Decide(&f)
}

// open registers the request as a stream of its session, so that it can be cut from
// now on. The caller closes it.
func (g *Gate) open(r *http.Request, v *Verdict) *streams.Stream {
	s := g.Streams.Open(r.Context(), v.epoch, streams.Info{
		Session: v.Session.ID, Route: v.Route.Name, Opened: g.Now(),
		Value: &judged{facts: v.Facts, session: v.Session, route: v.Route},
	})
	s.Until(v.Session.ExpiresAt, streams.Expired)
	return s
}

// cut says whether a stream has to end by what is thought of it now. Freshness ends
// only the streams of routes that ask for it: a download is not broken off because the proof
// that it began with grew old.
func (g *Gate) cut(s *Snapshot, j *judged, now time.Time) (streams.Reason, bool) {
	_, d := j.again(s, now)
	switch {
	case d.Action == policy.Block:
		return streams.Blocked, true
	case d.Action == policy.StepUp && s.Options[j.route.Name].CutStale:
		return streams.Stale, true
	}
	return 0, false
}

// reviewAll judges every open stream again; Update calls it with the new snapshot.
func (g *Gate) reviewAll() {
	if g.Streams == nil {
		return
	}
	s, now := g.current.Load(), g.Now()
	n := g.Streams.CutIf(func(i streams.Info) (streams.Reason, bool) {
		j, ok := i.Value.(*judged)
		if !ok {
			return 0, false
		}
		return g.cut(s, j, now)
	})
	if n > 0 {
		g.Logger.Info("open streams were cut when judged again", "streams", n)
	}
}

// Run cuts the streams whose proof runs out, on routes that ask for it, until ctx ends.
func (g *Gate) Run(ctx context.Context) {
	if g.Streams == nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s, now := g.current.Load(), g.Now()
			g.Streams.CutIf(func(i streams.Info) (streams.Reason, bool) {
				if j, ok := i.Value.(*judged); ok && s.Options[i.Route].CutStale {
					return g.cut(s, j, now)
				}
				return 0, false
			})
		}
	}
}

// SessionChanged looks at the streams of a session that ended or changed. It is made for
// session.Manager.OnEnd: it returns at once.
func (g *Gate) SessionChanged(id string) {
	if g.Streams == nil {
		return
	}
	if g.Streams.SessionCount(id) == 0 {
		// Still an order: a request that is being judged right now is born cut if the
		// session is gone, and is told so when it opens.
		g.Streams.Review(id, func(streams.Info) (streams.Reason, bool) { return 0, false })
		return
	}
	go g.reviewSession(id)
}

// reviewSession cuts the streams of a session that is gone, and judges those of one that
// has changed (another group) again. What cannot be found out is gone.
func (g *Gate) reviewSession(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	records, err := g.Sessions.List(ctx, session.Filter{ID: id})
	if err != nil || len(records) != 1 {
		g.Streams.Cut(id, streams.Ended)
		return
	}
	s, now := g.current.Load(), g.Now()
	g.Streams.Review(id, func(i streams.Info) (streams.Reason, bool) {
		j, ok := i.Value.(*judged)
		if !ok {
			return streams.Ended, true
		}
		changed := *j
		changed.session.Person = records[0].Person
		return g.cut(s, &changed, now)
	})
}
