package company

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/behavior"
)

// Config says which year is lived, under which policy.
type Config struct {
	Policy *policy.Policy // judged with the production evaluator; the `allow` of routes is taken as granted
	Seed   uint64
	Days   int // 1 or more
	Model  Model
	// Settings are those of the configuration, whose history and sessions these are.
	Settings Settings
	// Routes are visited in turn, unless the model says how often each is; empty is one
	// without a name.
	Routes []Route
	// Progress is called after every day. It may be nil.
	Progress func(day, days int)
}

// Settings is what sallyport.yaml says of sessions and of history.
type Settings struct {
	SessionMaxAge, SessionIdle, Retention time.Duration
	Household                             int // bits of the IPv6 network that one household has
	MobileASNs, SatelliteASNs             []uint32
}

// Route is a route of the configuration.
type Route struct{ Name, Host string }

// history is the production behaviour engine.
type history interface {
	Assess(v behavior.Visit) behavior.Assessment
	Record(v behavior.Visit, action policy.Action)
	Active(s authn.Subject, at time.Time)
	Begun(v behavior.Visit)
	Answered(v behavior.Visit)
	Enrolled(v behavior.Visit)
}

// session is a signed-in browser with its last assertion.
type session struct {
	id                    string
	begun, seen, verified time.Time
	net                   network
	device                device
}

type simulation struct {
	config   Config
	calendar *calendar
	history  history
	rng      *rand.Rand // of prompts and passkeys, so that they do not change the rest
	enrolled map[*person]bool
	now      time.Time
	sessions map[string]*session // by person and browser
	count    int
	report   *Report
	exercise *exercise
	without  map[int]*policy.Policy // the policy with one rule that only reports
}

// Run lives one run of one seed and reports. A year of the default company takes about half
// a minute.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Policy == nil {
		return nil, errors.New("company: no policy")
	}
	if c.Days <= 0 {
		return nil, fmt.Errorf("company: %d days is no time to simulate", c.Days)
	}
	if c.Model.People < 1 || c.Model.People > MaxPeople {
		return nil, fmt.Errorf("company: %d people; a model has 1 to %d", c.Model.People, MaxPeople)
	}
	if len(c.Routes) == 0 {
		c.Routes = []Route{{Host: "tool.example.com"}}
	}
	cal, err := newCalendar(c.Seed, c.Model, c.Days)
	if err != nil {
		return nil, err
	}
	s := &simulation{rng: rand.New(rand.NewPCG(c.Seed, 2<<32)), enrolled: map[*person]bool{}, config: c, calendar: cal, sessions: map[string]*session{}, report: newReport(c, cal.people), exercise: newExercise(c.Policy), without: map[int]*policy.Policy{}}
	s.now = cal.begin
	if s.history, err = newHistory(func() time.Time { return s.now }, c.Settings, cal); err != nil {
		return nil, err
	}
	for d := range c.Days {
		for _, v := range cal.day(d) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s.now = v.at
			s.visit(&v)
		}
		s.report.endDay(d)
		if (d+1)%7 == 0 || d+1 == c.Days {
			s.report.endWeek()
		}
		if c.Progress != nil {
			c.Progress(d+1, c.Days)
		}
	}
	s.report.finish()
	s.exercise.done()
	s.report.exercise = s.exercise
	return s.report, nil
}

// visit judges one request, lets the person answer if they can, and remembers.
func (s *simulation) visit(v *visit) {
	ses := s.session(v)
	if ses == nil { // there is no session to steal
		return
	}
	count := s.report.open(v)
	if ses.begun.Equal(v.at) {
		count.signIns++
		s.signedIn(v, ses)
	}
	facts, seen := s.facts(v, ses)
	first, outcomes := s.judge(&facts)
	s.exercise.note(count.kind.side(), &facts, &outcomes)
	count.credit(s.credit(&facts, first, &outcomes))
	last := first
	if first.Action == policy.StepUp {
		s.prompted(v, seen)
	}
	if first.Action == policy.StepUp && !v.thief {
		ses.verified, ses.net, ses.device = v.at, v.net, v.device
		facts, seen = s.facts(v, ses)
		last, outcomes = s.judge(&facts)
		s.exercise.note(count.kind.side(), &facts, &outcomes)
	}
	s.history.Record(seen, last.Action)
	if last.Action == policy.Allow {
		s.history.Active(v.person.subject, v.at)
	}
	count.judged(first, last)
}

// signedIn notes the prompt of a new session, and the passkeys that are enrolled: by those
// who start, and now and then by others.
func (s *simulation) signedIn(v *visit, ses *session) {
	at := s.visited(v, ses)
	if further := s.rng.Float64() < s.config.Model.NewPasskey; !s.enrolled[v.person] && v.person.first >= 0 || further {
		s.history.Enrolled(at)
	}
	s.enrolled[v.person] = true
	s.prompted(v, at)
}

// prompted notes that a passkey is asked for, and whether it is given: a thief has none,
// and the operator of a hired account is not always where its sensor is. A prompt that was left
// is of a session before this one.
func (s *simulation) prompted(v *visit, at behavior.Visit) {
	left := s.config.Model.PromptLeft
	if v.person.kind.hostile() {
		left = s.config.Model.NotAtSensor
	}
	if s.rng.Float64() < left {
		before := at
		before.Session += "-left-" + strconv.FormatInt(v.at.Unix(), 10)
		s.history.Begun(before)
	}
	s.history.Begun(at)
	if !v.thief {
		s.history.Answered(at)
	}
}

func (s *simulation) judge(f *policy.Facts) (policy.Decision, policy.Outcomes) {
	return s.config.Policy.Judge(f, s.config.Policy.Partial(f))
}

// credit says what a rule has to do with a question or refusal: alone are the rules without
// which there would be none, or a lighter one (of a rule in report mode: with which there
// would be one, or a stricter one); also are those that matched as well.
func (s *simulation) credit(f *policy.Facts, d policy.Decision, o *policy.Outcomes) (alone, also []int) {
	for _, i := range o.Decided {
		if d.Action == policy.Allow {
			break
		}
		if len(d.Rules) == 1 {
			alone = append(alone, i)
			continue
		}
		if s.without[i] == nil {
			s.without[i] = s.config.Policy.Enforcing(i, false)
		}
		if s.without[i].Decide(f).Action > d.Action {
			alone = append(alone, i)
		}
	}
	for j, i := range o.Reported {
		if d.Reported[j].Action < d.Action {
			alone = append(alone, i)
		}
	}
	if d.Action == policy.Allow {
		return alone, nil
	}
	for i := range o.Matched() {
		if !slices.Contains(alone, i) {
			also = append(also, i)
		}
	}
	return alone, also
}

// session returns the session that the browser shows; nil for a thief who comes too late.
func (s *simulation) session(v *visit) *session {
	key := v.person.email + " " + v.device.handle
	ses := s.sessions[key]
	if ses != nil && (v.at.Sub(ses.begun) > s.config.Settings.SessionMaxAge || v.at.Sub(ses.seen) > s.config.Settings.SessionIdle) {
		ses = nil
	}
	if v.thief {
		return ses
	}
	if ses == nil {
		s.count++
		ses = &session{id: "s" + strconv.Itoa(s.count), begun: v.at, verified: v.at, net: v.net, device: v.device}
		s.sessions[key] = ses
	}
	ses.seen = v.at
	return ses
}

// visited is a visit as behaviour sees it.
func (s *simulation) visited(v *visit, ses *session) behavior.Visit {
	return behavior.Visit{Subject: v.person.subject, At: v.at, Place: v.net.place, Device: ses.device.handle, Session: ses.id, Zone: ses.device.zone,
		Clock: v.person.timeZone, Home: v.person.lives}
}

func (s *simulation) facts(v *visit, ses *session) (policy.Facts, behavior.Visit) {
	p := v.person
	at := s.visited(v, ses)
	a := s.history.Assess(at)
	here, there := v.net.ip, ses.net.ip
	f := policy.Facts{
		IP:         here,
		User:       policy.User{Email: p.email, Subject: p.subject.ID, Issuer: p.subject.Issuer, Groups: p.groups, Countries: p.countries, TimeZone: p.timeZone, Region: p.region, Devices30d: a.Devices30d, HomeKM: a.HomeKM},
		Credential: credential(p.passkey),
		Session: policy.Session{ID: ses.id, Level: "verified", Age: v.at.Sub(ses.begun), VerifiedAge: v.at.Sub(ses.verified),
			VerifiedHere: here.Address == there.Address, Concurrent: a.Concurrent,
			CountryChanged: here.Country != there.Country, ASNChanged: here.ASN != there.ASN, UAChanged: v.device.family != ses.device.family},
		Seen: a.Seen, Travel: a.Travel, Address: a.Address, Device: a.Device, Activity: a.Activity, Browser: a.Browser,
		Request: s.request(v.at),
		Time:    policy.Time{Now: v.at},
	}
	if p.announced {
		f.User.Groups = append(slices.Clone(p.groups), s.config.Model.AnnouncedGroup)
	}
	f.User.StartedDays = int64(v.at.Sub(s.calendar.begin.AddDate(0, 0, p.first)) / (24 * time.Hour))
	return f, at
}

// credential is a passkey of a class.
func credential(class string) policy.Credential {
	c := policy.Credential{Class: class, Age: 90 * 24 * time.Hour}
	switch class {
	case "synced":
		c.BackupEligible, c.BackedUp = true, true
	case "attested":
		c.AttestationFormat = "packed"
	}
	return c
}

// request is what is asked for at a time: minutes and nanoseconds are as good as drawn.
func (s *simulation) request(at time.Time) policy.Request {
	m, x := &s.config.Model, float64(at.Nanosecond()/1000)/1e6
	route := s.config.Routes[at.Minute()%len(s.config.Routes)]
	if len(m.Routes) > 0 {
		route = s.weighted(float64(at.Minute()*60+at.Second()) / 3600)
	}
	r := policy.Request{Purpose: policy.PurposeAccess, Route: route.Name, Method: "GET", Host: route.Host, Path: "/"}
	for _, q := range m.Requests {
		if x < q.Share {
			r.Method, r.Path = q.Method, q.Path
			break
		}
		x -= q.Share
	}
	r.PathFolded = policy.FoldPath(r.Path)
	return r
}

// weighted is the route at a place from 0 to 1 among all weights.
func (s *simulation) weighted(x float64) Route {
	total := 0.0
	for _, w := range s.config.Model.Routes {
		total += w
	}
	x *= total
	last := s.config.Routes[0]
	for _, r := range s.config.Routes {
		w := s.config.Model.Routes[r.Name]
		if w == 0 {
			continue
		}
		if last = r; x < w {
			break
		}
		x -= w
	}
	return last
}
