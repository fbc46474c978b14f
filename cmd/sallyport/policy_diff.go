package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/policy/changes"
	"sallyport/proxy/rollout"
)

// policyDiffCmd compares by what the policies say. Its exit status is that of diff(1): 0 the
// same, 1 another, 2 trouble.
type policyDiffCmd struct {
	Of   []string `arg:"" optional:"" name:"hash|file" help:"Policies: how the hash of one that was in force begins, or a file. None: from the one in force to the configured file. A hash: from it to the one in force. A file: from the one in force to it. Two: from the first to the second."`
	JSON bool     `name:"json" help:"One JSON object."`
}

// side is a policy that is compared.
type side struct {
	Name   string `json:"name"` // for people
	Hash   string `json:"hash"`
	source []byte
	stored bool // it was in force, and is no file
}

type policyDiff struct {
	Was     side             `json:"was"`
	Is      side             `json:"is"`
	Same    bool             `json:"same"` // the texts are, but for the line that names the base
	Changes []changes.Change `json:"changes"`
}

func (p policyDiffCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if len(p.Of) > 2 {
		return errors.New("two policies at most: [HASH] [FILE]")
	}
	return withExistingStore(ctx, g, func(c *config.Config, db *sqlstore.DB) error {
		was, is, err := p.sides(ctx, c, db)
		if err != nil {
			return err
		}
		d := policyDiff{Was: was, Is: is, Same: was.Hash == is.Hash, Changes: []changes.Change{}}
		if !d.Same {
			list, err := changes.Between(was.source, is.source)
			if err != nil {
				return err
			}
			d.Changes = append(d.Changes, list...)
		}
		if p.JSON {
			err = printJSON(std.out, d)
		} else {
			_, err = io.WriteString(std.out, d.text())
		}
		if err == nil && !d.Same {
			err = errNo
		}
		return err
	})
}

func (d policyDiff) text() string {
	switch {
	case d.Same:
		return fmt.Sprintf("From %s to %s: nothing differs.\n", d.Was.Name, d.Is.Name)
	case len(d.Changes) == 0:
		return fmt.Sprintf("From %s to %s: comments and layout alone differ.\n", d.Was.Name, d.Is.Name)
	}
	return fmt.Sprintf("From %s to %s: %s", d.Was.Name, d.Is.Name, changes.Text(d.Changes))
}

func (p policyDiffCmd) sides(ctx context.Context, c *config.Config, db *sqlstore.DB) (was, is side, err error) {
	var given []side
	for _, name := range p.Of {
		s, err := sideOf(ctx, db, name)
		if err != nil {
			return was, is, err
		}
		given = append(given, s)
	}
	if len(given) == 2 {
		return given[0], given[1], nil
	}
	now, err := policyInForce(ctx, db)
	if errors.Is(err, authn.ErrNotFound) {
		return was, is, errors.New("no policy was in force yet: has `sallyport serve` run on this store?")
	}
	if err != nil {
		return was, is, err
	}
	current := side{fmt.Sprintf("policy %.12s, which is in force,", now.hash), now.hash, []byte(now.source), true}
	switch {
	case len(given) == 0:
		is, err = fileSide(c.PolicyFile)
		return current, is, err
	case given[0].stored:
		return given[0], current, nil
	}
	return current, given[0], nil
}

func sideOf(ctx context.Context, db *sqlstore.DB, name string) (side, error) {
	if !policy.IsHashPrefix(name) {
		return fileSide(name)
	}
	switch hash, source, err := db.PolicyText(ctx, name); {
	case err == nil:
		return side{fmt.Sprintf("policy %.12s", hash), hash, []byte(source), true}, nil
	case !errors.Is(err, authn.ErrNotFound):
		return side{}, err
	}
	if _, err := os.Stat(name); err == nil {
		return fileSide(name)
	}
	return side{}, fmt.Errorf("no policy that was in force has a hash that begins with %s, and there is no file of that name", name)
}

func fileSide(name string) (side, error) {
	f, err := os.Open(name) // which may be a pipe
	if err != nil {
		return side{}, err
	}
	defer f.Close()
	source, err := rollout.ReadAll(f)
	return side{Name: plain(name), Hash: policy.Hash(source), source: source}, err
}
