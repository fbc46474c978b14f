package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy/ipintel"
	"sallyport/proxy/rollout"
)

type dataCmd struct {
	Status dataStatusCmd `cmd:"" help:"Show every IP source: what it is, how old, how large."`
	Lookup dataLookupCmd `cmd:"" help:"Show what the configured sources say about addresses, or where they place an operator."`
	Apply  dataApplyCmd  `cmd:"" help:"Have the running proxy take up IP data that it refused."`
}

type dataStatusCmd struct {
	JSON bool `name:"json" help:"One JSON object a line."`
}

type sourceLine struct {
	Name     string     `json:"name"`
	Type     string     `json:"type"`
	Signal   string     `json:"signal,omitempty"`
	Networks int        `json:"networks"`
	Families []string   `json:"families,omitempty"` // "IPv4", "IPv6"
	Notes    []string   `json:"notes,omitempty"`
	Built    *time.Time `json:"built"` // null: not loaded
	AgeHours *int64     `json:"age_hours"`
	SHA256   string     `json:"sha256,omitempty"`
	File     string     `json:"file"`
	Error    string     `json:"error,omitempty"`
	// Refused is why the running proxy does not use the file's content, and RefusedSince
	// since when it keeps the old content. Both come from the audit log.
	Refused      string     `json:"refused,omitempty"`
	RefusedSince *time.Time `json:"refused_since,omitempty"`
}

// Run answers no (exit status 1) if a source cannot be loaded, or the running proxy
// refused it.
func (d dataStatusCmd) Run(g *globals, std stdio) error {
	c, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	snapshot, failed, err := loadIntel(c)
	if err != nil {
		return err
	}
	refused := rollout.RefusedNow(c.AuditFile, snapshot)
	now := time.Now()
	var lines []sourceLine
	for _, s := range snapshot.Sources() {
		l := sourceLine{Name: s.Name, Type: s.Type, Signal: s.Signal, Networks: s.Networks, Families: s.Families, Notes: s.Notes, SHA256: s.SHA256, File: s.File, Error: s.Err}
		if !s.Built.IsZero() {
			age := s.AgeHours(now)
			l.Built, l.AgeHours = &s.Built, &age
		}
		if r, ok := refused[s.Name]; ok {
			l.Refused, l.RefusedSince = r.Why, &r.Since
		}
		lines = append(lines, l)
	}
	err = list(std.out, d.JSON, lines, "SOURCE\tTYPE\tSIGNAL\tNETWORKS\tADDRESSES\tBUILT\tAGE", func(w io.Writer, l sourceLine) {
		built, age := "-", "not loaded"
		if l.Built != nil {
			built, age = l.Built.UTC().Format("2006-01-02 15:04"), fmt.Sprintf("%dd %dh", *l.AgeHours/24, *l.AgeHours%24)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", l.Name, l.Type, l.Signal, l.Networks, familiesText(l.Families), built, age)
	})
	if err != nil {
		return err
	}
	for _, f := range failed {
		fmt.Fprintln(std.err, f)
	}
	for _, l := range lines {
		for _, n := range l.Notes {
			fmt.Fprintf(std.err, "note: %s: %s\n", l.Name, n)
		}
	}
	for _, l := range lines {
		if r, ok := refused[l.Name]; ok {
			fmt.Fprintf(std.err, "%s: %s\n", l.Name, r.Text())
		}
	}
	if len(failed)+len(refused) > 0 {
		return errNo
	}
	return nil
}

func familiesText(list []string) string {
	switch len(list) {
	case 0:
		return "-"
	case 1:
		return list[0] + " only"
	}
	return strings.Join(list, ", ")
}

type dataLookupCmd struct {
	Addresses []string `arg:"" optional:"" placeholder:"ADDRESS" help:"Addresses, or - to read one a line from standard input."`
	ASN       asn      `name:"asn" placeholder:"ASN" help:"Instead of addresses: what of the Internet the sources place in this autonomous system."`
	Org       string   `name:"org" placeholder:"TEXT" help:"Instead of addresses: operators whose name contains this, in any case of letters."`
	Max       int      `name:"max" default:"20" help:"Operators to show, the largest first."`
	JSON      bool     `name:"json" help:"One JSON object a line."`
}

// lookupLine is the answer about one address. Its keys are an interface.
type lookupLine struct {
	IP           string   `json:"ip"`
	Country      string   `json:"country"`
	Subdivisions []string `json:"subdivisions,omitempty"`
	ASN          int64    `json:"asn"`
	Org          string   `json:"org"`
	Provider     string   `json:"provider,omitempty"`
	Private      bool     `json:"private,omitempty"`
	Signals      []string `json:"signals"`
	Lists        []string `json:"lists"`
	Missing      []string `json:"data_missing,omitempty"`
}

func (d dataLookupCmd) Run(ctx context.Context, g *globals, std stdio) error {
	switch operator := d.ASN != 0 || d.Org != ""; {
	case operator && (len(d.Addresses) > 0 || d.ASN != 0 && d.Org != ""):
		return errors.New("give addresses, --asn or --org, one of them")
	case operator:
		return d.operators(g, std)
	case len(d.Addresses) == 0:
		return errors.New("give addresses, --asn ASN or --org TEXT")
	}
	_, snapshot, err := configured(g, std)
	if err != nil {
		return err
	}
	bad := 0
	one := func(where, text string) error {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			fmt.Fprintf(std.err, "%s%q is not an IP address\n", where, text)
			bad++
			return nil
		}
		return printLookup(std.out, d.JSON, lookupAddress(snapshot, addr))
	}
	for _, a := range d.Addresses {
		if a != "-" {
			if err := one("", a); err != nil {
				return err
			}
			continue
		}
		lines := bufio.NewScanner(std.in)
		for n := 1; lines.Scan(); n++ {
			if text := strings.TrimSpace(lines.Text()); text != "" && !strings.HasPrefix(text, "#") {
				if err := one(fmt.Sprintf("standard input:%d: ", n), text); err != nil {
					return err
				}
			}
		}
		if err := lines.Err(); err != nil {
			return err
		}
	}
	if bad > 0 {
		return errors.New("not everything was an IP address; the rest was looked up")
	}
	return nil
}

func lookupAddress(s *ipintel.Snapshot, addr netip.Addr) lookupLine {
	ip := s.Lookup(addr).Facts(time.Now())
	l := lookupLine{IP: ip.Address, Country: ip.Country, Subdivisions: ip.Subdivisions, ASN: ip.ASN, Org: ip.Org, Provider: ip.Provider, Private: ip.Private,
		Signals: []string{}, Lists: append([]string{}, ip.Lists...), Missing: ip.DataMissing}
	for _, s := range []struct {
		name string
		on   bool
	}{{"vpn", ip.VPN}, {"hosting", ip.Hosting}, {"tor", ip.Tor}, {"proxy", ip.Proxy}, {"residential_proxy", ip.ResidentialProxy}, {"relay", ip.Relay}} {
		if s.on {
			l.Signals = append(l.Signals, s.name)
		}
	}
	return l
}

func printLookup(w io.Writer, asJSON bool, l lookupLine) error {
	if asJSON {
		return list(w, true, []lookupLine{l}, "", nil)
	}
	place := l.Country
	if len(l.Subdivisions) > 0 {
		place += " (" + strings.Join(l.Subdivisions, ", ") + ")"
	}
	provider, missing := "", ""
	if l.Provider != "" {
		provider = "  provider: " + plain(l.Provider)
	}
	if len(l.Missing) > 0 {
		missing = "  missing here: " + strings.Join(l.Missing, ", ")
	}
	_, err := fmt.Fprintf(w, "%s  country %s  AS%d %s  signals: %s%s  lists: %s%s\n", l.IP, place, l.ASN, plain(l.Org), orNone(l.Signals), provider, orNone(l.Lists), missing)
	return err
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
