package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy/company"
	"sallyport/policy/load"
	"sallyport/policy/strictyaml"
)

type policySimulateCmd struct {
	File       string   `arg:"" optional:"" placeholder:"FILE" help:"Policy file, such as a candidate (default: the configured one)."`
	Seed       uint64   `default:"1" help:"The first seed. The same seeds give the same figures."`
	Seeds      int      `default:"20" help:"How many runs, each with the next seed, 1 to 1000."`
	Days       int      `default:"56" help:"How long each run is, 1 to 3660."`
	People     int      `placeholder:"N" help:"How many belong here, 1 to 5000 (default: as the model says)."`
	Model      string   `placeholder:"FILE" help:"The made-up company, as --print-model prints it."`
	Roster     string   `placeholder:"FILE" help:"Take people, countries and time zones from this roster; \"configured\": from the configured one."`
	Audit      []string `placeholder:"FILE" help:"Take groups, routes, requests, networks, countries, hours and shares of people from this audit log (give it several times); \"configured\": from the configured one."`
	PrintModel bool     `help:"Print the model, and simulate nothing."`
	Markdown   bool     `help:"The rules as a table in Markdown."`
	SVG        string   `name:"svg" placeholder:"FILE" help:"Write a chart besides."`
	JSON       bool     `name:"json" help:"As JSON."`
}

// simulateReport is what --json prints.
type simulateReport struct {
	*company.Summary
	Learned *company.Learned `json:"learned,omitempty"`
}

// Run lives a made-up company's days under the configured policy. The numbers are about
// the policy, not about your people: those are in the audit log, and `policy replay`
// reads it.
func (p policySimulateCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if p.Days < 1 || p.Days > 3660 || p.People < 0 || p.People > company.MaxPeople || p.Seeds < 1 || p.Seeds > company.MaxSeeds {
		return fmt.Errorf("--days is 1 to 3660, --people 1 to %d, --seeds 1 to %d", company.MaxPeople, company.MaxSeeds)
	}
	c, intel, err := loadForPolicy(g, std, p.File)
	if err != nil {
		return err
	}
	model, learned, err := p.model(ctx, c, std)
	if err != nil {
		return err
	}
	if p.PrintModel {
		_, err := io.WriteString(std.out, model.YAML())
		return err
	}
	loaded, err := load.Read(policyConfig(c, intel))
	if err != nil {
		return err
	}
	warnFailing(std, loaded, p.File)
	shown := newProgress(std, "days", p.JSON)
	summary, err := company.RunSeeds(ctx, company.Config{Policy: loaded.Policy.Ungranted(), Seed: p.Seed, Days: p.Days, Model: model, Settings: simulated(c),
		Routes: simulatedRoutes(c), Progress: func(done, of int) { shown.at("living", int64(done), int64(of)) }}, p.Seeds)
	shown.clear()
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: there is no report of a part of the runs")
	}
	if err != nil {
		return err
	}
	if p.SVG != "" {
		if err := writeTo(p.SVG, summary.SVG); err != nil {
			return err
		}
	}
	switch {
	case p.JSON:
		return printJSON(std.out, simulateReport{summary, learned})
	case p.Markdown:
		_, err := io.WriteString(std.out, summary.Table())
		return err
	}
	return summary.Text(std.out)
}

// simulated is what the configuration says of sessions and history.
func simulated(c *config.Config) company.Settings {
	return company.Settings{SessionMaxAge: c.Session.MaxAge, SessionIdle: c.Session.IdleTimeout, Retention: c.Behavior.Retention, Household: c.Behavior.Household,
		MobileASNs: c.Behavior.MobileASNs, SatelliteASNs: c.Behavior.SatelliteASNs}
}

func simulatedRoutes(c *config.Config) (routes []company.Route) {
	for _, r := range c.Routes {
		routes = append(routes, company.Route{Name: r.Name, Host: r.From.Hostname()})
	}
	return routes
}

// model is the made-up company, with what a roster and a log say of the real one.
func (p policySimulateCmd) model(ctx context.Context, c *config.Config, std stdio) (company.Model, *company.Learned, error) {
	model, err := p.readModel(c)
	if err != nil {
		return model, nil, err
	}
	if p.People > 0 {
		if p.People < len(model.Named) {
			return model, nil, fmt.Errorf("--people is %d, and the model names %d people", p.People, len(model.Named))
		}
		model.People = p.People
	}
	if p.Roster == "" && len(p.Audit) == 0 {
		return model, nil, nil
	}
	learner := company.NewLearner(c.RouteNames())
	if p.Roster != "" {
		if err := p.learnRoster(c, learner); err != nil {
			return model, nil, err
		}
	}
	if len(p.Audit) > 0 {
		if err := p.learnAudit(ctx, c, std, learner); err != nil {
			return model, nil, err
		}
	}
	model, learned := learner.Model(model)
	if p.People > len(model.Named) {
		model.People = p.People
	}
	fmt.Fprint(std.err, learned.Text())
	return model, &learned, nil
}

func (p policySimulateCmd) readModel(c *config.Config) (company.Model, error) {
	if p.Model == "" {
		return company.DefaultModel(), nil
	}
	text, err := readBounded(p.Model, strictyaml.MaxBytes)
	if err != nil {
		return company.Model{}, fmt.Errorf("--model: %w", err)
	}
	return company.ReadModel(p.Model, text, c.RouteNames())
}

// readBounded reads a file, and one byte more than it may have, so that its reader says
// that it is too large.
func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most+1))
}

// writeTo writes a file, whole or with an error.
func writeTo(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
