package edge_test

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/clocktest"
	"sallyport/policy/ipv4in6"
	"sallyport/proxy/edge"
)

func TestLimiter(t *testing.T) {
	c := clocktest.At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	l := must(edge.NewLimiter[string](edge.LimiterConfig{Every: 10 * time.Second, Burst: 3, Now: c.Now}))
	for range 3 {
		if ok, _ := l.Allow("a"); !ok {
			t.Fatal("refused within the burst")
		}
	}
	ok, after := l.Allow("a")
	if ok || after != 10*time.Second {
		t.Errorf("beyond the burst: %v, %s", ok, after)
	}
	if ok, _ := l.Allow("b"); !ok {
		t.Error("another key was refused")
	}
	c.Add(4 * time.Second)
	if ok, after := l.Allow("a"); ok || after != 6*time.Second {
		t.Errorf("too early: %v, %s", ok, after)
	}
	c.Add(after - 4*time.Second)
	if ok, _ := l.Allow("a"); !ok {
		t.Error("refused after Retry-After")
	}
	if ok, _ := l.Allow("a"); ok {
		t.Error("one interval bought two")
	}
	for _, bad := range []edge.LimiterConfig{{}, {Every: time.Second}, {Burst: 1}, {Every: -1, Burst: 1}, {Every: 1, Burst: 1, Keys: -1}} {
		if _, err := edge.NewLimiter[string](bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// One client is one key, however its address is spelled, and whichever of
// its addresses it takes.
func TestAttackOneClientOneKey(t *testing.T) {
	for name, c := range map[string][2]string{
		"IPv4 in IPv6":     {"192.0.2.1", "::ffff:192.0.2.1"},
		"within a /64":     {"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"},
		"zone":             {"fe80::1%eth0", "fe80::2%eth1"},
		"another spelling": {"2001:db8:0:0::1", "2001:0db8::0001"},
	} {
		l := must(edge.NewAddressLimiter(edge.LimiterConfig{Every: time.Hour, Burst: 1}))
		l.Allow(netip.MustParseAddr(c[0]))
		if ok, _ := l.Allow(netip.MustParseAddr(c[1])); ok {
			t.Errorf("%s: %v are two clients", name, c)
		}
	}
	l := must(edge.NewAddressLimiter(edge.LimiterConfig{Every: time.Hour, Burst: 1}))
	for _, a := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"} {
		if ok, _ := l.Allow(netip.MustParseAddr(a)); !ok {
			t.Errorf("%s pays for another", a)
		}
	}
	behind := must(edge.NewAddressLimiter(edge.LimiterConfig{Every: time.Hour, Burst: 1, Translators: ipv4in6.Translators{netip.MustParsePrefix("2001:db8:64::/96")}}))
	for a, want := range map[string]bool{"2001:db8:64::203.0.113.9": true, "2001:db8:64::198.51.100.7": true, "2001:db8:64::10.0.0.1": true, "2001:db8:64::10.0.0.2": true} {
		if ok, _ := behind.Allow(netip.MustParseAddr(a)); ok != want {
			t.Errorf("%s pays for another client of the translator", a)
		}
	}
	if ok, _ := behind.Allow(netip.MustParseAddr("203.0.113.9")); ok {
		t.Error("the translator is a second budget")
	}
	if ok, _ := l.Allow(netip.Addr{}); !ok {
		t.Error("no address: the first is allowed")
	}
	if ok, _ := l.Allow(netip.Addr{}); ok {
		t.Error("no address: those without are one client")
	}
	// Subjects are pairs, and no two pairs are one.
	p := must(edge.NewAccountLimiter(edge.LimiterConfig{Every: time.Hour, Burst: 1}))
	for _, s := range []authn.Subject{{Issuer: "a", ID: "bc"}, {Issuer: "ab", ID: "c"}} {
		if ok, _ := p.Allow(s); !ok {
			t.Errorf("%+v pays for another", s)
		}
	}
}

func spray(i uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], 0x2001_0db8_0000_0000+i)
	return netip.AddrFrom16(b)
}

// A client with a /48 has 65,536 networks, and gets what a few of them get.
func TestAttackSprayFromOneNetwork(t *testing.T) {
	l := must(edge.NewAddressLimiter(edge.LimiterConfig{Every: time.Hour, Burst: 5}))
	allowed := 0
	for i := range uint64(65_536) {
		if ok, _ := l.Allow(spray(i)); ok {
			allowed++
		}
	}
	if allowed > 16*5 {
		t.Errorf("%d were allowed", allowed)
	}
}

// A million addresses do not take a million entries, and do not push out
// a person who is over the limit and goes on trying.
func TestAttackSprayIsBounded(t *testing.T) {
	l := must(edge.NewAddressLimiter(edge.LimiterConfig{Every: time.Hour, Burst: 3, Keys: 4096}))
	abuser := netip.MustParseAddr("192.0.2.1")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	allowed := 0
	for i := range uint64(300_000) {
		l.Allow(spray(i << 16)) // each in a /48 of its own
		if i%10 == 0 {
			if ok, _ := l.Allow(abuser); ok {
				allowed++
			}
		}
	}
	clocktest.Eventually(t, "the cache has shrunk", func() bool { return l.Size() <= 2*4096 })
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("%d bytes for 4096 keys", grown)
	}
	if allowed > 30 {
		t.Errorf("the abuser was allowed %d times", allowed)
	}
	runtime.KeepAlive(l)
}

func BenchmarkAddressLimiter(b *testing.B) {
	l := must(edge.NewAddressLimiter(edge.LimiterConfig{Every: time.Second, Burst: 5}))
	a := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		l.Allow(a)
	}
}
