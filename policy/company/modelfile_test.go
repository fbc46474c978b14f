package company

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"sallyport/policy/strictyaml"
)

// What is printed is read as the same model, and says every key that there is.
func TestModelIsReadAsPrinted(t *testing.T) {
	full := DefaultModel()
	full.Groups = map[string]float64{"ops": 0.5, `a "quoted" name: yes`: 0.25, "Übung": 1}
	full.Passkeys = map[string]float64{"synced": 0.25}
	full.Countries = map[string]float64{"NO": 0.5, "AT": 0.5} // NO is no to some YAML readers
	full.Routes = map[string]float64{"wiki": 12, "payroll": 0.5}
	full.Requests = []Request{{"POST", "/a b", 0.00001}, {"GET", "/", 0.5}}
	full.Networks = []Network{{3320, "DTAG", "DE", "home", 0.5}, {64500, "", "NO", "vpn", 1}}
	full.Named = []Named{{"ann@example.com", "NO", "Europe/Oslo", []string{"ops"}}, {"bob@example.com", "", "", nil}}
	empty := DefaultModel()
	empty.Requests = nil
	for name, m := range map[string]Model{"default": DefaultModel(), "full": full, "empty": empty} {
		got, err := ReadModel("model.yaml", []byte(m.YAML()), []string{"wiki", "payroll"})
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, m.YAML())
		}
		for _, list := range []*map[string]float64{&got.Groups, &got.Passkeys, &got.Countries} {
			if len(*list) == 0 {
				*list = nil
			}
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: got %+v\nwant %+v", name, got, m)
		}
	}
	printed := DefaultModel()
	for _, k := range keys {
		if !strings.Contains(printed.YAML(), "  "+k.name+": ") {
			t.Errorf("%s.%s is not printed", k.section, k.name)
		}
	}
}

func TestModelMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"":                                                                    "1:1: the model is empty | version: 1",
		"people: {count: 3}":                                                  "1:1: the model does not say which version",
		"version: 2":                                                          "1:10: version cannot be 2: it is too large | 1",
		"version: 1\npeople: 5":                                               "2:9: people has to be a mapping | count, remote, joining",
		"version: 1\npeople: {count: 0}":                                      "2:17: count cannot be 0: it is too small | 1 to 5000",
		"version: 1\npeople: {count: 5001}":                                   "2:17: count cannot be 5001: it is too large",
		"version: 1\npeople: {count: many}":                                   "2:17: count has to be a whole number",
		"version: 1\npeople: {number: 3}":                                     `2:10: people has no key "number"`,
		"version: 1\npepole: {count: 3}":                                      `2:1: the model has no key "pepole" | people`,
		"version: 1\nshares: {on_call: 1.5}":                                  "2:19: on_call has to be a share | 0 to 1",
		"version: 1\nshares: {on_call: 15%}":                                  "2:19: on_call has to be a share | 0.15",
		"version: 1\nshares: {on_call: 15}":                                   "2:19: on_call has to be a share | 0.15",
		"version: 1\nshares: {on_call: -0.1}":                                 "2:19: on_call has to be a share",
		"version: 1\nshares: {on_call: .nan}":                                 "2:19: on_call has to be a share",
		"version: 1\nshares: {on_call: 1e-1}":                                 "2:19: on_call has to be a share",
		"version: 1\nshares: {on_call: yes}":                                  "2:19: on_call has to be a share",
		"version: 1\nshares: {on_call: }":                                     "on_call has to be a share",
		"version: 1\nshares: {on_call: [1]}":                                  "2:19: on_call has to be a share",
		"version: 1\nshares: {mobile: 0.8}":                                   "2:18: the shares of people add up to 1.18 | 1 at most",
		"version: 1\ndays: {work_begins: 25}":                                 "2:21: work_begins has to be a number | 0 to 24",
		"version: 1\ndays: {work_begins: 18}":                                 "2:21: the hours end (17.4) before they begin (18)",
		"version: 1\ndays: {night_ends: 0}":                                   "2:20: the hours end (0) before they begin (0)",
		"version: 1\ngroups: [ops]":                                           "2:9: groups has to be a mapping",
		"version: 1\ngroups: {ops: 2}":                                        "2:15: ops has to be a share",
		"version: 1\ngroups: {ops: 1, ops: 0}":                                `2:18: "ops" is given twice`,
		"version: 1\ngroups: &a {ops: 1}":                                     "2:9: anchors, aliases and tags",
		"version: 1\ncountries: {UK: 1}":                                      "never | GB",
		"version: 1\ncountries: {US: 0.7, DE: 0.7}":                           "the shares of countries add up to 1.4",
		"version: 1\npasskeys: {sinced: 1}":                                   `there is no kind of passkey "sinced" | synced`,
		"version: 1\nroutes: {wikki: 1}":                                      `2:10: there is no route "wikki" | wiki`,
		"version: 1\nroutes: {wiki: 0}":                                       "2:9: no route is ever asked for",
		"version: 1\nrequests: [{method: get, share: 1}]":                     "2:21: request.method is never",
		"version: 1\nrequests: [{method: GET}]":                               "2:12: the entry has no share",
		"version: 1\nrequests: [{share: 0.6}, {share: 0.6}]":                  "the shares of requests add up to 1.2",
		"version: 1\nnetworks: [{country: DE, share: 1}]":                     "the entry has no asn",
		"version: 1\nnetworks: [{asn: AS3320, country: DE, share: 1}]":        "2:18: asn has to be a whole number",
		"version: 1\nnetworks: [{asn: 1, country: DE, kind: hoem, share: 1}]": `there is no kind of network "hoem" | home`,
		"version: 1\nnetworks: [{asn: 1, country: DE, share: 0.7}, {asn: 2, country: DE, share: 0.7}]": "2:76: the shares of the home networks of DE add up to 1.4 here",
		"version: 1\nnamed_people: [{country: DE}]":                                                    "the entry has no email",
		"version: 1\nnamed_people: [{email: ann}]":                                                     "2:24: ",
		"version: 1\nnamed_people: [{email: a@b.example}, {email: A@b.example}]":                       "is named twice",
		"version: 1\nnamed_people: [{email: a@b.example, time_zone: Mars/Base}]":                       `there is no time zone "Mars/Base"`,
		"version: 1\npeople: {count: 1}\nnamed_people: [{email: a@b.example}, {email: c@b.example}]":   "2:17: 2 people are named, and count is 1 | at least 2",
		"version: 1\n---\nversion: 1":                                                                  "more than one YAML document",
	} {
		_, err := ReadModel("m.yaml", []byte(text), []string{"wiki"})
		found, ok := errors.AsType[strictyaml.Diagnostics](err)
		if !ok {
			t.Errorf("%q is a model: %v", text, err)
			continue
		}
		all := found.Error()
		for part := range strings.SplitSeq(want, " | ") {
			if !strings.Contains(all, part) {
				t.Errorf("%q: %q is missing in\n%s", text, part, all)
			}
		}
	}
}

// FuzzModel: no text makes the reader panic, and what it takes can be printed, read again
// and lived.
func FuzzModel(f *testing.F) {
	m := DefaultModel()
	for _, text := range []string{m.YAML(), "version: 1", "version: 1\ngroups: {a: 0.5}\nnamed_people: [{email: a@b.example, country: AQ, groups: [x]}]",
		"version: 1\nnetworks: [{asn: 1, country: DE, share: 1}]\ncountries: {DE: 1}\nrequests: []\npasskeys: {synced: 1}", "version: 1\nroutes: {wiki: 1e3}", "shares: &a [*a]"} {
		f.Add([]byte(text))
	}
	p := compile(f, "version: 1\nrules: [{name: a, when: ip.vpn, then: block}]")
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ReadModel("m.yaml", text, []string{"wiki"})
		if err != nil {
			return
		}
		if _, err := ReadModel("again.yaml", []byte(m.YAML()), []string{"wiki"}); err != nil {
			t.Fatalf("what was printed is not read: %v\n%s", err, m.YAML())
		}
		if m.People = min(m.People, max(3, len(m.Named))); m.People > 20 {
			return
		}
		for _, n := range []*int{&m.Farm, &m.Hoppers, &m.Abroads, &m.Accounts, &m.Shifts, &m.Thefts} {
			*n = min(*n, 2)
		}
		if _, err := Run(t.Context(), Config{Policy: p, Days: 1, Model: m, Settings: ordinary, Routes: routes("wiki")}); err != nil {
			t.Fatal(err)
		}
	})
}
