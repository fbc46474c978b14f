package behavior

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy"
)

// typicalYear is what a year leaves of a person: a home and a mobile network, an office,
// five trips, eleven autonomous systems and three countries in all, two devices and one
// that was replaced; of the last month twelve home addresses, as many providers give a new
// one often; of the last two days four networks, and seventeen hours of activity.
func typicalYear(t *Tracker, i int, r *rand.Rand) {
	who := authn.Subject{Issuer: "https://login.corp.example", ID: fmt.Sprintf("00u%017d", i)}
	now := momentOf(noon)
	seen := func(daysAgo int, country string, asn uint32, dev int) {
		at := noon.Add(-time.Duration(daysAgo)*day - time.Duration(r.IntN(3600))*time.Second)
		host := r.Uint64()>>1 | 1
		if asn == 3320 { // the mobile network does not count
			host = 0
		}
		s := Sighting{
			Subject: who, First: at, At: at, Host: host, Network: r.Uint64()>>1 | 1, Country: country, ASN: asn, Allowed: true,
			Device: fmt.Sprint("device-", i, "-", dev), Session: fmt.Sprint("session-", i, "-", dev), Point: berlin,
		}
		t.remember(&s, now, uint64(daysAgo)+1)
	}
	for trip := range 5 {
		seen(300-50*trip, []string{"DE", "US", "SG"}[trip%3], uint32(64500+2*trip), 0)
		seen(300-50*trip, []string{"DE", "US", "SG"}[trip%3], uint32(64501+2*trip), 2)
	}
	for d := range 12 {
		seen(29-2*d, "DE", 3209, 1+d%2)
	}
	for d := range 2 {
		seen(d, "DE", 3209, 1)
		seen(d, "DE", 3320, 2)
	}
	for h := range 48 {
		if h%24 >= 9 && h%24 < 18 {
			t.Active(who, noon.Add(-time.Duration(h)*hour))
		}
	}
}

// BenchmarkMemory says how many bytes a person takes, at 100,000 of them.
func BenchmarkMemory(b *testing.B) {
	const people = 100_000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	world()
	for b.Loop() {
		before := heap()
		t := newTracker(b)
		r := rand.New(rand.NewPCG(1, 1))
		for i := range people {
			typicalYear(t, i, r)
		}
		begin := time.Now()
		t.tidy(b.Context())
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/tidy")
		b.ReportMetric(float64(heap()-before)/people, "B/person")
		if n := t.people.count.Load(); n != people {
			b.Fatal(n)
		}
		runtime.KeepAlive(t)
	}
}

func benchmarked(b testing.TB, people int) (*Tracker, []Visit) {
	t := newTracker(b)
	r := rand.New(rand.NewPCG(1, 1))
	visits := make([]Visit, people)
	for i := range people {
		typicalYear(t, i, r)
		v := home(0)
		v.Subject = authn.Subject{Issuer: "https://login.corp.example", ID: fmt.Sprintf("00u%017d", i)}
		v.Place.Addr = netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)})
		v.Device, v.Session, v.Zone = fmt.Sprint("device-", i, "-1"), fmt.Sprint("session-", i, "-1"), "Europe/Berlin"
		t.Record(v, policy.Allow)
		visits[i] = v
	}
	return t, visits
}

// BenchmarkAssess is of 100 people, and of 10,000, whose history no processor's cache holds.
func BenchmarkAssess(b *testing.B) {
	for _, people := range []int{100, 10_000} {
		b.Run(fmt.Sprint(people), func(b *testing.B) { benchmarkAssess(b, people) })
	}
}

func benchmarkAssess(b *testing.B, people int) {
	t, visits := benchmarked(b, people)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if a := t.Assess(visits[i%len(visits)]); !a.Seen.Known {
			b.Fatal(a)
		}
	}
}

func BenchmarkAssessParallel(b *testing.B) {
	t, visits := benchmarked(b, 10_000)
	b.RunParallel(func(pb *testing.PB) {
		for i := rand.IntN(len(visits)); pb.Next(); i++ {
			t.Assess(visits[i%len(visits)])
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	t, visits := benchmarked(b, 10_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		t.Record(visits[i%len(visits)], policy.Allow)
	}
}

func BenchmarkActive(b *testing.B) {
	t, visits := benchmarked(b, 10_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		t.Active(visits[i%len(visits)].Subject, noon)
	}
}

// The worst history that one person can make for themselves: 5,000 addresses, devices
// and sessions, and as many people at their own address.
func BenchmarkAssessWorst(b *testing.B) {
	t, visits := benchmarked(b, 100)
	for i := range 5000 {
		v := visits[7]
		v.Place.Addr = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 8), byte(i)})
		v.Place.Country, v.Place.ASN = string([]byte{'A' + byte(i%26), 'A' + byte(i/26%26)}), uint32(i%40)
		v.Device, v.Session = fmt.Sprint(i), fmt.Sprint(i)
		t.Record(v, policy.Allow)
		v.Subject, v.Place.Addr, v.Device = somebody(fmt.Sprint(i)), visits[7].Place.Addr, visits[7].Device
		t.Record(v, policy.Allow)
	}
	b.ReportAllocs()
	for b.Loop() {
		t.Assess(visits[7])
	}
}

// Nothing is allocated on the way of a request.
func TestAssessDoesNotAllocate(t *testing.T) {
	tr, visits := benchmarked(t, 100)
	if n := testing.AllocsPerRun(1000, func() { tr.Assess(visits[7]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// All requests at once do not wait for one lock: parts are many.
func TestPartsAreSpread(t *testing.T) {
	m := newMemory(1000)
	seen := map[*part]bool{}
	for i := range 4 * parts {
		seen[m.part(m.ref(somebody(fmt.Sprint(i))))] = true
	}
	if len(seen) < parts*9/10 {
		t.Errorf("%d of %d parts are used", len(seen), parts)
	}
}
