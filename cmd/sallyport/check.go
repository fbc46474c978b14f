package main

import (
	"errors"
	"fmt"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
	"sallyport/policy/ipintel"
)

type checkCmd struct{}

// Run checks everything that can be checked offline and changes nothing. It reports
// all that it finds, not the first.
func (checkCmd) Run(g *globals, std streams) error {
	c, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	var found []error
	if _, err := routeTable(c); err != nil {
		found = append(found, err)
	}
	if err := ipintel.Check(c.IPData); err != nil {
		found = append(found, err)
	}
	intel, _ := ipintel.Load(c.IPData) // what is wrong with it was said by Check
	p, err := compilePolicy(c, intel)
	if err != nil {
		found = append(found, err)
	}
	if err := errors.Join(found...); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%s is right: %d routes, %d policy tests passed, %d IP sources, %d people in the roster.\n",
		g.Config, len(c.Routes), len(p.RunTests()), len(intel.Sources()), len(c.Roster))
	return nil
}

// compilePolicy compiles the configured policy against what the configuration offers it.
func compilePolicy(c *config.Config, intel *ipintel.Snapshot) (*policy.Policy, error) {
	provides := intel.Provides()
	return policy.Compile(policy.Config{
		Name: c.PolicyFile, Source: c.PolicySource, Routes: c.RouteNames(), Grants: c.Grants(), Provides: &provides,
	})
}
