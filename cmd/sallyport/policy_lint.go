package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy/ipintel"
	"sallyport/policy/lint"
)

type policyLintCmd struct {
	File string `arg:"" optional:"" placeholder:"FILE" help:"Policy file (default: the configured one)."`
	JSON bool   `name:"json" help:"One JSON object a line."`
}

// Run answers no if there are errors or warnings; notes alone are no reason to fail a
// build.
func (p policyLintCmd) Run(g *globals, std stdio) error {
	c, intel, err := loadForPolicy(g, std, p.File)
	if err != nil {
		return err
	}
	found, err := lintConfigured(c, intel)
	if err != nil {
		return err
	}
	of := map[lint.Severity]int{}
	for _, f := range found {
		of[f.Severity]++
	}
	if p.JSON {
		if err := list(std.out, true, found, "", nil); err != nil {
			return err
		}
	} else {
		for _, f := range found {
			fmt.Fprintf(std.out, "%s\n\n", f.Text())
		}
		fmt.Fprintf(std.out, "%s, %s, %s\n", count(of[lint.Error], "error", "errors"), count(of[lint.Warning], "warning", "warnings"), count(of[lint.Note], "note", "notes"))
	}
	if of[lint.Error]+of[lint.Warning] > 0 {
		return errNo
	}
	return nil
}

// loadForPolicy reads the configuration for a command about the policy, or about another
// policy file in its place.
func loadForPolicy(g *globals, std stdio, file string) (*config.Config, *ipintel.Snapshot, error) {
	c, err := config.Load(g.Config)
	if err != nil {
		return nil, nil, err
	}
	if file != "" {
		if c.PolicySource, err = os.ReadFile(file); err != nil {
			return nil, nil, err
		}
		c.PolicyFile = file
		otherRules(c)
	}
	intel, err := loadIntelAnyway(c, std) // a source that is not loaded still says what it would provide
	return c, intel, err
}

// lintConfigured looks at the configured policy.
func lintConfigured(c *config.Config, intel *ipintel.Snapshot) ([]lint.Finding, error) {
	tests, err := testFiles(c.PolicyFile)
	if err != nil {
		return nil, err
	}
	return lint.Check(lint.Config{Policy: policyConfig(c, intel), Tests: tests, NoSource: noSource(c),
		Routes: lintRoutes(c), Hosts: hosts(c), People: people(c), Now: time.Now})
}

func lintRoutes(c *config.Config) map[string]lint.Route {
	out := map[string]lint.Route{}
	for _, r := range c.Routes {
		out[r.Name] = lint.Route{RPC: r.RPC, PathForms: r.PathForms.Names()}
	}
	return out
}

// hosts are those that requests come for; nil if a route takes many.
func hosts(c *config.Config) []string {
	out := []string{c.ExternalURL.Hostname()}
	for _, r := range c.Routes {
		if r.Wildcard() {
			return nil
		}
		out = append(out, r.Host())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// people are the addresses in the roster; nil without one.
func people(c *config.Config) (out []string) {
	for email := range c.Roster {
		out = append(out, string(email))
	}
	slices.Sort(out)
	return out
}

// noSource names the facts that nothing in this configuration provides, with the source
// that would.
func noSource(c *config.Config) map[string]string {
	none := map[string]string{}
	add := func(there bool, source string, facts ...string) {
		for _, f := range facts {
			if !there {
				none[f] = source
			}
		}
	}
	add(c.Roster != nil || c.OIDC.CountriesClaim != "", "`roster` or `oidc.countries_claim` in sallyport.yaml", "user.countries")
	add(c.Roster != nil, "`roster` in sallyport.yaml", "user.time_zone", "user.region", "user.started_days")
	homes := slices.ContainsFunc(slices.Collect(maps.Values(c.Roster)), func(e config.Entry) bool { return e.Home.Known })
	add(homes, "the column home of the `roster` in sallyport.yaml", "user.home_km")
	add(c.TLS != nil && c.TLS.Client != nil, "`tls.client_ca_file` in sallyport.yaml", "tls.client_cert", "tls.client_subject", "tls.client_sans")
	add(c.TLS != nil || c.ACME != nil, "`tls` or `acme` in sallyport.yaml", "tls.ja4")
	rpc := false
	for _, r := range c.Routes {
		rpc = rpc || r.RPC
	}
	add(rpc, "a route with `rpc: jsonrpc` in sallyport.yaml", "request.rpc_methods")
	return none
}

// printWarnings prints the likely mistakes of the policy, one a line, and reports whether
// one of them is an error.
func printWarnings(w io.Writer, found []lint.Finding) (wrong bool) {
	for _, f := range found {
		if f.Severity != lint.Note {
			fmt.Fprintf(w, "%s: %s:%d:%d: %s; fix: %s [%s]\n", f.Severity, f.File, f.Line, f.Column, f.Message, f.Fix, f.Code)
		}
		wrong = wrong || f.Severity == lint.Error
	}
	return wrong
}
