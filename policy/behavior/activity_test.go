package behavior

import (
	"math/rand/v2"
	"testing"
	"time"

	"sallyport/policy"
)

func TestActivity(t *testing.T) {
	const bucket = 5 * time.Minute
	every := func(step, from, to time.Duration) (list []time.Duration) {
		for d := from; d <= to; d += step {
			list = append(list, d)
		}
		return list
	}
	for name, c := range map[string]struct {
		ago   []time.Duration
		hours int64
		rest  time.Duration
	}{
		"nothing":                     {nil, 0, 48 * time.Hour},
		"now":                         {[]time.Duration{0}, 1, 48*time.Hour - bucket},
		"an eight-hour day":           {every(bucket, 0, 8*time.Hour-bucket), 8, 40 * time.Hour},
		"all of two days":             {every(bucket, 0, 48*time.Hour), 24, 0},
		"once an hour for two days":   {every(time.Hour, 0, 48*time.Hour), 24, 55 * time.Minute},
		"a night's sleep":             {append(every(bucket, 0, 4*time.Hour-bucket), every(bucket, 12*time.Hour, 48*time.Hour)...), 16, 8 * time.Hour},
		"yesterday":                   {every(bucket, 24*time.Hour, 32*time.Hour-bucket), 0, 24 * time.Hour},
		"47 hours and 55 minutes ago": {[]time.Duration{48*time.Hour - bucket}, 0, 48*time.Hour - bucket},
		"48 hours ago":                {[]time.Duration{48 * time.Hour}, 0, 48 * time.Hour},
		"the 24th hour":               {[]time.Duration{24*time.Hour - bucket}, 1, 24 * time.Hour},
		"the 25th hour":               {[]time.Duration{24 * time.Hour}, 0, 24 * time.Hour},
		"a minute ahead":              {[]time.Duration{-time.Minute}, 1, 48*time.Hour - bucket},
	} {
		t.Run(name, func(t *testing.T) {
			for _, forwards := range []bool{true, false} {
				tr := newTracker(t)
				for i := range c.ago {
					if forwards {
						i = len(c.ago) - 1 - i
					}
					tr.Active(somebody("alice"), noon.Add(-c.ago[i]))
				}
				got := tr.Assess(home(0)).Activity
				if want := (policy.Activity{Known: true, ActiveHours24h: c.hours, LongestBreak48h: c.rest, UsualHours: notEnough}); got != want {
					t.Errorf("forwards %v: got %+v, want %+v", forwards, got, want)
				}
			}
		})
	}
}

// The ring against a list of all that was ever done, with a clock that jumps.
func TestActivityIsThatOfAList(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		start := bucketOf(momentOf(noon)) + bucket(r.IntN(1000))
		b, did, last := &buckets{last: start, unsaved: start}, map[bucket]bool{}, start
		b.set(start, start)
		did[start] = true
		now := start
		for range 300 {
			switch r.IntN(4) {
			case 0:
				now += bucket(r.IntN(200))
			case 1:
				now -= bucket(r.IntN(20))
			default:
				now++
			}
			n := now - bucket(r.IntN(3))
			if last >= ring && n <= last-ring {
				continue // below the ring: tested apart
			}
			b.set(n, now)
			did[n], last = true, max(last, n)
			got := b.activity(now)
			want := policy.Activity{Known: true}
			run, longest := 0, 0
			for k := now - (ring - 1); k <= now; k++ {
				if did[k] && k+ring > last {
					run = 0
				} else {
					run++
				}
				longest = max(longest, run)
			}
			want.LongestBreak48h = time.Duration(longest) * bucketLen
			for h := range bucket(24) {
				for i := range bucket(perHour) {
					if k := now - h*perHour - i; did[k] && k+ring > last {
						want.ActiveHours24h++
						break
					}
				}
			}
			if got != want {
				t.Fatalf("now %d, last %d: got %+v, want %+v", now-start, last-start, got, want)
			}
		}
	}
}

func TestActivityOfAClockThatWasWrong(t *testing.T) {
	tr := newTracker(t)
	alice := somebody("alice")
	tr.Active(alice, noon.Add(-time.Hour))
	tr.Active(alice, noon.Add(365*24*time.Hour))
	if got := tr.Assess(home(0)).Activity; got.ActiveHours24h != 0 || got.LongestBreak48h != 48*time.Hour {
		t.Errorf("a year ahead: %+v", got)
	}
	tr.Active(alice, noon)
	if got := tr.Assess(home(0)).Activity; got.ActiveHours24h != 1 || got.LongestBreak48h != 48*time.Hour-5*time.Minute {
		t.Errorf("put right: %+v", got)
	}
	tr.Active(alice, noon.Add(-60*24*time.Hour)) // a late message is no reason to forget today
	if got := tr.Assess(home(0)).Activity; got.ActiveHours24h != 1 {
		t.Errorf("after old news: %+v", got)
	}
}

// Requests that are no navigation are no activity, however many.
func TestVisitsAreNotActivity(t *testing.T) {
	tr := newTracker(t)
	for i := range 600 {
		allow(tr, home(time.Duration(600-i)*5*time.Minute))
	}
	if got := tr.Assess(home(0)).Activity; got.ActiveHours24h != 0 {
		t.Errorf("%+v", got)
	}
}

func TestActivityAddsNothingTwice(t *testing.T) {
	tr := newTracker(t)
	alice := somebody("alice")
	tr.Active(alice, noon)
	if n := testing.AllocsPerRun(100, func() { tr.Active(alice, noon) }); n != 0 {
		t.Errorf("%v allocations for what is known", n)
	}
}
