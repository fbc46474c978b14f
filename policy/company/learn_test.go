package company

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

func TestLearn(t *testing.T) {
	l := NewLearner([]string{"wiki", "payroll"})
	l.Person("ann@example.com", []string{"DE"}, "Europe/Berlin", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	l.Person("bob@example.com", []string{"US"}, "", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
	at := time.Date(2026, 3, 2, 7, 0, 0, 0, time.UTC) // 8 in Berlin
	request := func(email string, at time.Time, n int64, change func(*policy.Facts)) {
		f := policy.Ordinary("verified")
		f.IP = policy.IP{Address: "192.0.2.1", Country: "DE", ASN: 3320, Org: "DTAG"}
		f.Request = policy.Request{Route: "wiki", Method: "GET", Path: "/"}
		f.Credential.Class = "synced"
		f.User = policy.User{Email: email, Groups: []string{"ops"}}
		if change != nil {
			change(&f)
		}
		l.Request(email, at, n, &f)
	}
	for day := range 6 {
		for _, hour := range []int{0, 4, 9} {
			request("ann@example.com", at.AddDate(0, 0, day).Add(time.Duration(hour)*time.Hour), 2, nil)
		}
	}
	request("cid@example.com", at, 1, nil) // shares the home with ann
	request("bob@example.com", at, 10, func(f *policy.Facts) {
		f.IP = policy.IP{Address: "198.51.100.1", Country: "US", ASN: 9009, Org: "M247", VPN: true}
		f.Request = policy.Request{Route: "gone", Method: "POST", Path: "/pay"}
		f.Credential.Class = "unattested"
		f.User.Groups = nil
	})
	l.Unreadable = 2
	m, learned := l.Model(DefaultModel())
	want := DefaultModel()
	want.People, want.Joining = 3, 0.5
	want.Named = []Named{{"ann@example.com", "DE", "Europe/Berlin", []string{"ops"}}, {"bob@example.com", "US", "", nil}, {"cid@example.com", "DE", "", []string{"ops"}}}
	want.Routes = map[string]float64{"wiki": 37}
	want.Requests = []Request{{"GET", "/", 0.7872}, {"POST", "/pay", 0.2127}}
	want.Contractors, want.Relay, want.Cloud, want.Couples = 0.3333, 0, 0, 0.6666
	want.Travelers, want.OnCall, want.CoWorking, want.Mobile = 0, 0, 0, 0
	want.Passkeys = map[string]float64{"synced": 0.6666}
	want.Networks = []Network{{3320, "DTAG", "DE", "home", 1}, {9009, "M247", "US", "vpn", 1}}
	want.WorkBegins, want.WorkEnds = 8, 17
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
	for _, part := range []string{"people (3)", "groups (1)", "networks (2)", "hours of work (from 6 days)", "from 47 requests, 2026-03-02 to 2026-03-07", "2 lines of the log could not be read", "not learned, and as in the model: trips"} {
		if !strings.Contains(learned.Text(), part) {
			t.Errorf("%q is missing in\n%s", part, learned.Text())
		}
	}
	if again, err := ReadModel("learned.yaml", []byte(m.YAML()), []string{"wiki", "payroll"}); err != nil || !reflect.DeepEqual(again, withMaps(m)) {
		t.Errorf("%v\n%+v\n%+v", err, again, m)
	}
	if _, err := Run(t.Context(), Config{Policy: strict(t), Days: 2, Model: m, Settings: ordinary, Routes: routes("wiki", "payroll")}); err != nil {
		t.Error(err)
	}
}

func withMaps(m Model) Model {
	if m.Groups == nil {
		m.Groups = map[string]float64{}
	}
	if m.Countries == nil {
		m.Countries = map[string]float64{}
	}
	return m
}

// Nothing to learn from changes nothing, and says so.
func TestLearnNothing(t *testing.T) {
	m, learned := NewLearner(nil).Model(DefaultModel())
	if !reflect.DeepEqual(m, DefaultModel()) || len(learned.Facts) > 0 || len(learned.Not) < 5 {
		t.Errorf("%+v, %+v", m, learned)
	}
	l := NewLearner(nil)
	for i := range MaxPeople + 10 {
		l.Person(fmt.Sprintf("p%d@example.com", i), nil, "", time.Time{})
	}
	if m, _ := l.Model(DefaultModel()); len(m.Named) != MaxPeople {
		t.Errorf("%d people", len(m.Named))
	}
}
