package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"sallyport/policy/company"
	"sallyport/policy/load"
)

type policySimulateCmd struct {
	File     string `arg:"" optional:"" placeholder:"FILE" help:"Policy file, such as a candidate (default: the configured one)."`
	Seed     uint64 `default:"1" help:"The same seed gives the same year."`
	Days     int    `default:"365" help:"How long, 1 to 3660."`
	People   int    `default:"250" help:"How many belong here, 1 to 5000."`
	Markdown bool   `help:"The rules as a table in Markdown."`
	SVG      string `name:"svg" placeholder:"FILE" help:"Write a chart besides."`
	JSON     bool   `name:"json" help:"As JSON."`
}

// Run lives a made-up company's year under the configured policy. The numbers are about
// the policy, not about your people: those are in the audit log, and `policy replay`
// reads it.
func (p policySimulateCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if p.Days < 1 || p.Days > 3660 || p.People < 1 || p.People > 5000 {
		return fmt.Errorf("--days is 1 to 3660, --people 1 to 5000")
	}
	c, intel, err := loadForPolicy(g, std, p.File)
	if err != nil {
		return err
	}
	loaded, err := load.Read(policyConfig(c, intel))
	if err != nil {
		return err
	}
	warnFailing(std, loaded, p.File)
	model := company.DefaultModel
	model.People = p.People
	report, err := company.Run(ctx, company.Config{Policy: loaded.Policy.Ungranted(), Seed: p.Seed, Days: p.Days, Model: model, Routes: c.RouteNames(), Progress: progress(std, "lived", "days")})
	if err != nil {
		return err
	}
	if p.SVG != "" {
		if err := writeTo(p.SVG, report.SVG); err != nil {
			return err
		}
	}
	switch {
	case p.JSON:
		return printJSON(std.out, report)
	case p.Markdown:
		_, err := io.WriteString(std.out, report.Table())
		return err
	}
	return report.Text(std.out)
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

// progress reports on a terminal how far something is. Elsewhere it says nothing: a log
// is not the place for it.
func progress(std stdio, verb, unit string) func(done, total int) {
	f, ok := std.err.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	last := -1
	return func(done, total int) {
		if percent := done * 100 / max(total, 1); percent != last {
			last = percent
			end := ""
			if done == total {
				end = "\r\033[K"
			}
			fmt.Fprintf(f, "\r%s %d of %d %s (%d %%)%s", verb, done, total, unit, percent, end)
		}
	}
}
