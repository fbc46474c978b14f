package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/load"
	"sallyport/policy/whatif"
	"sallyport/proxy"
	"sallyport/proxy/clientip"
)

type policyExplainCmd struct {
	File string `arg:"" optional:"" placeholder:"FILE" help:"Policy file, such as a candidate (default: the configured one)."`

	User        string        `placeholder:"PERSON" help:"Who: an address that they have or had, or their subject. Without it no person is signed in."`
	Groups      []string      `placeholder:"GROUP" help:"Their groups; default: those of their latest session."`
	Countries   []string      `placeholder:"CC" help:"Their declared work countries; default: the roster's."`
	IP          string        `placeholder:"ADDRESS" help:"Where from; required without --facts, --session and --incident."`
	Route       string        `placeholder:"NAME" help:"Which route (default: the only one)."`
	Method      string        `default:"GET" help:"HTTP method."`
	Path        string        `placeholder:"PATH" help:"Path, without the query (default: where the route begins)."`
	Purpose     string        `default:"access" enum:"access,sign_in,enroll,step_up" help:"access, sign_in, enroll or step_up."`
	VerifiedAge time.Duration `default:"1m" help:"How long ago they proved themselves; negative: not yet."`
	Elsewhere   bool          `help:"They proved themselves from another address."`
	At          moment        `placeholder:"TIME" help:"When: RFC 3339, 2026-01-31, or \"2026-01-31 09:00\" (default now)."`
	Set         []string      `sep:"none" placeholder:"FACT=VALUE" help:"Any fact, after all others, as in --set seen.new_country=true; may be given again."`
	Facts       string        `placeholder:"FILE" help:"All facts: their JSON, or a record of the audit log; - reads standard input."`
	Brief       bool          `help:"Only the verdict, and the rules that matched."`
	JSON        bool          `name:"json" help:"As JSON; facts are as in the audit log."`

	Test     string `placeholder:"NAME" help:"Instead of a made-up request: what this test of the policy gives."`
	Session  string `placeholder:"ID" help:"Instead of a made-up request: this live session, where it was last seen."`
	Incident string `placeholder:"ID" help:"Instead of a made-up request: what was recorded under this incident."`
}

// Run judges a made-up request with the production evaluator and shows everything. Whether the
// tests of the policy pass does not matter: a test that fails is a reason to ask.
func (p policyExplainCmd) Run(ctx context.Context, g *globals, std stdio) error {
	q, err := p.question(ctx, g, std)
	if err != nil {
		return err
	}
	switch {
	case p.Session != "":
		return p.explainSession(ctx, g, std, q)
	case p.Incident != "":
		return p.explainIncident(ctx, g, std, q)
	case p.Test != "":
		return p.test(q, std)
	}
	facts, who, err := p.given(ctx, g, std, q)
	if err != nil {
		return err
	}
	unknown := who.unknown
	if err := p.change(q.policy, facts, unknown); err != nil {
		return err
	}
	if unknown["user.subject"] != "" && q.policy.Draws() {
		fmt.Fprintln(std.err, "warning: a percentage of the policy selects people by their subject, which is not known here")
	}
	e := q.policy.Explain(facts)
	e.Refused = who.refused
	return p.print(std, e, unknown)
}

// question is what an explanation is made from.
type question struct {
	config *config.Config
	intel  *ipintel.Snapshot
	loaded *load.Loaded
	policy *policy.Policy // draws as the proxy of this store does
}

// question checks the flags and loads the policy.
func (p policyExplainCmd) question(ctx context.Context, g *globals, std stdio) (*question, error) {
	var instead []string
	for _, f := range []struct{ name, value string }{{"--session", p.Session}, {"--incident", p.Incident}, {"--test", p.Test}, {"--facts", p.Facts}} {
		if f.value != "" {
			instead = append(instead, f.name)
		}
	}
	switch len(instead) {
	case 0:
	case 1:
		if err := p.alone(instead[0]); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("policy explain: give either %s", strings.Join(instead, " or "))
	}
	c, intel, err := loadForPolicy(g, std, p.File)
	if err != nil {
		return nil, err
	}
	if p.Test == "" { // tests are judged without exceptions
		judgeByInForce(ctx, c, std.err)
	}
	loaded, err := load.Read(atAnyTime(policyConfig(c, intel)))
	if err != nil {
		return nil, err
	}
	if p.Test == "" {
		warnFailing(std, loaded, p.File)
	}
	return &question{c, intel, loaded, keyedAsHere(ctx, g, std, loaded.Policy)}, nil
}

// warnFailing says so if tests of a candidate fail: an analyst looks at one that is not done.
func warnFailing(std stdio, loaded *load.Loaded, file string) {
	if warning := failingTests(loaded, file); warning != "" {
		fmt.Fprintln(std.err, "warning:", warning)
	}
}

// failingTests says that tests of a policy fail; "" if none does.
func failingTests(loaded *load.Loaded, file string) string {
	report, err := loaded.Test()
	if err != nil || report.Failed() == 0 {
		return ""
	}
	command := "sallyport policy test"
	if file != "" {
		command += " " + plain(file)
	}
	return fmt.Sprintf("tests of the policy fail (%d), so it cannot come into force: `%s`", report.Failed(), command)
}

// print writes an explanation, with why facts are not known beside them.
func (p policyExplainCmd) print(std stdio, e policy.Explanation, unknown map[string]string) error {
	e.Unknown = unknown
	if p.JSON {
		return printJSON(std.out, e)
	}
	_, err := io.WriteString(std.out, p.text(e))
	return err
}

func (p policyExplainCmd) text(e policy.Explanation) string {
	if p.Brief {
		return e.Brief()
	}
	return e.Text()
}

// test explains what a test of the policy, or of a file of tests beside it, gives.
func (p policyExplainCmd) test(q *question, std stdio) error {
	files, err := testFiles(q.config.PolicyFile)
	if err != nil {
		return err
	}
	given, err := q.loaded.Given(p.Test, files...)
	if err != nil {
		return fmt.Errorf("--test: %w", err)
	}
	if err := p.change(q.loaded.Policy, given, nil); err != nil {
		return err
	}
	return p.print(std, q.loaded.Policy.Ungranted().Explain(given), nil)
}

// change applies --set. What it sets is no longer unknown.
func (p policyExplainCmd) change(compiled *policy.Policy, facts *policy.Facts, unknown map[string]string) error {
	for _, s := range p.Set {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("--set: %q is not FACT=VALUE", s)
		}
		if err := whatif.Set(compiled, facts, name, value); err != nil {
			return fmt.Errorf("--set: %w", err)
		}
		delete(unknown, name)
	}
	return nil
}

// alone refuses flags that have no effect beside the one that selects what is explained, since
// an operator who gives them would take the answer for that to another question. what is
// "--facts", "--session", "--incident" or "--test".
func (p policyExplainCmd) alone(what string) error {
	var idle []string
	for _, f := range []struct {
		name  string
		given bool
		asks  bool // it is about the request, of which a session says nothing
	}{
		{"--user", p.User != "", false}, {"--groups", p.Groups != nil, false}, {"--countries", p.Countries != nil, false},
		{"--elsewhere", p.Elsewhere, false}, {"--verified-age", p.VerifiedAge != time.Minute, false}, {"--facts", p.Facts != "", false},
		{"--ip", p.IP != "", true}, {"--route", p.Route != "", true}, {"--method", p.Method != "GET", true}, {"--path", p.Path != "", true},
		{"--purpose", p.Purpose != policy.PurposeAccess, true}, {"--at", !time.Time(p.At).IsZero(), true},
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

// given returns the facts of a file, or those that the other flags describe, and the person:
// why some facts are not known, and whether they are blocked.
func (p policyExplainCmd) given(ctx context.Context, g *globals, std stdio, q *question) (*policy.Facts, person, error) {
	if p.Facts == "" {
		if p.IP == "" {
			return nil, person{}, errors.New("say where the request comes from with --ip ADDRESS; or explain what is there already with --session ID, --incident ID, --test NAME or --facts FILE")
		}
		return p.facts(ctx, g, std, q)
	}
	in := std.in
	if p.Facts != "-" {
		f, err := os.Open(p.Facts)
		if err != nil {
			return nil, person{}, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxFacts))
	if err != nil {
		return nil, person{}, err
	}
	facts, err := whatif.ReadFacts(text)
	if err != nil {
		return nil, person{}, fmt.Errorf("--facts %s: %w", p.Facts, err)
	}
	return facts, person{refused: blockedNow(ctx, g, std, facts.User)}, nil
}

// blockedNow says why the proxy refuses the person of facts that are given, or were recorded,
// before it asks the policy: they are blocked as of now. "" if they are not; if that cannot
// be found out, a note says so.
func blockedNow(ctx context.Context, g *globals, std stdio, u policy.User) (why string) {
	if u.Email == "" && u.Subject == "" {
		return "" // no person is signed in
	}
	err := withExistingStore(ctx, g, func(_ *config.Config, db *sqlstore.DB) error {
		blocks, err := db.BlockedPeople(ctx)
		why = whyBlocked(blocksOf(blocks, authn.Email(u.Email), authn.Subject{Issuer: u.Issuer, ID: u.Subject}))
		return err
	})
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintln(std.err, "note: whether the person is blocked (`people block`) is not known:", first)
	}
	return why
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

func (p policyExplainCmd) facts(ctx context.Context, g *globals, std stdio, q *question) (*policy.Facts, person, error) {
	c, intel := q.config, q.intel
	addr, err := netip.ParseAddr(p.IP)
	if err != nil || addr.Zone() != "" {
		return nil, person{}, fmt.Errorf("--ip: %q is not an IP address", p.IP)
	}
	addr = addr.Unmap()
	now := time.Time(p.At)
	if now.IsZero() {
		now = time.Now()
	}
	f := &policy.Facts{Time: policy.Time{Now: now}}
	policy.Forget(f, "activity")
	if f.IP, err = ipFacts(c, intel, addr, now); err != nil {
		return nil, person{}, err
	}
	f.Request = policy.Request{Purpose: p.Purpose, Method: strings.ToUpper(p.Method), Path: cmp.Or(p.Path, "/")}
	if p.Purpose == policy.PurposeAccess {
		route, err := p.route(c)
		if err != nil {
			return nil, person{}, err
		}
		f.Request.Route, f.Request.Host = route.Name, route.Host()
		if f.Request.Path, err = p.path(c, route); err != nil {
			return nil, person{}, err
		}
	} else {
		f.Request.Host = c.ExternalURL.Hostname()
	}
	unknown := map[string]string{"request.user_agent": notReal}
	for _, fact := range policy.FactSchema().Facts() {
		group := fact.Group
		if fact.Name == "user.devices_30d" { // of the history, as it says
			group = "seen"
		}
		switch group {
		case "tls":
			unknown[fact.Name] = notReal
		case "seen", "travel", "address", "device", "activity", "browser", "handoff":
			if p.User != "" {
				unknown[fact.Name] = "not looked up: a real request is compared with the person's history"
			}
		}
	}
	if p.User == "" {
		f.Session.Level = authn.None.String()
		return f, person{unknown: unknown}, nil
	}
	who, err := findPerson(ctx, g, std, p.User, now)
	if err != nil {
		return nil, person{}, fmt.Errorf("--user: %w", err)
	}
	who.Person = c.Roster.Complete(who.Person)
	who.Subject.Issuer = cmp.Or(who.Subject.Issuer, c.OIDC.Issuer)
	if p.Groups != nil {
		who.Groups = p.Groups
		delete(who.unknown, "user.groups")
	}
	p.session(f, who, addr, now)
	if err := proxy.HomeFact(f, who.Person, intel.Lookup(addr), c.History()); err != nil {
		return nil, person{}, err
	}
	if len(p.Countries) > 0 {
		if err := whatif.Set(q.policy, f, "user.countries", strings.Join(p.Countries, ",")); err != nil {
			return nil, person{}, fmt.Errorf("--countries: %w", err)
		}
	}
	for _, name := range []string{"session.concurrent", "session.country_changed", "session.asn_changed", "session.ua_changed", "session.tls_changed"} {
		unknown[name] = "the session is made up; --set says it"
	}
	maps.Copy(unknown, who.unknown)
	notInRoster(unknown, f.User, who.Home.Known)
	if p.VerifiedAge < 0 {
		maps.DeleteFunc(unknown, func(name, _ string) bool { return strings.HasPrefix(name, "credential.") })
	}
	who.unknown = unknown
	return f, who, nil
}

// notInRoster says of facts that the roster would tell why they are empty.
func notInRoster(unknown map[string]string, u policy.User, home bool) {
	if len(u.Countries) == 0 {
		unknown["user.countries"] = "neither the roster nor a live session says it; --countries does"
	}
	if u.TimeZone == "" {
		unknown["user.time_zone"] = "the roster does not say it; --set does"
	}
	if u.Region == "" {
		unknown["user.region"] = "the roster does not say it; --set does"
	}
	switch {
	case !home:
		unknown["user.home_km"] = "the roster does not say where they live; --set does"
	case u.HomeKM < 0:
		unknown["user.home_km"] = "no source says where people at this address are"
	}
	if u.StartedDays < 0 {
		unknown["user.started_days"] = "the roster does not say it; --set does"
	}
}

const notReal = "the request is made up; --set says it"

// session fills in what is known of a person who has just signed in, and proved themselves as the
// flags say.
func (p policyExplainCmd) session(f *policy.Facts, who person, addr netip.Addr, now time.Time) {
	subject := who.Subject.ID
	who.Subject.ID = cmp.Or(subject, "not known") // without one, there is no session
	s := authn.Session{ID: "explain", Person: who.Person, CreatedAt: now.Add(-max(p.VerifiedAge, 0))}
	if p.VerifiedAge >= 0 {
		s.Verification = authn.Verification{At: now.Add(-p.VerifiedAge), Addr: addr, Credential: who.passkey}
		if p.Elsewhere {
			s.Verification.Addr = netip.Addr{}
		}
	}
	proxy.SessionFacts(f, s, addr, now)
	f.User.Subject = subject
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

// path is the path asked for, which has to be one that the route serves, and no other one.
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
