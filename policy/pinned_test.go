package policy

import (
	"strings"
	"testing"
	"time"

	"sallyport/policy/internal/file"
	"sallyport/policy/strictyaml"
)

func TestPinnedFile(t *testing.T) {
	const rules = "version: 1\nlists: {own: [KP]}\nrules: [{name: r, when: ip.country in lists.own, then: block}]\n"
	const pinned = "version: 1\nlists: {theirs: [KP]}\ninvariants: [{name: final, never: allow, when: ip.country in lists.theirs}]\n"
	for name, c := range map[string]struct {
		policy, pinned string
		want           string // of the error; "": none
	}{
		"both":                            {rules, pinned, ""},
		"a rule uses the pinned list":     {strings.Replace(rules, "lists.own", "lists.theirs", 1), pinned, ""},
		"the same list in both":           {strings.Replace(rules, "own: [KP]", "own: [KP], theirs: [KP, KP]", 1), pinned, ""},
		"another list of the name":        {strings.Replace(rules, "own: [KP]", "own: [KP], theirs: [IR]", 1), pinned, "policy.yaml:2:28: the list theirs is declared in pinned.yaml with other entries"},
		"numbers instead of text":         {strings.Replace(rules, "own: [KP]", "own: [KP], theirs: [1]", 1), pinned, "with other entries"},
		"the policy's list is used":       {rules, strings.Replace(pinned, "lists.theirs", "lists.own", 1), "pinned.yaml:3:48: the list own belongs to the policy"},
		"the policy's and its own":        {rules, strings.Replace(pinned, "in lists.theirs", "in lists.theirs && !(ip.country in lists.own)", 1), "the list own belongs to the policy"},
		"the same name":                   {rules + "invariants: [{name: final, always: block, when: ip.vpn}]\n", pinned, `policy.yaml:4:21: there is another invariant "final", in pinned.yaml`},
		"empty":                           {rules, "", "pinned.yaml:1:1: the file of invariants is empty"},
		"no version":                      {rules, strings.TrimPrefix(pinned, "version: 1\n"), "pinned.yaml:1:1: the file does not say which version"},
		"no invariants":                   {rules, "version: 1\n", "pinned.yaml:1:1: the file has no invariants"},
		"none in the list":                {rules, "version: 1\ninvariants: []\n", "pinned.yaml:2:13: the file has no invariants"},
		"rules":                           {rules, pinned + "rules: []\n", "pinned.yaml:4:1: "},
		"a condition that is wrong":       {rules, strings.Replace(pinned, "ip.country in", "ip.land in", 1), "pinned.yaml:3:"},
		"a country that there is not":     {rules, strings.Replace(pinned, "[KP]", "[XQ]", 1), "pinned.yaml:2:18: "},
		"too large":                       {rules, pinned + strings.Repeat("#", strictyaml.MaxBytes), "bytes"},
		"a mistake in the policy as well": {strings.Replace(rules, "then: block", "then: blok", 1), pinned, "policy.yaml:3:"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Compile(Config{Name: "policy.yaml", Source: []byte(c.policy), Pinned: &Pinned{"pinned.yaml", []byte(c.pinned)}})
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			case c.want == "" && (len(p.invariants) != 1 || !p.invariants[0].Pinned || p.invariants[0].At.File != "pinned.yaml"):
				t.Errorf("invariants: %+v", p.invariants)
			}
		})
	}
}

func TestLooser(t *testing.T) {
	stepUp := func(maxAge time.Duration, require ...string) Decision {
		return Decision{Action: StepUp, MaxAge: maxAge, Require: require}
	}
	for name, c := range map[string]struct {
		is, was Decision
		want    bool
	}{
		"allowed, was asked":         {Decision{Action: Allow}, stepUp(time.Minute), true},
		"allowed, was blocked":       {Decision{Action: Allow}, Decision{}, true},
		"asked, was blocked":         {stepUp(time.Second, file.Attested), Decision{}, true},
		"asked, was allowed":         {stepUp(time.Hour), Decision{Action: Allow}, false},
		"blocked, was asked":         {Decision{}, stepUp(time.Minute), false},
		"the same question":          {stepUp(time.Minute, file.DeviceBound), stepUp(time.Minute, file.DeviceBound), false},
		"an older assertion does":    {stepUp(time.Hour), stepUp(time.Minute), true},
		"any assertion does":         {stepUp(0), stepUp(time.Minute), true},
		"a fresher one is wanted":    {stepUp(time.Minute), stepUp(0), false},
		"any passkey does":           {stepUp(time.Minute), stepUp(time.Minute, file.DeviceBound), true},
		"fresher, but any passkey":   {stepUp(time.Second), stepUp(time.Minute, file.DeviceBound), true},
		"a further requirement":      {stepUp(time.Minute, file.DeviceBound), stepUp(time.Minute), false},
		"allowed as before":          {Decision{Action: Allow}, Decision{Action: Allow}, false},
		"blocked as before":          {Decision{}, Decision{}, false},
		"another requirement for it": {stepUp(time.Minute, file.DeviceBound), stepUp(time.Minute, file.Attested), true},
	} {
		if got := c.is.Looser(&c.was); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
