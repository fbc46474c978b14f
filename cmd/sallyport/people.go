package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/session"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
)

type peopleCmd struct {
	List peopleListCmd `cmd:"" help:"List the people who have sessions or passkeys."`
	Show peopleShowCmd `cmd:"" help:"Show one person's passkeys, tickets and sessions."`
	Near peopleNearCmd `cmd:"" help:"Name the people who shared an address or a device with a person in the last 30 days; it is recorded."`

	Block   peopleBlockCmd   `cmd:"" help:"Keep a person out, and end their sessions; a running proxy follows within a second."`
	Unblock peopleUnblockCmd `cmd:"" help:"Take a block back."`
	Blocked peopleBlockedCmd `cmd:"" help:"List the people who are blocked."`

	RevokePasskey peopleRevokePasskeyCmd `cmd:"" help:"Block a passkey and end all sessions of its owner; a running proxy follows within a second."`
}

// personLine is one person as the store knows them: by issuer and subject, with every
// e-mail address that they were seen under, the newest first.
type personLine struct {
	Issuer   string        `json:"issuer"`
	Subject  string        `json:"subject"`
	Emails   []authn.Email `json:"emails"`
	Passkeys int           `json:"passkeys"`
	Blocked  int           `json:"blocked_passkeys"`
	Sessions int           `json:"sessions"`
}

// address is what the person has now; "" if the provider gave none.
func (l personLine) address() authn.Email {
	if len(l.Emails) == 0 {
		return ""
	}
	return l.Emails[0]
}

type peopleListCmd struct {
	storeFlag `embed:""`

	JSON bool `name:"json" help:"One JSON object a line."`
}

func (p peopleListCmd) Run(ctx context.Context, g *globals, std stdio) error {
	return p.withSessions(ctx, g, std, func(_ *config.Config, db *sqlstore.DB, m *session.Manager) error {
		lines, err := listPeople(ctx, db, m)
		if err != nil {
			return err
		}
		return list(std.out, p.JSON, lines, "USER\tSUBJECT\tPASSKEYS\tSESSIONS", func(w io.Writer, l personLine) {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", emails(l.Emails), plain(l.Subject), l.Passkeys, l.Sessions)
		})
	})
}

func emails(list []authn.Email) string {
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = string(e)
	}
	return strings.Join(parts, " ")
}

// listPeople joins what the store has under one subject.
func listPeople(ctx context.Context, db *sqlstore.DB, m *session.Manager) ([]personLine, error) {
	sessions, err := m.List(ctx, session.Filter{})
	if err != nil {
		return nil, err
	}
	tickets, err := db.ListTickets(ctx, "")
	if err != nil {
		return nil, err
	}
	addresses, err := db.KnownAddresses(ctx)
	if err != nil {
		return nil, err
	}
	found, enrolled := map[authn.Subject]*personLine{}, map[authn.Subject]bool{}
	for _, k := range peopleOf(addresses) {
		found[k.Subject] = &personLine{Issuer: k.Subject.Issuer, Subject: k.Subject.ID, Emails: k.Emails}
	}
	for _, s := range sessions {
		if found[s.Person.Subject] == nil { // the provider gave no address
			found[s.Person.Subject] = &personLine{Issuer: s.Person.Subject.Issuer, Subject: s.Person.Subject.ID}
		}
		found[s.Person.Subject].Sessions++
	}
	for _, t := range tickets {
		enrolled[t.RedeemedBy] = true
	}
	var lines []personLine
	for subject, l := range found {
		credentials, err := db.Credentials(ctx, subject)
		if err != nil {
			return nil, err
		}
		for _, c := range credentials {
			l.Passkeys++
			if c.Blocked != "" {
				l.Blocked++
			}
		}
		if l.Sessions > 0 || l.Passkeys > 0 || enrolled[subject] {
			lines = append(lines, *l)
		}
	}
	slices.SortFunc(lines, func(a, b personLine) int {
		return strings.Compare(emails(a.Emails)+a.Subject, emails(b.Emails)+b.Subject)
	})
	return lines, nil
}

type peopleShowCmd struct {
	storeFlag `embed:""`

	User string `arg:"" placeholder:"PERSON" help:"Person to show: an address that they have or had, or their subject."`
	JSON bool   `name:"json" help:"As one JSON object."`
}

type passkeyLine struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Class     string    `json:"class"`
	AAGUID    string    `json:"aaguid"`
	Format    string    `json:"attestation_format"`
	CreatedAt time.Time `json:"created_at"`
	LastUsed  time.Time `json:"last_used_at"`
	Blocked   string    `json:"blocked,omitempty"`
}

type personDetail struct {
	personLine
	Blocks  []blockLine   `json:"blocks"`
	Keys    []passkeyLine `json:"keys"`
	Live    []sessionLine `json:"live_sessions"`
	Tickets []ticketLine  `json:"tickets"`
}

func (p peopleShowCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if err := personText(p.User); err != nil {
		return err
	}
	return p.withSessions(ctx, g, std, func(_ *config.Config, db *sqlstore.DB, m *session.Manager) error {
		details, err := personDetails(ctx, db, m, p.User)
		if err != nil {
			return err
		}
		if len(details) == 0 {
			fmt.Fprintf(std.err, "No person with the address or subject %s has a session, a passkey or a ticket.\n", plain(p.User))
			return errNo
		}
		if p.JSON {
			return list(std.out, true, details, "", nil)
		}
		for _, d := range details {
			printPerson(std.out, d)
		}
		return nil
	})
}

func personDetails(ctx context.Context, db *sqlstore.DB, m *session.Manager, text string) ([]personDetail, error) {
	lines, err := listPeople(ctx, db, m)
	if err != nil {
		return nil, err
	}
	named, err := find(ctx, db, text)
	if err != nil {
		return nil, err
	}
	blocks, err := db.BlockedPeople(ctx)
	if err != nil {
		return nil, err
	}
	email, _ := authn.ParseEmail(text)
	var details []personDetail
	for _, l := range lines {
		subject := authn.Subject{Issuer: l.Issuer, ID: l.Subject}
		if !slices.ContainsFunc(named, func(k storedPerson) bool { return k.Subject == subject }) {
			continue
		}
		tickets, err := ticketsOf(ctx, db, l.Emails...)
		if err != nil {
			return nil, err
		}
		d := personDetail{personLine: l, Blocks: blockLines(blocksOf(blocks, l.address(), subject)), Tickets: tickets}
		records, err := m.List(ctx, session.Filter{Subject: subject})
		if err != nil {
			return nil, err
		}
		d.Live = sessionLines(records)
		credentials, err := db.Credentials(ctx, subject)
		if err != nil {
			return nil, err
		}
		for _, c := range credentials {
			d.Keys = append(d.Keys, passkeyLine{fmt.Sprintf("%x", c.ID), c.Name, c.Class.String(), c.AAGUID, c.AttestationFormat, c.CreatedAt, c.LastUsedAt, c.Blocked})
		}
		details = append(details, d)
	}
	if details == nil && email != "" {
		tickets, err := ticketsOf(ctx, db, email)
		blocked := blocksOf(blocks, email, authn.Subject{})
		if err != nil || tickets == nil && len(blocked) == 0 {
			return nil, err
		}
		details = []personDetail{{personLine: personLine{Emails: []authn.Email{email}}, Blocks: blockLines(blocked), Tickets: tickets}}
	}
	return details, nil
}

// ticketsOf lists the tickets for any of the addresses, newest first.
func ticketsOf(ctx context.Context, db *sqlstore.DB, addresses ...authn.Email) (lines []ticketLine, err error) {
	tickets, err := enroll.New(enroll.Config{Store: db}).List(ctx, "")
	now := time.Now()
	for _, k := range tickets {
		if slices.Contains(addresses, k.Email) {
			lines = append(lines, ticketLineOf(k, now))
		}
	}
	return lines, err
}

func printPerson(w io.Writer, d personDetail) {
	fmt.Fprintln(w, emails(d.Emails))
	if d.Subject != "" {
		fmt.Fprintf(w, "  subject %s at %s\n", plain(d.Subject), plain(d.Issuer))
	}
	for _, b := range d.Blocks {
		fmt.Fprintf(w, "  BLOCKED since %s by %s: %s\n", short(b.At), plain(b.By), plain(b.Why))
	}
	fmt.Fprintf(w, "  passkeys: %d\n", len(d.Keys))
	for _, k := range d.Keys {
		fmt.Fprintf(w, "    %s  %s, %s, added %s, last used %s", k.ID[:min(len(k.ID), 16)], plain(k.Name), k.Class, short(k.CreatedAt), short(k.LastUsed))
		if k.Blocked != "" {
			fmt.Fprintf(w, "  BLOCKED: %s", plain(k.Blocked))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "  sessions: %d\n", len(d.Live))
	for _, s := range d.Live {
		fmt.Fprintf(w, "    %s  since %s, last seen %s\n", s.ID, short(s.CreatedAt), short(s.SeenAt))
	}
	for _, t := range d.Tickets {
		fmt.Fprintf(w, "  ticket %s: %s, made %s by %s  %s\n", t.ID, t.State, short(t.CreatedAt), plain(t.CreatedBy), plain(t.Note))
	}
}
