package proxy

import (
	"context"
	"net/http"

	"sallyport/authn"
	"sallyport/proxy/edge"
	"sallyport/proxy/portal"
)

// visit is a request to the portal, as portal.Visit wants to see it.
type visit struct {
	gate    *Gate
	request *http.Request
	verdict *Verdict
}

var _ portal.Visit = (*visit)(nil)

func (v *visit) Origin() string { return v.verdict.Target.Scheme + "://" + v.verdict.Target.Host }
func (v *visit) Path() string   { return v.verdict.Target.Path }

// Judge asks the same questions as for a route, with another purpose.
func (v *visit) Judge(purpose string) (portal.Judgement, error) {
	v.verdict.Route = nil
	if err := v.gate.judge(v.request, v.verdict, purpose); err != nil {
		return portal.Judgement{}, err
	}
	v.gate.note(v.request, v.verdict, v.verdict.Decision.Action)
	return portal.Judgement{
		Session: v.verdict.Session, Facts: v.verdict.Facts, Decision: v.verdict.Decision, Incident: portal.NewIncident(),
	}, nil
}

// Browser is what an assertion that this request brings was made with.
func (v *visit) Browser() authn.Browser {
	return authn.Browser{
		Device: v.gate.Sessions.Device(v.request), Family: v.gate.families.of(v.request.UserAgent()), JA4: edge.FingerprintOf(v.request).Family,
	}
}

// Record writes an identity event about the judgement, which the portal may have moved
// on since (a new session, another person).
func (v *visit) Record(ctx context.Context, event string, j portal.Judgement, detail map[string]string) error {
	about := Verdict{Decision: j.Decision, Target: v.verdict.Target, Client: v.verdict.Client, Session: j.Session, Facts: j.Facts, snapshot: v.verdict.snapshot}
	rec := v.gate.record(v.request, &about, event, j.Incident)
	rec.Detail = detail
	// A record that is begun is finished, even if the browser has gone meanwhile.
	return v.gate.Audit.Append(context.WithoutCancel(ctx), rec)
}
