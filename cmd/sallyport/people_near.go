package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy/behavior"
	"sallyport/policy/ipintel"
)

// peopleNearCmd names the people that address.people_30d and device.people_30d count.
type peopleNearCmd struct {
	storeFlag `embed:""`

	User string `arg:"" placeholder:"PERSON" help:"Whose addresses and devices: an address that they have or had, or their subject."`
	JSON bool   `name:"json" help:"One JSON object a line."`
}

// nearLine is one thing that another person has in common with the one asked about. Its
// keys are an interface.
type nearLine struct {
	User      authn.Email   `json:"user"`
	Issuer    string        `json:"issuer"`
	Subject   string        `json:"subject"`
	Shared    string        `json:"shared"`              // "address", "household" or "device"
	Device    string        `json:"device,omitempty"`    // its handle
	Place     string        `json:"place,omitempty"`     // names an address or a household, also once it is not kept
	Addresses []netip.Addr  `json:"addresses,omitempty"` // there, as far as they are kept
	Countries []string      `json:"countries,omitempty"` // there, at the time
	Networks  []nearNetwork `json:"networks,omitempty"`  // there, at the time
	First     time.Time     `json:"first_seen_at"`       // the other person
	Last      time.Time     `json:"last_seen_at"`
	OwnFirst  time.Time     `json:"own_first_seen_at"` // the one asked about
	OwnLast   time.Time     `json:"own_last_seen_at"`
}

type nearNetwork struct {
	ASN uint32 `json:"asn"`
	Org string `json:"org,omitempty"` // as the IP data has it now
}

func (p peopleNearCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if err := personText(p.User); err != nil {
		return err
	}
	return p.with(ctx, g, std, func(_ *config.Config, db *sqlstore.DB) error {
		k, err := findOne(ctx, db, p.User)
		if err != nil {
			return fmt.Errorf("people near: %w", err)
		}
		if k == nil {
			fmt.Fprintf(std.err, "No person is known here as %s.\n", plain(p.User))
			return errNo
		}
		sayFormer(std.err, p.User, k)
		// Before the names are shown: who looked is known even if the output is lost.
		if err := recordOperatorEvent(ctx, db, "people_near", given(map[string]string{"user": string(k.Emails[0]), "subject": k.Subject.ID, "issuer": k.Subject.Issuer})); err != nil {
			return err
		}
		own, others, err := db.BehaviorNear(ctx, k.Subject, time.Now().Add(-behavior.NearWindow))
		if err != nil {
			return err
		}
		addresses, err := db.KnownAddresses(ctx)
		if err != nil {
			return err
		}
		lines := nearLines(behavior.Near(own, others), peopleOf(addresses), p.operators(g, std))
		if len(lines) == 0 {
			fmt.Fprintf(std.err, "In 30 days, no other person was let through from an address or on a device of %s.\n", k)
		}
		return list(std.out, p.JSON, lines, "USER\tSHARED\tWHAT\tNETWORK\tFIRST\tLAST\tOWN FIRST\tOWN LAST", nearRow)
	})
}

// operators looks up whose network an address is in. Without IP data it knows none: a
// broken configuration keeps no names back.
func (p peopleNearCmd) operators(g *globals, std stdio) func(netip.Addr) (asn int64, org string) {
	var snapshot *ipintel.Snapshot
	if p.Store == "" {
		var err error
		if _, snapshot, err = configured(g, std); err != nil {
			snapshot = nil
		}
	}
	return func(a netip.Addr) (int64, string) {
		if snapshot == nil {
			return 0, ""
		}
		ip := snapshot.Lookup(a).Facts(time.Now())
		return ip.ASN, ip.Org
	}
}

func nearLines(meetings []behavior.Meeting, known []storedPerson, operator func(netip.Addr) (int64, string)) []nearLine {
	email := map[authn.Subject]authn.Email{}
	for _, k := range known {
		email[k.Subject] = k.Emails[0]
	}
	lines := make([]nearLine, len(meetings))
	for i, m := range meetings {
		l := nearLine{
			User: email[m.Other], Issuer: m.Other.Issuer, Subject: m.Other.ID, Shared: "address", Device: m.Device, Addresses: m.Addrs, Countries: m.Countries,
			First: m.Their.First, Last: m.Their.Last, OwnFirst: m.Own.First, OwnLast: m.Own.Last,
		}
		switch {
		case m.Device != "":
			l.Shared = "device"
		case m.Host == 0:
			l.Shared, l.Place = "household", fmt.Sprintf("%016x", m.Site)
		default:
			l.Place = fmt.Sprintf("%016x", m.Host)
		}
		names := map[int64]string{}
		for _, a := range m.Addrs {
			if number, org := operator(a); org != "" {
				names[number] = org
			}
		}
		for _, number := range m.ASNs {
			l.Networks = append(l.Networks, nearNetwork{number, names[int64(number)]})
		}
		lines[i] = l
	}
	return lines
}

func nearRow(w io.Writer, l nearLine) {
	user, what := string(l.User), l.Device
	if user == "" {
		user = subjectName(authn.Subject{Issuer: l.Issuer, ID: l.Subject})
	}
	if what == "" {
		kept := make([]string, len(l.Addresses))
		for i, a := range l.Addresses {
			kept[i] = a.String()
		}
		if what = strings.Join(kept, " "); what == "" {
			what = "not kept: " + l.Place
		}
	}
	var networks []string
	for _, n := range l.Networks {
		networks = append(networks, strings.TrimSpace("AS"+strconv.FormatUint(uint64(n.ASN), 10)+" "+n.Org))
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", plain(user), l.Shared, plain(what), plain(strings.Join(networks, ", ")),
		short(l.First), short(l.Last), short(l.OwnFirst), short(l.OwnLast))
}
