package rollout

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/rehearse"
	"sallyport/proxy/audit"
	"sallyport/proxy/proxytest"
)

// recordedFacts are those of a person at work.
func recordedFacts(i int) *policy.Facts {
	f := &policy.Facts{
		IP:      policy.IP{Address: fmt.Sprintf("198.51.100.%d", i%250), Version: 4, Country: "US", Subdivisions: []string{"US-NY"}, ASN: 64496, Org: "Example Cable", DataAgeHours: 12},
		User:    policy.User{Email: fmt.Sprintf("p%d@example.com", i%500), Name: "Some Body", Subject: fmt.Sprint("sub-", i%500), Issuer: "https://idp.example.com", Groups: []string{"treasury", "staff"}, Countries: []string{"US"}, TimeZone: "America/New_York", StartedDays: 400},
		Session: policy.Session{ID: fmt.Sprint("session-", i%500), Level: authn.Verified.String(), Age: time.Duration(i) * time.Second, VerifiedAge: time.Duration(i) * time.Millisecond, VerifiedHere: true, Concurrent: 1},
		Seen:    policy.Seen{Known: true, Countries1h: 1, Countries24h: 1, ASNs24h: 1, Prefixes24h: 1, FirstDays: 200},
		Device:  policy.Device{Known: true, People30d: 1}, Activity: policy.Activity{Known: true, ActiveHours24h: 5, LongestBreak48h: 14 * time.Hour},
		Credential: policy.Credential{Class: "unattested", AAGUID: "ee882879-721c-4913-9775-3dfcce97072a", Age: 1000 * time.Hour, Transports: []string{"internal"}, AttestationFormat: "none"},
		Request:    policy.Request{Purpose: "access", Route: "treasury", Method: "GET", Host: "treasury.localhost", Path: fmt.Sprint("/accounts/", i), UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"},
		Time:       policy.Time{Now: time.Date(2026, 11, 2, 9, 0, 0, i, time.UTC)},
	}
	return f
}

// writeLog makes a log of n allows, as the proxy writes it, and returns its file and key.
func writeLog(t testing.TB, n int, change func(i int, r *audit.Record)) (file, key string) {
	t.Helper()
	seed, err := audit.NewSeed()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := audit.Open(audit.Config{CallsPerMinute: proxytest.ChangesPerMinute, File: file, Key: seed})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		f := recordedFacts(i)
		r := audit.Record{Time: f.Time.Now, Event: "access", User: f.User.Email, IP: f.IP.Address, Country: f.IP.Country, ASN: f.IP.ASN, Route: "treasury", Action: "allow",
			Policy: strings.Repeat("a", 64), Session: f.Session.ID, Method: "GET", Host: "treasury.localhost:8080", Path: f.Request.Path, Facts: f,
			Data: []audit.DataSource{{Name: "country.mmdb", SHA256: strings.Repeat("b", 64), AgeHours: 12}, {Name: "vpn-exits", SHA256: strings.Repeat("c", 64), AgeHours: 12}}}
		if change != nil {
			change(i, &r)
		}
		if err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	key = l.Key()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return file, key
}

func rehearsed(t testing.TB, source string) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(policy.Config{Name: "candidate.yaml", Source: []byte("version: 1\nrules:\n" + source)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What is written is what is read again: the facts, to the last one, and that none lacks.
func TestRecordedFactsAreWhatWasJudged(t *testing.T) {
	p := rehearsed(t, "  - {name: a, when: ip.vpn, then: block}\n")
	file, _ := writeLog(t, 3, nil)
	i := 0
	for line, err := range audit.Lines(file) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := readRecord(line.Raw, p.FactNames())
		if err != nil || r.Lacking != nil || r.Action != policy.Allow || r.Seq != int64(i) {
			t.Fatalf("%+v %v", r, err)
		}
		want := recordedFacts(i)
		if got, want := p.Explain(&r.Facts).Text(), p.Explain(want).Text(); got != want {
			t.Errorf("read\n%s\nwrote\n%s", got, want)
		}
		i++
	}
	if i != 3 {
		t.Error(i)
	}
}

// Records of before there was ip.region have it all the same: it follows from what they
// have.
func TestRegionOfOldRecords(t *testing.T) {
	p := rehearsed(t, "  - {name: a, when: ip.region == 'US-NV', then: block}\n")
	for ip, want := range map[string]string{`"subdivisions":["US-NV","US-CA"]`: "US-NV", ``: ""} {
		line := `{"event":"access","action":"allow","facts_version":3,"facts":{"ip":{` + ip + `}}}`
		r, err := readRecord([]byte(line), p.FactNames())
		if err != nil || r.Facts.IP.Region != want || slices.Contains(r.Lacking, "ip.region") || !slices.Contains(r.Lacking, "user.region") {
			t.Errorf("%s: region %q, lacking %q, %v", line, r.Facts.IP.Region, r.Lacking, err)
		}
	}
}

// Lines that are no decision are counted by why, and judged by no one.
func TestWhatIsNotJudgedIsCounted(t *testing.T) {
	file, _ := writeLog(t, 6, func(i int, r *audit.Record) {
		switch i {
		case 0:
			r.Event = "sign_out"
		case 1:
			r.Facts = nil
		case 2:
			r.Facts.Request.Route = "gone"
		case 3:
			r.Time = r.Time.AddDate(0, 0, -40)
		case 4:
			r.Action = "shrug"
		}
	})
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append([]byte(strings.Repeat("x", 100_000)+"\n{\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	run := Replay{Lines: audit.Lines(file), Candidate: rehearsed(t, "  - {name: us, when: 'ip.country == \"US\"', then: block}\n"), Routes: []string{"treasury"}, Since: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	got, err := run.Run(t.Context())
	if err != nil || got.Judged != 1 || got.Blocked != 1 || got.Lines != 8 {
		t.Fatalf("%+v %v", got, err)
	}
	for why, n := range map[string]int64{NoDecision: 1, NoFacts: 1, NoRoute: 1, BeforeSince: 1, Unreadable: 3} {
		if got.Skipped[why] != n {
			t.Errorf("%s: %d, want %d", why, got.Skipped[why], n)
		}
	}
}

// An address of ours that carries an IPv4 address (ISATAP) is judged again as the gate judged it: a rule that
// excuses what is internal does not match the reading of the address alone.
func TestLookingUpKeepsAReadingInternal(t *testing.T) {
	intel, errs := ipintel.Load(ipintel.Config{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	p := rehearsed(t, "  - {name: unknown, when: 'ip.private && !ip.internal', then: block}\n")
	for address, readings := range map[string]int{"fd00::5efe:45.9.20.7": 2, "fd00::1": 0} {
		for _, internal := range []bool{true, false} {
			f := recordedFacts(0)
			f.IP = policy.IP{Addr: netip.MustParseAddr(address), Private: true, Internal: internal}
			lookingUp(intel, time.Now())(f)
			if len(f.IP.Readings) != readings || f.IP.Internal != internal {
				t.Fatalf("%s: %+v", address, f.IP)
			}
			for i, r := range f.IP.Readings {
				if r.Internal != (internal && i == 0) {
					t.Errorf("%s: reading %s is internal: %v", address, r.Address, r.Internal)
				}
			}
			if blocked := p.Decide(f).Action == policy.Block; blocked == internal {
				t.Errorf("%s, internal %v: blocked %v", address, internal, blocked)
			}
		}
	}
}

func TestReplayEndsWhenToldTo(t *testing.T) {
	file, _ := writeLog(t, 1, nil)
	run := Replay{Lines: audit.Lines(file), Candidate: rehearsed(t, "  - {name: a, when: ip.vpn, then: block}\n")}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := run.Run(ctx); err == nil {
		t.Error("it went on")
	}
}

// FuzzReadRecord: no line makes the reader do anything but refuse it or judge it.
func FuzzReadRecord(f *testing.F) {
	p := rehearsed(f, "  - {name: a, when: 'ip.vpn || seen.countries_24h > 3', then: block}\n  - {name: b, when: 'request.path.startsWith(\"/x\")', then: step_up}\n")
	names := p.FactNames()
	f.Add([]byte(`{"seq":0,"time":"2026-11-02T09:00:00Z","event":"access","user":"a@example.com","action":"allow","rules":[],"count":3,"facts":{"ip":{"address":"192.0.2.1","vpn":true},"request":{"purpose":"access","route":"x"},"time":{"now":"2026-11-02T09:00:00Z"}},"facts_version":2}`))
	f.Add([]byte(`{"event":"access","action":"allow","facts":{"user":{"groups":["…"]},"session":{"age":-1}}}`))
	f.Add([]byte(`{"event":"access","action":"block","count":-5,"facts_version":-1,"facts":{}}`))
	f.Add([]byte("{\"event\":\"access\",\"action\":\"block\",\"facts\":{\"ip\":null,\"IP\":{\"VPN\":true}}}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec, err := readRecord(raw, names)
		if err != nil {
			return
		}
		r := rehearse.New(p, nil)
		r.Add(rec)
		if r.Judged+r.Open < 1 || r.Judged+r.Open != max(1, rec.Count) {
			t.Errorf("%d judged, %d open of %d", r.Judged, r.Open, rec.Count)
		}
		r.Examples()
	})
}

// BenchmarkReadRecord is what it takes to read one decision from a log, which is most
// of what replay does.
//
//	go test ./proxy/rollout -run '^$' -bench Recorded -benchmem
func BenchmarkReadRecord(b *testing.B) {
	file, _ := writeLog(b, 500, nil)
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	names := rehearsed(b, "  - {name: a, when: ip.vpn, then: block}\n").FactNames()
	b.SetBytes(int64(len(lines[0])))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := readRecord(lines[i%len(lines)], names); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
