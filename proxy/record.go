package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/proxy/audit"
)

// recordAllow has the request in the audit log before it is forwarded. A repeat of what
// is already there is counted, and costs no I/O.
func (g *Gate) recordAllow(r *http.Request, v *Verdict) error {
	if len(v.Decision.Reported) == 0 && len(v.Decision.Rules) == 0 && len(v.rpc.Methods) == 0 && !v.shadow.differs(&v.Decision) {
		known, err := g.Audit.Repeat(audit.Same{
			Session: v.Session.ID, IP: v.Facts.IP.Address, Route: v.Route.Name,
			Policy: v.snapshot.Policy.Hash(), Decision: policy.Allow.String(),
		})
		if known || err != nil {
			return err
		}
	}
	rec := g.record(r, v, "access", "")
	if len(v.rpc.Methods) > 0 {
		// Methods are the client's words, and each set of them is a line of its own.
		if known, err := g.Audit.Repeat(audit.SameAs(&rec)); known || err != nil {
			return err
		}
		if ok, _ := g.bounds.calls.Allow(v.Session.ID); !ok {
			return errManyCalls
		}
	}
	return g.Audit.Allow(r.Context(), rec)
}

// errManyCalls: a session calls so many different methods that the record of it would fill the disk.
var errManyCalls = errors.New("too many different calls")

// addressOf is the client as text. Facts have it once the request was judged, and
// then making it costs nothing.
func addressOf(v *Verdict) string {
	if v.Facts.IP.Address == "" && v.Client.IsValid() {
		return v.Client.String()
	}
	return v.Facts.IP.Address
}

// record is the audit record of what v says.
func (g *Gate) record(r *http.Request, v *Verdict, event, incident string) audit.Record {
	f := v.Facts // the record outlives the verdict
	rec := audit.Record{
		Time: g.Now(), Event: event, User: string(v.Session.Person.Email), Session: v.Session.ID,
		IP: addressOf(v), Country: f.IP.Country, ASN: f.IP.ASN,
		Method: r.Method, Host: v.Target.Host, Path: v.Target.Path,
		Action: v.Decision.Action.String(), Rules: v.Decision.Rules, Reasons: v.Decision.Reasons,
		Score: v.Decision.Score, Reported: v.Decision.Reported, Incident: incident, Facts: &f,
		Shadow: v.shadowRecord(&f),
	}
	if v.Route != nil {
		rec.Route = v.Route.Name
	}
	if len(v.rpc.Methods) > 0 {
		rec.Detail = map[string]string{"rpc_methods": strings.Join(v.rpc.Methods, " ")}
	}
	if s := v.snapshot; s != nil {
		rec.Policy = s.Policy.Hash()
		rec.Data = dataSources(s, rec.Time)
	}
	return rec
}

// turnedAway records that somebody does not get through, and returns the incident to
// tell them. What cannot be recorded is answered here, with 503: then ok is false.
func (g *Gate) turnedAway(w http.ResponseWriter, r *http.Request, v *Verdict, rec audit.Record) (incident string, ok bool) {
	incident, err := g.refused(r.Context(), rec)
	if err != nil {
		g.fail(w, r, v, fmt.Errorf("audit: %w", err))
		return "", false
	}
	v.incident = incident
	return incident, true
}

// refused writes the record, and returns the incident that it is found under. Where nobody is signed in, one address that knocks again and again is one line and a
// count, under the first incident: strangers must not be able to fill the disk. Neither must whoever has a session: what is refused
// to one more than sixty times at once, or once a second for long, is counted too.
func (g *Gate) refused(ctx context.Context, rec audit.Record) (string, error) {
	switch {
	case rec.IP == "":
		return rec.Incident, g.Audit.Append(ctx, rec)
	case rec.Session == "":
		rec.Action = policy.Block.String()
	default:
		if ok, _ := g.bounds.refusals.Allow(rec.Session); ok {
			return rec.Incident, g.Audit.Append(ctx, rec)
		}
		// The client's words, of which there are as many as it likes: each would be a line again.
		delete(rec.Detail, "rpc_methods")
	}
	rec.Path = cut(rec.Path, 256)
	if rec.Facts != nil {
		rec.Facts.Request.Path, rec.Facts.Request.UserAgent = rec.Path, cut(rec.Facts.Request.UserAgent, 128)
	}
	incident, known, err := g.Audit.RepeatRefusal(audit.SameAs(&rec))
	if known || err != nil {
		return incident, err
	}
	return rec.Incident, g.Audit.Allow(ctx, rec)
}

// dataSources says which IP data a decision rests on.
func dataSources(s *Snapshot, now time.Time) []audit.DataSource {
	sources := s.Intel.Sources()
	list := make([]audit.DataSource, len(sources))
	for i, src := range sources {
		list[i] = audit.DataSource{Name: src.Name, SHA256: src.SHA256, AgeHours: int64(age(src.Built, now) / time.Hour)}
		if src.Built.IsZero() {
			list[i].AgeHours = -1 // not loaded
		}
	}
	return list
}
