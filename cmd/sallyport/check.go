package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"sallyport/authn/signin"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy/ipintel"
	"sallyport/policy/load"
	"sallyport/policy/whole"
	"sallyport/proxy/audit"
	"sallyport/proxy/rollout"
)

type checkCmd struct {
	Online bool `help:"Ask the OpenID provider, too, whether it is there and knows the client id and secret."`
}

// Run checks everything that can be checked offline and changes nothing. It reports
// all that it finds, not the first.
func (k checkCmd) Run(ctx context.Context, g *globals, std stdio) error {
	c, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	var found []error
	if _, _, err := c.RequestReaders(); err != nil {
		found = append(found, err)
	}
	intel, _, err := loadIntel(c)
	if err != nil {
		return errors.Join(append(found, err)...)
	}
	found = append(found, sourceMistakes(c, intel)...)
	if _, err := c.Policies().Compile(intel); err != nil {
		found = append(found, err)
	}
	if _, err := c.Policies().CompileShadow(intel); err != nil {
		found = append(found, err)
	}
	if err := errors.Join(found...); err != nil {
		return err
	}
	loaded, err := load.Read(policyConfig(c, intel))
	if err != nil {
		return err
	}
	suspicious, err := lintConfigured(c, intel)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%s is right: %s, %s passed, %s, %s in the roster.\n", g.Config, count(len(c.Routes), "route", "routes"),
		count(loaded.Tests(), "policy test", "policy tests"), count(len(intel.Sources()), "IP source", "IP sources"), count(len(c.Roster), "person", "people"))
	wrong := printWarnings(std.out, suspicious)
	for _, risk := range c.Risks() {
		fmt.Fprintf(std.out, "warning: %s:%d:%d: %s; better: %s\n", risk.File, risk.Line, risk.Column, risk.Message, risk.Expected)
	}
	if g := c.PolicyGuard.BreakGlassGroup; g != "" && !groupKnown(c, g) {
		fmt.Fprintf(std.out, "warning: %s: policy_guard.break_glass_group: no route's allow names the group %q, and no decision in the audit log is about a person of it: "+
			"the guard protects no one by it; if it is the name that the provider gives in its claim, sign in as one of the group once\n", c.File, plain(g))
	}
	refused := rollout.RefusedNow(c.AuditFile, intel)
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		fmt.Fprintf(std.out, "warning: IP source %s: %s\n", name, refused[name].Text())
	}
	for _, note := range append(notes(c), sourceNotes(c, intel)...) {
		fmt.Fprintln(std.out, "note:", note)
	}
	if k.Online {
		if err := askProvider(ctx, c, std); err != nil {
			return err
		}
	}
	if wrong {
		return errNo
	}
	return nil
}

// groupKnown reports whether a group occurs: in the allow of a route, or in the facts of a
// recorded decision. A name that occurs nowhere is most likely misspelled.
func groupKnown(c *config.Config, group string) bool {
	for _, r := range c.Routes {
		if slices.Contains(r.Allow.Groups, group) {
			return true
		}
	}
	for line, err := range audit.LastLines(c.AuditFile, rollout.RecentLines) {
		if err != nil || !bytes.Contains(line.Raw, []byte(`"groups"`)) || line.Decode() != nil || line.Record.Facts == nil {
			continue // `audit verify` reports a broken line
		}
		if slices.Contains(line.Record.Facts.User.Groups, group) {
			return true
		}
	}
	return false
}

// onlineFor is how long the provider has to answer.
const onlineFor = 20 * time.Second

// askProvider says whether people can be sent to the provider. It needs no person, and
// starts no sign-in.
func askProvider(ctx context.Context, c *config.Config, std stdio) error {
	ctx, cancel := context.WithTimeout(ctx, onlineFor)
	defer cancel()
	sc := c.SignIn()
	sc.Flows = noFlows{}
	p, err := signin.New(sc)
	if err != nil {
		return err
	}
	method, err := p.Probe(ctx)
	if err != nil {
		return fmt.Errorf("the OpenID provider: %w", err)
	}
	fmt.Fprintf(std.out, "The OpenID provider %s is there, and knows the client (%s).\n", c.OIDC.Issuer, method)
	return nil
}

// noFlows keeps nothing: no sign-in is begun.
type noFlows struct{ signin.Once }

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// sourceMistakes adds the mistakes of an IP source at the line that names it.
func sourceMistakes(c *config.Config, intel *ipintel.Snapshot) (found []error) {
	for i, s := range intel.Sources() { // databases first, then lists, as configured
		if s.Err == "" {
			continue
		}
		key := fmt.Sprintf("ip_data.databases[%d]", i)
		if i >= len(c.IPData.Databases) {
			key = fmt.Sprintf("ip_data.lists[%d].file", i-len(c.IPData.Databases))
		}
		found = append(found, c.Mistake(key, s.Err, "a file that can be loaded"))
	}
	return found
}

// sourceNotes is what the operator should know of a source that is right, with its place
// in the configuration.
func sourceNotes(c *config.Config, intel *ipintel.Snapshot) (list []string) {
	for i, s := range intel.Sources() {
		key := fmt.Sprintf("ip_data.databases[%d]", i)
		if i >= len(c.IPData.Databases) {
			key = fmt.Sprintf("ip_data.lists[%d]", i-len(c.IPData.Databases))
		}
		for _, n := range s.Notes {
			list = append(list, fmt.Sprintf("%s (%s): %s", key, s.Name, n))
		}
	}
	return list
}

// starterOffices is the line of the starting policy with a documentation network, unless
// the operator has changed it.
const starterOffices = "  offices: [203.0.113.0/24]     # networks of your own, in documentation addresses: change it"

// notes are what an operator should know before serving, though it is not wrong.
func notes(c *config.Config) (list []string) {
	list = c.HostNotes()
	if c.OIDC.ClientSecret == secretPlaceholder {
		list = append(list, "oidc.client_secret_file: "+c.OIDC.ClientSecretFile+" still holds the placeholder; sign-in fails before the client secret is there")
	}
	for n, line := range strings.Split(string(c.PolicySource), "\n") {
		if line == starterOffices {
			list = append(list, fmt.Sprintf("%s:%d: lists.offices is what `sallyport init` wrote, addresses for documentation: put your own networks there, and one of their addresses into the test that has 203.0.113.7", c.PolicyFile, n+1))
		}
	}
	if !whole.Ended(c.PolicySource) {
		list = append(list, fmt.Sprintf("%s does not end with a line %q: half of it, as a slow editor leaves it, cannot be told from the whole, so each change waits for policy_settle: `sallyport policy fmt --write` adds the line", c.PolicyFile, whole.Mark))
	}
	if p := c.PolicyInvariants; p != nil && sameUser(p.Name, c.PolicyFile) {
		list = append(list, fmt.Sprintf("%s belongs to the same user as %s: who changes the policy can change both: chown root %[1]s, or another user that is not this one", p.Name, c.PolicyFile))
	}
	secrets := []string{c.OIDC.ClientSecretFile, c.RosterFile}
	if c.TLS != nil {
		secrets = append(secrets, c.TLS.KeyFile)
		list = append(list, certificateNotes(c)...)
	}
	for _, name := range secrets {
		if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o007 != 0 {
			list = append(list, fmt.Sprintf("every user of this machine can read %s (mode %04o): chmod o= %[1]s", name, info.Mode().Perm()))
		}
	}
	return list
}

// certificateNotes says which certificates end soon, and which hosts none of them names.
// Neither is an error: a test may use what a deployment must not.
func certificateNotes(c *config.Config) (list []string) {
	var leaves []*x509.Certificate
	var files []string
	for _, p := range c.TLS.Pairs() {
		pair, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
		if err != nil {
			return append(list, err.Error())
		}
		if left := time.Until(pair.Leaf.NotAfter); left < 14*24*time.Hour {
			list = append(list, fmt.Sprintf("%s is good until %s", p.CertFile, pair.Leaf.NotAfter.Format(time.DateTime)))
		}
		leaves, files = append(leaves, pair.Leaf), append(files, p.CertFile)
	}
	who := files[0] + " does not name"
	if len(files) > 1 {
		who = "none of " + strings.Join(files, ", ") + " names"
	}
	for _, o := range c.Origins() {
		u, err := url.Parse(o)
		if err != nil {
			return append(list, err.Error())
		}
		names := func(leaf *x509.Certificate) bool { return leaf.VerifyHostname(u.Hostname()) == nil }
		if !slices.ContainsFunc(leaves, names) {
			list = append(list, fmt.Sprintf("%s %s: browsers will refuse it", who, u.Hostname()))
		}
	}
	return list
}
