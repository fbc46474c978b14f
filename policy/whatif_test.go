package policy

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"sallyport/policy/internal/expr"
)

// Every fact can be set, to what it is set to, and nothing else changes.
func TestSetEveryFact(t *testing.T) {
	p := mustCompile(t, judgePolicy)
	values := map[expr.Kind]string{expr.Bool: "true", expr.Int: "7", expr.Double: "1200.5", expr.String: "x", expr.Duration: "1h30m", expr.Time: "2026-01-31T09:00:00Z", expr.Strings: "x,y"}
	special := map[string]string{"ip.country": "DE", "ip.address": "2001:db8::1", "ip.version": "6", "ip.subdivisions": `["UA-43"]`, "user.countries": "SE,NO", "user.email": "a@example.com",
		"session.level": "signed_in", "credential.class": "synced", "credential.aaguid": "08987058-cadc-4b81-b6e1-30de50dcbe96", "request.purpose": "enroll", "request.method": "POST", "request.path": "/x", "request.path_folded": "/x",
		"user.time_zone": "Europe/Zurich", "handoff.country": "SE"}
	for _, fact := range p.schema.Facts() {
		f, was := Facts{}, Facts{}
		value := values[fact.Kind]
		if v := special[fact.Name]; v != "" {
			value = v
		}
		if err := p.Set(&f, fact.Name, value); err != nil {
			t.Errorf("%v", err)
			continue
		}
		if p.schema.Format(&f, fact) == p.schema.Format(&was, fact) {
			t.Errorf("%s=%s changed nothing", fact.Name, value)
		}
		if fact.Name == "ip.address" {
			if !f.IP.Addr.IsValid() || f.IP.Version != 6 {
				t.Errorf("nothing follows from the address: %+v", f.IP)
			}
			continue
		}
		p.schema.Field(&f, fact).SetZero()
		if !reflect.DeepEqual(f, was) {
			t.Errorf("%s=%s changed something else: %+v", fact.Name, value, f)
		}
	}
}

func TestSetMistakes(t *testing.T) {
	p := mustCompile(t, judgePolicy, func(c *Config) { c.Routes = []string{"treasury", "wiki", "broken"} })
	for set, want := range map[string]string{
		"ip.contry=US": "did you mean ip.country?", "vpn=true": "did you mean ip.vpn?", "weather.rain=true": "the groups of facts are ip,", "travel.x=1": "there are travel.known,",
		"ip.asn=many": "not of type int", "ip.vpn=1": "not of type bool", "travel.speed_kmh=fast": "not of type double", "session.age=1d": "not a duration", "time.now=noon": "not a time",
		"ip.country=uk": "did you mean GB?", "request.route=treasure": "did you mean treasury?", "user.countries=SE,xx": `never "xx"`, `user.groups=["a"`: "not a list", "ip.version=5": "never",
		"user.time_zone=europe/zurich": "did you mean Europe/Zurich?", "handoff.country=EU": "a list of its members",
	} {
		name, value, _ := strings.Cut(set, "=")
		if err := p.Set(facts(), name, value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", set, err)
		}
	}
	shared := []string{"a", "b"}
	f := facts(func(f *Facts) { f.User.Groups = shared })
	if err := p.Set(f, "user.groups", "x,y"); err != nil || shared[0] != "a" {
		t.Errorf("somebody else's list was written into: %v %v", shared, err)
	}
}

// Facts come back from their JSON, alone or in a record, and judge the same.
func TestReadFacts(t *testing.T) {
	f := facts(vpn, stale)
	alone, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(map[string]any{"seq": 1, "facts": f, "action": "block"})
	if err != nil {
		t.Fatal(err)
	}
	p := mustCompile(t, judgePolicy)
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
