package company

import (
	"context"
	"errors"
	"fmt"
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
	Days   int   // 1 or more
	Model  Model // zero is DefaultModel
	// Routes are visited in turn; empty is one without a name.
	Routes []string
	// Progress is called after every day. It may be nil.
	Progress func(day, days int)
}

// history is the production behaviour engine.
type history interface {
	Assess(v behavior.Visit) behavior.Assessment
	Record(v behavior.Visit, action policy.Action)
	Active(s authn.Subject, at time.Time)
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
	now      time.Time
	sessions map[string]*session // by person and browser
	count    int
	report   *Report
}

// Run lives the year and reports. It takes about half a minute for the default company.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Policy == nil {
		return nil, errors.New("company: no policy")
	}
	if c.Days <= 0 {
		return nil, fmt.Errorf("company: %d days is no time to simulate", c.Days)
	}
	if c.Model == (Model{}) {
		c.Model = DefaultModel
	}
	if len(c.Routes) == 0 {
		c.Routes = []string{""}
	}
	cal, err := newCalendar(c.Seed, c.Model, c.Days)
	if err != nil {
		return nil, err
	}
	s := &simulation{config: c, calendar: cal, sessions: map[string]*session{}, report: newReport(c, cal.people)}
	s.now = cal.begin
	if s.history, err = newHistory(func() time.Time { return s.now }, c.Model, cal.people); err != nil {
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
		if c.Progress != nil {
			c.Progress(d+1, c.Days)
		}
	}
	s.report.finish()
	return s.report, nil
}

// visit judges one request, lets the person answer if they can, and remembers.
func (s *simulation) visit(v *visit) {
	ses := s.session(v)
	if ses == nil { // there is no session to steal
		return
	}
	count := s.report.open(v)
	facts, seen := s.facts(v, ses)
	first := s.config.Policy.Decide(&facts)
	last := first
	if first.Action == policy.StepUp && !v.thief {
		ses.verified, ses.net, ses.device = v.at, v.net, v.device
		facts, seen = s.facts(v, ses)
		last = s.config.Policy.Decide(&facts)
	}
	s.history.Record(seen, last.Action)
	if last.Action == policy.Allow {
		s.history.Active(v.person.subject, v.at)
	}
	count.judged(first, last)
}

// session returns the session that the browser shows; nil for a thief who comes too late.
func (s *simulation) session(v *visit) *session {
	key := v.person.email + " " + v.device.handle
	ses := s.sessions[key]
	if ses != nil && (v.at.Sub(ses.begun) > s.config.Model.SessionMaxAge || v.at.Sub(ses.seen) > s.config.Model.SessionIdle) {
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

func (s *simulation) facts(v *visit, ses *session) (policy.Facts, behavior.Visit) {
	p := v.person
	at := behavior.Visit{Subject: p.subject, At: v.at, Place: v.net.place, Device: ses.device.handle, Session: ses.id, Zone: ses.device.zone}
	a := s.history.Assess(at)
	here, there := v.net.ip, ses.net.ip
	f := policy.Facts{
		IP:         here,
		User:       policy.User{Email: p.email, Subject: p.subject.ID, Issuer: p.subject.Issuer, Countries: []string{p.city.country}, TimeZone: p.city.zone},
		Credential: policy.Credential{Class: "unattested", Age: 90 * 24 * time.Hour},
		Session: policy.Session{ID: ses.id, Level: "verified", Age: v.at.Sub(ses.begun), VerifiedAge: v.at.Sub(ses.verified),
			VerifiedHere: here.Address == there.Address, Concurrent: a.Concurrent,
			CountryChanged: here.Country != there.Country, ASNChanged: here.ASN != there.ASN, UAChanged: v.device.family != ses.device.family},
		Seen: a.Seen, Travel: a.Travel, Address: a.Address, Device: a.Device, Activity: a.Activity, Browser: a.Browser,
		Request: policy.Request{Purpose: policy.PurposeAccess, Route: s.config.Routes[v.at.Minute()%len(s.config.Routes)], Method: "GET", Host: "treasury.example.com", Path: "/"},
		Time:    policy.Time{Now: v.at},
	}
	if p.announced {
		f.User.Groups = []string{"travelling"}
	}
	f.User.StartedDays = int64(v.at.Sub(s.calendar.begin.AddDate(0, 0, p.first)) / (24 * time.Hour))
	if v.at.Second()%20 == 0 { // one in twenty changes something
		f.Request.Method, f.Request.Path = "POST", "/payments"
	}
	return f, at
}
