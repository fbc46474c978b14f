package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/policy"
	"sallyport/proxy/audit"
)

const payless = "version: 1\nrules:\n  - {name: other, when: ip.private, then: block}\n" + mark

// blocked keeps people out of one path.
const blocked = "version: 1\nrules:\n  - {name: pay, when: 'request.path.startsWith(\"/pay\")', then: step_up, max_age: 5m}\n" +
	"  - {name: vault, when: 'request.path == \"/vault\"', then: block}\n  - {name: wiki, when: 'request.path == \"/wiki\"', then: step_up}\n" + mark

// entryOf is a line of a file of exceptions, which ends tomorrow.
func entryOf(user, rules string) string {
	return fmt.Sprintf("  - {id: x-%s, user: %[1]s@example.com, rules: [%s], until: %s, approved_by: ciso@example.com, why: trip}\n",
		user, rules, time.Now().Add(24*time.Hour).UTC().Format(time.DateOnly))
}

func excepting(entries ...string) string {
	if len(entries) == 0 {
		return "exceptions: []\n" + mark
	}
	return "exceptions:\n" + strings.Join(entries, "") + mark
}

// withExceptions gives the bench a file of exceptions, and starts it on it.
func withExceptions(t *testing.T, text string) (b *bench, file string) {
	t.Helper()
	b = newBench(t)
	file = filepath.Join(filepath.Dir(b.file), "exceptions.yaml")
	b.now.Policies.Enforced.Exceptions = &policy.Exceptions{Name: file, Most: 90 * 24 * time.Hour}
	writeFile(t, file, text)
	b.start(t)
	return b, file
}

// start restarts the bench, and goes on with the new manager.
func (b *bench) start(t *testing.T) Start {
	t.Helper()
	s, m, err := b.restart(t, false)
	if err != nil {
		t.Fatal(err)
	}
	b.Manager = m
	return s
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// events are the records of exceptions since the last call.
func (b *bench) exceptionEvents() (list []audit.Record) {
	for _, r := range b.records {
		if strings.HasPrefix(r.Event, "exceptions_") {
			list = append(list, r)
		}
	}
	b.records = nil
	return list
}

func (b *bench) excepted() string {
	var ids []string
	for _, e := range b.current.Policy.Exceptions() {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " ")
}

// No file of exceptions stops a start: it runs without those that cannot be taken, and says
// so wherever an operator looks. A start that is strict refuses.
func TestStartWithExceptionsThatCannotBeTaken(t *testing.T) {
	const invariant = "version: 1\ninvariants:\n  - {name: pays, always: step_up, when: 'request.path.startsWith(\"/pay\")'}\n"
	right := entryOf("alice", "pay")
	for name, c := range map[string]struct {
		text   string // "-": there is no file
		pinned string
		holds  string // the exceptions that suspend something
		why    string
	}{
		"right":               {excepting(right), "", "x-alice", ""},
		"none":                {excepting(), "", "", ""},
		"missing":             {"-", "", "", "no such file"},
		"empty":               {"", "", "", "empty"},
		"no YAML":             {"exceptions:\n  - {user: [\n", "", "", "this is not YAML"},
		"a mistake":           {excepting(right, entryOf("bob", "pay, '*'")[:20]+"\n"), "", "", "exceptions.yaml:3"},
		"a rule that is gone": {excepting(right, entryOf("bob", "gone")), "", "x-alice", `no rule "gone"`},
		"breaks an invariant": {excepting(right), invariant, "", "because an exception suspends pay"},
	} {
		t.Run(name, func(t *testing.T) {
			b, file := withExceptions(t, excepting())
			b.exceptionEvents()
			if writeFile(t, file, c.text); c.text == "-" {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			if c.pinned != "" {
				b.now.Policies.Enforced.Pinned = &policy.Pinned{Name: "pinned.yaml", Source: []byte(c.pinned)}
			}
			if _, _, err := b.restart(t, true); (err != nil) != (c.why != "") || err != nil && !strings.Contains(err.Error(), c.why) {
				t.Errorf("strict: %v", err)
			}
			b.records = nil
			s := b.start(t)
			if s.Refused != nil || s.Policy.Hash() != textHash([]byte(first)) {
				t.Fatalf("the policy is not that of the file: %v", s.Refused)
			}
			alice := alice()
			alice.Request.Path, alice.Session.VerifiedAge, alice.Time.Now = "/pay", time.Hour, time.Now()
			if d := b.current.Policy.Decide(alice); (len(d.Excepted) == 1) != (c.holds != "") {
				t.Errorf("excepted: %+v", d.Excepted)
			}
			applied, refused := 0, 0
			for _, r := range b.exceptionEvents() {
				switch {
				case r.Detail["origin"] != "start":
					t.Errorf("%+v", r)
				case r.Event == "exceptions_applied" && strings.Contains(r.Detail["added"], c.holds):
					applied++
				case r.Event == "exceptions_refused" && strings.Contains(r.Detail["reason"], c.why):
					refused++
				}
			}
			if (applied == 1) != (c.holds != "") || (refused == 1) != (c.why != "") {
				t.Errorf("%d applied, %d refused", applied, refused)
			}
			if st := b.Stats(); st.Exceptions != (c.why != "") || st.Pending != st.Exceptions || !strings.Contains(b.ExceptionsProblem(), c.why) || b.Problem() != nil {
				t.Errorf("%+v, %q", st, b.ExceptionsProblem())
			}
			if c.why == "" {
				return
			}
			// The same text is not tried again; a right one is taken, and all is well.
			if err := b.ReloadFiles(t.Context()); err != nil {
				t.Error("tried again:", err)
			}
			writeFile(t, file, excepting(entryOf("carol", "pay")+"# longer\n"))
			if c.pinned != "" {
				writeFile(t, file, excepting()+"# longer\n")
			}
			if err := b.ReloadFiles(t.Context()); err != nil || b.ExceptionsProblem() != "" || b.Stats().Pending || b.Again() > 0 || c.pinned == "" && b.excepted() != "x-carol" {
				t.Errorf("%v, %q, %q", err, b.ExceptionsProblem(), b.excepted())
			}
		})
	}
}

// What a start leaves out is not in force, and nothing calls it so: not the record, not what
// commands read from the store, not the number of exceptions.
func TestStartNamesTheExceptionsInForce(t *testing.T) {
	right := entryOf("alice", "pay")
	for name, c := range map[string]struct{ gone, in, added string }{
		"its only rule is gone":    {entryOf("bob", "gone"), "x-alice", "x-alice: {"},
		"one of two rules is gone": {entryOf("bob", "pay, gone"), "x-alice x-bob", "rules: [pay]"},
	} {
		b, file := withExceptions(t, excepting())
		writeFile(t, file, excepting(right, c.gone))
		b.exceptionEvents()
		if s := b.start(t); s.Exceptions == nil || b.excepted() != c.in {
			t.Fatalf("%s: %v, %q", name, s.Exceptions, b.excepted())
		}
		var applied, refused audit.Record
		for _, r := range b.exceptionEvents() {
			*map[string]*audit.Record{"exceptions_applied": &applied, "exceptions_refused": &refused}[r.Event] = r
		}
		if added := applied.Detail["added"]; !strings.Contains(added, c.added) || strings.Contains(added, "gone") {
			t.Errorf("%s: added: %s", name, added)
		}
		if b.memory.excepted == "" || strings.Contains(b.memory.excepted, "gone") || applied.Detail["exceptions"] != textHash([]byte(b.memory.excepted)) {
			t.Errorf("%s: %s, %v", name, b.memory.excepted, applied.Detail)
		}
		if refused.Detail["exceptions"] != textHash([]byte(excepting(right, c.gone))) || refused.Detail["in_force"] != applied.Detail["exceptions"] {
			t.Errorf("%s: refused: %v", name, refused.Detail)
		}
		// The guard refused the text while the product ran: a part of it does not come by a restart.
		refused.Detail["origin"], refused.Detail["reason"] = "file", guardRefused+"it would newly allow"
		writeRecords(t, b.config.AuditFile, refused)
		if b.start(t); b.excepted() != "" {
			t.Errorf("%s: after the guard refused them: %q", name, b.excepted())
		}
	}
}

// The last good policy runs with the exceptions that it can take.
func TestStartWithTheLastPolicyAndExceptions(t *testing.T) {
	b, _ := withExceptions(t, excepting(entryOf("alice", "pay")))
	b.write(misspelt)
	if s := b.start(t); s.Refused == nil || s.Exceptions != nil || b.excepted() != "x-alice" || b.Problem() == nil || b.ExceptionsProblem() != "" {
		t.Errorf("%+v", s)
	}
	// An exception that is added does not hide that the policy is refused.
	if _, err := b.Apply(t.Context(), WithExceptions(textHash([]byte(excepting(entryOf("alice", "pay")))), []byte(excepting())), Origin{Kind: "command"}); err != nil || b.Problem() == nil {
		t.Errorf("%v, %+v", err, b.Problem())
	}
}

// What the guard refused while the product ran does not come by a restart.
func TestStartAfterRefusedExceptions(t *testing.T) {
	b, file := withExceptions(t, excepting())
	b.now.Guard.MaxNewlyAllowed, b.Manager.now.Guard.MaxNewlyAllowed = 0, 0
	f := alice()
	f.Request.Path, f.Session.VerifiedAge, f.Time.Now = "/pay", time.Hour, time.Now()
	b.live = []*policy.Facts{f}
	writeFile(t, file, excepting(entryOf("alice", "pay")))
	err := b.ReloadFiles(t.Context())
	if err == nil || !strings.Contains(err.Error(), "alice@example.com") || b.excepted() != "" {
		t.Fatal("the guard did not refuse:", err)
	}
	r := b.records[len(b.records)-1]
	if r.Event != "exceptions_refused" || r.Detail["exceptions"] != textHash([]byte(excepting(entryOf("alice", "pay")))) || r.Detail["origin"] != "file" || len(b.versions) != 1 {
		t.Errorf("%+v", r)
	}
	writeRecords(t, b.config.AuditFile, r)
	if s := b.start(t); s.Exceptions == nil || !strings.Contains(s.Exceptions.Error(), "were refused at") || b.excepted() != "" {
		t.Errorf("%v, %q", s.Exceptions, b.excepted())
	}
	forced := r
	forced.Event = "exceptions_forced"
	writeRecords(t, b.config.AuditFile, r, forced)
	if s := b.start(t); s.Exceptions != nil || b.excepted() != "x-alice" {
		t.Errorf("%v, %q", s.Exceptions, b.excepted())
	}
}

// writeRecords writes records as the log has them.
func writeRecords(t *testing.T, file string, records ...audit.Record) {
	t.Helper()
	var text strings.Builder
	for i, r := range records {
		r.Seq = int64(i)
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s\n", line)
	}
	writeFile(t, file, text.String())
}

// The guard says who is newly allowed by exceptions, and the record of them has it.
func TestExceptionsAreReported(t *testing.T) {
	b, file := withExceptions(t, excepting())
	f := alice()
	f.Request.Path, f.Session.VerifiedAge, f.Time.Now = "/pay", time.Hour, time.Now()
	b.live = []*policy.Facts{f}
	b.records = nil
	writeFile(t, file, excepting(entryOf("alice", "pay")))
	if err := b.ReloadFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	events := b.exceptionEvents()
	if len(events) != 1 || events[0].Event != "exceptions_applied" || events[0].Detail["newly_allowed"] != "alice@example.com" || !strings.Contains(events[0].Detail["added"], "x-alice") {
		t.Errorf("%+v", events)
	}
	if len(b.versions) != 1 {
		t.Errorf("exceptions are no version of the policy: %+v", b.versions)
	}
	report, err := b.Apply(t.Context(), WithExceptions(textHash([]byte(excepting(entryOf("alice", "pay")))), []byte(excepting())), Origin{Kind: "command"})
	if err != nil || len(report.AskedMore) != 1 {
		t.Errorf("%v, %+v", err, report)
	}
}

// A file that is being written is waited for. Exceptions whose lines are gone have ended;
// one that lacks its end is refused: without its last lines it holds everywhere.
func TestTornExceptions(t *testing.T) {
	until := func() string { return time.Now().Add(24 * time.Hour).UTC().Format(time.DateOnly) }
	block := func(id string) string {
		return fmt.Sprintf("  - id: %s\n    user: %[1]s@example.com\n    rules:\n      - pay\n    until: %s\n    approved_by: ciso@example.com\n    why: trip\n    networks: [192.0.2.0/24]\n", id, until())
	}
	for name, c := range map[string]struct {
		was, is func() string
		wait    bool
		holds   string
		refused string
	}{
		"the mark needs no wait": {func() string { return "exceptions:\n" + block("a") + block("b") + mark }, func() string { return "exceptions:\n" + block("a") + mark }, false, "a", ""},
		"lines gone":             {func() string { return "exceptions:\n" + block("a") + block("b") }, func() string { return "exceptions:\n" + block("a") }, true, "a", ""},
		"lines gone in between":  {func() string { return "exceptions:\n" + block("a") + "  # b\n" + block("b") }, func() string { return "exceptions:\n" + block("b") }, true, "b", ""},
		"one more":               {func() string { return "exceptions:\n" + block("a") }, func() string { return "exceptions:\n" + block("a") + block("b") }, true, "a b", ""},
		"all gone":               {func() string { return "exceptions:\n" + block("a") }, func() string { return "exceptions: []\n" }, true, "", ""},
		"cut before the network": {func() string { return "exceptions:\n" + block("a") }, func() string {
			return strings.Replace("exceptions:\n"+block("a"), "    networks: [192.0.2.0/24]\n", "", 1)
		}, true, "a", `"networks: [192.0.2.0/24]" in the exception of a@example.com`},
		"the first of two, cut": {func() string { return "exceptions:\n" + block("a") + block("b") }, func() string {
			return strings.Replace("exceptions:\n"+block("a"), "    networks: [192.0.2.0/24]\n", "", 1)
		}, true, "a b", "networks"},
		"in the middle of a word": {func() string {
			return "exceptions:\n" + strings.Replace(block("a"), "    networks: [192.0.2.0/24]\n", "", 1)
		}, func() string {
			return "exceptions:\n" + strings.Replace(block("a"), "ip\n    networks: [192.0.2.0/24]\n", "", 1)
		}, true, "a", "ip"},
		"the mark is gone": {func() string { return "exceptions:\n" + block("a") + block("b") + mark }, func() string { return "exceptions:\n" + block("a") }, true, "a b", `the line ... at the end`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, file := withExceptions(t, c.was())
				before := b.excepted()
				writeFile(t, file, c.is())
				err := b.ReloadFiles(t.Context())
				if c.wait {
					if err != nil || b.Again() != 3*time.Second || b.excepted() != before {
						t.Fatalf("%v, again in %s, %q", err, b.Again(), b.excepted())
					}
					time.Sleep(b.Again())
					err = b.ReloadFiles(t.Context())
				}
				if (err != nil) != (c.refused != "") || err != nil && (!strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), "may be cut off")) || b.excepted() != c.holds {
					t.Errorf("%v, %q", err, b.excepted())
				}
			})
		})
	}
}

// A file that is gone leaves the exceptions as they are, and that is said.
func TestExceptionsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, file := withExceptions(t, excepting(entryOf("alice", "pay")))
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := b.ReloadFiles(t.Context()); err != nil || b.Again() == 0 {
			t.Fatal(err)
		}
		time.Sleep(b.Again())
		b.records = nil
		if err := b.ReloadFiles(t.Context()); err == nil || b.excepted() != "x-alice" || b.ExceptionsProblem() == "" {
			t.Errorf("%v, %q", err, b.ExceptionsProblem())
		}
		if events := b.exceptionEvents(); len(events) != 1 || events[0].Event != "exceptions_refused" {
			t.Errorf("%+v", events)
		}
	})
}

// A policy without a rule that an exception names is refused with the command that ends the
// exception, whichever way it comes; afterwards it comes into force by itself.
func TestRemovingARuleThatAnExceptionNames(t *testing.T) {
	for way, come := range ways {
		t.Run(way, func(t *testing.T) {
			text := excepting(entryOf("alice", "pay"))
			b, file := withExceptions(t, text)
			if way == "signal" { // it brings the whole configuration
				come = func(b *bench, source string) error { b.write(source); return ways["signal"](b, source) }
			}
			if err := come(b, payless); err == nil || !strings.Contains(err.Error(), "`sallyport policy except end x-alice`") {
				t.Fatal("it was not refused, or not with the command:", err)
			}
			if b.current.Policy.Hash() != textHash([]byte(first)) || b.Stats().Pending != (way != "command") || b.versions[0].Outcome != "refused" {
				t.Errorf("%+v, %+v", b.Stats(), b.versions[0])
			}
			b.requests = append(b.requests, Request{Seq: 9, At: time.Now(), Source: excepting(), Onto: OntoExceptions([]byte(text))})
			if err := b.AnswerRequest(t.Context()); err != nil || !strings.HasPrefix(b.answers[9], RequestApplied) {
				t.Fatal(err, b.answers[9])
			}
			writeFile(t, file, excepting())
			if err := b.ReloadFiles(t.Context()); err != nil {
				t.Fatal(err)
			}
			if way == "command" {
				if err := come(b, payless); err != nil {
					t.Fatal(err)
				}
			}
			if b.current.Policy.Hash() != textHash([]byte(payless)) || b.Stats().Pending {
				t.Errorf("the policy in the file is still not in force: %+v", b.Problem())
			}
		})
	}
}

// Exceptions from a rule that is still to come are tried again when the policy has it.
func TestExceptionsBeforeTheirRule(t *testing.T) {
	b, file := withExceptions(t, excepting())
	text := excepting(entryOf("alice", "other"))
	writeFile(t, file, text)
	if err := b.ReloadFiles(t.Context()); err == nil || b.ExceptionsProblem() == "" {
		t.Fatal("they were taken:", err)
	}
	b.write(payless)
	for range 2 {
		_ = b.ReloadFiles(t.Context())
	}
	if b.excepted() != "x-alice" || b.Stats().Pending {
		t.Errorf("%q, %+v", b.excepted(), b.Stats())
	}
	// A command may replace what the file holds and was refused; what is in force it has to
	// know.
	writeFile(t, file, excepting(entryOf("alice", "gone")))
	_ = b.ReloadFiles(t.Context())
	if _, err := b.Apply(t.Context(), WithExceptions(textHash([]byte("other")), []byte(excepting())), Origin{Kind: "command"}); err == nil {
		t.Error("exceptions that no one has seen were replaced")
	}
	if _, err := b.Apply(t.Context(), WithExceptions(textHash([]byte(excepting(entryOf("alice", "gone")))), []byte(excepting())), Origin{Kind: "command"}); err != nil || b.ExceptionsProblem() != "" {
		t.Errorf("%v, %q", err, b.ExceptionsProblem())
	}
}

// The refusal of a policy text that is in force, for what is pinned by now, is not one of
// exceptions.
func TestRefusalOfTheSamePolicy(t *testing.T) {
	b, _ := withExceptions(t, excepting())
	b.records = nil
	_, err := b.Apply(t.Context(), func(c Configuration) (Configuration, error) {
		c.Policies.Enforced.Pinned = &policy.Pinned{Name: "pinned.yaml", Source: []byte("version: 1\ninvariants:\n  - {name: asks, always: step_up, when: 'user.email != \"\"'}\n")}
		return c, nil
	}, Origin{Kind: "signal"})
	if err == nil || len(b.records) != 1 || b.records[0].Event != "policy_refused" || b.ExceptionsProblem() != "" || b.Problem() == nil {
		t.Errorf("%v, %+v", err, b.records)
	}
	b.broken, b.records = "audit", nil
	if _, err := b.Apply(context.Background(), WithExceptions(textHash([]byte(excepting())), []byte(excepting(entryOf("alice", "pay")))), Origin{Kind: "command"}); err == nil || b.excepted() != "" {
		t.Error("exceptions that cannot be recorded came into force:", err)
	}
}

// An exception that says more or less under the same id is another one in the record.
func TestChangedExceptionsAreRecorded(t *testing.T) {
	entry := func(more string) string {
		return strings.Replace(entryOf("alice", "pay"), "}", more+"}", 1)
	}
	for name, c := range map[string]struct{ was, is, added, removed string }{
		"a route gone":    {entry(", routes: [treasury]"), entry(""), "x-alice", "routes: [treasury]"},
		"a network gone":  {entry(", networks: [192.0.2.0/24]"), entry(""), "x-alice", "networks: [192.0.2.0/24]"},
		"a network wider": {entry(", networks: [192.0.2.0/24]"), entry(", networks: [192.0.0.0/17, 192.0.128.0/17]"), "192.0.128.0/17", "192.0.2.0/24"},
		"a beginning":     {entry(", from: 2026-01-01"), entry(""), "x-alice", "from: 2026-01-01"},
		"another reason":  {entry(""), strings.Replace(entry(""), "trip", "other", 1), `"other"`, `"trip"`},
	} {
		t.Run(name, func(t *testing.T) {
			b, file := withExceptions(t, excepting(c.was))
			b.exceptionEvents()
			writeFile(t, file, excepting(c.is))
			if err := b.ReloadFiles(t.Context()); err != nil {
				t.Fatal(err)
			}
			events := b.exceptionEvents()
			if len(events) != 1 || !strings.Contains(events[0].Detail["added"], c.added) || !strings.Contains(events[0].Detail["removed"], c.removed) {
				t.Errorf("%+v", events)
			}
		})
	}
}

// An exception is recorded in full, however many come with it and however much it names.
func TestAttackExceptionBehindOthers(t *testing.T) {
	var entries, networks []string
	for i := range 40 {
		entries = append(entries, entryOf(fmt.Sprintf("e%d", i), "pay"))
	}
	for i := range 50 {
		networks = append(networks, fmt.Sprintf("'2001:db8:1111:2222:3333:4444:5555:%x/128'", 0x6660+i))
	}
	entries = append(entries, strings.Replace(entryOf("mallory", "pay"), ", until", ", networks: ["+strings.Join(networks, ", ")+"], until", 1))
	b, file := withExceptions(t, excepting())
	b.exceptionEvents()
	writeFile(t, file, excepting(entries...))
	if err := b.ReloadFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, log, parts := b.exceptionEvents(), "", map[string]bool{}
	for _, r := range events {
		if log += r.Detail["added"]; len(r.Detail["added"]) > 2048 { // what the log keeps of a text
			t.Errorf("%d bytes in a record", len(r.Detail["added"]))
		}
		parts[r.Detail["part"]] = true
	}
	if len(parts) != len(events) || !parts[fmt.Sprintf("%d of %[1]d", len(events))] {
		t.Errorf("%v", parts)
	}
	for _, x := range b.Current().Policy.Exceptions() {
		if !strings.Contains(log, x.ID+": "+x.Entry()) {
			t.Errorf("not recorded: %s", x.Entry())
		}
	}
}

// A file that was edited by hand and refused by the guard is said to be refused, with the
// command that takes it all the same.
func TestRefusedExceptionsCanBeForced(t *testing.T) {
	for _, top := range []string{"", "# base: 0123456789ab\n"} { // which names a base in a policy alone
		refusedExceptionsCanBeForced(t, top+excepting(entryOf("alice", "pay")))
	}
}

func refusedExceptionsCanBeForced(t *testing.T, text string) {
	b, file := withExceptions(t, excepting())
	b.now.Guard.MaxNewlyAllowed, b.Manager.now.Guard.MaxNewlyAllowed = 0, 0
	f := alice()
	f.Request.Path, f.Session.VerifiedAge, f.Time.Now = "/pay", time.Hour, time.Now()
	b.live = []*policy.Facts{f}
	writeFile(t, file, text)
	if err := b.ReloadFiles(t.Context()); err == nil || !strings.Contains(err.Error(), "`sallyport policy except apply --force`") {
		t.Fatal(err)
	}
	writeRecords(t, b.config.AuditFile, b.records...)
	if r := ExceptionsRefused(b.config.AuditFile, []byte(text)); r == nil || ExceptionsRefused(b.config.AuditFile, []byte(excepting())) != nil {
		t.Errorf("%+v", r)
	}
	for _, force := range []bool{false, true} {
		b.requests = append(b.requests, Request{Seq: 7, At: time.Now(), Source: text, Onto: OntoExceptions([]byte(text)), Forced: force})
		if err := b.AnswerRequest(t.Context()); err != nil || strings.HasPrefix(b.answers[7], RequestApplied) != force || (b.excepted() == "x-alice") != force {
			t.Errorf("force %t: %v, %s", force, err, b.answers[7])
		}
		if stored := b.memory.excepted; (stored == text) != force {
			t.Errorf("force %t: stored as in force: %s", force, stored)
		}
		if !force && !strings.Contains(b.answers[7], "the same command with `--force`") {
			t.Error(b.answers[7])
		}
	}
	writeRecords(t, b.config.AuditFile, b.records...)
	if r := ExceptionsRefused(b.config.AuditFile, []byte(text)); r != nil || b.ExceptionsProblem() != "" {
		t.Errorf("%+v", r)
	}
}

// An exception that has ended by itself is not what a change does: decisions recorded while it
// held make the guard refuse neither another policy nor the removal of its line.
func TestEndedExceptionIsNoLockOut(t *testing.T) {
	for name, change := range map[string]func(b *bench, file string) error{
		"another policy": func(b *bench, _ string) error { return ways["file"](b, strings.Replace(blocked, "wiki", "blog", 1)) },
		"its line goes": func(b *bench, file string) error {
			writeFile(b.t, file, excepting())
			return b.ReloadFiles(b.t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, file := withExceptions(t, excepting())
				b.now.Guard.Days = 7
				if err := ways["file"](b, blocked); err != nil {
					t.Fatal(err)
				}
				writeFile(t, file, excepting(entryOf("alice", "vault")))
				if err := b.ReloadFiles(t.Context()); err != nil || b.excepted() != "x-alice" {
					t.Fatal(err)
				}
				f := alice()
				f.Request.Path, f.Time.Now = "/vault", time.Now()
				if d := b.current.Policy.Decide(f); len(d.Excepted) != 1 {
					t.Fatalf("%+v", d)
				}
				writeRecords(t, b.config.AuditFile, audit.Record{Time: time.Now(), Event: "access", User: "alice@example.com", Action: "allow", Facts: f, FactsVersion: policy.FactsVersion})
				time.Sleep(72 * time.Hour) // the exception ends tomorrow
				if err := change(b, file); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A policy that came together with a broken file of exceptions is tried again when that is
// mended, even to what was in force; and a policy that changes does not bring in exceptions that
// were refused.
func TestPolicyAfterMendedExceptions(t *testing.T) {
	synctest.Test(t, policyAfterMendedExceptions)
}

func policyAfterMendedExceptions(t *testing.T) {
	right := excepting(entryOf("alice", "pay"))
	b, file := withExceptions(t, right)
	longer := second + "# longer\n"
	b.write(longer)
	writeFile(t, file, "exceptions: {\n"+mark)
	if err := b.ReloadFiles(t.Context()); err == nil || b.current.Policy.Hash() != textHash([]byte(longer)) || b.excepted() != "x-alice" || b.Problem() != nil {
		t.Errorf("the policy is refused for the exceptions beside it: %v, %+v, %q, again in %s", err, b.Problem(), b.excepted(), b.Again())
	}
	third := strings.Replace(second, "6m", "7m", 1) + "# longer still\n"
	b.write(third)
	_, err := b.Apply(t.Context(), func(c Configuration) (Configuration, error) {
		c.Policies.read()
		return c, nil
	}, Origin{Kind: "signal"})
	if err == nil || b.Problem() == nil {
		t.Fatal("a reload took broken exceptions:", err)
	}
	if err := b.ReloadFiles(t.Context()); err != nil {
		t.Error("tried again:", err)
	}
	writeFile(t, file, right)
	if err := b.ReloadFiles(t.Context()); err != nil || b.current.Policy.Hash() != textHash([]byte(third)) || b.Problem() != nil || b.ExceptionsProblem() != "" || b.excepted() != "x-alice" {
		t.Errorf("%v, %+v, %q", err, b.Problem(), b.ExceptionsProblem())
	}
}
