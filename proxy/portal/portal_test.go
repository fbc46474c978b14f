package portal

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/passkey"
	"sallyport/policy"
)

func testPages(t *testing.T) *Pages {
	t.Helper()
	p, err := NewPages("Write to <help@corp.com>", time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A page that waits for a verification waits for one after those that it knows of, also where another replica's clock
// is ahead of ours: it would load itself over and over.
func TestPageWaitsForALaterVerification(t *testing.T) {
	p := testPages(t)
	ahead := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		verified time.Time
		made     int64
	}{"ahead": {ahead, ahead.UnixMilli()}, "not at all": {}, "before": {ahead.Add(-2 * time.Hour), 0}} {
		before := time.Now().UnixMilli()
		w := httptest.NewRecorder()
		p.RefuseFramed(w, Refusal{Status: 401, Title: "x", Again: "https://x.test/", Verified: c.verified}, "'self'")
		_, rest, _ := strings.Cut(w.Body.String(), `data-made="`)
		text, _, _ := strings.Cut(rest, `"`)
		made, err := strconv.ParseInt(text, 10, 64)
		if err != nil || c.made != 0 && made != c.made || c.made == 0 && (made < before || made > time.Now().UnixMilli()) {
			t.Errorf("%s: %q %v", name, text, err)
		}
	}
}

// Text that strangers write is text on the page, and in the JSON.
func TestPagesEscape(t *testing.T) {
	p := testPages(t)
	evil := `<script>alert(1)</script>"' onload=x`
	f := Refusal{Status: 403, Code: "blocked", Title: evil, Text: []string{evil}, Steps: []string{evil}, Email: evil, Incident: evil,
		Link: Link{URL: "javascript:alert(1)", Text: evil, Action: evil}, More: []Link{{URL: `"><script>`, Text: evil}}}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	w := httptest.NewRecorder()
	p.Refuse(w, r, f)
	if body := w.Body.String(); strings.Contains(body, "<script>alert") || strings.Contains(body, `href="javascript:`) || strings.Contains(body, `"><script>`) {
		t.Errorf("%s", body)
	}
	w = httptest.NewRecorder()
	p.Refuse(w, httptest.NewRequest("GET", "/", nil), f)
	var got problem
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Message != evil || strings.Contains(w.Body.String(), "<") {
		t.Errorf("%v %s", err, w.Body)
	}
}

func TestChallenges(t *testing.T) {
	p := testPages(t)
	for _, c := range []struct {
		f    Refusal
		want string
	}{
		{Refusal{Status: 401, Code: "x"}, "Bearer"},
		{Refusal{Status: 401, Code: "x", StepUp: true}, `Bearer error="insufficient_user_authentication", error_description="A fresh passkey verification is required"`},
		{Refusal{Status: 401, Code: "x", StepUp: true, MaxAge: 5 * time.Minute}, `Bearer error="insufficient_user_authentication", error_description="A fresh passkey verification is required", max_age=300`},
		{Refusal{Status: 403, Code: "x"}, ""},
	} {
		w := httptest.NewRecorder()
		p.Refuse(w, httptest.NewRequest("GET", "/", nil), c.f)
		if got := w.Header().Get("WWW-Authenticate"); got != c.want {
			t.Errorf("%+v: %q", c.f, got)
		}
	}
}

// A refused person is told a kind of thing and what to do, for every kind.
func TestWordsForEveryCause(t *testing.T) {
	all := []policy.Cause{policy.CauseSignIn, policy.CauseUnverified, policy.CauseGrant, policy.CauseNetwork, policy.CausePerson, policy.CauseSession, policy.CauseCredential, policy.CauseRequest, policy.CauseTime, "a cause of tomorrow"}
	for _, c := range all {
		d := policy.Decision{Rules: []string{"secret-rule"}, Reasons: []string{"secret reason"}, Causes: []policy.Cause{c}}
		f := Blocked(d, "a@corp.com", "AAAAA-BBBBB")
		if f.Status != 403 || len(f.Text) == 0 || len(f.Steps) == 0 || f.Incident == "" || strings.Contains(strings.Join(append(f.Text, f.Steps...), f.Title), "secret") {
			t.Errorf("%s: %+v", c, f)
		}
		if because([]policy.Cause{c}) == "" {
			t.Errorf("%s: no reason to step up", c)
		}
	}
	known := all[:2:2]
	known = append(known, all[3:9]...)
	if got := parseCauses(joinCauses(known)); !slices.Equal(got, known) {
		t.Errorf("causes come back as %q", got)
	}
	for _, forged := range []string{"", "x", "grant", "<script>", strings.Repeat("network,", 10_000)} {
		if got := parseCauses(forged); len(got) > 8 {
			t.Errorf("%.20q gives %d causes", forged, len(got))
		}
	}
}

func TestValidBind(t *testing.T) {
	for s, want := range map[string]bool{"": true, strings.Repeat("A", 43): true, strings.Repeat("_", 1024): true, strings.Repeat("A", 1025): false, "A=": false, "A\n": false, "A B": false} {
		if validBind(s) != want {
			t.Errorf("%q", s)
		}
	}
}

func TestPasskeyNames(t *testing.T) {
	for given, want := range map[string]string{
		"": "My Mac", "  ": "My Mac", "Work key": "Work key", "a\x00b\r\nc": "abc", "two\u202eone": "twoone", strings.Repeat("ö", 100): strings.Repeat("ö", 60), "\xff\xfe": "My Mac", "\u200b": "My Mac",
	} {
		if got := passkeyName(given, "Mozilla/5.0 (Macintosh; Intel)"); got != want {
			t.Errorf("%q becomes %q, want %q", given, got, want)
		}
	}
	if got := suggestName("curl/8"); got != "My passkey" {
		t.Errorf("%q", got)
	}
}

// No two passkeys of a person have one name on their account page, or they could not tell which one a button removes.
func TestPasskeysAreToldApart(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	made := func(name string, after time.Duration) passkey.Record {
		return passkey.Record{Credential: authn.Credential{Name: name, CreatedAt: at.Add(after)}}
	}
	for what, test := range map[string]struct {
		list []passkey.Record
		want []string
	}{
		"none":            {nil, []string{}},
		"different names": {[]passkey.Record{made("My Mac", 0), made("Key", 0)}, []string{"My Mac", "Key"}},
		"one name":        {[]passkey.Record{made("My Mac", 0), made("Key", 0), made("My Mac", 24*time.Hour)}, []string{"My Mac, added 2 Jan 2026 15:04 UTC", "Key", "My Mac, added 3 Jan 2026 15:04 UTC"}},
		"look alike":      {[]passkey.Record{made("my  mac", 0), made("My Mac", time.Hour)}, []string{"my  mac, added 2 Jan 2026 15:04 UTC", "My Mac, added 2 Jan 2026 16:04 UTC"}},
		"in one minute":   {[]passkey.Record{made("Key", 0), made("Key", time.Second)}, []string{"Key, added 2 Jan 2026 15:04 UTC, number 1", "Key, added 2 Jan 2026 15:04 UTC, number 2"}},
	} {
		if got := passkeyNames(test.list); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q", what, got)
		}
	}
}

func TestIncidentsCanBeReadOut(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		i := NewIncident()
		if len(i) != 11 || i[5] != '-' || strings.ContainsAny(i, "ILOU") || seen[i] {
			t.Fatalf("%q", i)
		}
		seen[i] = true
	}
}

// A reference comes back from people as they heard it, and nothing else passes for one.
func TestReadIncident(t *testing.T) {
	for text, want := range map[string]string{
		"XV9J6-CC685": "XV9J6-CC685", "xv9j6cc685": "XV9J6-CC685", " xv9j6 cc685 ": "XV9J6-CC685", "Oi10l-00000": "01101-00000",
		"": "", "XV9J6-CC68": "", "XV9J6-CC6855": "", "XV9J6-CC68U": "", "a@example.com": "", "XV9J6-CC685\n": "XV9J6-CC685", "XV9J6-CC6\n\n": "",
	} {
		if got, ok := ReadIncident(text); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", text, got, ok, want)
		}
	}
	for range 100 {
		i := NewIncident()
		if got, _ := ReadIncident(strings.ToLower(i)); got != i {
			t.Errorf("%q is read as %q", i, got)
		}
	}
}

// What waits in the store opens with this browser's key and no other, and is what
// went in.
func TestFlowSeal(t *testing.T) {
	key, want := newFlowKey(), sealedState{ReturnTo: "https://app.corp.com/x", Bind: "b"}
	sealed, err := key.seal(want)
	if err != nil || strings.Contains(string(sealed), "corp") {
		t.Fatalf("%v %q", err, sealed)
	}
	if got, err := key.open(sealed); err != nil || got != want {
		t.Errorf("%v %v", got, err)
	}
	for _, k := range []flowKey{"", newFlowKey(), key[1:]} {
		if got, err := k.open(sealed); err == nil || got != (sealedState{}) {
			t.Errorf("opens with %q", k)
		}
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := key.open(sealed); err == nil {
		t.Error("opens although it was changed")
	}
	if _, err := key.open(nil); err == nil {
		t.Error("nothing opens")
	}
}

func TestNewRefusesHalfAPortal(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration is taken")
	}
	for _, u := range []string{"ftp://x", "https://", "/x", "https://x:"} {
		parsed, err := url.Parse(u)
		if err != nil {
			continue
		}
		if _, ok := canonicalOrigin(parsed); ok {
			t.Errorf("%q is an origin", u)
		}
	}
}

func TestAssets(t *testing.T) {
	p := testPages(t)
	for path, want := range map[string]bool{p.base + "/sallyport.css": true, p.base + "/ceremony.js": true, p.base + "/icon.svg": true, p.base + "/": false, p.base + "/../x": false, Prefix + "assets/0000000000000000/sallyport.css": false} {
		w := httptest.NewRecorder()
		if got := p.ServeAsset(w, httptest.NewRequest(http.MethodGet, "/", nil), path); got != want || got && w.Header().Get("Content-Type") == "" {
			t.Errorf("%s: %v %v", path, got, w.Header())
		}
	}
	if p.ServeAsset(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil), p.base+"/icon.svg") {
		t.Error("a POST gets an asset")
	}
}

// visit is a page request that keeps what it records.
type visit struct {
	PageRequest
	recorded map[string]string
}

func (v *visit) Record(_ context.Context, _ string, _ Judgement, detail map[string]string) error {
	v.recorded = detail
	return nil
}

// A person who is blocked is told which account, and not that they are signed in.
func TestBlockedPersonIsNotSignedIn(t *testing.T) {
	p := &Portal{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
	v := &visit{}
	who := authn.Person{Subject: authn.Subject{Issuer: "https://idp", ID: "1"}, Email: "eve@example.com"}
	refusal, ok := errors.AsType[*Refusal](p.personBlocked(httptest.NewRequest("GET", "/", nil), v, Judgement{}, who))
	if !ok || v.recorded["subject"] != "1" {
		t.Fatalf("%v, recorded %v", refusal, v.recorded)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	testPages(t).Refuse(w, r, *refusal)
	if page := w.Body.String(); strings.Contains(page, "Signed in as") || !strings.Contains(page, "The account eve@example.com may not be used") {
		t.Error(page)
	}
}
