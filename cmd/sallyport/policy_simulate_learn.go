package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
	"sallyport/policy/company"
	"sallyport/proxy/audit"
)

// configuredFile stands for the file that the configuration names.
const configuredFile = "configured"

func (p policySimulateCmd) learnRoster(c *config.Config, learner *company.Learner) error {
	roster := c.Roster
	if p.Roster == configuredFile {
		if c.RosterFile == "" {
			return errors.New("--roster: the configuration names no roster; give its file")
		}
	} else {
		const most = 16 << 20
		text, err := readBounded(p.Roster, most)
		if err != nil {
			return fmt.Errorf("--roster: %w", err)
		}
		if len(text) > most {
			return fmt.Errorf("--roster: %s has more than %d bytes", p.Roster, most)
		}
		if roster, err = config.ParseRoster(p.Roster, text); err != nil {
			return err
		}
	}
	if len(roster) > company.MaxPeople {
		return fmt.Errorf("--roster: it has %d people, and a model %d at most", len(roster), company.MaxPeople)
	}
	for email, e := range roster {
		learner.Person(string(email), e.Countries, e.TimeZone, e.Started)
	}
	return nil
}

// learnAudit reads a log for what it says of people. It is not verified: a model is made up
// anyway, and `audit verify` is there for the question whether a log is true.
func (p policySimulateCmd) learnAudit(ctx context.Context, c *config.Config, std stdio, learner *company.Learner) error {
	files := p.Audit
	if slices.Equal(files, []string{configuredFile}) {
		var err error
		if files, err = audit.Segments(c.AuditFile); err != nil {
			return fmt.Errorf("--audit: %w", err)
		}
	}
	for line, err := range audit.Lines(files...) {
		if ctx.Err() != nil {
			return errors.New("interrupted while the log was read")
		}
		if _, bad := errors.AsType[*audit.LineError](err); bad {
			learner.Unreadable++
			continue
		}
		if err != nil {
			return fmt.Errorf("--audit: %w", err)
		}
		var r struct {
			Time  time.Time     `json:"time"`
			Event string        `json:"event"`
			User  string        `json:"user"`
			Count int64         `json:"count"`
			Facts *policy.Facts `json:"facts"`
		}
		switch err := json.Unmarshal(line.Raw, &r); {
		case err != nil:
			learner.Unreadable++
		case r.Event == "access" && r.Facts != nil && r.User != "":
			learner.Request(r.User, r.Time, max(1, r.Count), r.Facts)
		default:
			learner.Other++
		}
	}
	return nil
}
