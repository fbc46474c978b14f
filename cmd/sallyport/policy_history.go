package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
)

type policyHistoryCmd struct {
	storeFlag `embed:""`

	Limit int  `short:"n" default:"50" help:"How many entries (default 50)."`
	JSON  bool `name:"json" help:"One JSON object a line."`
}

type versionLine struct {
	Time    time.Time `json:"time"`
	Policy  string    `json:"policy"`
	Outcome string    `json:"outcome"`
	Origin  string    `json:"origin"`
	By      string    `json:"by,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	Note    string    `json:"note,omitempty"`
}

func (p policyHistoryCmd) Run(ctx context.Context, g *globals, std stdio) error {
	return p.with(ctx, g, std, func(_ *config.Config, db *sqlstore.DB) error {
		versions, err := db.PolicyVersions(ctx, p.Limit)
		if err != nil {
			return err
		}
		lines := make([]versionLine, len(versions))
		for i, v := range versions {
			lines[i] = versionLine{v.At, v.Hash, v.Outcome, v.Origin, v.By, v.Detail, v.Note}
		}
		return list(std.out, p.JSON, lines, "TIME\tPOLICY\tOUTCOME\tFROM\tBY\tNOTE\tWHY", func(w io.Writer, l versionLine) {
			why, _, _ := strings.Cut(l.Detail, "\n")
			fmt.Fprintf(w, "%s\t%.12s\t%s\t%s\t%s\t%s\t%s\n", l.Time.Local().Format(time.DateTime), l.Policy, l.Outcome, l.Origin, plain(l.By), plain(l.Note), plain(why))
		})
	})
}

func notAHash(text string) error {
	return fmt.Errorf("%q is not the beginning of a hash: at least 6 of the digits that \"policy history\" prints", text)
}

// withPolicyText runs f with a policy that was in force, by the beginning of its hash.
func withPolicyText(ctx context.Context, g *globals, std stdio, prefix string, f func(hash, source string) error) error {
	if !policy.IsHashPrefix(prefix) {
		return notAHash(prefix)
	}
	return withPolicyFile(ctx, g, func(_ *config.Config, db *sqlstore.DB) error {
		hash, source, err := db.PolicyText(ctx, prefix)
		if errors.Is(err, authn.ErrNotFound) {
			fmt.Fprintf(std.err, "No policy that was in force has a hash that begins with %s.\n", prefix)
			return errNo
		}
		if err != nil {
			return err
		}
		return f(hash, source)
	})
}
