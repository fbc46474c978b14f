package main

import (
	"errors"
	"fmt"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
	"sallyport/policy/ipintel"
)

// policyConfig is what the configured policy is compiled from.
func policyConfig(c *config.Config, intel *ipintel.Snapshot) policy.Config {
	return c.Policies().Config(intel)
}

// loadIntel reads the IP data once. The errors are the sources that are not loaded.
func loadIntel(c *config.Config) (*ipintel.Snapshot, []error, error) {
	snapshot, failed := ipintel.Load(c.IPData)
	if snapshot == nil {
		return nil, nil, errors.Join(failed...)
	}
	return snapshot, failed, nil
}

// configured is the configuration and the IP data that it names, for commands that only
// look.
func configured(g *globals, std stdio) (*config.Config, *ipintel.Snapshot, error) {
	c, err := config.Load(g.Config)
	if err != nil {
		return nil, nil, err
	}
	intel, err := loadIntelAnyway(c, std)
	return c, intel, err
}

// loadIntelAnyway is loadIntel for commands that continue without sources that cannot be
// loaded, with a warning.
func loadIntelAnyway(c *config.Config, std stdio) (*ipintel.Snapshot, error) {
	snapshot, failed, err := loadIntel(c)
	for _, f := range failed {
		fmt.Fprintln(std.err, "warning:", f)
	}
	return snapshot, err
}
