package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
)

// storedPerson is a person as the store knows them: by issuer and subject, with every
// address they were seen under, the newest first.
type storedPerson struct {
	Subject authn.Subject
	Emails  []authn.Email
}

// String names a person so that any command takes the name.
func (k storedPerson) String() string {
	return fmt.Sprintf("%s (%s)", plain(k.Subject.Issuer+"|"+k.Subject.ID), emails(k.Emails))
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
	issuer, id, whole := cutSubject(text)
	for _, k := range peopleOf(addresses) {
		switch {
		case email != "" && slices.Contains(k.Emails, email), k.Subject.ID == text, whole && k.Subject == authn.Subject{Issuer: issuer, ID: id}:
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
		var b strings.Builder
		fmt.Fprintf(&b, "%s names %d people, who have or had it; name one of them by their subject:", plain(text), len(found))
		for _, k := range found {
			fmt.Fprintf(&b, "\n  %s", k)
		}
		return nil, fmt.Errorf("%s", b.String())
	}
	return &found[0], nil
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

// cutSubject reads ISSUER|SUBJECT. An issuer is a URL, which has no bar.
func cutSubject(text string) (issuer, id string, ok bool) {
	issuer, id, ok = strings.Cut(text, "|")
	return issuer, id, ok && issuer != "" && id != ""
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

// nowKnownAs is the address that the person named by text has now, for commands that need
// no store. Without a store, or where text names no person, it is text itself.
func nowKnownAs(ctx context.Context, g *globals, std stdio, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	var named *storedPerson
	var several error
	if err := withExistingStore(ctx, g, func(_ *config.Config, db *sqlstore.DB) error {
		found, err := find(ctx, db, text)
		named, several = only(found, text)
		return err
	}); err != nil || several != nil || named == nil {
		return text, several
	}
	sayFormer(std.err, text, named)
	return string(named.Emails[0]), nil
}

// sayFormer tells the present address of a person who was named by a former one.
func sayFormer(w io.Writer, text string, k *storedPerson) {
	if email, err := authn.ParseEmail(text); err == nil && k != nil && email != k.Emails[0] {
		fmt.Fprintf(w, "note: %s is a former address of %s, who is %s now.\n", email, plain(k.Subject.ID), k.Emails[0])
	}
}
