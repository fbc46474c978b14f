package rollout

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sallyport/policy"
	"sallyport/policy/rehearse"
	"sallyport/proxy/audit"
)

// agree fails if the decoder reads another decision from a line than the library does. It may be content with
// what is wrong in parts that it passes over.
func agree(t *testing.T, d *decoder, line string) (ours bool) {
	t.Helper()
	err := d.ours(line)
	if errors.Is(err, errNotOurs) {
		return false
	}
	want, wrong := readRecord([]byte(line), d.names)
	passedOver := wrong != nil && regexp.MustCompile(`within "/(data|detail|reported|shadow)`).MatchString(wrong.Error())
	switch {
	case passedOver || !json.Valid([]byte(line)):
		return true
	case err != nil || wrong != nil:
		// A line that is no decision is known for that before all of it is read.
		if !errors.Is(wrong, err) && !errors.Is(err, errNoDecision) {
			t.Errorf("%v, the library says %v: %s", err, wrong, line)
		}
		return true
	}
	if diff := cmp.Diff(*want, d.rec, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("%s\n%s", line, diff)
	}
	return true
}

// filled sets every fact to something.
func filled(r *rand.Rand) *policy.Facts {
	f := &policy.Facts{}
	for _, group := range reflect.ValueOf(f).Elem().Fields() {
		for field, v := range group.Fields() {
			if tag := field.Tag.Get("cel"); tag == "" || tag == "-" || r.IntN(4) == 0 {
				continue
			}
			switch to := v.Addr().Interface().(type) {
			case *string:
				*to = []string{"x", "é漢", "a}b]c,d:e", ""}[r.IntN(4)]
			case *bool:
				*to = true
			case *int64:
				*to = r.Int64N(1 << 50)
			case *time.Duration:
				*to = time.Duration(r.Int64N(1<<59) - 1<<58)
			case *float64:
				*to = []float64{1, 0.5, 1e-9, 3e30, -2.25}[r.IntN(5)]
			case *time.Time:
				*to = time.Unix(r.Int64N(1<<31), r.Int64N(1e9)).UTC()
			case *[]string:
				*to = [][]string{{}, {"a"}, {"a", "b}", ""}}[r.IntN(3)]
			case *[]int64:
				*to = []int64{1, -2}
			default:
				panic(field.Name)
			}
		}
	}
	f.IP.Address = "192.0.2.7"
	return f
}

// The decoder reads every record as the library does, and nearly all that the log writes by itself.
func TestTheDecoderReadsAsTheLibraryDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	file, _ := writeLog(t, 400, func(i int, rec *audit.Record) {
		rec.Facts = filled(r)
		rec.Event = []string{"access", "sign_in", "sign_out"}[i%3]
		rec.Action = []string{"allow", "block", "step_up"}[r.IntN(3)]
		rec.Session, rec.Method = []string{"", "s"}[r.IntN(2)], []string{"", "POST"}[r.IntN(2)]
		if rec.Rules = nil; r.IntN(2) == 0 {
			rec.Rules = []string{"a", "b"}
		}
		switch i % 20 {
		case 7:
			rec.Facts = nil
		case 8:
			rec.Facts.Request.Path = `a\b"c` // escapes
		case 9:
			rec.Facts.IP.Readings = []policy.IP{{Country: "US"}}
		case 10:
			rec.Facts.User.Name = strings.Repeat("x", 40_000) // is cut short
		case 11:
			rec.Detail = map[string]string{"a": "}", "b": "["}
			rec.Reported = []policy.Reported{{Rule: "x", Action: policy.Block}}
		}
	})
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := newDecoder(time.Time{})
	lines, ours := strings.Split(strings.TrimSpace(string(text)), "\n"), 0
	for _, line := range lines {
		if agree(t, d, line) {
			ours++
		}
		for _, version := range []string{"", `,"facts_version":1`, `,"facts_version":2`, `,"facts_version":-1`, `,"facts_version":99`} { // of programs before and after
			agree(t, d, strings.Replace(line, `,"facts_version":3`, version, 1))
		}
	}
	if ours < len(lines)*4/5 {
		t.Errorf("%d of %d lines are read without the library", ours, len(lines))
	}
	// And lines that were changed at random.
	for range 40_000 {
		b := []byte(lines[r.IntN(len(lines))])
		for range 1 + r.IntN(3) {
			at := r.IntN(len(b))
			switch r.IntN(4) {
			case 0:
				b[at] = `"{}[],:0-.eE tfn`[r.IntN(16)]
			case 1:
				b = slices.Delete(b, at, min(len(b), at+1+r.IntN(12)))
			case 2:
				from := r.IntN(len(b))
				b = slices.Insert(b, at, slices.Clone(b[from:min(len(b), from+r.IntN(40))])...)
			case 3:
				b = slices.Insert(b, at, []byte{byte(r.IntN(256))}...)
			}
			if len(b) == 0 {
				b = []byte("{}")
			}
		}
		agree(t, d, string(b))
	}
}

// FuzzDecoder: what the decoder reads is what the library reads.
func FuzzDecoder(f *testing.F) {
	f.Add(`{"seq":0,"time":"2026-11-02T09:00:00Z","count":3,"event":"access","user":"a@example.com","action":"allow","rules":["x"],"facts":{"ip":{"address":"192.0.2.1","vpn":true},"travel":{"distance_km":1.5e3},"request":{"purpose":"access","route":"x"},"time":{"now":"2026-11-02T09:00:00.5Z"}},"facts_version":2}`)
	f.Add(`{"event":"access","action":"allow","rules":[],"data":[{"name":"}"}],"facts":{"user":{"groups":["…"]},"session":{"age":-1}}}`)
	f.Fuzz(func(t *testing.T, line string) { agree(t, newDecoder(time.Time{}), line) })
}

// What the decoder gives away stays as it was while it reads on.
func TestWhatIsKeptOfALineStays(t *testing.T) {
	file, _ := writeLog(t, 60, nil)
	d := newDecoder(time.Time{})
	var kept []rehearse.Recorded
	for line, err := range audit.Lines(file) {
		if err != nil {
			t.Fatal(err)
		}
		rec, err := d.decode(string(line.Raw))
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, *rec)
	}
	for i, rec := range kept {
		if want := recordedFacts(i); rec.Facts.Request.Path != want.Request.Path || !slices.Equal(rec.Facts.User.Groups, want.User.Groups) || rec.Facts.User.Email != want.User.Email {
			t.Errorf("%d: %+v", i, rec.Facts)
		}
	}
}

// A line without a time takes none from the line before it.
func TestTheDecoderForgetsTheTimeOfTheLineBefore(t *testing.T) {
	d := newDecoder(time.Time{})
	const facts = `"event":"access","action":"allow","facts":{"time":{"now":"2026-01-05T12:00:00Z"}}}`
	for _, line := range []string{`{"time":"2026-01-05T12:00:00Z",` + facts, "{" + facts, `{"event":"access","action":"allow","facts":{"time":{"now":""}}}`} {
		agree(t, d, line)
	}
	rec, err := d.decode("{" + facts)
	if want := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC); err != nil || !rec.Facts.Time.Now.Equal(want) {
		t.Errorf("%v, %v, want %v", rec.Facts.Time.Now, err, want)
	}
}
