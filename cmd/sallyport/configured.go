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

// otherRules says of the exceptions that they were written for another policy than the one
// that is looked at.
func otherRules(c *config.Config) {
	if c.PolicyExceptions != nil {
		x := *c.PolicyExceptions
		x.AnyRules = true
		c.PolicyExceptions = &x
	}
}

// asRecorded is what a policy is compiled from to judge recorded decisions: exceptions that
// have expired since count at the time of the record.
func asRecorded(what policy.Config) policy.Config {
	if what = atAnyTime(what); what.Exceptions != nil {
		what.Exceptions.AnyRules = true
	}
	return what
}

// atAnyTime is what a policy is compiled from to judge facts of another time than now, too.
func atAnyTime(what policy.Config) policy.Config {
	if what.Exceptions != nil {
		x := *what.Exceptions
		x.Past = true
		what.Exceptions = &x
	}
	return what
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
