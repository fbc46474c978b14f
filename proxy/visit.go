package proxy

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/policy"
	"sallyport/policy/behavior"
	"sallyport/proxy/edge"
	"sallyport/proxy/portal"
)

// pageRequest is a request to the portal, as portal.PageRequest wants to see it.
type pageRequest struct {
	gate    *Gate
	request *http.Request
	verdict *Verdict
}

var _ portal.PageRequest = (*pageRequest)(nil)

func (v *pageRequest) Origin() string { return v.verdict.Target.Scheme + "://" + v.verdict.Target.Host }
func (v *pageRequest) Path() string   { return v.verdict.Target.Path }

// Ours asks the routes that this request is judged by.
func (v *pageRequest) Ours(origin string) bool {
	return v.gate.serves(v.verdict.snapshot, origin)
}

// Judge asks the same questions as for a route, with another purpose.
func (v *pageRequest) Judge(purpose string) (portal.Judgement, error) {
	v.verdict.Route = nil
	if err := v.gate.judge(v.request, v.verdict, purpose); err != nil {
		return portal.Judgement{}, err
	}
	v.gate.recordVisit(v.request, v.verdict, v.verdict.Decision.Action)
	return portal.Judgement{
		Session: v.verdict.Session, Facts: v.verdict.Facts, Decision: v.verdict.Decision, Incident: portal.NewIncident(),
	}, nil
}

// JudgeHandoff asks about handing the session over to a host.
func (v *pageRequest) JudgeHandoff(host string, began netip.Addr) (portal.Judgement, error) {
	place := v.Locate(began)
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	v.verdict.handoff = &policy.Handoff{
		Known: true, Host: host, Country: place.Country, ASN: place.ASN,
		SameNetwork: sameHere(began, v.verdict.Client), SameProvider: v.Near(began, v.verdict.Client),
	}
	defer func() { v.verdict.handoff = nil }()
	return v.Judge(policy.PurposeSignIn)
}

// Unanswered is how many proofs in a row did not answer what is asked for here.
func (v *pageRequest) Unanswered() int { return v.gate.unanswered(v.verdict) }

// Proof is the newest assertion of the session that this host has.
func (v *pageRequest) Proof() session.Proof {
	return session.Proof{Session: v.verdict.Session.ID, At: v.verdict.Session.Verification.At}
}

// Addr is the client's address.
func (v *pageRequest) Addr() netip.Addr { return v.verdict.Client }

// Locate is what the IP data says of an address.
func (v *pageRequest) Locate(a netip.Addr) policy.IP {
	return v.verdict.snapshot.Intel.Lookup(a).Facts(v.gate.cfg.Now())
}

// Near reports whether two addresses may be one person's at the same time: they are in
// one network, or of one provider, whose line may have an IPv4 and an IPv6 address, or
// changing ones. It is false if the provider of either is unknown.
func (v *pageRequest) Near(a, b netip.Addr) bool {
	if sameHere(a, b) {
		return true
	}
	if !a.IsValid() || !b.IsValid() {
		return false
	}
	intel := v.verdict.snapshot.Intel
	x, y := intel.Lookup(a), intel.Lookup(b)
	return x.ASN != 0 && x.ASN == y.ASN
}

// sameHere is sameNetwork, but counts this machine as one network, with all its loopback
// addresses.
func sameHere(a, b netip.Addr) bool {
	return sameNetwork(a, b) || a.IsLoopback() && b.IsLoopback()
}

// Told are the groups that the tools of this host may know: their scripts read our
// answers here. The sign-in host has no tool.
func (v *pageRequest) Told(groups []string) []string {
	if v.Origin() == v.gate.cfg.SignIn {
		return groups
	}
	s := v.verdict.snapshot
	told := map[string]bool{}
	for _, r := range s.Routes.At(v.verdict.Target) {
		if r.Scheme != v.verdict.Target.Scheme {
			continue
		}
		options := s.Options[r.Name]
		some, _ := options.Groups.of(groups)
		for _, name := range some {
			told[name] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(groups), func(name string) bool { return !told[name] })
}

// StepUpDue reports whether a GET of a path of this origin would be answered with a
// step-up. It records nothing, because it refuses nothing. It returns false for every
// other outcome, which the request itself will meet and record.
func (v *pageRequest) StepUpDue(path string) bool {
	u, err := url.ParseRequestURI(path)
	if err != nil || !strings.HasPrefix(path, "/") {
		return false
	}
	r := v.request.Clone(v.request.Context())
	r.Method, r.URL, r.RequestURI = http.MethodGet, u, path
	r.Body, r.ContentLength = http.NoBody, 0
	for _, name := range []string{"Content-Length", "Content-Type", "Upgrade"} {
		r.Header.Del(name)
	}
	var about Verdict
	err = v.gate.Check(r, &about)
	about.release()
	return err == nil && about.foreign == "" && about.Decision.Action == policy.StepUp
}

// Browser is the browser that makes an assertion with this request.
func (v *pageRequest) Browser() authn.Browser {
	return authn.Browser{
		Device: v.gate.cfg.Sessions.Device(v.request), Family: v.gate.uaFamilies.of(v.request.UserAgent()), JA4: edge.FingerprintOf(v.request).Family,
	}
}

// Record writes an identity event about the judgement. The portal may have changed the
// judgement since (a new session, another person).
func (v *pageRequest) Record(ctx context.Context, event string, j portal.Judgement, detail map[string]string) error {
	about := Verdict{Decision: j.Decision, Target: v.verdict.Target, Client: v.verdict.Client, Session: j.Session, Facts: j.Facts, snapshot: v.verdict.snapshot}
	rec := v.gate.record(v.request, &about, event, j.Incident)
	rec.Detail = detail
	// The record is finished once it has begun, even if the browser has gone meanwhile.
	found, err := v.gate.cfg.Audit.Record(context.WithoutCancel(ctx), rec)
	v.verdict.made, v.verdict.incident = j.Incident, found
	if err == nil {
		v.gate.ceremony(v, event, j)
	}
	return err
}

// Asks notes that the person is asked for their passkey.
func (v *pageRequest) Asks(j portal.Judgement) { v.gate.ceremony(v, "step_up_begun", j) }

// ceremony passes what a person did with a passkey to behaviour.
func (g *Gate) ceremony(v *pageRequest, event string, j portal.Judgement) {
	if g.cfg.Behavior == nil {
		return
	}
	note := map[string]func(behavior.Visit){"step_up_begun": g.cfg.Behavior.Begun, "step_up": g.cfg.Behavior.Answered, "enroll": g.cfg.Behavior.Enrolled}[event]
	if note == nil {
		return
	}
	network := v.verdict.snapshot.lookup(v.verdict.Client)
	note(visitOf(&j.Session, network, g.cfg.Sessions.Device(v.request), g.cfg.Now()))
}

// Reference is the incident to show to the person. If the record was counted with others,
// it is that of the first.
func (v *pageRequest) Reference(incident string) string {
	if incident != "" && incident == v.verdict.made && v.verdict.incident != "" {
		return v.verdict.incident
	}
	return incident
}
