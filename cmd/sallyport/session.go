package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
)

type sessionCmd struct {
	List   sessionListCmd   `cmd:"" help:"List live sessions, newest first."`
	Revoke sessionRevokeCmd `cmd:"" help:"End sessions; a running proxy follows within a second."`
}

// withSessions runs f with the sessions of an existing store.
func withSessions(ctx context.Context, g *globals, f func(*config.Config, *sqlstore.DB, *session.Manager) error) error {
	return withExistingStore(ctx, g, sessionsOf(ctx, f))
}

// withSessions is with, and the sessions of the store.
func (s storeFlag) withSessions(ctx context.Context, g *globals, std stdio, f func(*config.Config, *sqlstore.DB, *session.Manager) error) error {
	return s.with(ctx, g, std, sessionsOf(ctx, f))
}

func sessionsOf(ctx context.Context, f func(*config.Config, *sqlstore.DB, *session.Manager) error) func(*config.Config, *sqlstore.DB) error {
	return func(c *config.Config, db *sqlstore.DB) error {
		secure := c.ExternalURL == nil || c.ExternalURL.Scheme == "https"
		m, err := session.New(ctx, session.Config{Store: db, Keys: db, Codes: db, MaxAge: c.Session.MaxAge, IdleTimeout: c.Session.IdleTimeout, MaxPerPerson: c.Session.MaxPerPerson, Secure: secure, Complete: c.Roster.Complete})
		if err != nil {
			return err
		}
		return f(c, db, m)
	}
}

type sessionListCmd struct {
	storeFlag `embed:""`

	User string `placeholder:"PERSON" help:"Only this person's: an address that they have or had, or their subject."`
	JSON bool   `name:"json" help:"One JSON object a line."`
}

type sessionLine struct {
	ID        string      `json:"id"`
	User      authn.Email `json:"user"`
	Subject   string      `json:"subject"`
	CreatedAt time.Time   `json:"created_at"`
	SeenAt    time.Time   `json:"last_seen_at"`
	ExpiresAt time.Time   `json:"expires_at"`
}

func sessionLines(records []session.Record) []sessionLine {
	lines := make([]sessionLine, len(records))
	for i, r := range records {
		lines[i] = sessionLine{r.ID, r.Person.Email, r.Person.Subject.ID, r.CreatedAt, r.LastSeenAt, r.ExpiresAt}
	}
	return lines
}

func sessionRow(w io.Writer, l sessionLine) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", l.ID, l.User, short(l.CreatedAt), short(l.SeenAt), short(l.ExpiresAt))
}

const sessionHeader = "ID\tUSER\tSIGNED IN\tLAST SEEN\tENDS"

func (s sessionListCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if err := personText(s.User); err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	return s.withSessions(ctx, g, std, func(_ *config.Config, db *sqlstore.DB, m *session.Manager) error {
		records, err := m.List(ctx, session.Filter{})
		if err != nil {
			return err
		}
		if s.User != "" {
			people, err := find(ctx, db, s.User)
			if err != nil {
				return err
			}
			saySeveral(std.err, s.User, people)
			records = slices.DeleteFunc(records, func(r session.Record) bool {
				return !slices.ContainsFunc(people, func(k storedPerson) bool { return k.Subject == r.Person.Subject })
			})
		}
		return list(std.out, s.JSON, sessionLines(records), sessionHeader, sessionRow)
	})
}

type sessionRevokeCmd struct {
	storeFlag `embed:""`

	ID   string `arg:"" optional:"" help:"One session, by its id from the list."`
	User string `placeholder:"PERSON" help:"Every session of this person: an address that they have or had, or their subject."`
}

func (s sessionRevokeCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if (s.ID == "") == (s.User == "") {
		return errors.New("session revoke: give either a session id or --user PERSON")
	}
	if err := personText(s.User); err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	return s.withSessions(ctx, g, std, func(_ *config.Config, db *sqlstore.DB, m *session.Manager) error {
		filter, detail := session.Filter{ID: s.ID}, map[string]string{"session": s.ID, "user": s.User}
		if s.User != "" {
			k, err := findOne(ctx, db, s.User)
			if err != nil {
				return fmt.Errorf("session revoke: %w", err)
			}
			if k == nil {
				fmt.Fprintf(std.err, "There was no such session: no person is known here as %s.\n", plain(s.User))
				return errNo
			}
			sayFormer(std.err, s.User, k)
			filter.Subject, detail["subject"], detail["issuer"] = k.Subject, k.Subject.ID, k.Subject.Issuer
		}
		if err := recordOperatorEvent(ctx, db, "session_revoke", given(detail)); err != nil {
			return err
		}
		n, err := m.Revoke(ctx, filter)
		if err != nil {
			return err
		}
		if n == 0 {
			fmt.Fprintln(std.err, "There was no such session.")
			return errNo
		}
		fmt.Fprintf(std.out, "Ended %d session(s).\n", n)
		return nil
	})
}

type keysCmd struct {
	Rotate keysRotateCmd `cmd:"" help:"Make new cookie keys; cookies sealed with the two before stay good."`
}

type keysRotateCmd struct {
	storeFlag `embed:""`
}

func (k keysRotateCmd) Run(ctx context.Context, g *globals, std stdio) error {
	return k.withSessions(ctx, g, std, func(_ *config.Config, db *sqlstore.DB, m *session.Manager) error {
		if err := recordOperatorEvent(ctx, db, "keys_rotate", nil); err != nil {
			return err
		}
		if err := m.RotateKeys(ctx); err != nil {
			return err
		}
		fmt.Fprintln(std.out, "New keys are in use.")
		return nil
	})
}
