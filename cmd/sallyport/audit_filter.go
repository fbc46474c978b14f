package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/policy/strictyaml"
	"sallyport/proxy/audit"
	"sallyport/proxy/portal"
)

// moment is a flag that names a point in time: RFC 3339, a date with or without a time of
// the day in the zone of this machine, or how long ago (2h, 7d).
type moment time.Time

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *moment) UnmarshalText(text []byte) error {
	s := string(text)
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		*m = moment(t)
		return nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", "2006-01-02T15:04", time.DateTime, "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			*m = moment(t)
			return nil
		}
	}
	var ago span
	if err := ago.UnmarshalText(text); err != nil {
		return fmt.Errorf("%q is not a time such as 2026-01-31, \"2026-01-31 09:00\", 2026-01-31T09:00:00Z, or how long ago: 12h, 7d", s)
	}
	*m = moment(time.Now().Add(-time.Duration(ago)))
	return nil
}

// network is a flag that names an address or a network.
type network struct{ netip.Prefix }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *network) UnmarshalText(text []byte) (err error) {
	n.Prefix, err = policy.ParseNetwork(string(text))
	return err
}

// asn is a flag that names an autonomous system: 64500 or AS64500.
type asn int64

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *asn) UnmarshalText(text []byte) error {
	n, ok := strictyaml.NumberMeant(string(text))
	if !ok {
		return fmt.Errorf("%q is not an autonomous system such as 64500 or AS64500", text)
	}
	*a = asn(n)
	return nil
}

// auditFilter are the flags that select records. Each is a condition, and all have to hold;
// given more than once, one of its values is enough.
type auditFilter struct {
	User     string    `placeholder:"PERSON" help:"Only what this person did, and what is about them: an address that they have or had, or their subject."`
	Incident string    `placeholder:"REFERENCE" help:"Only the record with this reference."`
	Event    []string  `placeholder:"EVENT" help:"Only these events, such as step_up_failed."`
	Action   []string  `placeholder:"ACTION" help:"Only what came to this: allow, step_up, block, refused."`
	IP       []network `name:"ip" placeholder:"NETWORK" help:"Only from these addresses or networks."`
	ASN      []asn     `name:"asn" placeholder:"ASN" help:"Only from these autonomous systems, such as AS64500."`
	Device   []string  `placeholder:"HANDLE" help:"Only from these browsers, by the device handle of a record."`
	Rule     []string  `placeholder:"RULE" help:"Only what these rules decided, reported, or would have decided in the policy in shadow."`
	Route    []string  `placeholder:"ROUTE" help:"Only requests to these routes."`
	Since    moment    `placeholder:"TIME" help:"Only from then on: 2026-01-31, \"2026-01-31 09:00\", or how long ago (2h, 7d)."`
	Until    moment    `placeholder:"TIME" help:"Only before then."`
	Excepted bool      `help:"Only where an exception suspended a rule that would have done something."`
	Reported bool      `help:"Only where a rule in mode report would have done something."`
	Shadow   bool      `help:"Only where the policy in shadow would have decided otherwise."`
}

// wanted is what the flags ask for; nil is everything.
func (f auditFilter) wanted(ctx context.Context, g *globals, note io.Writer) (func(audit.Record) bool, error) {
	var all []func(*audit.Record) bool
	add := func(given bool, holds func(*audit.Record) bool) {
		if given {
			all = append(all, holds)
		}
	}
	if err := personText(f.User); err != nil {
		return nil, fmt.Errorf("--user: %w", err)
	}
	since, until := time.Time(f.Since), time.Time(f.Until)
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return nil, fmt.Errorf("--since %s is not before --until %s", since.Format(time.RFC3339), until.Format(time.RFC3339))
	}
	who, err := namesOf(ctx, g, f.User, note)
	if err != nil {
		return nil, fmt.Errorf("--user: %w", err)
	}
	add(f.User != "", who.in)
	incident := f.Incident
	if as, ok := portal.ReadIncident(incident); ok {
		incident = as
	}
	add(incident != "", func(r *audit.Record) bool { return r.Incident == incident })
	add(f.Event != nil, func(r *audit.Record) bool { return slices.Contains(f.Event, r.Event) })
	add(f.Action != nil, func(r *audit.Record) bool { return slices.Contains(f.Action, audit.Outcome(r.Event, r.Action)) })
	add(f.IP != nil, func(r *audit.Record) bool {
		addr, err := netip.ParseAddr(r.IP)
		return err == nil && slices.ContainsFunc(f.IP, func(n network) bool { return n.Contains(addr.Unmap().WithZone("")) })
	})
	add(f.ASN != nil, func(r *audit.Record) bool { return slices.Contains(f.ASN, asn(r.ASN)) })
	add(f.Device != nil, func(r *audit.Record) bool {
		return slices.ContainsFunc(f.Device, func(d string) bool { return d != "" && (d == r.Device || d == r.Detail["device"]) })
	})
	add(f.Rule != nil, func(r *audit.Record) bool {
		return slices.ContainsFunc(rulesOf(r), func(name string) bool { return slices.Contains(f.Rule, name) })
	})
	add(f.Route != nil, func(r *audit.Record) bool { return slices.Contains(f.Route, r.Route) })
	add(!since.IsZero(), func(r *audit.Record) bool { return !r.Time.Before(since) })
	add(!until.IsZero(), func(r *audit.Record) bool { return r.Time.Before(until) })
	add(f.Excepted, func(r *audit.Record) bool { return len(r.Excepted) > 0 })
	add(f.Reported, func(r *audit.Record) bool { return len(r.Reported) > 0 })
	add(f.Shadow, func(r *audit.Record) bool { return r.Shadow != nil })
	if all == nil {
		return nil, nil
	}
	return func(r audit.Record) bool {
		return !slices.ContainsFunc(all, func(holds func(*audit.Record) bool) bool { return !holds(&r) })
	}, nil
}

// recorded is what records may call one person.
type recorded struct {
	names   []string // addresses and the subject, as texts
	subject authn.Subject
	shared  bool // another person had one of the addresses
}

// in reports whether a record is about the person: what they did, or what was done to them.
func (p recorded) in(r *audit.Record) bool {
	var did authn.Subject
	if r.Facts != nil {
		did = authn.Subject{Issuer: r.Facts.User.Issuer, ID: r.Facts.User.Subject}
	}
	done := authn.Subject{Issuer: r.Detail["issuer"], ID: r.Detail["subject"]}
	if did.ID == "" && r.Detail["user"] == "" { // of events without facts, the person's own
		did = done
	}
	return p.is(r.User, did) || p.is(r.Detail["user"], done) || p.is(r.Detail["owner"], authn.Subject{})
}

// is reports whether a record names the person, by an address and a subject of which it
// may have either. An address that another person had counts where there is no subject.
func (p recorded) is(user string, s authn.Subject) bool {
	if s.ID != "" && p.subject.ID != "" {
		same := s.ID == p.subject.ID && (s.Issuer == "" || p.subject.Issuer == "" || s.Issuer == p.subject.Issuer)
		if same || p.shared {
			return same
		}
	}
	return user != "" && slices.Contains(p.names, user)
}

// namesOf says what records call the person that text names, and refuses a text that names
// several. A log can be read without a store; with one, records have the address of their
// time. Without one, only what text says itself is found, and that is noted.
func namesOf(ctx context.Context, g *globals, text string, note io.Writer) (who recorded, err error) {
	if text == "" {
		return who, nil
	}
	email, none := authn.ParseEmail(text)
	who.names = []string{text}
	if none == nil {
		who.names = []string{string(email)}
	} else if who.subject = authn.ParseSubject(text); who.subject.IsZero() {
		who.subject.ID = text
	}
	var ambiguous error
	failed := withExistingStore(ctx, g, func(_ *config.Config, db *sqlstore.DB) error {
		found, err := find(ctx, db, text)
		if err != nil {
			return err
		}
		k, err := only(found, text)
		if ambiguous = err; k == nil {
			return nil
		}
		who.subject = k.Subject
		for _, email := range k.Emails {
			who.names = append(who.names, string(email))
			others, err := find(ctx, db, string(email))
			if err != nil {
				return err
			}
			who.shared = who.shared || len(others) > 1
		}
		return nil
	})
	if failed != nil {
		fmt.Fprintf(note, "note: the store cannot be read, so only records that say %s themselves are found, and none under another address or the subject: %s\n", plain(text), plainLines(failed.Error()))
	}
	if who.shared {
		fmt.Fprintf(note, "note: another person had an address of %s; records that have the address alone may be theirs\n", subjectName(who.subject))
	}
	return who, ambiguous
}

// rulesOf are the rules that decided a record, that reported on it, that an exception
// suspended, and that would have decided it in the policy in shadow.
func rulesOf(r *audit.Record) []string {
	names := slices.Clone(r.Rules)
	for _, p := range r.Reported {
		names = append(names, p.Rule)
	}
	for _, x := range r.Excepted {
		names = append(names, x.Rule)
	}
	if r.Shadow != nil {
		names = append(names, r.Shadow.Rules...)
	}
	return names
}

// seenValues is what a log has, by flag, to tell a person whose search found nothing which
// word of theirs is in no record.
type seenValues map[string]map[string]bool

func (s seenValues) add(r *audit.Record) {
	s.note("--event", r.Event)
	s.note("--action", audit.Outcome(r.Event, r.Action))
	s.note("--route", r.Route)
	s.note("--rule", rulesOf(r)...)
}

func (s seenValues) note(flag string, values ...string) {
	for _, v := range values {
		if v == "" {
			continue
		}
		if s[flag] == nil {
			s[flag] = map[string]bool{}
		}
		s[flag][v] = true
	}
}

// asked are the words of a filter that a log may not have at all.
func (f auditFilter) asked() map[string][]string {
	return map[string][]string{"--event": f.Event, "--action": f.Action, "--rule": f.Rule, "--route": f.Route}
}
