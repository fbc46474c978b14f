package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/load"
	"sallyport/policy/whatif"
	"sallyport/proxy/clientip"
)

type policyCmd struct {
	Test    policyTestCmd    `cmd:"" help:"Run the tests of the policy file."`
	Explain policyExplainCmd `cmd:"" help:"Say what would happen to a request, and why."`

	Apply    policyApplyCmd    `cmd:"" help:"Bring a policy into force in the running proxy."`
	Rollback policyRollbackCmd `cmd:"" help:"Bring a policy into force again that once was."`
	History  policyHistoryCmd  `cmd:"" help:"List the policies that were in force, and those that were refused."`
	Show     policyShowCmd     `cmd:"" help:"Print a policy that was in force."`

	Lint     policyLintCmd     `cmd:"" help:"Say what is suspicious about the policy, though it is not wrong."`
	Fmt      policyFmtCmd      `cmd:"" help:"Put policy files into their canonical layout."`
	Schema   policySchemaCmd   `cmd:"" help:"Print the JSON Schema of policy files, for editors."`
	Prove    policyProveCmd    `cmd:"" help:"Prove the invariants of the policy file, or show a request that breaks them."`
	Replay   policyReplayCmd   `cmd:"" help:"Judge recorded decisions again with a candidate, and count what would change."`
	Simulate policySimulateCmd `cmd:"" help:"Simulate a company's year under the policy: how often it asks and blocks, rightly and wrongly."`
}

type policyExplainCmd struct {
	User        string        `placeholder:"EMAIL" help:"The person; without it no person is signed in."`
	Groups      []string      `placeholder:"GROUP" help:"Their groups."`
	Countries   []string      `placeholder:"CC" help:"Their declared work countries; default: the roster's."`
	IP          string        `placeholder:"ADDRESS" help:"Where from; required without --facts, --session and --incident."`
	Route       string        `placeholder:"NAME" help:"Which route (default: the only one)."`
	Method      string        `default:"GET" help:"HTTP method."`
	Path        string        `placeholder:"PATH" help:"Path, without the query (default: where the route begins)."`
	Purpose     string        `default:"access" enum:"access,sign_in,enroll,step_up" help:"access, sign_in, enroll or step_up."`
	VerifiedAge time.Duration `default:"1m" help:"How long ago they proved themselves; negative: not yet."`
	Elsewhere   bool          `help:"They proved themselves from another address."`
	At          time.Time     `placeholder:"TIME" help:"When (RFC 3339; default now)."`
	Set         []string      `sep:"none" placeholder:"FACT=VALUE" help:"Any fact, after all others, as in --set seen.new_country=true; may be given again."`
	Facts       string        `placeholder:"FILE" help:"All facts: their JSON, or a record of the audit log; - reads standard input."`
	JSON        bool          `name:"json" help:"As JSON."`

	Session  string `placeholder:"ID" help:"Instead of a made-up request: this live session, where it was last seen."`
	Incident string `placeholder:"ID" help:"Instead of a made-up request: what was recorded under this incident."`
}

// Run judges a made-up request with the production evaluator and shows everything.
func (p policyExplainCmd) Run(ctx context.Context, g *globals, std stdio) error {
	if p.Session != "" || p.Incident != "" {
		return p.explainRecorded(ctx, g, std)
	}
	c, intel, err := configured(g, std)
	if err != nil {
		return err
	}
	compiled, err := load.Tested(policyConfig(c, intel)) // its invariants may be the subject of the question
	if err != nil {
		return err
	}
	if p.User, err = nowKnownAs(ctx, g, std, p.User); err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	facts, err := p.given(c, intel, std)
	if err != nil {
		return err
	}
	if err := p.change(compiled, facts); err != nil {
		return err
	}
	e := keyedAsHere(ctx, g, std, compiled).Explain(facts)
	if p.JSON {
		return printJSON(std.out, e)
	}
	fmt.Fprint(std.out, e.Text())
	return nil
}

// change applies --set.
func (p policyExplainCmd) change(compiled *policy.Policy, facts *policy.Facts) error {
	for _, s := range p.Set {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("--set: %q is not FACT=VALUE", s)
		}
		if err := whatif.Set(compiled, facts, name, value); err != nil {
			return fmt.Errorf("--set: %w", err)
		}
	}
	return nil
}

// alone refuses flags that have no effect beside the one that selects what is explained:
// their author expects the answer to another question. what is "--facts", "--session" or
// "--incident".
func (p policyExplainCmd) alone(what string) error {
	var idle []string
	for _, f := range []struct {
		name  string
		given bool
		asks  bool // it is about the request, of which a session has no facts
	}{
		{"--user", p.User != "", false}, {"--groups", p.Groups != nil, false}, {"--countries", p.Countries != nil, false},
		{"--elsewhere", p.Elsewhere, false}, {"--verified-age", p.VerifiedAge != time.Minute, false}, {"--facts", p.Facts != "", false},
		{"--ip", p.IP != "", true}, {"--route", p.Route != "", true}, {"--method", p.Method != "GET", true}, {"--path", p.Path != "", true},
		{"--purpose", p.Purpose != policy.PurposeAccess, true}, {"--at", !p.At.IsZero(), true},
	} {
		if f.given && f.name != what && !(f.asks && what == "--session") {
			idle = append(idle, f.name)
		}
	}
	if idle == nil {
		return nil
	}
	return fmt.Errorf("beside %s this has no effect: %s; change single facts with --set", what, strings.Join(idle, ", "))
}

// given are the facts of a file, or those that the other flags describe.
func (p policyExplainCmd) given(c *config.Config, intel *ipintel.Snapshot, std stdio) (*policy.Facts, error) {
	if p.Facts == "" {
		if p.IP == "" {
			return nil, errors.New("say where the request comes from with --ip ADDRESS; or explain what is there already with --session ID, --incident ID or --facts FILE")
		}
		return p.facts(c, intel)
	}
	if err := p.alone("--facts"); err != nil {
		return nil, err
	}
	in := std.in
	if p.Facts != "-" {
		f, err := os.Open(p.Facts)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxFacts))
	if err != nil {
		return nil, err
	}
	facts, err := whatif.ReadFacts(text)
	if err != nil {
		return nil, fmt.Errorf("--facts %s: %w", p.Facts, err)
	}
	return facts, nil
}

// maxFacts bounds one record.
const maxFacts = 1 << 20

// ipFacts is what the gate would know of an address.
func ipFacts(c *config.Config, intel *ipintel.Snapshot, addr netip.Addr, now time.Time) (policy.IP, error) {
	clients, err := clientip.New(c.Clients())
	if err != nil {
		return policy.IP{}, err
	}
	ip := intel.Lookup(addr).Facts(now)
	ip.SetInternal(ip.Private && clients.Internal(addr))
	return ip, nil
}

func (p policyExplainCmd) facts(c *config.Config, intel *ipintel.Snapshot) (*policy.Facts, error) {
	addr, err := netip.ParseAddr(p.IP)
	if err != nil || addr.Zone() != "" {
		return nil, fmt.Errorf("--ip: %q is not an IP address", p.IP)
	}
	now := p.At
	if now.IsZero() {
		now = time.Now()
	}
	f := &policy.Facts{Time: policy.Time{Now: now}}
	if f.IP, err = ipFacts(c, intel, addr.Unmap(), now); err != nil {
		return nil, err
	}
	f.Request = policy.Request{Purpose: p.Purpose, Method: strings.ToUpper(p.Method), Path: cmp.Or(p.Path, "/")}
	if p.Purpose == policy.PurposeAccess {
		route, err := p.route(c)
		if err != nil {
			return nil, err
		}
		f.Request.Route, f.Request.Host = route.Name, route.Host()
		if f.Request.Path, err = p.path(c, route); err != nil {
			return nil, err
		}
	} else {
		f.Request.Host = c.ExternalURL.Hostname()
	}
	f.Session.Level = authn.None.String()
	if p.User == "" {
		return f, nil
	}
	email, err := userFlag(p.User)
	if err != nil {
		return nil, err
	}
	person := c.Roster.Complete(authn.Person{Email: email, Groups: p.Groups})
	if len(p.Countries) > 0 {
		person.Countries = p.Countries
	}
	f.User = policy.User{Email: string(email), Subject: "explain", Issuer: c.OIDC.Issuer, Groups: person.Groups, Countries: person.Countries, TimeZone: person.TimeZone, StartedDays: -1}
	f.Session = policy.Session{ID: "explain", Level: authn.SignedIn.String(), Age: max(p.VerifiedAge, 0)}
	if p.VerifiedAge >= 0 {
		f.Session.Level, f.Session.VerifiedAge, f.Session.VerifiedHere = authn.Verified.String(), p.VerifiedAge, !p.Elsewhere
		f.Credential = policy.Credential{Class: authn.ClassUnattested.String(), Age: 30 * 24 * time.Hour, AttestationFormat: "none"}
	}
	return f, nil
}

func (p policyExplainCmd) route(c *config.Config) (config.Route, error) {
	if p.Route == "" && len(c.Routes) == 1 {
		return c.Routes[0], nil
	}
	for _, r := range c.Routes {
		if r.Name == p.Route {
			return r, nil
		}
	}
	if p.Route == "" {
		return config.Route{}, errors.New("--route: there are several routes: " + strings.Join(c.RouteNames(), ", "))
	}
	return config.Route{}, fmt.Errorf("--route: there is no route %q; there are %s", p.Route, strings.Join(c.RouteNames(), ", "))
}

// path is the path asked for, which has to be one that the route serves, and no other
// one.
func (p policyExplainCmd) path(c *config.Config, r config.Route) (string, error) {
	path := cmp.Or(p.Path, r.From.Path)
	if strings.ContainsAny(path, "?#") {
		return "", errors.New("--path: give the path without the query: no rule sees it")
	}
	prefix := strings.TrimSuffix(r.From.Path, "/")
	if !below(path, prefix) {
		return "", fmt.Errorf("--path: the route %s serves %s/ and what is below; %q is not there", r.Name, prefix, path)
	}
	for _, other := range c.Routes {
		if at := strings.TrimSuffix(other.From.Path, "/"); other.From.Host == r.From.Host && len(at) > len(prefix) && below(path, at) {
			return "", fmt.Errorf("--path: of the routes %s and %s, it is %[2]s that serves %[3]q", r.Name, other.Name, path)
		}
	}
	return path, nil
}

// below reports whether a path is a folder, or in it. The folder has no slash at its end.
func below(path, folder string) bool {
	rest, ok := strings.CutPrefix(path, folder)
	return ok && strings.HasPrefix(path, "/") && (rest == "" || rest[0] == '/')
}
