package behavior

import (
	"testing"
	"time"
)

func TestAbandonedStepUps(t *testing.T) {
	type act struct {
		ago     time.Duration
		what    string
		session string
	}
	const b, a = "begun", "answered"
	for name, tt := range map[string]struct {
		acts []act
		want int64
	}{
		"none":                                  {nil, 0},
		"answered":                              {[]act{{time.Hour, b, "s"}, {59 * time.Minute, a, "s"}}, 0},
		"not answered":                          {[]act{{time.Hour, b, "s"}}, 1},
		"still waiting":                         {[]act{{9 * time.Minute, b, "s"}}, 0},
		"reloaded, then given up":               {[]act{{time.Hour, b, "s"}, {58 * time.Minute, b, "s"}, {51 * time.Minute, b, "s"}}, 1},
		"reloaded, then answered":               {[]act{{time.Hour, b, "s"}, {58 * time.Minute, b, "s"}, {57 * time.Minute, a, "s"}}, 0},
		"answered too late":                     {[]act{{time.Hour, b, "s"}, {45 * time.Minute, a, "s"}}, 1},
		"given up, and again":                   {[]act{{time.Hour, b, "s"}, {40 * time.Minute, b, "s"}}, 2},
		"given up, and later answered":          {[]act{{time.Hour, b, "s"}, {40 * time.Minute, b, "s"}, {39 * time.Minute, a, "s"}}, 1},
		"answered, and asked again at once":     {[]act{{time.Hour, b, "s"}, {59 * time.Minute, a, "s"}, {58 * time.Minute, b, "s"}}, 1},
		"another session's answer is no answer": {[]act{{time.Hour, b, "s"}, {59 * time.Minute, a, "other"}}, 1},
		"yesterday":                             {[]act{{25 * time.Hour, b, "s"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracker(t)
			for range 2 { // what comes back from the store changes nothing
				for _, x := range tt.acts {
					if v := home(x.ago, session(x.session)); x.what == b {
						tr.Begun(v)
					} else {
						tr.Answered(v)
					}
				}
			}
			if got := tr.Assess(home(0)).Seen.AbandonedStepUps24h; got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
			if got := tr.Assess(home(0, who("bob"))).Seen.AbandonedStepUps24h; got != 0 {
				t.Errorf("another person has %d", got)
			}
		})
	}
}

// What one person can make the memory hold has an end.
func TestManyPromptsHaveAnEnd(t *testing.T) {
	tr := newTracker(t)
	for i := range 10 * maxPrompts {
		tr.Begun(home(time.Hour, session(string(rune('a'+i)))))
	}
	if got := tr.Assess(home(0)).Seen.AbandonedStepUps24h; got != maxPrompts {
		t.Errorf("%d", got)
	}
}

func TestEnrolments(t *testing.T) {
	tr := newTracker(t)
	six := at("2001:db8:1:2::3", "DE", 3320)
	tr.Enrolled(home(20 * day))
	tr.Enrolled(home(10*day, device("tablet")))
	tr.Enrolled(home(day, who("bob")))
	tr.Enrolled(home(31*day, who("carol")))
	tr.Enrolled(home(day, who("dan"), six, device("phone")))
	tr.Enrolled(home(day, who("eve"), flagged, device("phone")))
	for _, tt := range []struct {
		name                string
		visit               Visit
		atAddress, onDevice int64
	}{
		{"two people here, one of them twice, and one long ago", home(0, who("zoe")), 2, 2},
		{"who enrolled is not counted twice", home(0), 2, 2},
		{"another device", home(0, device("tablet")), 2, 1},
		{"the next /64 of a household", home(0, at("2001:db8:1:9::1", "DE", 3320), device("phone")), 1, 2},
		{"an address that many share says nothing", home(0, flagged), 0, 2},
	} {
		got := tr.Assess(tt.visit)
		if got.Address.Enrolments30d != tt.atAddress || got.Device.Enrolments30d != tt.onDevice || got.Device.Known != true {
			t.Errorf("%s: %+v %+v, want %d and %d", tt.name, got.Address, got.Device, tt.atAddress, tt.onDevice)
		}
	}
}

func TestDevicesOfAPerson(t *testing.T) {
	tr := newTracker(t)
	allow(tr, home(40*day, device("old")), home(29*day, device("phone")), home(day), home(day, who("bob"), device("his")))
	refuse(tr, home(day, device("thief")))
	for d, want := range map[string]int64{"laptop": 2, "new": 3, "": 2, "phone": 2} {
		if got := tr.Assess(home(0, device(d))).Devices30d; got != want {
			t.Errorf("on %q: %d, want %d", d, got, want)
		}
	}
	if got := tr.Assess(Visit{At: noon}).Devices30d; got != -1 {
		t.Errorf("of no person: %d", got)
	}
}
