package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/proxy/portal"
)

type ticketCmd struct {
	Create ticketCreateCmd `cmd:"" help:"Make an enrolment ticket for one person, after you have checked who they are."`
	List   ticketListCmd   `cmd:"" help:"List tickets, newest first."`
	Revoke ticketRevokeCmd `cmd:"" help:"Revoke an open ticket."`
}

// withStore runs f with the configuration and its open store.
func withStore(ctx context.Context, g *globals, f func(*config.Config, *sqlstore.DB) error) error {
	c, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	return withStoreOf(ctx, c, sqlstore.Options{}, f)
}

func withStoreOf(ctx context.Context, c *config.Config, o sqlstore.Options, f func(*config.Config, *sqlstore.DB) error) error {
	db, err := sqlstore.Open(ctx, c.Store, o)
	if err != nil {
		return err
	}
	return errors.Join(f(c, db), db.Close())
}

// withExistingStore is withStore for commands that have nothing to do where no store is.
// Making one for them would hide a wrong --config, and leave files of the wrong owner.
func withExistingStore(ctx context.Context, g *globals, f func(*config.Config, *sqlstore.DB) error) error {
	c, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	return withExistingStoreOf(ctx, c, f)
}

func withExistingStoreOf(ctx context.Context, c *config.Config, f func(*config.Config, *sqlstore.DB) error) error {
	path := strings.TrimPrefix(c.Store, "sqlite:")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return c.Mistake("store", "there is no database "+path+" yet", "the first `serve` or `ticket create` to have made it")
	}
	return withStoreOf(ctx, c, sqlstore.Options{Existing: true}, f)
}

// storeFlag is for commands of an emergency: they need the store, and go on while the rest
// of the configuration is broken, or there is none.
type storeFlag struct {
	Store string `placeholder:"sqlite:PATH" help:"The store, instead of the one in the configuration, which is not read then."`
}

// with runs f with the store, and of the configuration no more than its store and session
// parts. What else is wrong is a warning.
func (s storeFlag) with(ctx context.Context, g *globals, std stdio, f func(*config.Config, *sqlstore.DB) error) error {
	if s.Store != "" {
		c, err := config.ForStore(s.Store)
		if err != nil {
			return err
		}
		return withExistingStoreOf(ctx, c, f)
	}
	c, wrong, err := config.LoadStore(g.Config)
	if err != nil {
		return fmt.Errorf("%w\n\n--store sqlite:PATH does without the configuration", err)
	}
	if wrong != nil {
		fmt.Fprintf(std.err, "warning: the configuration is not right, and this goes on with its store %s\n%v\n", config.WithoutPasswords(c.Store), wrong)
	}
	return withExistingStoreOf(ctx, c, f)
}

// operator is the operating-system user, for the record of who did something.
func operator() string {
	name := "unknown"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	// Behind sudo all operators are the same account. SUDO_USER can be forged only by
	// those who may become that account anyway.
	if by := os.Getenv("SUDO_USER"); by != "" && by != name && len(by) < 64 && strings.Trim(by, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@") == "" {
		name += " (sudo by " + by + ")"
	}
	return name
}

type ticketCreateCmd struct {
	User    string        `required:"" placeholder:"EMAIL" help:"Person that the ticket is for: the address that their OpenID provider knows them by."`
	Expires time.Duration `default:"24h" help:"How long it is good for (default 24h)."`
	Note    string        `placeholder:"TEXT" help:"How you checked who they are, such as \"video interview 12 Nov\"."`

	NewAccount bool `help:"The address now belongs to another account than the one that enrolled under it before: a new employee of the same name, another OpenID provider. Without this, such an account cannot use the ticket."`
}

// Run prints the enrolment URL as its last line.
func (t ticketCreateCmd) Run(ctx context.Context, g *globals, std stdio) error {
	email, err := authn.ParseEmail(t.User) // not userFlag: a ticket without a person is a mistake
	if err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	return withStore(ctx, g, func(c *config.Config, db *sqlstore.DB) error {
		people, err := find(ctx, db, string(email))
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(people, func(k storedPerson) bool { return k.Emails[0] == email }) {
			for _, k := range people { // a new employee may have it now, or the person whose it was is meant
				sayFormer(std.err, string(email), &k)
			}
		}
		if err := notBlocked(ctx, db, email, people); err != nil {
			return err
		}
		ticket, secret, err := enroll.New(enroll.Config{Store: db}).Mint(ctx, enroll.MintRequest{
			Email: email, Expires: t.Expires, Note: t.Note, By: operator(), NewAccount: t.NewAccount,
			OnMint: func(ctx context.Context, k enroll.Ticket) error {
				return recordOperatorEvent(ctx, db, "ticket_create", ticketDetail(k))
			},
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "Ticket %s for %s, good once until %s.\nGive this link to %s only, over a channel you trust:\n",
			ticket.ID, ticket.Email, ticket.ExpiresAt.Local().Format("Mon 2 Jan 15:04 MST"), ticket.Email)
		fmt.Fprintln(std.out, enrolURL(c, secret))
		return nil
	})
}

// ticketDetail is what the audit log says of a ticket. Its secret is not part of it.
func ticketDetail(k enroll.Ticket) map[string]string {
	d := given(map[string]string{"ticket": k.ID, "user": string(k.Email), "note": k.Note, "expires": k.ExpiresAt.UTC().Format(time.RFC3339)})
	if k.NewAccount {
		d["new_account"] = "true"
	}
	return d
}

// given drops what is empty.
func given(detail map[string]string) map[string]string {
	maps.DeleteFunc(detail, func(_, v string) bool { return v == "" })
	return detail
}

func enrolURL(c *config.Config, secret string) string {
	u := *c.ExternalURL
	u.Path, u.RawQuery = portal.Prefix+"enroll", url.Values{"ticket": {secret}}.Encode()
	return u.String()
}

type ticketListCmd struct {
	storeFlag `embed:""`

	User string `placeholder:"PERSON" help:"Only this person's: an address that they have or had, or their subject."`
	JSON bool   `name:"json" help:"One JSON object a line."`
}

type ticketLine struct {
	ID        string      `json:"id"`
	User      authn.Email `json:"user"`
	State     string      `json:"state"`
	CreatedAt time.Time   `json:"created_at"`
	CreatedBy string      `json:"created_by"`
	ExpiresAt time.Time   `json:"expires_at"`
	Note      string      `json:"note,omitempty"`
}

func ticketLineOf(t enroll.Ticket, now time.Time) ticketLine {
	return ticketLine{t.ID, t.Email, t.State(now).String(), t.CreatedAt, t.CreatedBy, t.ExpiresAt, t.Note}
}

func (t ticketListCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if err := personText(t.User); err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	return t.with(ctx, g, std, func(_ *config.Config, db *sqlstore.DB) error {
		lines, err := t.lines(ctx, db, std.err)
		if err != nil {
			return err
		}
		return list(std.out, t.JSON, lines, "ID\tUSER\tSTATE\tCREATED\tBY\tEXPIRES\tNOTE", func(w io.Writer, l ticketLine) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.User, l.State, short(l.CreatedAt), plain(l.CreatedBy), short(l.ExpiresAt), plain(l.Note))
		})
	})
}

// lines are all tickets, or those for any address of the people that --user names; of an
// address also those that are unused.
func (t ticketListCmd) lines(ctx context.Context, db *sqlstore.DB, note io.Writer) ([]ticketLine, error) {
	if t.User == "" {
		tickets, err := enroll.New(enroll.Config{Store: db}).List(ctx, "")
		now := time.Now()
		lines := make([]ticketLine, len(tickets))
		for i, k := range tickets {
			lines[i] = ticketLineOf(k, now)
		}
		return lines, err
	}
	people, err := find(ctx, db, t.User)
	if err != nil {
		return nil, err
	}
	saySeveral(note, t.User, people)
	var addresses []authn.Email
	if email, err := authn.ParseEmail(t.User); err == nil {
		addresses = append(addresses, email)
	}
	for _, k := range people {
		addresses = append(addresses, k.Emails...)
	}
	return ticketsOf(ctx, db, addresses...)
}

type ticketRevokeCmd struct {
	storeFlag `embed:""`

	ID string `arg:"" help:"The ticket's id, from the list."`
}

func (t ticketRevokeCmd) Run(ctx context.Context, g *globals, std stdio) error {
	return t.with(ctx, g, std, func(_ *config.Config, db *sqlstore.DB) error {
		if err := recordOperatorEvent(ctx, db, "ticket_revoke", map[string]string{"ticket": t.ID}); err != nil {
			return err
		}
		err := enroll.New(enroll.Config{Store: db}).Revoke(ctx, t.ID)
		if errors.Is(err, authn.ErrNotFound) || errors.Is(err, enroll.ErrUnknown) {
			fmt.Fprintf(std.err, "There is no open ticket %q.\n", t.ID)
			return errNo
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "Ticket %s is revoked.\n", t.ID)
		return nil
	})
}
