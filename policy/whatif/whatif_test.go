package whatif

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"sallyport/policy"
	"sallyport/policy/internal/expr"
)

func compile(t testing.TB, routes ...string) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(policy.Config{Name: "policy.yaml", Source: []byte("version: 1\nrules: [{name: vpn, when: ip.vpn, then: step_up}, {name: bits, when: ip.within('192.0.2.0/24'), then: step_up}]\n"),
		Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ordinary(change ...func(*policy.Facts)) *policy.Facts {
	f := policy.Ordinary("verified")
	f.IP.Addr = netip.MustParseAddr(f.IP.Address)
	for _, c := range change {
		c(&f)
	}
	return &f
}

// Every fact can be set, to what it is set to, and nothing else changes.
func TestSetEveryFact(t *testing.T) {
	p := compile(t)
	values := map[expr.Kind]string{expr.Bool: "true", expr.Int: "7", expr.Double: "1200.5", expr.String: "x", expr.Duration: "1h30m", expr.Time: "2026-01-31T09:00:00Z", expr.Strings: "x,y"}
	special := map[string]string{"ip.region": "US-CA", "user.region": "US-CA", "ip.country": "DE", "ip.address": "2001:db8::1", "ip.version": "6", "ip.subdivisions": `["UA-43"]`, "user.countries": "SE,NO", "user.email": "a@example.com",
		"session.level": "signed_in", "credential.class": "synced", "credential.aaguid": "08987058-cadc-4b81-b6e1-30de50dcbe96", "request.purpose": "enroll", "request.method": "POST", "request.path": "/x", "request.path_folded": "/x",
		"user.time_zone": "Europe/Zurich", "handoff.country": "SE"}
	for _, fact := range policy.FactSchema().Facts() {
		f, was := policy.Facts{}, policy.Facts{}
		value := values[fact.Kind]
		if v := special[fact.Name]; v != "" {
			value = v
		}
		if err := Set(p, &f, fact.Name, value); err != nil {
			t.Errorf("%v", err)
			continue
		}
		if policy.FactSchema().Format(&f, fact) == policy.FactSchema().Format(&was, fact) {
			t.Errorf("%s=%s changed nothing", fact.Name, value)
		}
		if fact.Name == "ip.address" {
			if !f.IP.Addr.IsValid() || f.IP.Version != 6 {
				t.Errorf("nothing follows from the address: %+v", f.IP)
			}
			continue
		}
		if fact.Name == "ip.subdivisions" {
			if f.IP.Region != f.IP.Subdivisions[0] {
				t.Errorf("no region follows from the subdivisions: %+v", f.IP)
			}
			f.IP.Region = ""
		}
		policy.FactSchema().Field(&f, fact).SetZero()
		if !reflect.DeepEqual(f, was) {
			t.Errorf("%s=%s changed something else: %+v", fact.Name, value, f)
		}
	}
}

func TestSetMistakes(t *testing.T) {
	p := compile(t, "treasury", "wiki", "broken")
	for set, want := range map[string]string{
		"ip.contry=US": "did you mean ip.country?", "vpn=true": "did you mean ip.vpn?", "weather.rain=true": "the groups of facts are ip,", "travel.x=1": "there are travel.known,",
		"ip.asn=many": "not of type int", "ip.vpn=1": "not of type bool", "travel.speed_kmh=fast": "not of type double", "session.age=1d": "not a duration", "time.now=noon": "not a time",
		"ip.country=uk": "did you mean GB?", "request.route=treasure": "did you mean treasury?", "user.countries=SE,xx": `never "xx"`, `user.groups=["a"`: "not a list", "ip.version=5": "never",
		"user.time_zone=europe/zurich": "did you mean Europe/Zurich?", "handoff.country=EU": "a list of its members",
	} {
		name, value, _ := strings.Cut(set, "=")
		if err := Set(p, ordinary(), name, value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", set, err)
		}
	}
	shared := []string{"a", "b"}
	f := ordinary(func(f *policy.Facts) { f.User.Groups = shared })
	if err := Set(p, f, "user.groups", "x,y"); err != nil || shared[0] != "a" {
		t.Errorf("somebody else's list was written into: %v %v", shared, err)
	}
}

// Facts come back from their JSON, alone or in a record, and judge the same.
func TestReadFacts(t *testing.T) {
	f := ordinary(func(f *policy.Facts) { f.IP.VPN = true })
	alone, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(map[string]any{"seq": 1, "facts": f, "action": "block"})
	if err != nil {
		t.Fatal(err)
	}
	p := compile(t)
	for _, text := range [][]byte{alone, record} {
		got, err := ReadFacts(text)
		if err != nil || got.IP.Addr != f.IP.Addr || !reflect.DeepEqual(p.Decide(got), p.Decide(f)) {
			t.Errorf("%v: %+v", err, got)
		}
	}
	for text, want := range map[string]string{"": "no facts", "[]": "no facts", `{"ip": {"vnp": true}}`: `unknown field "vnp"`, `{"facts": {"x": 1}}`: `unknown field "x"`, `{"seq": 5}`: "unknown field"} {
		if _, err := ReadFacts([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
