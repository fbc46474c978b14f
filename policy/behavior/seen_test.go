package behavior

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sallyport/policy"
)

func TestSeenNumbers(t *testing.T) {
	type numbers struct{ c1, c24, asns, nets int64 }
	v6 := at("2001:db8::7", "NL", 3320)
	for name, c := range map[string]struct {
		before []Visit
		now    Visit
		want   numbers
	}{
		"the first time":      {nil, home(0), numbers{1, 1, 1, 1}},
		"the same again":      {[]Visit{home(time.Minute), home(time.Hour)}, home(0), numbers{1, 1, 1, 1}},
		"another country":     {[]Visit{home(30*time.Minute, at("203.0.113.9", "FR", 3215))}, home(0), numbers{2, 2, 2, 2}},
		"exactly an hour ago": {[]Visit{home(time.Hour, at("203.0.113.9", "FR", 3215))}, home(0), numbers{2, 2, 2, 2}},
		"longer":              {[]Visit{home(time.Hour+time.Second, at("203.0.113.9", "FR", 3215))}, home(0), numbers{1, 2, 2, 2}},
		"a day ago":           {[]Visit{home(24*time.Hour, at("203.0.113.9", "FR", 3215))}, home(0), numbers{1, 2, 2, 2}},
		"more than a day ago": {[]Visit{home(24*time.Hour+time.Second, at("203.0.113.9", "FR", 3215))}, home(0), numbers{1, 1, 1, 1}},
		"from the future":     {[]Visit{home(-time.Hour, at("203.0.113.9", "FR", 3215))}, home(0), numbers{2, 2, 2, 2}},
		"unknown country":     {[]Visit{home(time.Minute, at("203.0.113.9", "ZZ", 0))}, home(0), numbers{1, 1, 1, 2}},
		"unknown now":         {[]Visit{home(time.Minute)}, home(0, at("203.0.113.9", "ZZ", 0)), numbers{1, 1, 1, 2}},
		"the same /24":        {[]Visit{home(time.Minute, at("198.51.100.250", "DE", 3320))}, home(0), numbers{1, 1, 1, 1}},
		"the same /48":        {[]Visit{home(time.Minute, at("2001:db8:0:1::1", "DE", 3320))}, home(0, at("2001:db8:0:ffff::1", "DE", 3320)), numbers{1, 1, 1, 1}},
		"another /48":         {[]Visit{home(time.Minute, at("2001:db8:1::1", "DE", 3320))}, home(0, at("2001:db8:2::1", "DE", 3320)), numbers{1, 1, 1, 2}},
		"an office":           {[]Visit{home(time.Minute, at("192.0.2.1", "SG", 64500))}, home(0), numbers{2, 2, 2, 1}},
		"in an office":        {[]Visit{home(time.Minute, at("192.0.2.1", "SG", 64500))}, home(0, at("192.0.2.9", "SG", 64500)), numbers{1, 1, 1, 0}},
		"somebody else":       {[]Visit{home(time.Minute, who("bob"), at("203.0.113.9", "FR", 3215))}, home(0), numbers{1, 1, 1, 1}},
		"a VPN":               {[]Visit{home(time.Minute, at("203.0.113.9", "FR", 3215), flagged)}, home(0), numbers{2, 2, 2, 2}},

		"dual stack: IPv6 now":                   {[]Visit{home(time.Minute)}, home(0, v6), numbers{1, 1, 1, 2}},
		"dual stack: IPv6 before":                {[]Visit{home(time.Minute, v6)}, home(0), numbers{1, 1, 1, 2}},
		"dual stack: both before":                {[]Visit{home(time.Minute, v6), home(time.Minute)}, home(0, at("203.0.113.9", "FR", 3215)), numbers{2, 2, 2, 3}},
		"IPv6 of another ASN":                    {[]Visit{home(time.Minute)}, home(0, at("2001:db8::7", "NL", 1136)), numbers{2, 2, 2, 2}},
		"IPv6 of no known ASN":                   {[]Visit{home(time.Minute, at("198.51.100.7", "DE", 0))}, home(0, at("2001:db8::7", "NL", 0)), numbers{2, 2, 0, 2}},
		"IPv6 alone":                             {[]Visit{home(time.Minute, v6)}, home(0, at("2001:db8:1::7", "FR", 3320)), numbers{2, 2, 1, 2}},
		"IPv4 of no known country":               {[]Visit{home(time.Minute, at("198.51.100.7", "ZZ", 3320))}, home(0, v6), numbers{1, 1, 1, 2}},
		"dual stack, IPv4 more than an hour ago": {[]Visit{home(2 * time.Hour), home(time.Minute, at("2001:db8:1::7", "FR", 3320))}, home(0, v6), numbers{1, 1, 1, 3}},
		"dual stack, and travelling in one ASN":  {[]Visit{home(2 * time.Hour), home(2*time.Hour, v6), home(time.Minute, at("203.0.113.9", "FR", 3320))}, home(0, at("2001:db8:1::7", "FR", 3320)), numbers{1, 2, 1, 4}},
		"one ASN, two countries by IPv4":         {[]Visit{home(time.Minute)}, home(0, at("203.0.113.9", "FR", 3320)), numbers{2, 2, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracker(t, func(c *Config) { c.Offices = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
			allow(tr, c.before...)
			s := tr.Assess(c.now).Seen
			if got := (numbers{s.Countries1h, s.Countries24h, s.ASNs24h, s.Prefixes24h}); !s.Known || got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// What the memory has not dropped yet is judged by its time all the same.
func TestTracesOfTheDayBefore(t *testing.T) {
	now, old, lately := momentOf(noon), momentOf(noon.Add(-25*time.Hour)), momentOf(noon.Add(-time.Minute))
	recent := []visitTrace{
		{net: 1, at: old, asn: 3320, country: countryOf("DE")},
		{net: 2, at: lately, asn: 3320, country: countryOf("NL"), six: true},
	}
	var s policy.Seen
	count(recent, visitTrace{net: 3, at: now, asn: 3209, country: countryOf("DE")}, &s)
	if want := (policy.Seen{Countries1h: 2, Countries24h: 2, ASNs24h: 2, Prefixes24h: 2}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

func TestBlockedVisitsCountAndAreNeverNormal(t *testing.T) {
	abroad := home(0, at("203.0.113.9", "FR", 3215), device("phone"))
	for _, action := range []policy.Action{policy.Block, policy.StepUp} {
		tr := newTracker(t)
		allow(tr, home(10*24*time.Hour))
		for i := range 20 {
			v := abroad
			v.At = noon.Add(-time.Duration(20-i) * time.Minute)
			tr.Record(v, action)
		}
		s := tr.Assess(abroad).Seen
		if !s.NewCountry || !s.NewASN || !s.NewDevice || s.FirstDays != 10 {
			t.Errorf("%v became normal: %+v", action, s)
		}
		if s := tr.Assess(home(0)).Seen; s.Countries1h != 2 || s.Countries24h != 2 || s.ASNs24h != 2 || s.Prefixes24h != 2 {
			t.Errorf("%v does not count: %+v", action, s)
		}
	}
}

func TestNewPlaces(t *testing.T) {
	abroad := []func(*Visit){at("203.0.113.9", "FR", 3215), device("phone")}
	tr := newTracker(t)
	s := tr.Assess(home(0)).Seen
	if !s.Known || !s.NewCountry || !s.NewASN || !s.NewDevice || s.FirstDays != 0 {
		t.Errorf("a stranger: %+v", s)
	}
	allow(tr, home(48*time.Hour-time.Second))
	if s := tr.Assess(home(0)).Seen; s.NewCountry || s.NewASN || s.NewDevice || s.FirstDays != 1 {
		t.Errorf("at home: %+v", s)
	}
	if s := tr.Assess(home(0, abroad...)).Seen; !s.NewCountry || !s.NewASN || !s.NewDevice {
		t.Errorf("abroad: %+v", s)
	}
	if s := tr.Assess(home(0, at("203.0.113.9", "ZZ", 0), device(""))).Seen; s.NewCountry || s.NewASN || !s.NewDevice {
		t.Errorf("what is not known is not new, but for the device: %+v", s)
	}
	if s := tr.Assess(home(0, who("bob"))).Seen; !s.NewCountry || !s.NewDevice {
		t.Errorf("of somebody else: %+v", s)
	}
	// A VPN exit is no one's home; the device that was let through there is known.
	allow(tr, home(time.Hour, append(abroad, flagged)...))
	if s := tr.Assess(home(0, abroad...)).Seen; !s.NewCountry || !s.NewASN || s.NewDevice {
		t.Errorf("after a VPN: %+v", s)
	}
	allow(tr, home(time.Hour, abroad...))
	if s := tr.Assess(home(0, abroad...)).Seen; s.NewCountry || s.NewASN {
		t.Errorf("after a visit: %+v", s)
	}
}

func TestFirstDaysOfAClockThatMovedBack(t *testing.T) {
	tr := newTracker(t)
	allow(tr, home(-72*time.Hour))
	if s := tr.Assess(home(0)).Seen; s.FirstDays != 0 || s.NewCountry {
		t.Errorf("%+v", s)
	}
}

func TestAHopperIsBounded(t *testing.T) {
	tr := newTracker(t)
	for i := range 5000 {
		v := home(time.Duration(5000-i)*time.Second, at(fmt.Sprintf("203.0.%d.1", i%250), string([]byte{'A' + byte(i%26), 'A' + byte(i/26%26)}), uint32(i+1)))
		v.Session, v.Device = fmt.Sprint("s", i), fmt.Sprint("d", i)
		allow(tr, v)
	}
	p := tr.people.part(tr.people.ref(somebody("alice"))).people[somebody("alice")]
	if len(p.recent) != maxTraces || len(p.sessions) != maxSessions || len(p.devices) != maxDevices || len(p.asns) != maxASNs || len(p.countries) != maxCountries || len(p.rows) > maxRows {
		t.Errorf("%d traces, %d sessions, %d devices, %d asns, %d countries, %d rows", len(p.recent), len(p.sessions), len(p.devices), len(p.asns), len(p.countries), len(p.rows))
	}
	s := tr.Assess(home(0)).Seen
	if s.Countries24h < maxTraces/2 || s.ASNs24h != maxTraces+1 {
		t.Errorf("%+v", s)
	}
}

// A thief who has a stolen session and many networks is turned away from each, and noted. That
// must not push out where the session's owner is: the one country left would be the thief's.
func TestManyNetworksDoNotPushOutACountryOrAProvider(t *testing.T) {
	for name, c := range map[string]struct {
		country string
		asn     uint32
		want    policy.Seen
	}{
		"another country":                    {"FR", 64500, policy.Seen{Countries1h: 2, Countries24h: 2, ASNs24h: 2}},
		"the same country, another provider": {"DE", 64500, policy.Seen{Countries1h: 1, Countries24h: 1, ASNs24h: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracker(t)
			allow(tr, home(30*time.Minute))
			thief := func(i int, ago time.Duration) Visit {
				return home(ago, at(fmt.Sprintf("2001:db8:%x::1", i), c.country, c.asn))
			}
			for i := range 3 * maxTraces {
				record(tr, policy.StepUp, []Visit{thief(i, 20*time.Minute-time.Duration(i)*time.Second)})
			}
			got := tr.Assess(thief(0, 0)).Seen
			if got.Countries1h != c.want.Countries1h || got.Countries24h != c.want.Countries24h || got.ASNs24h != c.want.ASNs24h {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if got.Prefixes24h < maxTraces {
				t.Errorf("%d networks are left of %d", got.Prefixes24h, maxTraces)
			}
		})
	}
}
