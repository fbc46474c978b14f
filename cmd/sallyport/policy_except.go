package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/policy/load"
	"sallyport/proxy/rollout"
)

type policyExceptCmd struct {
	Add   policyExceptAddCmd   `cmd:"" help:"Suspend rules for one person, until a day."`
	List  policyExceptListCmd  `cmd:"" help:"List the exceptions that are in force, and those of the file that are not."`
	End   policyExceptEndCmd   `cmd:"" help:"End exceptions before their time."`
	Apply policyExceptApplyCmd `cmd:"" help:"Bring the file as it is into force, which was edited by hand and refused."`
}

type policyExceptAddCmd struct {
	User       string        `arg:"" placeholder:"PERSON" help:"The person, by their e-mail address."`
	Rules      []string      `name:"rule" required:"" placeholder:"RULE" sep:"none" help:"The rule that is suspended; may be given several times."`
	Subject    string        `placeholder:"ISSUER|SUBJECT" help:"The account of the person (default: the one that has the address here)."`
	Routes     []string      `name:"route" placeholder:"ROUTE" sep:"none" help:"Only for this route; may be given several times."`
	Networks   []string      `name:"network" placeholder:"CIDR" sep:"none" help:"Only from this network; may be given several times."`
	Countries  []string      `name:"country" placeholder:"PT" sep:"none" help:"Only from this country; may be given several times."`
	From       string        `placeholder:"DATE" help:"From this day (UTC) or time on (default: at once)."`
	Until      string        `xor:"end" required:"" placeholder:"DATE" help:"To the end of this day (UTC), or to this time."`
	Days       int           `xor:"end" required:"" placeholder:"N" help:"To the end of the day (UTC) in so many days, from --from on."`
	ApprovedBy string        `required:"" placeholder:"PERSON" help:"Who answers for it: the e-mail address of another person."`
	Why        string        `required:"" placeholder:"TEXT" help:"Why, for the record."`
	Force      bool          `help:"Even if the guard refuses it."`
	Wait       time.Duration `default:"30s" help:"For how long to wait for the running proxy to take it up (default 30s)."`
}

func (p policyExceptAddCmd) Run(ctx context.Context, g *globals, std stdio) error {
	e, err := p.exception(time.Now())
	if err != nil {
		return err
	}
	var added *policy.Exception
	what := given(map[string]string{"user": e.User, "rules": strings.Join(e.Rules, " "), "until": e.Until.Format(time.RFC3339), "approved_by": e.ApprovedBy, "why": e.Why,
		"routes": strings.Join(e.Routes, " "), "countries": strings.Join(e.Countries, " "), "networks": strings.Join(p.Networks, " ")})
	bind := func(db *sqlstore.DB) error {
		if err := p.bind(ctx, db, &e); err != nil {
			return err
		}
		if e.ID = e.DerivedID(); e.Subject != "" {
			what["subject"] = e.Subject
		}
		return nil
	}
	edit := func(x policy.Exceptions) ([]byte, error) {
		text, err := policy.AddException(x, e)
		if err != nil {
			return nil, err
		}
		list, err := policy.ReadExceptions(policy.Exceptions{Name: x.Name, Source: text})
		if err != nil {
			return nil, err
		}
		added = list[0]
		return text, nil
	}
	change := exceptionsChange{event: "policy_except_add", what: what, force: p.Force, wait: p.Wait, bind: bind, edit: edit, compile: true}
	change.done = func(c *config.Config, db *sqlstore.DB) {
		is := "is in force"
		if added.State(time.Now()) == policy.ExceptionToCome {
			is = "is taken up"
		}
		fmt.Fprintf(std.out, "Exception %s %s: it suspends %s for %s, %s.\n", added.ID, is, strings.Join(added.Rules, ", "), added.User, holds(added))
		sayUnknownAddress(ctx, c, db, std.err, added.User, "the exception is for them")
		if added.Subject == "" {
			fmt.Fprintf(std.err, "note: no account has the address %s here yet, so the exception is for each that is given it; add it again once the person has signed in\n", plain(added.User))
		}
		sayUnknownAddress(ctx, c, db, std.err, added.ApprovedBy, "they approved it")
	}
	return change.run(ctx, g, std)
}

// exception is what the flags say. What they name is checked with the whole file.
func (p policyExceptAddCmd) exception(now time.Time) (e policy.Exception, err error) {
	if err := reason("--why", p.Why); err != nil {
		return e, err
	}
	user, err := authn.ParseEmail(p.User)
	if err != nil {
		return e, fmt.Errorf("policy except add: %w: an exception is for one person, by their address", err)
	}
	approver, err := authn.ParseEmail(p.ApprovedBy)
	if err != nil {
		return e, fmt.Errorf("--approved-by: %w", err)
	}
	e = policy.Exception{User: string(user), Rules: p.Rules, Routes: p.Routes, Countries: p.Countries, ApprovedBy: string(approver), Why: p.Why}
	for _, text := range p.Networks {
		n, err := policy.ParseNetwork(text)
		if err != nil {
			return e, fmt.Errorf("--network: %w", err)
		}
		e.Networks = append(e.Networks, n)
	}
	if p.From != "" {
		if e.From, err = policy.ParseMoment(p.From, false); err != nil {
			return e, fmt.Errorf("--from: %w", err)
		}
	}
	switch {
	case p.Until != "":
		if e.Until, err = policy.ParseMoment(p.Until, true); err != nil {
			return e, fmt.Errorf("--until: %w", err)
		}
	case p.Days < 1:
		return e, errors.New("--days: 1 or more")
	default:
		e.Until = later(now.UTC(), e.From).AddDate(0, 0, p.Days)
		if day := e.Until.Truncate(24 * time.Hour); day.Before(e.Until) {
			e.Until = day.AddDate(0, 0, 1)
		}
	}
	if p.Until != "" && !e.From.Before(e.Until) {
		return e, fmt.Errorf("--until: %s is before --from %s", p.Until, p.From)
	}
	if !now.Before(e.Until) {
		return e, fmt.Errorf("%s is over already", e.Until.Format(time.RFC3339))
	}
	return e, nil
}

// bind says which account an exception is for: the one that has the address now. An
// address may be given to another person while the exception lasts. There is none before
// the person has signed in, and with several, the operator has to say.
func (p policyExceptAddCmd) bind(ctx context.Context, db *sqlstore.DB, e *policy.Exception) error {
	if e.Subject = p.Subject; p.Subject != "" {
		if authn.ParseSubject(p.Subject).IsZero() {
			return errors.New("--subject: ISSUER|SUBJECT, which `sallyport people list --json` has")
		}
		return nil
	}
	found, err := find(ctx, db, e.User)
	if err != nil {
		return err
	}
	var have []string
	for _, k := range found {
		if string(k.Emails[0]) == e.User {
			have = append(have, k.Subject.Issuer+"|"+k.Subject.ID)
		}
	}
	if len(have) > 1 {
		return fmt.Errorf("%d accounts have the address %s: say which with --subject: %s", len(have), e.User, plain(strings.Join(have, ", ")))
	}
	if len(have) == 1 {
		e.Subject = have[0]
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// sayUnknownAddress says that neither the roster nor the store has an address: it may be
// misspelled, and the exception then holds for none, or no person answers for it.
func sayUnknownAddress(ctx context.Context, c *config.Config, db *sqlstore.DB, w io.Writer, email, role string) {
	if _, ok := c.Roster[authn.Email(email)]; ok {
		return
	}
	if known, err := find(ctx, db, email); err == nil && len(known) == 0 {
		fmt.Fprintf(w, "note: no person is known here as %s yet (%s): is it spelled right?\n", plain(email), role)
	}
}

type policyExceptEndCmd struct {
	What  string        `arg:"" placeholder:"ID|PERSON" help:"The exception, from \"policy except list\"; or a person's e-mail address, for all of theirs."`
	Rules []string      `name:"rule" placeholder:"RULE" sep:"none" help:"Suspend only this rule no longer; may be given several times."`
	Force bool          `help:"Even if the guard refuses it."`
	Wait  time.Duration `default:"30s" help:"For how long to wait for the running proxy to take it up (default 30s)."`
}

// noException is about a text that names none.
type noException struct{ why string }

func (n noException) Error() string { return n.why }

func (p policyExceptEndCmd) Run(ctx context.Context, g *globals, std stdio) error {
	var ended []string
	email, _ := authn.ParseEmail(p.What)
	edit := func(x policy.Exceptions) ([]byte, error) {
		list, err := policy.ReadExceptions(x)
		if err != nil {
			return nil, err
		}
		ended = nil
		var others []string
		for _, e := range list {
			if e.ID != p.What && e.User != string(email) {
				continue
			}
			if len(p.Rules) > 0 && !slices.ContainsFunc(p.Rules, func(r string) bool { return slices.Contains(e.Rules, r) }) {
				others = append(others, e.ID+" suspends "+strings.Join(e.Rules, ", "))
				continue
			}
			if x.Source, err = policy.EndException(x, e.ID, p.Rules); err != nil {
				return nil, err
			}
			ended = append(ended, e.ID)
		}
		switch {
		case ended == nil && others != nil:
			return nil, noException{fmt.Sprintf("No exception of %s suspends %s: %s.", plain(p.What), plain(strings.Join(p.Rules, ", ")), strings.Join(others, "; "))}
		case ended == nil:
			return nil, noException{fmt.Sprintf("No exception is named by %s.", plain(p.What))}
		}
		return x.Source, nil
	}
	what := given(map[string]string{"exception": p.What, "rules": strings.Join(p.Rules, " ")})
	change := exceptionsChange{event: "policy_except_end", what: what, force: p.Force, wait: p.Wait, edit: edit}
	change.done = func(*config.Config, *sqlstore.DB) {
		fmt.Fprintf(std.out, "Ended: %s%s.\n", strings.Join(ended, ", "), map[bool]string{true: ", of " + strings.Join(p.Rules, ", ")}[len(p.Rules) > 0])
	}
	err := change.run(ctx, g, std)
	if no, ok := errors.AsType[noException](err); ok {
		fmt.Fprintln(std.err, no)
		return errNo
	}
	return err
}

// policyExceptApplyCmd is for a file that was edited by hand and refused.
type policyExceptApplyCmd struct {
	Force bool          `help:"Even if the guard refuses it."`
	Wait  time.Duration `default:"30s" help:"For how long to wait for the running proxy to take it up (default 30s)."`
}

func (p policyExceptApplyCmd) Run(ctx context.Context, g *globals, std stdio) error {
	change := exceptionsChange{event: "policy_except_apply", what: map[string]string{}, force: p.Force, wait: p.Wait, compile: true}
	change.edit = func(x policy.Exceptions) ([]byte, error) { return x.Source, nil }
	change.done = func(c *config.Config, _ *sqlstore.DB) {
		fmt.Fprintf(std.out, "The exceptions of %s are in force.\n", c.PolicyExceptions.Name)
	}
	return change.run(ctx, g, std)
}

// retryExceptions is how long a change waits for another command that is on its way from
// the proxy to the file.
const retryExceptions = 200 * time.Millisecond

// exceptionsChange is what a command does to the file of exceptions.
type exceptionsChange struct {
	event string            // of the operator, in the audit log
	what  map[string]string // its details
	force bool
	wait  time.Duration
	bind  func(*sqlstore.DB) error // before the edit: what it takes from the store; or nil
	edit  func(policy.Exceptions) ([]byte, error)
	// compile: mistakes are said by the command. What ends exceptions goes without: it must
	// not wait for a policy file that is broken, since it is strict.
	compile bool
	done    func(*config.Config, *sqlstore.DB)
}

// run has the running proxy bring an edited file into force, and then puts it
// in its place. The proxy takes it only in the place of what was edited: where another
// command was faster, the edit is made again of what that left.
func (x exceptionsChange) run(ctx context.Context, g *globals, std stdio) error {
	if x.wait > rollout.MaxWait {
		return fmt.Errorf("--wait: %s at most", rollout.MaxWait)
	}
	late := time.Now().Add(x.wait)
	recorded := false
	for {
		another := false
		err := withExistingStore(ctx, g, func(c *config.Config, db *sqlstore.DB) error {
			if c.PolicyExceptions == nil {
				return errors.New("no file of exceptions is configured: write `exceptions: []` into exceptions.yaml beside the configuration and `policy_exceptions: exceptions.yaml` into the configuration, and reload (SIGHUP)")
			}
			if x.bind != nil {
				if err := x.bind(db); err != nil {
					return err
				}
			}
			source, err := x.edit(*c.PolicyExceptions)
			if err != nil {
				return err
			}
			if x.compile {
				if err := wouldCompile(c, std, source); err != nil {
					return err
				}
			}
			file, err := prepareFile(c.PolicyExceptions.Name, string(source))
			if err != nil {
				return err
			}
			defer file.close()
			if !file.has(string(c.PolicyExceptions.Source)) { // another command was between
				another = true
				return nil
			}
			if !recorded {
				if err := recordOperatorEvent(ctx, db, x.event, x.what); err != nil {
					return err
				}
				recorded = true
			}
			seq, err := db.AddPolicyRequest(ctx, rollout.Request{At: time.Now(), By: operator(), Name: c.PolicyExceptions.Name, Source: string(source),
				Forced: x.force, Onto: rollout.OntoExceptions(c.PolicyExceptions.Source)})
			if err != nil {
				return err
			}
			state, answer, err := awaitPolicy(ctx, db, seq, x.wait)
			switch {
			case err != nil:
				return err
			case answer.Another && time.Now().Before(late):
				another = true
				return nil
			}
			if r := answer.Report; state != rollout.RequestRefused || r.Sessions+r.Decisions > 0 {
				io.WriteString(std.out, r.Text())
			}
			if state == rollout.RequestRefused {
				sayRefused(std, plainLines(answer.Error))
				return errNo
			}
			if err := file.commit(); err != nil {
				return fmt.Errorf("the change came into force, but could not be put in %s, and the next restart or reload takes what is there: %w", c.PolicyExceptions.Name, err)
			}
			x.done(c, db)
			if string(source) == string(c.PolicyExceptions.Source) {
				return nil
			}
			fmt.Fprintf(std.out, "It is in %s; the file before is in %s.\n", c.PolicyExceptions.Name, file.backup())
			return nil
		})
		if err != nil || !another {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryExceptions):
		}
	}
}

// wouldCompile prints mistakes here, with line and column, without the running process. Of
// a policy file that is broken without them it says so: the running proxy has another.
func wouldCompile(c *config.Config, std stdio, source []byte) error {
	intel, err := loadIntelAnyway(c, std)
	if err != nil {
		return err
	}
	what := policyConfig(c, intel)
	x, was := *what.Exceptions, what
	x.Source, was.Exceptions = source, nil
	if string(source) != string(c.PolicyExceptions.Source) {
		x.Name += " (as it would be)"
	}
	what.Exceptions = &x
	if _, err = load.Proven(what); err == nil {
		return nil
	}
	if _, broken := load.Proven(was); broken != nil {
		fmt.Fprintf(std.err, "note: %s is wrong by itself (`sallyport check` says how), so the exceptions are judged with the policy in force alone\n", what.Name)
		return nil
	}
	return err
}

type policyExceptListCmd struct {
	All  bool `help:"Those that have expired, too."`
	JSON bool `name:"json" help:"One JSON object a line."`
}

type exceptionLine struct {
	*policy.Exception
	State string `json:"state"` // "in force", "expired", "to come"; of the file alone: "refused", or "waiting" to be taken up
}

func (p policyExceptListCmd) Run(ctx context.Context, g *globals, std stdio) error {
	c, err := config.Load(g.Config)
	if err != nil {
		return err
	}
	var all []exceptionLine
	now, state := time.Now(), "" // of what the file alone has
	if text, known := exceptionsInForce(ctx, c); known {
		running, err := policy.ReadExceptions(policy.Exceptions{Name: "the exceptions in force", Source: text})
		if err != nil {
			return err
		}
		for _, e := range running {
			all = append(all, exceptionLine{e, e.State(now)})
		}
		state = "waiting"
	}
	if c.PolicyExceptions != nil {
		if sayRefusedExceptions(c, std.err) {
			state = "refused"
		}
		inFile, err := policy.ReadExceptions(*c.PolicyExceptions)
		if err != nil {
			return err
		}
		running := all
		for _, e := range inFile {
			if slices.ContainsFunc(running, func(l exceptionLine) bool { return l.ID == e.ID && l.Entry() == e.Entry() }) {
				continue
			}
			line := exceptionLine{e, e.State(now)}
			if state != "" && line.State != policy.ExceptionExpired {
				line.State = state
			}
			all = append(all, line)
		}
	}
	var lines []exceptionLine
	for _, l := range all {
		if l.State != policy.ExceptionExpired || p.All {
			lines = append(lines, l)
		}
	}
	return list(std.out, p.JSON, lines, "ID\tUSER\tRULES\tWHERE\tHOLDS\tSTATE\tAPPROVED BY\tWHY", func(w io.Writer, l exceptionLine) {
		where := slices.Concat(l.Routes, l.Countries, networkTexts(l.Networks))
		if where == nil {
			where = []string{"anywhere"}
		}
		who := l.User
		if l.Subject != "" {
			who += " (" + plain(l.Subject) + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, who, strings.Join(l.Rules, " "), plain(strings.Join(where, " ")), holds(l.Exception), l.State, l.ApprovedBy, plain(l.Why))
	})
}

// holds says when an exception holds, for people.
func holds(e *policy.Exception) string {
	if e.State(time.Now()) == policy.ExceptionToCome {
		return "from " + e.From.UTC().Format(time.RFC3339) + " " + e.UntilText()
	}
	return e.UntilText()
}

// exceptionsInForce is the text of the exceptions that the running proxy judges by, or the
// last one that ran, as it stored it; false if there is no store, or none in it yet. The
// file may hold others.
func exceptionsInForce(ctx context.Context, c *config.Config) (text []byte, known bool) {
	err := withExistingStoreOf(ctx, c, func(_ *config.Config, db *sqlstore.DB) error {
		source, err := db.LastExceptions(ctx)
		if source == "" {
			source = "exceptions: []\n"
		}
		text = []byte(source)
		return err
	})
	return text, err == nil
}

// judgeByInForce has c judge by the exceptions in force, if the file holds others.
func judgeByInForce(ctx context.Context, c *config.Config, w io.Writer) {
	text, known := exceptionsInForce(ctx, c)
	x, is := policy.Exceptions{Name: "the exceptions in force", Now: time.Now(), AnyRules: true}, c.PolicyExceptions
	switch {
	case is == nil && (!known || !bytes.Contains(text, []byte("user:"))), is != nil && string(is.Source) == string(text):
		return
	case is == nil:
		fmt.Fprintln(w, "note: no file of exceptions is configured any more, and the running proxy still has some: this judges by them")
	case sayRefusedExceptions(c, w):
		x.Name = is.Name + " (as it is in force)"
	case known:
		x.Name = is.Name + " (as it is in force)"
		fmt.Fprintf(w, "note: the running proxy has not taken up what %s holds, and this judges by the exceptions in force\n", is.Name)
	}
	if !known {
		return
	}
	x.Source = text
	c.PolicyExceptions = &x
}

// sayRefusedExceptions says so if what the file of exceptions holds is not in force, because
// the running proxy refused it.
func sayRefusedExceptions(c *config.Config, w io.Writer) bool {
	if c.PolicyExceptions == nil {
		return false
	}
	refused := rollout.ExceptionsRefused(c.AuditFile, c.PolicyExceptions.Source)
	if refused == nil {
		return false
	}
	fmt.Fprintf(w, "note: the running proxy refused %s at %s UTC, and goes on with the exceptions before it; `sallyport policy except apply` says why, and with --force takes it in spite of the guard\n",
		c.PolicyExceptions.Name, refused.Time.UTC().Format(time.DateTime))
	return true
}

func networkTexts(networks []netip.Prefix) (out []string) {
	for _, n := range networks {
		out = append(out, n.String())
	}
	return out
}
