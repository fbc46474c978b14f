package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/policy/changes"
	"sallyport/proxy/rollout"
)

// An operator's policy continues another one: see policy/base.go. Here a command finds out
// which one. Whether that one is in force is for the running process to say, at the moment
// of the change.

// inForce is the policy that came into force last, as the store knows it.
type inForce struct {
	hash, source string
	named        bool // its file says which policy it is, so that copies of it do
}

// policyInForce returns authn.ErrNotFound if no proxy has run on the store.
func policyInForce(ctx context.Context, db *sqlstore.DB) (f inForce, err error) {
	v, source, err := db.LastPolicy(ctx)
	base, _ := policy.Base([]byte(source))
	return inForce{v.Hash, source, v.Origin == "command" || base != ""}, err
}

// findBase says which policy a request continues: the one that --onto names; the one that
// the candidate's text names; or the one in force now.
//
// A candidate that names none is no copy of a file that names itself: what it lacks may be
// another operator's work. It may add to what is in force and nothing else.
func findBase(ctx context.Context, db *sqlstore.DB, r *rollout.Request, onto string) error {
	base, err := onto, error(nil)
	if onto == "" && !r.Rollback {
		if base, err = policy.Base([]byte(r.Source)); err != nil {
			return fmt.Errorf("%s:%w", r.Name, err)
		}
	}
	if base != "" {
		r.Base, err = wholeHash(ctx, db, base)
		if onto != "" && errors.Is(err, authn.ErrNotFound) {
			return fmt.Errorf("--onto: no policy that was in force has a hash that begins with %s: see \"policy history\"", base)
		}
		if errors.Is(err, authn.ErrNotFound) {
			r.Base, err = base, nil // from another installation: the running process says so
		}
		return err
	}
	now, err := policyInForce(ctx, db)
	if errors.Is(err, authn.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r.Base = now.hash
	switch {
	case r.Hash() == now.hash:
		return nil
	case r.Rollback:
		return severalSteps(ctx, db, *r)
	case !now.named:
		return nil
	}
	list, err := changes.Between([]byte(now.source), []byte(r.Source))
	if err != nil || changes.AddsOnly(list) {
		return err
	}
	return &unbased{now.hash, list}
}

// unbased is the refusal of a candidate that does not say what it continues.
type unbased struct {
	inForce string
	changes []changes.Change
}

func (u *unbased) Error() string {
	return fmt.Sprintf("it does not say which policy it was made from, as copies of the file in force do in a line `# base: HASH`, "+
		"and it takes away or changes what policy %.12s, which is in force, says", u.inForce)
}

// severalSteps refuses to go back to a policy that more than one other one has followed:
// more is undone than the last change.
func severalSteps(ctx context.Context, db *sqlstore.DB, r rollout.Request) error {
	versions, err := db.PolicyVersions(ctx, rollout.ListedVersions)
	if err != nil {
		return err
	}
	stale := rollout.Since(versions, r.Hash())
	if len(stale.Since) < 2 || !stale.Known {
		return nil
	}
	return &steps{stale}
}

type steps struct{ *rollout.Stale }

func (s *steps) Error() string {
	return fmt.Sprintf("it would undo more than the last change: %d policies came into force since%s", len(s.Since), s.List())
}

// wholeHash completes the beginning of a hash of a policy that was in force.
func wholeHash(ctx context.Context, db *sqlstore.DB, prefix string) (string, error) {
	if !policy.IsHashPrefix(prefix) {
		return "", notAHash(prefix)
	}
	hash, _, err := db.PolicyText(ctx, prefix)
	return hash, err
}

// explainStale says what a refused candidate would undo, and how to go on.
func explainStale(ctx context.Context, g *globals, std stdio, db *sqlstore.DB, r rollout.Request, base, now string) {
	if base != "" {
		_, was, err := db.PolicyText(ctx, base)
		_, is, failed := db.PolicyText(ctx, now)
		if err == nil && failed == nil {
			if list, err := changes.Between([]byte(was), []byte(is)); err == nil && len(list) > 0 {
				fmt.Fprintf(std.err, "What came since policy %.12s: %s", base, changes.Text(list))
			}
		}
	}
	config := ""
	if g.Config != "sallyport.yaml" {
		config = " --config " + shellWord(g.Config)
	}
	again := fmt.Sprintf("--onto %.12s", now)
	if r.Note != "" {
		again += " --note " + shellWord(r.Note)
	}
	if r.Forced {
		again += " --force"
	}
	if r.Rollback {
		fmt.Fprintf(std.err, "To undo all of that:\n    sallyport policy rollback %.12s %s%s\n", r.Hash(), again, config)
		return
	}
	fmt.Fprintf(std.err, "To see what %s would do to what is in force:\n    sallyport policy diff %[2]s%[4]s\nTake over into it what has to stay, and then:\n    sallyport policy apply %[2]s %[3]s%[4]s\n",
		plain(r.Name), shellWord(r.Name), again, config)
}

var shellPlain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// shellWord quotes a text for a shell where it has to be.
func shellWord(text string) string {
	if shellPlain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(plain(text), "'", `'\''`) + "'"
}

// nameCandidate makes the file that a policy came from say that its next edit continues this
// policy, as the configured file does now. It is a help: where it cannot be done, the next
// `apply` of the file needs --onto.
func nameCandidate(std stdio, name, policyFile string, source []byte) {
	info, err := os.Stat(name)
	named := policy.NamingItself(source)
	if err != nil || !info.Mode().IsRegular() || bytes.Equal(source, named) {
		return
	}
	if configured, err := os.Stat(policyFile); err == nil && os.SameFile(info, configured) {
		return
	}
	if err := replaceFile(name, source, named); err != nil {
		fmt.Fprintf(std.err, "note: %s could not be made to say that it is policy %.12s now (%v): its next edit needs --onto %.12[2]s\n", plain(name), policy.Hash(source), err)
	}
}

const maxNote = 500 // characters

// cleanNote makes one line of a note: a commit message may have several, and a tab.
func cleanNote(text string) (string, error) {
	text = plain(strings.Join(strings.Fields(strings.ToValidUTF8(text, "\ufffd")), " "))
	if n := utf8.RuneCountInString(text); n > maxNote {
		return "", fmt.Errorf("--note: %d characters at most, and it has %d", maxNote, n)
	}
	return text, nil
}

// policyShowCmd prints a policy so that it can be edited and applied.
type policyShowCmd struct {
	Hash string `arg:"" help:"How the policy's hash begins, from \"policy history\"."`
}

func (p policyShowCmd) Run(ctx context.Context, g *globals, std stdio) error {
	return withPolicyText(ctx, g, std, p.Hash, func(_, source string) error {
		_, err := io.WriteString(std.out, string(policy.NamingItself([]byte(source))))
		return err
	})
}
