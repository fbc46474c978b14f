package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
)

// peopleBlockCmd is the kill switch: for a person who must not get in even if the OpenID
// provider still signs them in.
type peopleBlockCmd struct {
	storeFlag `embed:""`

	User string `arg:"" placeholder:"PERSON" help:"Who: an address, known here or not, or their subject."`
	Why  string `required:"" placeholder:"TEXT" help:"Why, for the record; the person does not see it."`
}

// reason checks a flag that says why: one line for the audit log.
func reason(flag, text string) error {
	if text == "" || utf8.RuneCountInString(text) > maxReason || !utf8.ValidString(text) || slices.ContainsFunc([]rune(text), func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%s: a reason is one line of at most %d printable characters", flag, maxReason)
	}
	return nil
}

func (p peopleBlockCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if err := errors.Join(personText(p.User), reason("--why", p.Why)); err != nil {
		return err
	}
	return p.with(ctx, g, std, func(_ *config.Config, db *sqlstore.DB) error {
		people, err := toBlock(ctx, db, p.User)
		if err != nil {
			return fmt.Errorf("people block: %w", err)
		}
		now := time.Now()
		for i := range people {
			people[i].Why, people[i].By, people[i].At = p.Why, operator(), now
			if err := recordOperatorEvent(ctx, db, "people_block", given(map[string]string{"user": string(people[i].Email),
				"subject": people[i].Subject.ID, "issuer": people[i].Subject.Issuer, "why": p.Why})); err != nil {
				return err
			}
		}
		ended, err := db.BlockPerson(ctx, people...)
		if err != nil {
			return err
		}
		for _, b := range people {
			fmt.Fprintf(std.out, "%s is blocked.\n", blockedName(b))
		}
		fmt.Fprintf(std.out, "Ended %d session(s). `sallyport people unblock` takes it back; passkeys stay as they are.\n", len(ended))
		return sayStranger(ctx, db, std.err, people[0])
	})
}

// sayStranger says that a block is about a person unknown to the store, and which
// people it knows by the same subject at another issuer: they may be meant, and stay in.
func sayStranger(ctx context.Context, db *sqlstore.DB, w io.Writer, b sqlstore.BlockedPerson) error {
	if b.Subject.IsZero() {
		fmt.Fprintln(w, "note: this person has not signed in here yet, so only the address is blocked")
		return nil
	}
	known, err := find(ctx, db, b.Subject.ID)
	if err != nil || slices.ContainsFunc(known, func(k storedPerson) bool { return k.Subject == b.Subject }) {
		return err
	}
	fmt.Fprintf(w, "note: no person is known here as %s yet\n", blockedName(b))
	blocks, err := db.BlockedPeople(ctx)
	for _, k := range known {
		if len(blocksOf(blocks, k.Emails[0], k.Subject)) == 0 {
			fmt.Fprintf(w, "note: %s is known here, and is not blocked\n", k)
		}
	}
	return err
}

// toBlock says what to block for a text: the people whose address it is now; or the one
// person who had it, with the address that they have now; or an address that is not known
// here, since a person may have to be kept from ever coming in.
func toBlock(ctx context.Context, db *sqlstore.DB, text string) ([]sqlstore.BlockedPerson, error) {
	found, err := find(ctx, db, text)
	if err != nil {
		return nil, err
	}
	email, noAddress := authn.ParseEmail(text)
	var out []sqlstore.BlockedPerson
	for _, k := range found {
		if k.Emails[0] == email {
			out = append(out, sqlstore.BlockedPerson{Email: email, Subject: k.Subject})
		}
	}
	if out != nil {
		return out, nil
	}
	k, err := only(found, text)
	switch {
	case err != nil:
		return nil, err
	case k != nil:
		out = append(out, sqlstore.BlockedPerson{Email: k.Emails[0], Subject: k.Subject})
		if noAddress == nil {
			out = append(out, sqlstore.BlockedPerson{Email: email, Subject: k.Subject})
		}
		return out, nil
	case noAddress == nil && (strings.ContainsAny(text, "*?") || strings.HasPrefix(text, "@")):
		return nil, fmt.Errorf("%s would block this one address alone, which no person has: there are no patterns; block each person, or take the domain out of what the routes allow", plain(text))
	case noAddress == nil:
		return []sqlstore.BlockedPerson{{Email: email}}, nil
	}
	if s := authn.ParseSubject(text); !s.IsZero() {
		return []sqlstore.BlockedPerson{{Subject: s}}, nil
	}
	return nil, fmt.Errorf("no person is known here as %s: give their e-mail address, or ISSUER|SUBJECT", plain(text))
}

// blockedName is what an entry keeps out: an address, a person, or both.
func blockedName(b sqlstore.BlockedPerson) string {
	switch {
	case b.Subject.IsZero():
		return string(b.Email)
	case b.Email == "":
		return subjectName(b.Subject)
	}
	return fmt.Sprintf("%s (%s)", b.Email, subjectName(b.Subject))
}

// peopleBlockedCmd lists who is blocked.
type peopleBlockedCmd struct {
	storeFlag `embed:""`

	JSON bool `name:"json" help:"One JSON object a line."`
}

type blockLine struct {
	ID      string      `json:"id"`
	User    authn.Email `json:"user,omitempty"`
	Issuer  string      `json:"issuer,omitempty"`
	Subject string      `json:"subject,omitempty"`
	Why     string      `json:"why"`
	By      string      `json:"by"`
	At      time.Time   `json:"at"`
}

func (p peopleBlockedCmd) Run(ctx context.Context, g *globals, std stdio) error {
	return p.with(ctx, g, std, func(_ *config.Config, db *sqlstore.DB) error {
		blocks, err := db.BlockedPeople(ctx)
		if err != nil {
			return err
		}
		return list(std.out, p.JSON, blockLines(blocks), "ID\tUSER\tSUBJECT\tSINCE\tBY\tWHY", func(w io.Writer, l blockLine) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.User, subjectName(authn.Subject{Issuer: l.Issuer, ID: l.Subject}), short(l.At), plain(l.By), plain(l.Why))
		})
	})
}

func blockLines(blocks []sqlstore.BlockedPerson) []blockLine {
	lines := make([]blockLine, len(blocks))
	for i, b := range blocks {
		lines[i] = blockLine{entryID(b), b.Email, b.Subject.Issuer, b.Subject.ID, b.Why, b.By, b.At}
	}
	return lines
}

// blocksOf are those of a person, by the address that they have now.
func blocksOf(blocks []sqlstore.BlockedPerson, email authn.Email, subject authn.Subject) []sqlstore.BlockedPerson {
	return slices.DeleteFunc(slices.Clone(blocks), func(b sqlstore.BlockedPerson) bool { return !b.Covers(email, subject) })
}

// whyBlocked says of entries who is blocked, since when and why: the first speaks for
// all. It is "" for none.
func whyBlocked(blocks []sqlstore.BlockedPerson) string {
	if len(blocks) == 0 {
		return ""
	}
	b := blocks[0]
	return fmt.Sprintf("%s is blocked since %s, by %s: %s; `sallyport people unblock` takes it back", blockedName(b), short(b.At), plain(b.By), plain(b.Why))
}

// notBlocked refuses a ticket for a person who is blocked: they could not use it.
func notBlocked(ctx context.Context, db *sqlstore.DB, email authn.Email, people []storedPerson) error {
	all, err := db.BlockedPeople(ctx)
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.Covers(email, authn.Subject{}) || slices.ContainsFunc(people, func(k storedPerson) bool { return k.Emails[0] == email && b.Covers("", k.Subject) }) {
			return errors.New(whyBlocked([]sqlstore.BlockedPerson{b}))
		}
	}
	return nil
}
