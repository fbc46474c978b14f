package proxy

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/proxy/edge"
	"sallyport/proxy/portal"
	"sallyport/proxy/streams"
	"sallyport/proxy/upstream"
)

// admission is what an open stream was allowed on; it is judged again from this.
// Everything stays as it was, except the person and what is unusual by now.
type admission struct {
	facts   policy.Facts
	session authn.Session
	route   *upstream.Route
	visit   behavior.Visit
	person  atomic.Pointer[personAt]
	// excepted is when the first of the exceptions ends that it was last allowed on, in
	// nanoseconds; 0: none.
	excepted atomic.Int64
	seen     atomic.Pointer[assessment]
}

// assessment is what was unusual when it was last asked.
type assessment struct {
	behavior.Assessment
	at      time.Time
	history bool
	home    authn.Home // of the person then, and their time zone
	clock   string
}

// personAt is who the person was when a session was looked at for the at-th time. An
// answer that is overtaken by a later one does not replace it.
type personAt struct {
	person authn.Person
	at     uint64
}

func (j *admission) learn(k *personAt) {
	for {
		old := j.person.Load()
		if old != nil && old.at > k.at || j.person.CompareAndSwap(old, k) {
			return
		}
	}
}

// factsNow is what a stream is judged by as of now: another policy, other IP data, other groups, an
// older proof. The proof stays the one that the stream was opened with: a stream on a
// stolen cookie gains nothing from its owner's next assertion. methods are those that the
// stream calls now.
func (g *Gate) factsNow(j *admission, s *Snapshot, methods []string, now time.Time) policy.Facts {
	f, who := j.facts, j.session
	if k := j.person.Load(); k != nil {
		who.Person = k.person
	}
	f.Request.RPCMethods = methods
	network := s.lookup(f.IP.Addr)
	f.IP = network.facts(now)
	f.Time.Now = now
	identityFacts(&f, who, now)
	sessionFacts(&f, &who, f.IP.Addr, now)
	movedFacts(&f, &who, network.Network, s.Intel)
	behaviorFacts(&f, g.reassess(j, &who.Person, network, now))
	return f
}

// reassess is what is unusual about a stream. It asks behaviour at most once a minute.
func (g *Gate) reassess(j *admission, p *authn.Person, n network, now time.Time) behavior.Assessment {
	history := g.history()
	if s := j.seen.Load(); s != nil && s.history == history && s.home == p.Home && s.clock == p.TimeZone && now.Sub(s.at) < memoAge && !now.Before(s.at) {
		return s.Assessment
	}
	v := j.visit
	v.At, v.Place, v.Home, v.Clock = now, n.behaviorPlace(), p.Home, p.TimeZone
	s := &assessment{g.assess(v), now, history, p.Home, p.TimeZone}
	j.seen.Store(s)
	return s.Assessment
}

func newAdmission(v *Verdict) *admission {
	j := &admission{facts: v.Facts, session: v.Session, route: v.Route, visit: v.memo.visit}
	j.seen.Store(&assessment{v.memo.seen, v.memo.assessed, v.memo.history, j.visit.Home, j.visit.Clock})
	j.rest(&v.Decision)
	return j
}

// rest notes until when exceptions let the stream through.
func (j *admission) rest(d *policy.Decision) {
	var first int64
	for _, x := range d.Excepted {
		if end := x.Until.UnixNano(); first == 0 || end < first {
			first = end
		}
	}
	j.excepted.Store(first)
}

// overdue reports whether an exception that it rests on has ended.
func (j *admission) overdue(now time.Time) bool {
	end := j.excepted.Load()
	return end != 0 && now.UnixNano() >= end
}

// open registers the request as a stream of its session, so that it can be cut from now
// on. The caller closes the stream.
func (g *Gate) open(ctx context.Context, v *Verdict) *streams.Stream {
	info := streams.Info{Session: v.Session.ID, Route: v.Route.Name, Opened: g.cfg.Now(), Value: newAdmission(v)}
	if v.snapshot.Options[v.Route.Name].RPC {
		info.Person = v.Session.Person.Subject.Key()
	}
	s := g.cfg.Streams.Open(ctx, v.epoch, info)
	s.Until(v.Session.ExpiresAt, streams.Expired)
	return s
}

// detachContext returns a context whose end the caller controls after keep is called;
// until then it ends with ctx. net/http ends a request's context when its handler
// returns, and a connection that has switched protocols lives on after that.
func detachContext(ctx context.Context) (own context.Context, keep func() bool) {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	return own, context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
}

// detach serves a connection after its handler has returned. It holds neither r nor v,
// nor anything of net/http's, because most of ten thousand WebSockets are idle.
func (g *Gate) detach(w http.ResponseWriter, r *http.Request, v *Verdict) {
	serve, span, arrived, over := v.serveTunnel, v.span, v.arrived, edge.Detach(w)
	e := g.event(r, v)
	e.Status = http.StatusSwitchingProtocols
	go func() {
		defer over()
		serve()
		if g.cfg.Observe != nil {
			e.Total = time.Since(arrived)
			g.report(&e, span)
		}
	}()
}

// cut decides whether a stream has to end now. A proof that is too old ends only streams
// of routes with that option: a download is not cut off because its proof grew old. One
// that an exception let through, without a proof, ends with it.
func (g *Gate) cut(s *Snapshot, j *admission, now time.Time) (streams.Reason, bool) {
	f := g.factsNow(j, s, j.facts.Request.RPCMethods, now)
	d := s.Policy.Decide(&f)
	switch {
	case d.Action == policy.Block:
		return streams.Blocked, true
	case d.Action == policy.StepUp && (s.Options[j.route.Name].CutStale || j.overdue(now)):
		return streams.Stale, true
	}
	j.rest(&d)
	return 0, false
}

// review judges the open streams again that rest on an exception that has ended, and those
// of the wanted routes. It returns how many were cut.
func (g *Gate) review(wanted func(RouteOptions) bool) int {
	s, now := g.current.Load(), g.cfg.Now()
	return g.cfg.Streams.CutIf(func(i streams.Info) (streams.Reason, bool) {
		j, ok := i.Value.(*admission)
		if !ok || !wanted(s.Options[i.Route]) && !j.overdue(now) {
			return 0, false
		}
		return g.cut(s, j, now)
	})
}

// reviewAll judges all open streams again after a new snapshot.
func (g *Gate) reviewAll() {
	if g.cfg.Streams == nil {
		return
	}
	if n := g.review(func(RouteOptions) bool { return true }); n > 0 {
		g.cfg.Logger.Info("open streams were cut when judged again", "streams", n)
	}
}

// reviewEvery is how often every open stream is judged again without any change. The
// hour, the age of a session, and what is unusual about a person change by themselves.
const reviewEvery = time.Minute

// Run judges the open streams again until ctx ends: once a second on routes that ask for
// it to cut those whose proof ran out, and those whose exception has ended, once a minute
// all of them.
func (g *Gate) Run(ctx context.Context) {
	if g.cfg.Streams == nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := g.cfg.Now()
			since := now.Sub(last)
			all := since >= reviewEvery || since < 0 // a clock that was set back must not stop it
			if all {
				last = now
			}
			if n := g.review(func(o RouteOptions) bool { return all || o.CutStale }); n > 0 {
				g.cfg.Logger.Info("open streams were cut when judged again", "streams", n)
			}
		}
	}
}

// SessionChanged judges the streams of a session that ended or changed again. It is made
// for session.Manager.OnEnd, and returns at once. It runs even without open streams: a
// request that is being judged right now opens its stream a moment later, and that stream
// must be cut at once.
func (g *Gate) SessionChanged(id string) {
	if g.cfg.Streams != nil {
		look := g.looks.Add(1)
		go func() {
			g.reviewing <- struct{}{}
			defer func() { <-g.reviewing }()
			g.reviewSession(id, look)
		}()
	}
}

// reviewsAtOnce bounds how many sessions are read at a time. When thousands change
// together (a roster), none may wait so long that it runs into the deadline and counts as
// gone.
const reviewsAtOnce = 32

// reviewSession cuts the streams of a session that is gone, and judges those of one that
// has changed (another group) again. If the session cannot be read, it cuts the streams.
func (g *Gate) reviewSession(id string, look uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	records, err := g.cfg.Sessions.List(ctx, session.Filter{ID: id})
	if err != nil || len(records) != 1 {
		g.learnPerson(id, nil)
		g.cfg.Streams.Cut(id, streams.Ended)
		return
	}
	g.learnPerson(id, &records[0].Person)
	s, who, now := g.current.Load(), &personAt{records[0].Person, look}, g.cfg.Now()
	g.cfg.Streams.Review(id, func(i streams.Info) (streams.Reason, bool) {
		j, ok := i.Value.(*admission)
		if !ok {
			return streams.Ended, true
		}
		j.learn(who) // for later messages, and the next policy
		return g.cut(s, j, now)
	})
}

// interrupted answers a request whose stream was cut before the upstream had answered, with
// the code that the next request would get.
func (g *Gate) interrupted(w http.ResponseWriter, r *http.Request, v *Verdict, why streams.Reason) {
	link := func(page, text string) portal.Link {
		return portal.Link{URL: g.cfg.Portal.PageURL(&pageRequest{g, r, v}, page, "/"), Text: text}
	}
	f := portal.Refusal{Status: http.StatusUnauthorized, Code: "not_signed_in", Title: "Your session has ended", Text: []string{"Sign in again to go on."},
		Link: link("sign-in", "Sign in")}
	switch why {
	case streams.Stale:
		f = portal.Refusal{Status: http.StatusUnauthorized, Code: "insufficient_user_authentication", Title: "Verify it’s you", StepUp: true,
			Text: []string{"This tool asks for a fresh verification with your passkey."}, Link: link("step-up", "Verify it’s you")}
	case streams.Blocked:
		f = portal.Refusal{Status: http.StatusForbidden, Code: why.String(), Title: "Access is blocked", Text: []string{"What you may open has changed in the meantime."}}
	case streams.NotTaken:
		w.Header().Set("Retry-After", "10")
		f = portal.Refusal{Status: http.StatusGatewayTimeout, Code: why.String(), Title: "The tool takes too long to read", Text: []string{"You are signed in and allowed, but the tool behind this address did not read what you sent in time."}}
	case streams.Shutdown:
		w.Header().Set("Retry-After", "1")
		f = portal.Refusal{Status: http.StatusServiceUnavailable, Code: why.String(), Title: "Sallyport is restarting", Text: []string{"Try again in a moment."}}
	}
	g.refuse(w, r, v, f)
}

// notTaken logs that a tool did not read a request that was allowed. The audit log has
// the allow.
func (g *Gate) notTaken(s *streams.Stream) {
	if c := s.Cut(); c != nil && c.Reason == streams.NotTaken {
		g.cfg.Logger.Warn("the tool did not read a message in time: the stream was closed", "route", s.Info().Route, "session", s.Info().Session, "reason", c.Reason.String())
	}
}
