package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/load"
	"sallyport/policy/rehearse"
	"sallyport/proxy"
	"sallyport/proxy/audit"
	"sallyport/proxy/portal"
	"sallyport/proxy/rollout"
)

// recordedExplanation is what --json prints.
type recordedExplanation struct {
	Recorded *recordedView       `json:"recorded,omitempty"`
	Notes    []string            `json:"notes,omitempty"`
	Policy   string              `json:"policy"` // hash of the present one
	Now      policy.Explanation  `json:"now"`
	Then     *policy.Explanation `json:"then,omitempty"` // by the policy that decided, if that is another one and its text is kept
}

type recordedView struct {
	Seq     int64     `json:"seq"`
	Time    time.Time `json:"time"`
	Event   string    `json:"event"`
	User    string    `json:"user"`
	Action  string    `json:"action"`
	Rules   []string  `json:"rules"`
	Reasons []string  `json:"reasons"`
	Policy  string    `json:"policy"`
}

func (k recordedExplanation) print(std stdio, p policyExplainCmd) error {
	if p.JSON {
		return printJSON(std.out, k)
	}
	if r := k.Recorded; r != nil {
		fmt.Fprintf(std.out, "recorded %s: %s, %s", r.Time.UTC().Format(time.RFC3339), plain(r.Event), plain(r.Action))
		if len(r.Rules) > 0 {
			fmt.Fprintf(std.out, " by %s", plain(strings.Join(r.Rules, ", ")))
		}
		fmt.Fprintf(std.out, " (record %d, policy %.12s)\n", r.Seq, plain(r.Policy))
	}
	for _, n := range k.Notes {
		fmt.Fprintln(std.out, "note:", n)
	}
	if k.Then != nil {
		fmt.Fprint(std.out, "\nby the policy of then: ", k.Then.Brief())
	}
	fmt.Fprintf(std.out, "\nby the present policy %.12s: ", k.Policy)
	fmt.Fprint(std.out, p.text(k.Now))
	return nil
}

// explainSession judges a live session as of now: who they are and what they proved comes
// from the store, where they last were from the audit log.
func (p policyExplainCmd) explainSession(ctx context.Context, g *globals, std stdio, q *question) error {
	c, intel, now := q.config, q.intel, q.policy
	return withSessions(ctx, g, func(_ *config.Config, db *sqlstore.DB, m *session.Manager) error {
		records, err := m.List(ctx, session.Filter{ID: p.Session})
		if err != nil {
			return err
		}
		if len(records) == 0 {
			fmt.Fprintf(std.err, "There is no live session %q.\n", p.Session)
			return errNo
		}
		tokens, err := db.SessionTokens(ctx, p.Session)
		if err != nil {
			return err
		}
		last := lastRecordOf(c.AuditFile, p.Session)
		f, notes, err := p.sessionFacts(c, intel, records[0], tokens, last)
		if err != nil {
			return err
		}
		if err := p.change(now, f, nil); err != nil {
			return err
		}
		if p.Set != nil {
			notes = append(notes, setNote)
		}
		blocks, err := db.BlockedPeople(ctx)
		if err != nil {
			return err
		}
		e := now.Explain(f)
		e.Refused = whyBlocked(blocksOf(blocks, records[0].Person.Email, records[0].Person.Subject))
		return recordedExplanation{Notes: notes, Policy: now.Hash(), Now: e}.print(std, p)
	})
}

const setNote = "the facts for the present policy are changed by --set"

// sessionFacts puts together what is known of a session, and says what is not.
func (p policyExplainCmd) sessionFacts(c *config.Config, intel *ipintel.Snapshot, r session.Record, tokens []session.Token, last *audit.Record) (*policy.Facts, []string, error) {
	now := cmp.Or(time.Time(p.At), time.Now())
	f, notes := &policy.Facts{}, []string{}
	var addr netip.Addr
	var err error
	if last != nil {
		*f = *last.Facts
		addr = f.IP.Addr
		notes = append(notes, fmt.Sprintf("address, history, device and browser are those of the last record of the session, %s", last.Time.UTC().Format(time.RFC3339)))
	}
	v := bestProof(tokens, c, cmp.Or(p.Route, f.Request.Route))
	switch {
	case p.IP != "":
		given, err := netip.ParseAddr(p.IP)
		if err != nil || given.Zone() != "" {
			return nil, nil, fmt.Errorf("--ip: %q is not an IP address", p.IP)
		}
		addr = given.Unmap()
	case !addr.IsValid() && v.Addr.IsValid():
		addr = v.Addr
		notes = append(notes, "the address is where the passkey was used; the audit log at hand has no record of the session, and history, device and browser are not known")
	case !addr.IsValid():
		return nil, nil, errors.New("--ip: it is not known where this session is used from")
	}
	if f.IP, err = ipFacts(c, intel, addr, now); err != nil {
		return nil, nil, err
	}
	f.Time.Now = now
	s := authn.Session{ID: r.ID, Person: r.Person, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, Verification: v}
	devices := f.User.Devices30d
	proxy.SessionFacts(f, s, addr, now)
	if last != nil {
		f.User.Devices30d = devices // of the history, as all else of it
	}
	if err := proxy.HomeFact(f, r.Person, intel.Lookup(addr), c.History()); err != nil {
		return nil, nil, err
	}
	notes = append(notes, "where the session is now, and what it asks for next, is not known: --ip, --route, --method and --path say otherwise")
	f.Request.Purpose, f.Request.Method = p.Purpose, strings.ToUpper(p.Method)
	if p.Route != "" || f.Request.Route == "" {
		route, err := p.route(c)
		if err != nil {
			return nil, nil, err
		}
		f.Request.Route, f.Request.Host = route.Name, route.Host()
		if f.Request.Path, err = p.path(c, route); err != nil {
			return nil, nil, err
		}
	} else if p.Path != "" {
		f.Request.Path = p.Path
	}
	return f, notes, nil
}

// bestProof is the proof that the host of a route has of a session, or the latest.
func bestProof(tokens []session.Token, c *config.Config, route string) authn.Verification {
	for _, r := range c.Routes {
		if i := slices.IndexFunc(tokens, func(t session.Token) bool { return r.Covers(t.Host) }); r.Name == route && i >= 0 {
			return tokens[i].Verification
		}
	}
	if len(tokens) == 0 {
		return authn.Verification{}
	}
	return tokens[0].Verification
}

// lastRecordOf is the latest decision about a session among the newest lines, or nil.
func lastRecordOf(log, id string) (last *audit.Record) {
	for line := range matching(audit.LastLines(log, rollout.RecentLines), "session", id) {
		if r := line.Record; r.Facts != nil && slices.Contains(rollout.JudgedEvents, r.Event) && r.Session == id {
			last = &r
		}
	}
	return last
}

// matching decodes the lines in which a key has a value. What cannot be read is not
// among them.
func matching(lines iter.Seq2[audit.Line, error], key, value string) iter.Seq[audit.Line] {
	quoted, err := json.Marshal(value)
	if err != nil {
		return func(func(audit.Line) bool) {} // text can always be written as JSON
	}
	want := fmt.Appendf(nil, "%q:%s", key, quoted)
	return func(yield func(audit.Line) bool) {
		for line, err := range lines {
			if err != nil || !bytes.Contains(line.Raw, want) {
				continue
			}
			if line.Decode() == nil && !yield(line) {
				return
			}
		}
	}
}

// explainIncident explains a recorded decision with the facts as they were recorded.
func (p policyExplainCmd) explainIncident(ctx context.Context, g *globals, std stdio, q *question) error {
	c, intel, now := q.config, q.intel, q.policy
	if !hasAudit(c.AuditFile) {
		return noAudit(c.AuditFile)
	}
	files, err := audit.Segments(c.AuditFile)
	if err != nil {
		return err
	}
	id := p.Incident
	if as, ok := portal.ReadIncident(id); ok {
		id = as
	}
	var line, other *audit.Line
	for l := range matching(audit.Lines(files...), "incident", id) {
		if l.Record.Incident != id {
			continue
		}
		// Without a purpose nothing was judged: a request that is none has facts, all of
		// them empty.
		if l.Raw = bytes.Clone(l.Raw); l.Record.Facts != nil && l.Record.Facts.Request.Purpose != "" {
			line = &l
			break
		}
		other = &l
	}
	switch {
	case line == nil && other != nil:
		fmt.Fprintf(std.err, "Incident %s is record %d, %s at %s (%s): the policy was not asked, and there is nothing to explain.\n", plain(id), other.Record.Seq,
			plain(other.Record.Event), other.Record.Time.UTC().Format(time.RFC3339), plain(cmp.Or(other.Record.Detail["reason"], other.Record.Detail["code"], "no reason is recorded")))
		o := &other.Record
		fmt.Fprintf(std.err, "It was %s %s on route %s, by %s from %s.\n", plain(cmp.Or(o.Method, "a request")), plain(cmp.Or(o.Path, "without a recorded path")),
			plain(cmp.Or(o.Route, "(none)")), plain(cmp.Or(o.User, "a person who was not signed in")), plain(cmp.Or(o.IP, "an unknown address")))
		return errNo
	case line == nil:
		fmt.Fprintf(std.err, "No record has the incident %s, in %s.\n", plain(id), strings.Join(files, ", "))
		return errNo
	}
	r, changed := line.Record, *line.Record.Facts
	changed.IP.DeriveRegion()
	if err := p.change(now, &changed, nil); err != nil {
		return err
	}
	k := recordedExplanation{Policy: now.Hash(), Now: now.Explain(&changed), Recorded: &recordedView{r.Seq, r.Time, r.Event, r.User, r.Action, r.Rules, r.Reasons, r.Policy}}
	k.Now.Refused = blockedNow(ctx, g, std, r.Facts.User)
	k.Notes = append(k.Notes, "the facts are those that were recorded; whether the log is intact says `sallyport audit verify`")
	if !slices.Contains(rollout.JudgedEvents, r.Event) && r.Event != "message" {
		k.Notes = append(k.Notes, "the event is no decision of the policy: it has the facts of the one before it, and a reason of its own: "+
			plain(cmp.Or(r.Detail["reason"], r.Detail["code"], "none is recorded")))
	}
	if p.Set != nil {
		k.Notes = append(k.Notes, setNote)
	}
	if rehearse.MayLack(line.Raw, r.FactsVersion) {
		if lacking := lackingOf(line.Raw, r.FactsVersion, now.FactNames()); len(lacking) > 0 {
			k.Notes = append(k.Notes, "the record lacks these facts, shown as zero: "+strings.Join(lacking, ", "))
		}
	}
	if r.Policy != now.Hash() {
		k.Then = p.policyOfThen(ctx, g, std, c, intel, r, &k.Notes)
	}
	return k.print(std, p)
}

func lackingOf(raw []byte, version int, names []string) []string {
	var l struct{ Facts json.RawMessage }
	if json.Unmarshal(raw, &l) != nil {
		return nil // it was read before
	}
	lacking, err := rehearse.Lacking(l.Facts, version, names)
	if err != nil {
		return nil
	}
	return lacking
}

// policyOfThen explains with the policy that decided, if its text is kept and still
// fits the configuration.
func (p policyExplainCmd) policyOfThen(ctx context.Context, g *globals, std stdio, c *config.Config, intel *ipintel.Snapshot, r audit.Record, notes *[]string) *policy.Explanation {
	note := func(why string) *policy.Explanation {
		*notes = append(*notes, "the policy has changed since, and by which rules it was decided is only what the record says: "+why)
		return nil
	}
	if _, err := os.Stat(strings.TrimPrefix(c.Store, "sqlite:")); err != nil || !policy.IsHashPrefix(r.Policy) {
		return note("there is no store to find it in")
	}
	var source string
	err := withExistingStore(ctx, g, func(_ *config.Config, db *sqlstore.DB) (err error) {
		_, source, err = db.PolicyText(ctx, r.Policy)
		return err
	})
	if err != nil {
		return note("its text is not kept")
	}
	what := asRecorded(policyConfig(c, intel))
	what.Name, what.Source = "policy "+r.Policy, []byte(source)
	then, err := load.Read(what) // its tests passed in its own time
	if err != nil {
		return note("its text does not fit the present configuration")
	}
	*notes = append(*notes, "the policy has changed since")
	e := keyedAsHere(ctx, g, std, then.Policy).Explain(r.Facts)
	return &e
}
