package main

import (
	"context"
	"fmt"
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
	Reported bool      `help:"Only where a rule in mode report would have done something."`
	Shadow   bool      `help:"Only where the policy in shadow would have decided otherwise."`
}

// wanted is what the flags ask for; nil is everything.
func (f auditFilter) wanted(ctx context.Context, g *globals) (func(audit.Record) bool, error) {
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
	users := namesOf(ctx, g, f.User)
	about := func(user string) bool { return user != "" && slices.Contains(users, user) }
	add(f.User != "", func(r *audit.Record) bool {
		return about(r.User) || about(r.Detail["user"]) || about(r.Detail["owner"])
	})
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
	add(f.Reported, func(r *audit.Record) bool { return len(r.Reported) > 0 })
	add(f.Shadow, func(r *audit.Record) bool { return r.Shadow != nil })
	if all == nil {
		return nil, nil
	}
	return func(r audit.Record) bool {
		return !slices.ContainsFunc(all, func(holds func(*audit.Record) bool) bool { return !holds(&r) })
	}, nil
}

// namesOf are what records may call a person that text names. A log can be read without a
// store; with one, records have the address of their time.
func namesOf(ctx context.Context, g *globals, text string) []string {
	if text == "" {
		return nil
	}
	users := []string{text}
	if email, err := authn.ParseEmail(text); err == nil {
		users = []string{string(email)}
	}
	_ = withExistingStore(ctx, g, func(_ *config.Config, db *sqlstore.DB) error {
		who, err := find(ctx, db, text)
		for _, k := range who {
			for _, email := range k.Emails {
				users = append(users, string(email))
			}
		}
		return err
	})
	return users
}

// rulesOf are the rules that decided a record, that reported on it, and that would have
// decided it in the policy in shadow.
func rulesOf(r *audit.Record) []string {
	names := slices.Clone(r.Rules)
	for _, p := range r.Reported {
		names = append(names, p.Rule)
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
		if s[flag] == nil {
			s[flag] = map[string]bool{}
		}
		if v != "" {
			s[flag][v] = true
		}
	}
}

// asked are the words of a filter that a log may not have at all.
func (f auditFilter) asked() map[string][]string {
	return map[string][]string{"--event": f.Event, "--action": f.Action, "--rule": f.Rule, "--route": f.Route}
}
