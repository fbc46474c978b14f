package behavior

import (
	"math/rand/v2"
	"testing"
	"time"

	"sallyport/authn"
)

func TestUsualHours(t *testing.T) {
	berlin := zoneOf("Europe/Berlin")
	if berlin == time.UTC {
		t.Fatal("no zones")
	}
	// Berlin puts its clocks forward on 29 March 2026.
	april := time.Date(2026, 4, 10, 9, 30, 0, 0, berlin)
	nineToFive := func(days int, before time.Time) (out []time.Time) {
		for d := 1; d <= days; d++ {
			for h := 9; h < 17; h++ {
				out = append(out, time.Date(before.Year(), before.Month(), before.Day()-d, h, 10, 0, 0, before.Location()))
			}
		}
		return out
	}
	for name, tt := range map[string]struct {
		active []time.Time
		at     time.Time
		zone   string
		want   int64
	}{
		"nothing":                         {nil, april, "Europe/Berlin", notEnough},
		"four days are not enough":        {nineToFive(4, april), april, "Europe/Berlin", notEnough},
		"five are":                        {nineToFive(5, april), april, "Europe/Berlin", 100},
		"at work, in summer time and not": {nineToFive(29, april), april, "Europe/Berlin", 100},
		"an hour before work":             {nineToFive(29, april), april.Add(-90 * time.Minute), "Europe/Berlin", 100},
		"two hours before work":           {nineToFive(29, april), april.Add(-150 * time.Minute), "Europe/Berlin", 0},
		"at three in the night":           {nineToFive(29, april), april.Add(-390 * time.Minute), "Europe/Berlin", 0},
		"summer time by the wrong clock":  {nineToFive(29, april), april.Add(-90 * time.Minute), "", 41},
		"midnight is no edge":             {[]time.Time{april.Add(-24 * time.Hour), april.Add(-48 * time.Hour), april.Add(-72 * time.Hour), april.Add(-96 * time.Hour), april.Add(-120 * time.Hour)}, april, "Pacific/Auckland", 100},
		"today makes nothing usual":       {append(nineToFive(10, april), april.Add(-6*time.Hour)), april.Add(-6 * time.Hour), "Europe/Berlin", 0},
		"once of ten":                     {append(nineToFive(10, april), april.Add(-5*24*time.Hour-6*time.Hour)), april.Add(-6 * time.Hour), "Europe/Berlin", 10},
		"what is older than a month":      {nineToFive(29, april.AddDate(0, 0, -40)), april, "Europe/Berlin", notEnough},
	} {
		t.Run(name, func(t *testing.T) {
			for _, forwards := range []bool{true, false} {
				tr := newTracker(t, func(c *Config) { c.Now = func() time.Time { return tt.at } })
				for i := range tt.active {
					if !forwards {
						i = len(tt.active) - 1 - i
					}
					tr.Active(somebody("alice"), tt.active[i])
				}
				got := tr.Assess(home(0, func(v *Visit) { v.At, v.Clock = tt.at, tt.zone })).Activity
				if !got.Known || got.UsualHours != tt.want {
					t.Errorf("forwards %v: %+v, want %d", forwards, got, tt.want)
				}
			}
		})
	}
}

// Where the history is not known, no hour is one at which the person never was.
func TestUsualHoursOfWhatIsNotKnown(t *testing.T) {
	tr := newTracker(t)
	v := home(0)
	v.Subject = authn.Subject{}
	if got := tr.Assess(v).Activity; got.Known || got.UsualHours != -1 {
		t.Errorf("no person: %+v", got)
	}
}

// any looks at many hours at once, and says what looking at each of them does.
func TestHoursOfARing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		begin := uint32(r.IntN(3 * hourRing))
		h, active := hours{last: begin}, map[uint32]bool{}
		last := begin
		for range r.IntN(200) {
			n := last + uint32(r.IntN(20)) - min(last, uint32(r.IntN(20)))
			h.set(n, last)
			active[n], last = true, max(last, n)
		}
		for range 500 {
			first := uint32(r.IntN(int(last) + 2*hourRing))
			first -= min(first, hourRing/2)
			end, want := first+uint32(r.IntN(65)), false
			for n := first; n < end; n++ {
				want = want || active[n] && last-n < hourRing
			}
			if got := h.any(first, end); got != want {
				t.Fatalf("%d to %d, last %d: %t", first, end, last, got)
			}
		}
	}
}
