// Package proxy is the gate: it decides about every request and acts on its decision.
//
// [Gate.Check] reads like the list of questions that it asks: what is asked for, who is
// calling from where, which network is that, which person, what is unusual, what does the
// policy say. It acts on nothing. [Gate.ServeHTTP] acts: it is the one place that
// blocks, sends a person to prove themselves, or forwards, and it writes every decision
// to the audit log before the answer leaves.
//
// Configuration, policy and IP data are one immutable [Snapshot], loaded once per request
// through one pointer. A reload builds a whole new snapshot and swaps it in; every
// request is judged by exactly one.
//
// It fails closed: an address that cannot be resolved is blocked, a session store or an
// audit log that does not answer is 503, a panic is 500, and no zero value anywhere means
// allow.
package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/policy/ipintel"
	"sallyport/policy/rehearse"
	"sallyport/proxy/audit"
	"sallyport/proxy/clientip"
	"sallyport/proxy/edge"
	"sallyport/proxy/jsonrpc"
	"sallyport/proxy/observe"
	"sallyport/proxy/portal"
	"sallyport/proxy/streams"
	"sallyport/proxy/trace"
	"sallyport/proxy/upstream"
)

// Snapshot is everything that a reload can change. It is immutable.
type Snapshot struct {
	Routes  *upstream.Table
	Clients *clientip.Resolver
	Policy  *policy.Policy
	Shadow  *policy.Policy // judges beside Policy and decides nothing; nil: none
	Intel   *ipintel.Snapshot
	Options map[string]RouteOptions // by route name

	// Set by the gate, when it takes the snapshot up.
	counts, shadowCounts ruleCounts
	sources              *audit.DataList // the IP data, for records
}

// RouteOptions is what the gate does differently on one route.
type RouteOptions struct {
	RPC         bool     // requests are JSON-RPC: their methods are facts
	RPC1        bool     // of version 1.0, as bitcoind takes it
	RPCBytes    int      // the largest message; 0 admits none
	RPCBytesKey string   // what says so in the configuration; "": limits.message_bytes
	RPCCalls    int      // the largest batch; 0 admits none
	RPCURI      bool     // what has no message, or has a query, passes all the same
	RPCPaths    []string // paths that are endpoints, and no names of methods
	CutStale    bool     // streams end when the proof they were opened with is too old
	// RootWorkers lets the tool register service workers that see Sallyport's own paths,
	// although a hand-off brings them a code (see Portal.CrossSite), and widen their
	// scope up to the route (Service-Worker-Allowed).
	RootWorkers bool
	Groups      SentGroups // what the tool is told of a person's groups
	// CrossSitePosts are whole paths at which any other site may have a person post a
	// form: a page of ours sends it again from the tool's own origin.
	CrossSitePosts []string
}

// Config is what a gate is made of. Every field of the first block is required.
type Config struct {
	Snapshot  *Snapshot
	Sessions  Sessions
	Audit     Auditor
	Portal    *portal.Portal
	Pages     *portal.Pages
	Forwarder *upstream.Forwarder
	SignIn    string // canonical origin of the sign-in host
	Now       func() time.Time
	Logger    *slog.Logger

	IdleTimeout    time.Duration     // after which a session that is not used is over; required too
	Assertions     Asserter          // nil: upstreams get no signed assertion
	Streams        *streams.Registry // nil: nothing that is open can be cut
	Observe        *observe.Observer // nil: no metrics and no access log
	SessionStreams int               // how much one session may have open at once; required with Streams
	Limit          Limiter           // nil: ceremonies may be tried as often as one likes
	Behavior       Behavior          // nil: nothing is remembered, and no history is known
	Trace          *trace.Tracer     // nil: no traces; wants Observe
}

// Gate is the product's request handler.
type Gate struct {
	cfg        Config
	current    atomic.Pointer[Snapshot]
	swap       sync.Mutex // held by writers of current
	verdicts   *otter.Cache[memoKey, *memo]
	uaFamilies uaFamilies
	throttle   recordThrottle
	pool       sync.Pool     // of *Verdict
	looks      atomic.Uint64 // at sessions that changed
	live       *otter.Cache[string, lastSeen]
	sharing    *sharing
	reviewing  chan struct{} // places for those who look at a session that changed
	reviewed   atomic.Pointer[rehearse.Tally]

	warnedGroups atomic.Int64 // when, in nanoseconds
	answered     *otter.Cache[answeredKey, struct{}]
	forms        formRoom
}

const memoEntries = 50_000

// New returns a gate that serves c.Snapshot.
func New(c Config) (*Gate, error) {
	if c.Snapshot == nil || c.Snapshot.Routes == nil || c.Snapshot.Clients == nil || c.Snapshot.Policy == nil || c.Snapshot.Intel == nil {
		return nil, errors.New("gate: incomplete snapshot")
	}
	if c.Sessions == nil || c.Audit == nil || c.Portal == nil || c.Pages == nil || c.Forwarder == nil || c.SignIn == "" || c.Now == nil || c.Logger == nil {
		return nil, errors.New("gate: incomplete configuration")
	}
	if err := apart(c.SignIn, c.Snapshot.Routes); err != nil {
		return nil, err
	}
	if c.IdleTimeout <= 0 {
		return nil, fmt.Errorf("gate: IdleTimeout is %s, and must be positive", c.IdleTimeout)
	}
	if c.Streams != nil && c.SessionStreams <= 0 {
		return nil, fmt.Errorf("gate: SessionStreams is %d, and must be positive", c.SessionStreams)
	}
	if c.Trace != nil && c.Observe == nil {
		return nil, errors.New("gate: traces without an observer")
	}
	verdicts, err := otter.New(&otter.Options[memoKey, *memo]{MaximumSize: memoEntries})
	if err != nil {
		return nil, err
	}
	answered, err := otter.New(&otter.Options[answeredKey, struct{}]{MaximumSize: answeredEntries})
	if err != nil {
		return nil, err
	}
	families, err := newUAFamilies()
	if err != nil {
		return nil, err
	}
	throttle, err := newRecordThrottle()
	if err != nil {
		return nil, err
	}
	g := &Gate{cfg: c, verdicts: verdicts, answered: answered, uaFamilies: families, throttle: throttle, reviewing: make(chan struct{}, reviewsAtOnce)}
	if g.sharing, err = newSharing(c.Logger, c.Observe); err != nil {
		return nil, err
	}
	if g.live, err = newLive(); err != nil {
		return nil, err
	}
	g.pool.New = func() any { return new(Verdict) }
	first := *c.Snapshot
	g.countRules(&first)
	g.listSources(&first)
	g.current.Store(&first)
	return g, nil
}

// Update swaps in the snapshot that change makes of the current one. Updates are
// serialised, so that two reloads cannot lose each other's part; change must not
// modify what it is given.
func (g *Gate) Update(change func(Snapshot) Snapshot) {
	g.swap.Lock()
	defer g.swap.Unlock()
	before := g.current.Load()
	next := change(*before)
	g.countRules(&next)
	g.listSources(&next)
	g.current.Store(&next)
	g.reviewAll()
	g.reviewSessions(before, &next)
}

// Current returns the snapshot in force.
func (g *Gate) Current() *Snapshot { return g.current.Load() }

// Verdict is a decision and everything it was made from. The zero value blocks.
type Verdict struct {
	Decision policy.Decision
	Target   upstream.Target
	Client   netip.Addr      // address of the client; not valid: it cannot be determined
	Route    *upstream.Route // nil: no route, or one of Sallyport's own pages
	Session  authn.Session   // zero: not signed in
	Facts    policy.Facts

	snapshot    *Snapshot
	memo        *memo // nil: not judged
	shadow      shadowed
	epoch       streams.Epoch   // taken before the request is judged
	foreign     string          // why another origin caused the request of a session; "": none did
	rpc         jsonrpc.Request // what a JSON-RPC route is asked to do
	held        int             // bytes that were taken of the budget to read it
	streams     *streams.Registry
	handoff     *policy.Handoff // nil: the session is not about to be handed over
	destination string          // RawPath of what a COPY or MOVE writes to; "": it is neither
	forwarding  bool            // the answer may have begun
	panicked    bool            // something may still hold this Verdict, and its writer
	serveTunnel func()          // a connection that has switched protocols, to its end; nil: none

	made string // the incident of a page's last record; incident is the one to search for

	// For the access event.
	incident         string
	arrived, decided time.Time
	writer           observe.Writer
	span             *trace.Request // nil: no traces
}

// Problems that are not decisions. Everything else that Check returns is a failure of
// our own: the caller answers 503.
var (
	// ErrNoRoute: the host and path are not configured.
	ErrNoRoute = errors.New("no route")
	// ErrAddress: the client's address cannot be determined, so nothing can be judged.
	ErrAddress = errors.New("the client address cannot be determined")
)

// Check judges one request for a route and fills v, which may be reused. It has no side
// effects but to count. A *upstream.BadRequest, ErrNoRoute, ErrAddress or any other error leaves a
// v that blocks.
func (g *Gate) Check(r *http.Request, v *Verdict) error {
	v.reset(g.current.Load())
	if v.streams = g.cfg.Streams; g.cfg.Streams != nil {
		v.epoch = g.cfg.Streams.Epoch()
	}
	if err := v.establish(r); err != nil {
		return err
	}
	route, ok := v.snapshot.Routes.Match(v.Target)
	// A route for https is not served over http. Its answers could be read on the way,
	// and every comparison of origins would take it for another site.
	if !ok || route.Scheme != v.Target.Scheme || upstream.Reserved(v.Target.Path) {
		return ErrNoRoute
	}
	v.Route = route
	if other, how := v.snapshot.Routes.Folded(v.Target, route); other != nil {
		if err := g.judgeFolded(r, v, other, how); err != nil || v.Decision.Action != policy.Allow || v.foreign != "" {
			return err // the origins that may use one route may not be allowed on the other
		}
		v.Route = route
	}
	if to, ok, err := v.snapshot.Routes.Destination(r, v.Target, route); err != nil {
		return err
	} else if ok {
		if err := g.judgeDestination(r, v, to); err != nil || v.Decision.Action != policy.Allow || v.foreign != "" {
			return err
		}
	}
	return g.judge(r, v, policy.PurposeAccess)
}

// judgeDestination judges a COPY or MOVE by the path that it writes to. If that is
// refused, v is the verdict on it; otherwise the path that it reads is still to be
// judged.
func (g *Gate) judgeDestination(r *http.Request, v *Verdict, to upstream.Target) error {
	from := v.Target
	v.Target, v.destination = to, to.RawPath
	err := g.judge(r, v, policy.PurposeAccess)
	if err == nil && v.Decision.Action == policy.Allow && v.foreign == "" {
		v.Target = from
	}
	return err
}

// judgeFolded judges a request whose path may lead to another route with a longer prefix,
// for tools that ignore case or suffixes and may stand behind the matched route. No
// honest client spells a path with the wrong case. A path with a mere suffix (/app.js
// beside a route /app) may be honest, and passes if it passes on both routes. A request
// that can last long, or is judged by more than its path, is refused, because later only
// the matched route would be judged again.
func (g *Gate) judgeFolded(r *http.Request, v *Verdict, other *upstream.Route, how upstream.Folding) error {
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	if how == upstream.BySpelling || !read || len(r.Header["Upgrade"]) > 0 || v.snapshot.Options[other.Name].RPC {
		return &upstream.BadRequest{Status: http.StatusBadRequest, Path: true,
			Reason: "tools that do not care about case or suffixes take it for one of another route", Setting: "exact_paths: true"}
	}
	v.Route = other
	return g.judge(r, v, policy.PurposeAccess)
}

// reset keeps nothing of an earlier request except what its access event needs. One
// composite literal would be built elsewhere and then copied: 2 kB for each request.
func (v *Verdict) reset(s *Snapshot) {
	arrived, writer, span := v.arrived, v.writer, v.span
	*v = Verdict{}
	v.snapshot, v.arrived, v.writer, v.span = s, arrived, writer, span
}

// establish finds the target and the client. Everything after it uses these values and
// never the request line or a forwarding header.
func (v *Verdict) establish(r *http.Request) error {
	from := v.snapshot.Clients.Origin(r)
	canonicalise := upstream.Canonicalise
	if from.Trusted {
		canonicalise = upstream.CanonicaliseBehindProxy
	}
	target, bad := canonicalise(r, from.Scheme)
	if b, ok := errors.AsType[*upstream.BadRequest](bad); ok && b.Forms != 0 {
		bad = v.snapshot.Routes.Admit(target)
	}
	if bad == nil {
		v.Target = target
	}
	if from.Err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, from.Err)
	}
	v.Client = from.Client
	return bad
}

// judge answers the questions about a request whose target and client are known.
func (g *Gate) judge(r *http.Request, v *Verdict, purpose string) (err error) {
	v.Session, err = g.cfg.Sessions.Load(r, v.Target.Host) // which person
	if err != nil && !errors.Is(err, session.ErrNoSession) {
		return err
	}
	if v.Route != nil {
		// The origin comes first: another origin's page must not fill the person's budget
		// with a body, and its malformed body is not the person's bad request. act
		// refuses the request.
		if v.Session.Level() != authn.None {
			v.foreign = foreign(r, v)
		}
		if v.foreign == "" {
			if err := g.readRPC(r, v); err != nil {
				return err
			}
		}
	}
	now := g.cfg.Now()
	hello := edge.FingerprintOf(r)
	key, history := g.memoKey(r, v, purpose), g.history()
	m, ok := g.verdicts.GetIfPresent(key)
	if !ok || !m.good(v, now) || !m.current(history, now) {
		old := m // nil if there is none
		m = &memo{snapshot: v.snapshot, made: now, session: v.Session, history: history}
		network := v.snapshot.lookup(v.Client) // what network
		g.sharing.add(network, v.Session.Person.Subject, now)
		g.assessVisit(m, old, network, key.device, now) // what is unusual
		m.evaluate(v, network, purpose, now)            // the policy's answer to network, person and behaviour
		g.keep(key, m, purpose)
	}
	v.memo = m
	v.Facts = v.memo.facts
	v.Facts.Time.Now = now
	requestFacts(&v.Facts.Request, r, v)
	tlsFacts(&v.Facts.TLS, r, hello)
	if v.handoff != nil {
		v.Facts.Handoff = *v.handoff
	}
	sessionFacts(&v.Facts, &v.Session, v.Client, now)
	g.browserFacts(&v.Facts, &v.Session.Verification.Browser, v.memo, hello)
	v.decide(v.memo.partial, v.memo.shadow) // the policy's answer to this request
	return nil
}

// memoKey is everything that the stable part of a judgement depends on. The
// verification time stands for the token: a new assertion is a new key.
type memoKey struct {
	session  string
	verified int64
	addr     netip.Addr
	route    *upstream.Route
	host     string // for a route of a wildcard host, where each host has a session of its own; "": the route has one host
	purpose  string
	device   string
}

// memo is the stable part of a judgement.
type memo struct {
	snapshot *Snapshot
	made     time.Time
	session  authn.Session
	facts    policy.Facts
	partial  policy.Partial
	shadow   policy.Partial // zero: no policy in shadow

	agent atomic.Pointer[agent] // of the last request; nil: not looked at yet

	// Behaviour is asked once a minute, even if rules that read the clock are evaluated
	// every second.
	visit     behavior.Visit
	seen      behavior.Assessment
	assessed  time.Time
	history   bool        // whether the history was known at that time
	overtaken atomic.Bool // a visit of this memo has changed the history

	active   atomic.Int64    // when the person's activity was last recorded, in Unix nanoseconds
	recorded [3]atomic.Int64 // when a visit was last recorded, by action
}

const (
	clockBoundAge = time.Second // rules that read the clock are asked again after this
	memoAge       = time.Minute // what the IP data says of its own age moves on
)

// memoKey is what the stable part of a judgement is kept under.
func (g *Gate) memoKey(r *http.Request, v *Verdict, purpose string) memoKey {
	key := memoKey{session: v.Session.ID, addr: v.Client, route: v.Route, purpose: purpose, device: g.deviceOf(r, v, purpose)}
	if v.Route != nil && v.Route.Wildcard() {
		key.host = v.Target.Host
	}
	if !v.Session.Verification.At.IsZero() {
		key.verified = v.Session.Verification.At.UnixMicro()
	}
	return key
}

// assessVisit asks behaviour what is unusual about the visit, unless the memo before it
// (nil: none) still has the answer.
func (g *Gate) assessVisit(m, old *memo, n network, device string, now time.Time) {
	m.visit = visitOf(&m.session, n, device, now)
	if old != nil && old.snapshot == m.snapshot && sameIdentity(&old.session, &m.session) && old.current(m.history, now) {
		m.seen, m.assessed = old.seen, old.assessed
		m.active.Store(old.active.Load())
		return
	}
	m.seen, m.assessed = g.assess(m.visit), now
}

// evaluate runs the policies on everything that is the same for every request of this
// session from this address to this route.
func (m *memo) evaluate(v *Verdict, n network, purpose string, now time.Time) {
	m.facts.IP = n.facts(now)
	identityFacts(&m.facts, m.session, now)
	m.facts.Time.Now = now
	m.facts.Request = policy.Request{Purpose: purpose}
	if v.Route != nil {
		m.facts.Request.Route = v.Route.Name
	}
	sessionFacts(&m.facts, &m.session, v.Client, now)
	movedFacts(&m.facts, &m.session, n.Network, m.snapshot.Intel)
	behaviorFacts(&m.facts, m.seen)
	m.partial = m.snapshot.Policy.Partial(&m.facts)
	if s := m.snapshot.Shadow; s != nil {
		m.shadow = s.Partial(&m.facts)
	}
}

// keep stores m for later requests. Memos of strangers are not stored: they would evict
// those of employees.
func (g *Gate) keep(key memoKey, m *memo, purpose string) {
	if m.session.ID == "" {
		return
	}
	g.verdicts.Set(key, m)
	if purpose == policy.PurposeAccess {
		g.live.Set(m.session.ID, lastSeen{memo: m})
	}
}

// good reports whether m still holds. The key names the session and its assertion. Both
// are compared again, because giving one person's memo to another would be the worst
// possible failure.
func (m *memo) good(v *Verdict, now time.Time) bool {
	age := now.Sub(m.made)
	return m.snapshot == v.snapshot && sameIdentity(&m.session, &v.Session) && age >= 0 &&
		(age < clockBoundAge || age < memoAge && !m.partial.ClockBound() && !m.shadow.ClockBound())
}

// current reports whether the assessment is still valid. "History not known" is believed
// for a second while there is a history, because it is being read.
func (m *memo) current(history bool, now time.Time) bool {
	age, most := now.Sub(m.assessed), memoAge
	if history && !m.seen.Seen.Known {
		most = clockBoundAge
	}
	return m.history == history && age >= 0 && age < most && !m.overtaken.Load()
}
