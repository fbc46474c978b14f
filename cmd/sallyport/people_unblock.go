package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
)

// peopleUnblockCmd takes back what keeps one person out, or one entry.
type peopleUnblockCmd struct {
	storeFlag `embed:""`

	User  string `arg:"" optional:"" placeholder:"PERSON" help:"Who: the address that they have now, or their subject."`
	Entry string `placeholder:"ID" help:"One entry alone, by its id in the list of people blocked."`
	Why   string `placeholder:"TEXT" help:"Why, for the record."`
}

func (p peopleUnblockCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if (p.User == "") == (p.Entry == "") {
		return errors.New("people unblock: give either PERSON or --entry ID")
	}
	if err := personText(p.User); err != nil {
		return err
	}
	if p.Why != "" {
		if err := reason("--why", p.Why); err != nil {
			return err
		}
	}
	return p.with(ctx, g, std, func(_ *config.Config, db *sqlstore.DB) error {
		all, err := db.BlockedPeople(ctx)
		if err != nil {
			return err
		}
		named, err := p.named(ctx, db, all)
		if err != nil {
			return fmt.Errorf("people unblock: %w", err)
		}
		if len(named) == 0 {
			fmt.Fprintf(std.err, "No block names %s.\n", plain(p.User+p.Entry))
			return errNo
		}
		for _, b := range named {
			if err := recordOperatorEvent(ctx, db, "people_unblock", given(map[string]string{"user": string(b.Email),
				"subject": b.Subject.ID, "issuer": b.Subject.Issuer, "why": p.Why})); err != nil {
				return err
			}
			if err := db.UnblockPerson(ctx, b); err != nil && !errors.Is(err, authn.ErrNotFound) {
				return err
			}
			fmt.Fprintf(std.out, "%s is not blocked any more. It was since %s, by %s: %s\n", blockedName(b), short(b.At), plain(b.By), plain(b.Why))
		}
		left, err := db.BlockedPeople(ctx)
		for _, l := range left {
			if slices.ContainsFunc(named, func(b sqlstore.BlockedPerson) bool { return l.Covers(b.Email, b.Subject) }) {
				fmt.Fprintf(std.err, "note: the entry %s for %s, since %s, by %s, still keeps the same address or subject out: %s\n",
					entryID(l), blockedName(l), short(l.At), plain(l.By), plain(l.Why))
			}
		}
		return err
	})
}

// named are the entries to take back.
func (p peopleUnblockCmd) named(ctx context.Context, db *sqlstore.DB, all []sqlstore.BlockedPerson) ([]sqlstore.BlockedPerson, error) {
	if p.Entry != "" {
		return slices.DeleteFunc(slices.Clone(all), func(b sqlstore.BlockedPerson) bool { return entryID(b) != p.Entry }), nil
	}
	known, err := db.KnownAddresses(ctx)
	if err != nil {
		return nil, err
	}
	return toUnblock(all, peopleOf(known), p.User)
}

// toUnblock are the entries that keep out the one person that text names, and those for
// the address alone. A person is named by their subject or by the address that they have
// now. One that they had before may be given to a new employee, who is not known here while
// the entry keeps the address out: then it is an error that lists the entries, as it is
// where text names several people. It never lets in a person by a guess.
func toUnblock(all []sqlstore.BlockedPerson, known []storedPerson, text string) (named []sqlstore.BlockedPerson, err error) {
	email, _ := authn.ParseEmail(text)
	subject := authn.ParseSubject(text)
	called := func(s authn.Subject) bool {
		return !s.IsZero() && (s.ID == text || s == subject)
	}
	var people []authn.Subject // that text names
	var about []authn.Subject  // and those who had the address
	add := func(s authn.Subject, present bool) {
		if about = append(about, s); present && !slices.Contains(people, s) {
			people = append(people, s)
		}
	}
	for _, k := range known {
		if called(k.Subject) || email != "" && slices.Contains(k.Emails, email) {
			add(k.Subject, called(k.Subject) || k.Emails[0] == email)
		}
	}
	for _, b := range all { // of people unknown to the store
		if called(b.Subject) || email != "" && b.Email == email && !b.Subject.IsZero() && !slices.Contains(about, b.Subject) {
			add(b.Subject, true)
		}
	}
	var others []sqlstore.BlockedPerson
	for _, b := range all {
		switch {
		case b.Subject.IsZero() && email != "" && b.Email == email, len(people) == 1 && b.Subject == people[0]:
			named = append(named, b)
		case email != "" && b.Email == email, slices.Contains(about, b.Subject):
			others = append(others, b)
		}
	}
	if len(others) > 0 && (len(named) == 0 || len(people) > 1) {
		return nil, unclear(text, append(named, others...), known)
	}
	return named, nil
}

// unclear lists the entries that a text may mean.
func unclear(text string, entries []sqlstore.BlockedPerson, known []storedPerson) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s does not name one person who is blocked. An address counts for the person who has it now. Name the person by ISSUER|SUBJECT, or take back one entry with --entry ID:", plain(text))
	for _, e := range entries {
		fmt.Fprintf(&b, "\n  %s  %s", entryID(e), blockedName(e))
		if i := slices.IndexFunc(known, func(k storedPerson) bool { return k.Subject == e.Subject }); i >= 0 && known[i].Emails[0] != e.Email {
			fmt.Fprintf(&b, ", who is %s now", known[i].Emails[0])
		}
	}
	return errors.New(b.String())
}

// entryID names one entry. It stays the same if the entry is written again.
func entryID(b sqlstore.BlockedPerson) string {
	sum := sha256.Sum256([]byte(string(b.Email) + "\n" + b.Subject.Key()))
	return fmt.Sprintf("%x", sum[:4])
}
