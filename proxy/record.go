package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/proxy/audit"
)

// recordAllow writes the request to the audit log before it is forwarded. A repeat of an
// earlier record is counted, and costs no I/O.
func (g *Gate) recordAllow(r *http.Request, v *Verdict) error {
	if len(v.Decision.Reported) == 0 && len(v.Decision.Excepted) == 0 && len(v.Decision.Rules) == 0 && len(v.rpc.Methods) == 0 && len(r.Header["Upgrade"]) == 0 && v.destination == "" && !v.shadow.differs(&v.Decision) {
		same := audit.RunKey{
			Session: v.Session.ID, IP: v.Facts.IP.Address, Route: v.Route.Name,
			Policy: v.snapshot.Policy.Hash(), Decision: policy.Allow.String(),
		}
		if !audit.Safe(r.Method) {
			same.Method, same.Path = cut(r.Method, maxMethod), audit.KeyPath(v.Target.Path)
		}
		if known, err := g.cfg.Audit.Count(same); known || err != nil {
			return err
		}
	}
	return g.cfg.Audit.AppendRun(r.Context(), g.record(r, v, "access", ""))
}

// maxMethod is longer than any registered method (RFC 3253 has BASELINE-CONTROL).
const maxMethod = 32

// maxDestination is as much as the log has of the path that a COPY or MOVE writes to.
const maxDestination = 2048

// addressOf is the client address as text. The facts hold that text once the request was
// judged, which saves an allocation.
func addressOf(v *Verdict) string {
	if v.Facts.IP.Address == "" && v.Client.IsValid() {
		return v.Client.String()
	}
	return v.Facts.IP.Address
}

// record is the audit record of v.
func (g *Gate) record(r *http.Request, v *Verdict, event, incident string) audit.Record {
	f := v.Facts              // the record outlives the verdict
	f.Request.PathFolded = "" // it follows from the path
	rec := audit.Record{
		Time: g.cfg.Now(), Event: event, User: string(v.Session.Person.Email), Session: v.Session.ID, Device: g.deviceOf(r, v, f.Request.Purpose),
		IP: addressOf(v), Country: f.IP.Country, ASN: f.IP.ASN,
		Method: cut(r.Method, maxMethod), Host: v.Target.Host, Path: v.Target.Path,
		Action: audit.Outcome(event, v.Decision.Action.String()), Rules: v.Decision.Rules, Reasons: v.Decision.Reasons,
		Score: v.Decision.Score, Reported: v.Decision.Reported, Excepted: v.Decision.Excepted, Incident: incident, Facts: &f,
		Shadow: v.shadowRecord(&f), Verified: v.Session.Level() == authn.Verified, Peer: peerOf(r),
	}
	if v.Route != nil {
		rec.Route = v.Route.Name
	}
	switch upgrade := r.Header["Upgrade"]; {
	case len(v.rpc.Methods) > 0:
		rec.Detail = map[string]string{"rpc_methods": strings.Join(v.rpc.Methods, " ")}
	case v.destination != "":
		rec.Detail = map[string]string{"destination": cut(v.destination, maxDestination)}
	case len(upgrade) > 0:
		rec.Detail = map[string]string{"upgrade": cut(upgrade[0], maxMethod)}
	}
	if s := v.snapshot; s != nil {
		rec.Policy = s.Policy.Hash()
		rec.Sources = s.sources
	}
	return rec
}

// recordRefusal records that a request is refused, and returns the incident for the
// answer. If the record cannot be written, it answers 503 itself and ok is false.
func (g *Gate) recordRefusal(w http.ResponseWriter, r *http.Request, v *Verdict, rec audit.Record) (incident string, ok bool) {
	incident, err := g.appendRefusal(r.Context(), rec)
	if err != nil {
		g.fail(w, r, v, fmt.Errorf("audit: %w", err))
		return "", false
	}
	v.incident = incident
	return incident, true
}

// appendRefusal writes the record, and returns the incident to search for. The auditor
// limits how much of the log refusals may fill.
func (g *Gate) appendRefusal(ctx context.Context, rec audit.Record) (string, error) {
	if rec.Session == "" {
		rec.Action = policy.Block.String()
	}
	return g.cfg.Audit.Record(ctx, rec)
}

// peerOf is the connected peer, for records without a client.
func peerOf(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // on error the zero Addr, so all of these count as one
	return peer.Addr()
}

// listSources names the IP data that decisions with s rest on, once for all of them.
func (g *Gate) listSources(s *Snapshot) {
	s.sources = nil
	if s.Intel == nil {
		return
	}
	var list []audit.DataSource
	for _, src := range s.Intel.Sources() {
		list = append(list, audit.DataSource{Name: src.Name, SHA256: src.SHA256, Built: src.Built})
	}
	if len(list) == 0 {
		return
	}
	var err error
	if s.sources, err = audit.NewDataList(list); err != nil {
		g.cfg.Logger.Error("the IP data cannot be named in records", "error", err)
	}
}
