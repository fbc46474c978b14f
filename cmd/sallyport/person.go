package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
)

// storedPerson is a person as the store knows them: by issuer and subject, with every
// address they were seen under, the newest first.
type storedPerson struct {
	Subject authn.Subject
	Emails  []authn.Email
}

// String names a person so that any command takes the name.
func (k storedPerson) String() string {
	return fmt.Sprintf("%s (%s)", subjectName(k.Subject), emails(k.Emails))
}

// subjectName is ISSUER|SUBJECT, which names one person at one provider, and "" for none.
func subjectName(s authn.Subject) string {
	if s.IsZero() {
		return ""
	}
	return plain(s.Issuer + "|" + s.ID)
}

// find returns the people that text names: an e-mail address that they have or once had,
// a subject, or ISSUER|SUBJECT. It is the one way in which commands find a person:
// providers change addresses, and who is looked for under the one before must not be
// taken for no person.
func find(ctx context.Context, db *sqlstore.DB, text string) (found []storedPerson, err error) {
	addresses, err := db.KnownAddresses(ctx)
	if err != nil {
		return nil, err
	}
	email, _ := authn.ParseEmail(text) // text that is no address is a subject
	subject := authn.ParseSubject(text)
	for _, k := range peopleOf(addresses) {
		switch {
		case email != "" && slices.Contains(k.Emails, email), k.Subject.ID == text, !subject.IsZero() && k.Subject == subject:
			found = append(found, k)
		}
	}
	return found, nil
}

// findOne is find for commands that do something to one person: of two that text names,
// never a guess. It returns nil if text names no person in the store.
func findOne(ctx context.Context, db *sqlstore.DB, text string) (*storedPerson, error) {
	found, err := find(ctx, db, text)
	if err != nil {
		return nil, err
	}
	return only(found, text)
}

// only returns the one person of those that text names, nil if there is none, and an
// error that lists them if there are several.
func only(found []storedPerson, text string) (*storedPerson, error) {
	switch {
	case len(found) == 0:
		return nil, nil
	case len(found) > 1:
		return nil, errors.New(several(found, text, "; name one of them by their subject"))
	}
	return &found[0], nil
}

// several lists the people that text names.
func several(found []storedPerson, text, advice string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s names %d people, who have or had it%s:", plain(text), len(found), advice)
	for _, k := range found {
		fmt.Fprintf(&b, "\n  %s", k)
	}
	return b.String()
}

// saySeveral tells the reader of a list that it is about several people.
func saySeveral(w io.Writer, text string, found []storedPerson) {
	if len(found) > 1 {
		fmt.Fprintf(w, "note: %s\n", several(found, text, ""))
	}
}

func peopleOf(addresses []sqlstore.KnownAddress) (list []storedPerson) {
	for _, a := range addresses { // those of one person stand together
		if n := len(list); n > 0 && list[n-1].Subject == a.Subject {
			list[n-1].Emails = append(list[n-1].Emails, a.Email)
			continue
		}
		list = append(list, storedPerson{a.Subject, []authn.Email{a.Email}})
	}
	return list
}

// personText checks what a flag or an argument says: an address that is one, or a
// subject.
func personText(text string) error {
	if !strings.Contains(text, "@") || strings.Contains(text, "|") {
		return nil
	}
	_, err := authn.ParseEmail(text)
	return err
}

// person is someone as serve would see them at their next sign-in, as far as that is known.
type person struct {
	authn.Person
	passkey authn.Credential
	refused string            // why: they are blocked; "": they are not
	unknown map[string]string // fact: why it is not known
}

// findPerson resolves a person for commands that judge made-up requests: subject, groups
// and name from their latest session, their latest passkey, and without a store what text
// says. A passkey that is made up is 30 days old at the moment that is judged.
func findPerson(ctx context.Context, g *globals, std stdio, text string, now time.Time) (who person, err error) {
	who.unknown = map[string]string{}
	who.unread("the store does not know this person: they have not signed in yet")
	who.passkey = authn.Credential{Class: authn.ClassUnattested, AttestationFormat: "none", CreatedAt: now.Add(-30 * 24 * time.Hour)}
	const assumed = "no passkey of the person is known; this one is made up"
	for _, fact := range policy.FactSchema().Facts() {
		if fact.Group == "credential" {
			who.unknown[fact.Name] = assumed
		}
	}
	email, mistake := authn.ParseEmail(text)
	who.Email = email
	var ambiguous error
	failed := withSessions(ctx, g, func(_ *config.Config, db *sqlstore.DB, m *session.Manager) error {
		found, err := find(ctx, db, text)
		if err != nil {
			return err
		}
		k, err := only(found, text)
		if err != nil {
			ambiguous = err
			return nil
		}
		if k == nil {
			if mistake == nil {
				fmt.Fprintf(std.err, "note: no person is known here as %s: the answer is for someone who has not signed in yet\n", email)
			}
		} else {
			sayFormer(std.err, text, k)
			mistake = nil
			if err := who.read(ctx, db, m, k); err != nil {
				return err
			}
		}
		blocks, err := db.BlockedPeople(ctx)
		who.refused = whyBlocked(blocksOf(blocks, who.Email, who.Subject))
		return err
	})
	if failed != nil {
		first, _, _ := strings.Cut(failed.Error(), "\n")
		who.unread("the store cannot be read: " + first)
	}
	return who, cmp.Or(ambiguous, mistake)
}

// unread notes why what only the store knows of a person is not known.
func (p *person) unread(why string) {
	for _, name := range []string{"user.groups", "user.name", "user.subject"} {
		p.unknown[name] = why
	}
}

// read takes over what the store knows of k.
func (p *person) read(ctx context.Context, db *sqlstore.DB, m *session.Manager, k *storedPerson) error {
	p.Subject = k.Subject
	if len(k.Emails) > 0 {
		p.Email = k.Emails[0]
	}
	delete(p.unknown, "user.subject")
	records, err := m.List(ctx, session.Filter{Subject: k.Subject})
	if err != nil {
		return err
	}
	if len(records) == 0 {
		p.unknown["user.groups"], p.unknown["user.name"] = "no live session says it; --groups and --set do", "no live session says it; --set does"
	} else {
		latest := slices.MaxFunc(records, func(a, b session.Record) int { return a.CreatedAt.Compare(b.CreatedAt) })
		p.Person = latest.Person
		delete(p.unknown, "user.groups")
		delete(p.unknown, "user.name")
	}
	credentials, err := db.Credentials(ctx, k.Subject)
	if err != nil {
		return err
	}
	credentials = slices.DeleteFunc(credentials, func(c passkey.Record) bool { return c.Blocked != "" })
	if len(credentials) > 0 {
		p.passkey = slices.MaxFunc(credentials, func(a, b passkey.Record) int { return a.LastUsedAt.Compare(b.LastUsedAt) }).Credential
		maps.DeleteFunc(p.unknown, func(name, _ string) bool { return strings.HasPrefix(name, "credential.") })
	}
	return nil
}

// sayFormer tells the present address of a person who was named by a former one.
func sayFormer(w io.Writer, text string, k *storedPerson) {
	if email, err := authn.ParseEmail(text); err == nil && k != nil && email != k.Emails[0] {
		fmt.Fprintf(w, "note: %s is a former address of %s, who is %s now.\n", email, plain(k.Subject.ID), k.Emails[0])
	}
}
