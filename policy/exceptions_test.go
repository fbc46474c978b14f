package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy/internal/file"
)

// exceptionsPolicy has a rule of each kind.
const exceptionsPolicy = `thresholds: {step_up: 40, block: 90, max_age: 5m}
rules:
  - {name: abroad, when: 'ip.country != "ZZ" && ip.country != "US"', then: block}
  - {name: vpn, when: ip.vpn, then: step_up, max_age: 5m}
  - {name: tor, when: ip.tor, score: 50}
  - {name: hosting, when: ip.hosting, score: 50}
  - {name: watched, when: ip.relay, then: block, mode: report}
  - {name: posts, when: 'request.method == "POST"', then: block}
  - {name: vault, when: ip.proxy, routes: [vault], then: block}
  - {name: fails, when: '10 / (ip.asn - 666) > 20', then: block}
  - {name: daily, when: ip.residential_proxy, then: step_up, every: 1h}
`

// entry is an exception that is right, but for what change says of it.
func entry(change string, args ...any) string {
	e := map[string]string{"user": "ana@corp.example", "rules": "[abroad]", "until": "2026-12-31", "approved_by": "ciso@corp.example", "why": "ticket 4711"}
	for _, part := range strings.Split(fmt.Sprintf(change, args...), "; ") {
		if key, value, ok := strings.Cut(part, ": "); ok {
			e[key] = value
		} else {
			delete(e, strings.TrimPrefix(part, "-"))
		}
	}
	var parts []string
	for _, key := range []string{"id", "user", "subject", "rules", "routes", "networks", "countries", "from", "until", "approved_by", "why", "wy"} {
		if e[key] != "" {
			parts = append(parts, key+": "+e[key])
		}
	}
	return "  - {" + strings.Join(parts, ", ") + "}\n"
}

func excepted(entries ...string) func(*Config) {
	return func(c *Config) {
		c.Exceptions = &Exceptions{Name: "exceptions.yaml", Source: []byte("exceptions:\n" + strings.Join(entries, ""))}
	}
}

func ana(f *Facts) { f.User.Email = "ana@corp.example" }

func at(text string) func(*Facts) {
	return func(f *Facts) { f.Time.Now, _ = time.Parse(time.RFC3339, text) }
}

// fresh is an assertion that no rule of the policy asks again after.
func fresh(f *Facts) {
	f.Session.VerifiedAge, f.Session.VerifiedHere = time.Minute, true
}

func TestExceptions(t *testing.T) {
	known := func(f *Facts) { f.Session.VerifiedAge, f.Session.VerifiedHere = 30*time.Minute, true }
	stale := func(f *Facts) { f.Session.VerifiedAge = 2 * time.Hour }
	residential := func(f *Facts) { f.IP.ResidentialProxy = true }
	tor, hosting, relay, proxied := func(f *Facts) { f.IP.Tor = true }, func(f *Facts) { f.IP.Hosting = true }, func(f *Facts) { f.IP.Relay = true }, func(f *Facts) { f.IP.Proxy = true }
	from := func(address string) func(*Facts) {
		return func(f *Facts) { f.IP.Addr, f.IP.Address = netip.MustParseAddr(address), address }
	}
	for name, c := range map[string]struct {
		entry    string
		facts    []func(*Facts)
		want     Action
		excepted string // rules, with spaces
	}{
		"suspends a block":           {entry(""), []func(*Facts){country("PT")}, Allow, "abroad"},
		"nothing to suspend":         {entry(""), []func(*Facts){country("US")}, Allow, ""},
		"another rule":               {entry("rules: [vpn]"), []func(*Facts){country("PT")}, Block, ""},
		"one of two":                 {entry(""), []func(*Facts){country("PT"), vpn}, StepUp, "abroad"},
		"both":                       {entry("rules: [abroad, vpn]"), []func(*Facts){country("PT"), vpn}, Allow, "abroad vpn"},
		"a question answered anyway": {entry("rules: [vpn]"), []func(*Facts){vpn, fresh}, Allow, ""},
		"in the country":             {entry("countries: [PT]"), []func(*Facts){country("PT")}, Allow, "abroad"},
		"in another country":         {entry("countries: [PT]"), []func(*Facts){country("ES")}, Block, ""},
		"in the network":             {entry("networks: [198.51.100.0/24]"), []func(*Facts){country("PT"), from("198.51.100.9")}, Allow, "abroad"},
		"in another network":         {entry("networks: [198.51.100.0/24]"), []func(*Facts){country("PT"), from("198.51.101.9")}, Block, ""},
		"on the route":               {entry("routes: [vault]; rules: [vault]"), []func(*Facts){proxied, route("vault")}, Allow, "vault"},
		"on another route":           {entry("routes: [wiki]"), []func(*Facts){country("PT"), route("vault")}, Block, ""},
		"before its beginning":       {entry("from: 2026-02-01"), []func(*Facts){country("PT"), at("2026-01-31T23:59:59Z")}, Block, ""},
		"from its beginning":         {entry("from: 2026-02-01"), []func(*Facts){country("PT"), at("2026-02-01T00:00:00Z")}, Allow, "abroad"},
		"on its last day":            {entry(""), []func(*Facts){country("PT"), at("2026-12-31T23:59:59Z")}, Allow, "abroad"},
		"after its last day":         {entry(""), []func(*Facts){country("PT"), at("2027-01-01T00:00:00Z")}, Block, ""},
		"up to its moment":           {entry("until: '2026-12-31T18:00:00+02:00'"), []func(*Facts){country("PT"), at("2026-12-31T15:59:59Z")}, Allow, "abroad"},
		"at its moment":              {entry("until: '2026-12-31T18:00:00+02:00'"), []func(*Facts){country("PT"), at("2026-12-31T16:00:00Z")}, Block, ""},
		"a score":                    {entry("rules: [tor]"), []func(*Facts){tor}, Allow, "tor"},
		"one score of two":           {entry("rules: [tor]"), []func(*Facts){tor, hosting}, StepUp, "tor"},
		"a rule that reports":        {entry("rules: [watched]"), []func(*Facts){relay}, Allow, ""},
		"a rule over the request":    {entry("rules: [posts]"), []func(*Facts){func(f *Facts) { f.Request.Method = "POST" }}, Allow, "posts"},
		"a rule with every":          {entry("rules: [daily]"), []func(*Facts){residential, stale}, Allow, "daily"},
		"a rule that fails":          {entry("rules: [fails]"), []func(*Facts){func(f *Facts) { f.IP.ASN = 666 }}, Block, ""}, // as with unless
	} {
		t.Run(name, func(t *testing.T) {
			p := mustCompile(t, exceptionsPolicy, excepted(c.entry))
			f := facts(append([]func(*Facts){known, ana}, c.facts...)...)
			d := p.Decide(f)
			var got []string
			for _, x := range d.Excepted {
				got = append(got, x.Rule)
				if x.ApprovedBy != "ciso@corp.example" || x.Why != "ticket 4711" || x.Exception == "" || x.Until.IsZero() {
					t.Errorf("%+v", x)
				}
			}
			if d.Action != c.want || strings.Join(got, " ") != c.excepted {
				t.Errorf("%s, excepted %q", d.Action, got)
			}
			e := p.Explain(f)
			for _, rule := range got {
				i := slices.IndexFunc(e.Rules, func(r RuleOutcome) bool { return r.Name == rule })
				if r := e.Rules[i]; r.Outcome != OutcomeExcepted || r.Exception == nil || !strings.Contains(r.Why, "approved by ciso@corp.example: ticket 4711") {
					t.Errorf("explained as %+v", r)
				}
				if !strings.Contains(e.Brief(), "but for an exception: "+rule) || !strings.Contains(e.Text(), "excepted  "+rule) {
					t.Error(e.Text())
				}
			}
			if without := p.Unexcepted().Decide(f); len(without.Excepted) > 0 || without.Action > d.Action || (len(got) > 0) == slices.Equal(without.Rules, d.Rules) {
				t.Errorf("without it %+v, with it %+v", without, d)
			}
			if held := p.Partial(f); c.excepted == "abroad" && !held.ClockBound() {
				t.Error("what rests on an exception is kept past its end")
			}
		})
	}
}

// What is wrong with a file of exceptions is said where it stands, with what to write.
func TestExceptionsThatAreWrong(t *testing.T) {
	now := time.Date(2026, time.December, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct{ entry, message, help string }{
		"unknown key":          {entry("wy: x"), `an exception has no key "wy"`, "why"},
		"no end":               {entry("-until"), "the exception has no until", "until: the last day"},
		"no approval":          {entry("-approved_by"), "the exception has no approved_by", "approved_by: the e-mail address"},
		"no reason":            {entry("-why"), "the exception has no why", "why:"},
		"no rules":             {entry("-rules"), "the exception has no rules", "rules:"},
		"no person":            {entry("-user"), "the exception has no user", "user:"},
		"rules empty":          {entry("rules: []"), "rules is empty", "at least one"},
		"countries empty":      {entry("countries: []"), "countries is empty", "no countries"},
		"a rule misspelt":      {entry("rules: [abraod]"), `the policy has no rule "abraod"`, "abroad"},
		"every rule":           {entry("rules: ['*']"), `the policy has no rule "*"`, "names each of them"},
		"the baseline":         {entry("rules: [baseline.verify]"), "nothing suspends it", "a rule of the policy"},
		"the grant":            {entry("rules: [baseline.grant]"), "nothing suspends it", "allow"},
		"every person":         {entry("user: '*'"), "user cannot be a pattern", "a whole address"},
		"a domain":             {entry("user: '*@corp.example'"), "user cannot be a pattern", "a whole address"},
		"capitals":             {entry("user: Ana@corp.example"), `user.email is never "Ana@corp.example"`, "ana@corp.example"},
		"no address":           {entry("user: ana"), "user is not an e-mail address", "a whole address"},
		"a look-alike":         {entry("user: \u0430na@corp.example"), "user is not an e-mail address", "ASCII"},
		"approved by oneself":  {entry("approved_by: ana@corp.example"), "cannot approve their own", "another person"},
		"by oneself, spelt":    {entry("approved_by: ana+x@corp.example"), "cannot approve their own", "another person"},
		"approved by a word":   {entry("approved_by: ciso"), "approved_by is not an e-mail address", "a whole address"},
		"a country misspelt":   {entry("countries: [Portugal]"), `ip.country is never "Portugal"`, ""},
		"no network":           {entry("networks: [198.51.100.9/24]"), "has bits set behind its length", ""},
		"every network":        {entry("networks: [0.0.0.0/0]"), "is every address there is", "or no networks"},
		"a route misspelt":     {entry("routes: [vualt]"), `there is no route "vualt"`, "vault"},
		"no date":              {entry("until: tomorrow"), "until is neither a day nor a time", "2026-12-31"},
		"another date":         {entry("until: 31.12.2026"), "until is neither a day nor a time", "2026-12-31"},
		"no such day":          {entry("until: 2026-02-30"), "until is neither a day nor a time", "2026-12-31"},
		"no zone":              {entry("until: '2026-12-31 18:00'"), "until is neither a day nor a time", "2026-12-31T18:00:00Z"},
		"ends before it begin": {entry("from: 2027-01-01"), "ends before it begins", "until later"},
		"too far ahead":        {entry("until: 2027-03-02"), "more than 90 days from now", "until 2027-03-01"},
		"for ever":             {entry("until: 9999-12-31"), "more than 90 days from now", "unless"},
		"twice":                {entry("") + entry("why: other"), "there is another exception x", "an id of its own"},
		"an id twice":          {entry("id: a") + entry("id: a; user: bob@corp.example"), "there is another exception a", "an id of its own"},
		"an id misspelt":       {entry("id: Trip 1"), "cannot be called", "trip-1"},
		"a list as a reason":   {entry("why: [a]"), "why has to be text", ""},
		"an anchor":            {entry("why: &a x"), "anchors and aliases", ""},
		"two in one line":      {"  - {user: a\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(Config{Name: "policy.yaml", Source: []byte("version: 1\n" + exceptionsPolicy), Routes: []string{"vault", "wiki"}, Exceptions: &Exceptions{
				Name: "exceptions.yaml", Source: []byte("exceptions:\n" + c.entry), Now: now, Most: 90 * 24 * time.Hour}})
			if err == nil || !strings.HasPrefix(err.Error(), "exceptions.yaml:") || !strings.Contains(err.Error(), c.message) || !strings.Contains(err.Error(), c.help) {
				t.Error(err)
			}
		})
	}
	for name, source := range map[string]string{"empty": "", "a list": "[]", "another key": "exception: []\n", "null": "exceptions:\n", "a mapping": "exceptions: {}\n", "cut off": "exceptions:\n  - {user: ana@corp.ex"} {
		c := Config{Name: "policy.yaml", Source: []byte("version: 1\n" + exceptionsPolicy), Exceptions: &Exceptions{Name: "exceptions.yaml", Source: []byte(source)}}
		if _, err := Compile(c); err == nil || !strings.HasPrefix(err.Error(), "exceptions.yaml:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The last day that is allowed is the one that a refusal of a later one names, at any time
// of the day.
func TestExceptionOnTheLastDay(t *testing.T) {
	for _, now := range []time.Time{time.Date(2026, time.June, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, time.June, 1, 23, 59, 59, 0, time.UTC)} {
		for until, allowed := range map[string]bool{"2026-08-30": true, "'2026-08-31T00:00:00Z'": true, "2026-08-31": false, "'2026-08-31T00:00:01Z'": false} {
			_, err := Compile(Config{Name: "policy.yaml", Source: []byte("version: 1\n" + exceptionsPolicy), Routes: []string{"vault", "wiki"}, Exceptions: &Exceptions{
				Name: "exceptions.yaml", Source: []byte("exceptions:\n" + entry("until: %s", until)), Now: now, Most: 90 * 24 * time.Hour}})
			if (err == nil) != allowed || err != nil && !strings.Contains(err.Error(), "until 2026-08-30 or earlier") {
				t.Errorf("%s, at %s: %v", until, now, err)
			}
		}
	}
}

// An expired entry is no mistake, even if it names a rule that is gone.
func TestExpiredExceptionsAreKept(t *testing.T) {
	p := mustCompile(t, exceptionsPolicy, excepted(entry("rules: [gone]; until: 2026-01-01"), entry("user: bob@corp.example")), func(c *Config) {
		c.Exceptions.Now = time.Date(2026, time.June, 1, 0, 0, 0, 0, time.UTC)
	})
	if len(p.Exceptions()) != 2 || len(p.excepted) != 1 {
		t.Errorf("%d, %d of them asked", len(p.Exceptions()), len(p.excepted))
	}
	then := time.Date(2025, time.December, 20, 0, 0, 0, 0, time.UTC)
	past := mustCompile(t, exceptionsPolicy, excepted(entry("until: 2026-01-01"), entry("routes: [gone]; until: 2026-01-02")), func(c *Config) {
		c.Exceptions.Now, c.Exceptions.Past, c.Exceptions.Most = time.Date(2026, time.June, 1, 0, 0, 0, 0, time.UTC), true, 90*24*time.Hour
	})
	if d := past.Decide(facts(ana, country("PT"), func(f *Facts) { f.Time.Now = then })); len(d.Excepted) != 1 {
		t.Errorf("an exception of then: %+v", d)
	}
	if d := past.Decide(facts(ana, country("PT"), func(f *Facts) { f.Time.Now = then.AddDate(0, 2, 0) })); len(d.Excepted) != 0 || d.Action != Block {
		t.Errorf("after its end: %+v", d)
	}
	all := mustCompile(t, exceptionsPolicy, excepted(entry("rules: [gone]")), func(c *Config) { c.Exceptions.AnyRules = true })
	if d := all.Decide(facts(ana, country("PT"))); d.Action != Block {
		t.Error(d)
	}
}

// An exception is for one person: nothing that looks like their address, and no lack of
// one, is served by it.
func TestAttackExceptionOfAnother(t *testing.T) {
	p := mustCompile(t, exceptionsPolicy, excepted(entry("")))
	for _, email := range []string{"", "ana", "bob@corp.example", "ana+x@corp.example", "ana@corp.example.evil.example", "ana@sub.corp.example", "an\u0430@corp.example",
		"ana@corp\uff0eexample", " ana@corp.example", "ana@corp.example\x00", "ana@corp.example,bob@corp.example", "Ana@corp.example", "ANA@CORP.EXAMPLE"} {
		if d := p.Decide(facts(country("PT"), func(f *Facts) { f.User.Email = email })); d.Action != Block || len(d.Excepted) > 0 {
			t.Errorf("%q: %+v", email, d)
		}
	}
	if d := p.Decide(facts(ana, country("PT"))); d.Action != Allow {
		t.Errorf("ana: %+v", d)
	}
	// A Partial of one person is not one of another by mistake of a caller either.
	if d := p.Finish(facts(country("PT"), nobody), Partial{}); d.Action == Allow {
		t.Errorf("no one: %+v", d)
	}
}

// A mailbox is given to another person while an exception of the one before lasts: it was
// for the account that had the address, and another one of that address has none.
func TestAttackExceptionOfAnAddressGivenOn(t *testing.T) {
	p := mustCompile(t, exceptionsPolicy, excepted(entry(`subject: "https://idp.example|00u1|x"`)))
	account := func(issuer, id string) func(*Facts) {
		return func(f *Facts) { f.User.Issuer, f.User.Subject = issuer, id }
	}
	if d := p.Decide(facts(ana, country("PT"), account("https://idp.example", "00u1|x"))); d.Action != Allow || len(d.Excepted) != 1 {
		t.Errorf("the account that it is for: %+v", d)
	}
	for _, a := range [][2]string{{"https://idp.example", "00u2"}, {"https://idp.example", "00u1"}, {"https://other.example", "00u1|x"},
		{"https://idp.example|00u1", "x"}, {"", "00u1|x"}, {"https://idp.example", ""}, {"", ""}} {
		if d := p.Decide(facts(ana, country("PT"), account(a[0], a[1]))); d.Action != Block || len(d.Excepted) > 0 {
			t.Errorf("%q: %+v", a, d)
		}
	}
	if d := p.Decide(facts(country("PT"), account("https://idp.example", "00u1|x"))); d.Action != Block {
		t.Errorf("the account under another address: %+v", d)
	}
}

// An exception from every rule opens neither the baseline nor a route.
func TestAttackExceptionIsNoGrant(t *testing.T) {
	p := mustCompile(t, "missing_data: block\n"+exceptionsPolicy, excepted(entry("rules: [abroad, vpn, tor, hosting, watched, posts, vault, fails, daily]")),
		func(c *Config) { c.Grants = map[string]Grant{"vault": {Groups: []string{"ops"}}} })
	for name, c := range map[string]struct {
		facts []func(*Facts)
		want  Action
		rule  string
	}{
		"not signed in":      {[]func(*Facts){ana, func(f *Facts) { f.Session.Level = "none" }}, StepUp, "baseline.sign-in"},
		"no passkey":         {[]func(*Facts){ana, func(f *Facts) { f.Session.Level = "signed_in" }}, StepUp, "baseline.verify"},
		"not in the allow":   {[]func(*Facts){ana, route("vault")}, Block, "baseline.grant"},
		"IP data is missing": {[]func(*Facts){ana, func(f *Facts) { f.IP.DataMissing = []string{"geo"} }}, Block, "baseline.ip-data"},
	} {
		if d := p.Decide(facts(append(c.facts, country("PT"))...)); d.Action != c.want || !slices.Contains(d.Rules, c.rule) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// A reading of the address that the exception does not cover is judged by the rule.
func TestAttackExceptionForOneReading(t *testing.T) {
	p := mustCompile(t, exceptionsPolicy, excepted(entry("countries: [PT]")))
	inside := facts(country("KP")).IP
	f := facts(ana, country("PT"), func(f *Facts) { f.IP.Readings = []IP{inside} })
	if d := p.Decide(f); d.Action != Block {
		t.Errorf("%+v", d)
	}
	f.IP.Readings[0].Country = "PT"
	if d := p.Decide(f); d.Action != Allow || len(d.Excepted) != 1 {
		t.Errorf("%+v", d)
	}
}

// People without exceptions pay nothing for those of others.
func TestExceptionsDoNotAllocate(t *testing.T) {
	var entries []string
	for i := range 500 {
		entries = append(entries, entry("user: person%d@corp.example; countries: [PT, ES]", i))
	}
	p := mustCompile(t, exceptionsPolicy, excepted(entries...))
	f := facts(fresh)
	s := p.Partial(f)
	if n := testing.AllocsPerRun(100, func() { p.Finish(f, s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s.ClockBound() != p.Unexcepted().Partial(f).ClockBound() {
		t.Error("a person without exceptions is judged each second")
	}
}

// FuzzExceptions: every file is answered with exceptions or with diagnostics that point
// into it, and no file makes a verdict milder for a person that it does not name.
func FuzzExceptions(f *testing.F) {
	f.Add("exceptions:\n" + entry(""))
	f.Add("version: 1\nexceptions:\n" + entry("id: a; routes: [vault]; networks: [198.51.100.0/24]; countries: [PT]; from: 2026-01-01") + "# end\n")
	f.Add("exceptions: []\n")
	f.Add("exceptions: [{user: *a, rules: [x]}]")
	f.Add("exceptions:\n  - user: ana@corp.example\n    rules:\n      - abroad\n    until: 2026-12-31T18:00:00+01:00\n    approved_by: b@c.d\n    why: |\n      two\n      lines\n")
	policy := Config{Name: "policy.yaml", Source: []byte("version: 1\n" + exceptionsPolicy), Routes: []string{"vault"}}
	strict, err := Compile(policy)
	if err != nil {
		f.Fatal(err)
	}
	requests := []*Facts{facts(country("PT"), vpn), facts(func(f *Facts) { f.IP.Tor, f.IP.Hosting = true, true }), facts(nobody, country("PT"))}
	for _, r := range requests {
		r.User.Email = strings.Repeat("stranger.", 4) + "@elsewhere.example"
	}
	f.Fuzz(func(t *testing.T, source string) {
		if strings.Contains(source, "elsewhere.example") {
			return
		}
		same := *strict // a policy takes a hundred times as long
		p := &same
		b := &builder{Document: &file.Document{}, config: policy, words: policy.Vocabulary()}
		if err := b.except(p, &Exceptions{Name: "exceptions.yaml", Source: []byte(source)}); err != nil {
			checkDiagnostics(t, source, err)
			return
		}
		for _, r := range requests {
			if got, want := p.Decide(r), strict.Decide(r); got.Action != want.Action || len(got.Excepted) > 0 {
				t.Errorf("%+v, and without exceptions %+v", got, want)
			}
		}
		for _, x := range p.Exceptions() {
			r := facts(country("PT"), func(f *Facts) { f.User.Email, f.Time.Now = x.User, x.Until })
			if d := p.Decide(r); slices.ContainsFunc(d.Excepted, func(e Excepted) bool { return e.Exception == x.ID }) {
				t.Errorf("%+v holds at its end", x)
			}
		}
	})
}
