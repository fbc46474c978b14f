package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sallyport/policy"
)

// hostile are values that break out of a line, a string or a terminal.
var hostile = []string{
	"a\nb", "a\r\n{\"seq\":0}", "\x1b[2J\x1b[31mgone", "\u009b31m", "\u2028\u2029\u0085", "\x7f\b\a\t\v\f\x00",
	"\xff\xfe\xc3(", "\u202egnp.exe\u2066\u200b\ufeff", `","action":"allow`, `\","action":"allow`, "\\", "</script><!--",
	"\U000e0041\U0001f600", "\u0600\ufff9", strings.Repeat("\n", 5000), "🙂é漢",
	strings.Repeat("\u009b31m\u202e", 2000), // has to be cut, and is no more harmless then
}

func TestAttackLogInjection(t *testing.T) {
	for _, h := range hostile {
		rec := Record{
			Event: h, User: h, IP: h, Country: h, Route: h, Action: h, Rules: []string{h}, Reasons: []string{h}, Policy: h,
			Incident: h, Session: h, Method: h, Host: h, Path: h, Detail: map[string]string{h: h}, Data: []DataSource{{Name: h}},
			Reported: []policy.Reported{{Rule: h}},
			Facts:    &policy.Facts{User: policy.User{Name: h, Groups: []string{h}}, Request: policy.Request{UserAgent: h, Path: h}},
		}
		b, err := encode(&rec)
		if err != nil {
			t.Fatal(err)
		}
		line := appendLine(nil, 7, testTime, 0, b)
		checkLine(t, line)
		var back Record
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatalf("%q: %v", h, err)
		}
		if want := strings.ToValidUTF8(h, "\ufffd"); utf8.ValidString(h) && len(h) < 100 && (back.User != want || back.Facts.Request.UserAgent != want || back.Detail[want] != want) {
			t.Errorf("%q came back as %q", h, back.User)
		}
	}
}

// checkLine fails unless line is one JSON object of printable characters.
func checkLine(t *testing.T, line []byte) {
	t.Helper()
	if len(line) > maxLine {
		t.Fatalf("line of %d bytes", len(line))
	}
	if !json.Valid(line) || line[0] != '{' {
		t.Fatalf("not a JSON object: %q", line)
	}
	if !utf8.Valid(line) {
		t.Fatalf("not UTF-8: %q", line)
	}
	for _, r := range string(line) {
		if !unicode.IsPrint(r) {
			t.Fatalf("%U in %q", r, line)
		}
	}
}

func TestEncodeKeys(t *testing.T) {
	b, err := encode(&Record{Event: "sign_in"})
	if err != nil {
		t.Fatal(err)
	}
	got := string(appendLine(nil, 3, testTime, 0, b))
	want := `{"seq":3,"time":"2026-05-16T09:30:00Z","event":"sign_in","user":"","ip":"","country":"","asn":0,"route":"","action":"","rules":[],"reasons":[],"policy":"","incident":""}`
	if got != want {
		t.Errorf("line\n%s\nwant\n%s", got, want)
	}
	if got := claimedSeq([]byte(want)); got != 3 {
		t.Errorf("claimedSeq = %d", got)
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	rec := fullRecord()
	b, err := encode(&rec)
	if err != nil {
		t.Fatal(err)
	}
	var back Record
	if err := json.Unmarshal(appendLine(nil, rec.Seq, rec.Time, rec.Count, b), &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rec, back, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Error(d)
	}
}

// fullRecord is about what an access record looks like.
func fullRecord() Record {
	return Record{
		Seq: 12, Time: testTime, Count: 5, Event: "access", User: "alice@example.com", IP: "203.0.113.7", Country: "DE", ASN: 3320,
		Route: "treasury", Action: "allow", Rules: []string{}, Reasons: []string{}, Policy: strings.Repeat("a", 64), Session: "s-123",
		FactsVersion: policy.FactsVersion, Shadow: &Shadow{Policy: strings.Repeat("c", 64), Action: "block", Rules: []string{"embargoed-country"}},
		Method: "GET", Host: "treasury.example.com", Path: "/a/b", Score: 2, Detail: map[string]string{"k": "v"},
		Reported: []policy.Reported{{Rule: "r", Action: policy.Block}},
		Data:     []DataSource{{Name: "country.mmdb", SHA256: strings.Repeat("b", 64), AgeHours: 12}}, DataHash: strings.Repeat("d", 64),
		Facts: &policy.Facts{
			IP:      policy.IP{Address: "203.0.113.7", Version: 4, Country: "DE", ASN: 3320, Org: "DTAG"},
			User:    policy.User{Email: "alice@example.com", Groups: []string{"treasury"}},
			Session: policy.Session{ID: "s-123", Level: "verified", Age: 5e9},
			Request: policy.Request{Purpose: policy.PurposeAccess, Route: "treasury", Method: "GET", Path: "/a/b", UserAgent: "Mozilla/5.0 (X11; Linux x86_64)"},
			Time:    policy.Time{Now: testTime},
		},
	}
}

func TestLongValuesAreCut(t *testing.T) {
	huge := strings.Repeat("é\n", 50_000)
	groups := make([]string, 5000)
	for i := range groups {
		groups[i] = huge[:300]
	}
	detail := map[string]string{}
	for i := range 300 {
		detail[strings.Repeat("k", i*10)] = huge[:9000]
	}
	facts := &policy.Facts{User: policy.User{Groups: groups}, Request: policy.Request{Path: huge}}
	for name, rec := range map[string]Record{
		"text":       {Event: "access", Path: huge},
		"facts":      {Event: "access", Facts: facts},
		"everything": {Event: huge, Rules: groups, Reasons: groups, Detail: detail, Facts: facts},
	} {
		b, err := encode(&rec)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkLine(t, appendLine(nil, 1<<62, testTime, 1<<62, b))
		if !bytes.Contains(b, []byte("…")) {
			t.Errorf("%s: what was cut is not marked", name)
		}
	}
	if len(facts.User.Groups) != 5000 || facts.Request.Path != huge {
		t.Error("the caller's facts were changed")
	}
	// A value that fits is kept whole beside one that does not.
	b, _ := encode(&Record{Event: "access", Path: huge, User: strings.Repeat("u", 1000)})
	if !bytes.Contains(b, []byte(strings.Repeat("u", 1000))) {
		t.Error("a short value was cut")
	}
}

// There is no field that a cookie or a token belongs into.
func TestNoFieldForSecrets(t *testing.T) {
	var walk func(reflect.Type)
	seen := map[reflect.Type]bool{} // an address has readings, which are addresses
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() != "" && !strings.HasPrefix(typ.PkgPath(), "sallyport/") {
			return
		}
		if seen[typ] {
			return
		}
		seen[typ] = true
		for _, f := range reflect.VisibleFields(typ) {
			for _, word := range []string{"cookie", "token", "secret", "password", "authorization", "query", "header"} {
				if strings.Contains(strings.ToLower(f.Name), word) {
					t.Errorf("%s has a field %s", typ, f.Name)
				}
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Record]())
}

func FuzzEncode(f *testing.F) {
	for _, h := range hostile {
		f.Add(h, h)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		js, err := encode(&Record{Event: a, Rules: []string{b, a}, Detail: map[string]string{a: b}, Facts: &policy.Facts{User: policy.User{Name: b}}})
		if err != nil {
			t.Fatal(err)
		}
		checkLine(t, appendLine(nil, 1, testTime, 3, js))
	})
}

func BenchmarkEncode(b *testing.B) {
	rec := fullRecord()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encode(&rec); err != nil {
			b.Fatal(err)
		}
	}
}

func TestRecordsKeepTheirTime(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	at := testTime.Add(-5e9)
	if err := l.Append(context.Background(), Record{Event: "a", Time: at}); err != nil {
		t.Fatal(err)
	}
	appendN(t, l, 1)
	for line, err := range Read(cfg.File) {
		want := testTime
		if line.Record.Seq == 0 {
			want = at
		}
		if err != nil || !line.Record.Time.Equal(want) {
			t.Errorf("seq %d: %v %v", line.Record.Seq, line.Record.Time, err)
		}
	}
}
