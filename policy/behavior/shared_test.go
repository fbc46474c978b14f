package behavior

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy"
)

func TestPeopleAtAnAddress(t *testing.T) {
	const day = 24 * time.Hour
	bob := who("bob")
	for name, c := range map[string]struct {
		before []Visit
		now    Visit
		want   policy.Address
	}{
		"alone":                  {nil, home(0), policy.Address{Known: true, People30d: 1}},
		"with oneself":           {[]Visit{home(day), home(2*day, device("phone"))}, home(0), policy.Address{Known: true, People30d: 1}},
		"two":                    {[]Visit{home(day, bob)}, home(0), policy.Address{Known: true, People30d: 2}},
		"three, and me before":   {[]Visit{home(day, bob), home(day), home(day, who("carol"))}, home(0), policy.Address{Known: true, People30d: 3}},
		"30 days ago":            {[]Visit{home(30*day, bob)}, home(0), policy.Address{Known: true, People30d: 2}},
		"longer ago":             {[]Visit{home(30*day+time.Second, bob)}, home(0), policy.Address{Known: true, People30d: 1}},
		"from the future":        {[]Visit{home(-day, bob)}, home(0), policy.Address{Known: true, People30d: 2}},
		"a neighbour":            {[]Visit{home(day, bob, at("198.51.100.8", "DE", 3320))}, home(0), policy.Address{Known: true, People30d: 1}},
		"the same /64":           {[]Visit{home(day, bob, at("2001:db8::1", "DE", 3320))}, home(0, at("2001:db8::ffff:2", "DE", 3320)), policy.Address{Known: true, People30d: 2}},
		"another /64 of the /56": {[]Visit{home(day, bob, at("2001:db8:0:1::1", "DE", 3320))}, home(0, at("2001:db8::1", "DE", 3320)), policy.Address{Known: true, People30d: 2}},
		"four /64s of one /56": {[]Visit{home(day, bob, at("2001:db8:0:1::1", "DE", 3320)), home(day, who("carol"), at("2001:db8:0:2::1", "DE", 3320)), home(day, who("dave"), at("2001:db8:0:ff::1", "DE", 3320))},
			home(0, at("2001:db8::1", "DE", 3320)), policy.Address{Known: true, People30d: 4}},
		"another /56":                  {[]Visit{home(day, bob, at("2001:db8:0:100::1", "DE", 3320))}, home(0, at("2001:db8::1", "DE", 3320)), policy.Address{Known: true, People30d: 1}},
		"a carrier's /56":              {[]Visit{home(day, bob, at("2001:db8:0:1::1", "US", 21928))}, home(0, at("2001:db8::1", "US", 21928)), policy.Address{}},
		"a flagged /64 of the /56":     {[]Visit{home(day, bob, at("2001:db8:0:1::1", "DE", 3320), flagged)}, home(0, at("2001:db8::1", "DE", 3320)), policy.Address{Known: true, People30d: 1}},
		"an IPv4 home and its 6to4":    {[]Visit{home(day, bob, at("2002:c633:6407:5::1", "DE", 3320))}, home(0), policy.Address{Known: true, People30d: 2}},
		"two behind one Teredo server": {[]Visit{home(day, bob, at("2001:0:c000:201::39cc:9bf8", "DE", 3320))}, home(0, at("2001:0:c000:201::39cc:9bf7", "DE", 3320)), policy.Address{Known: true, People30d: 1}},
		"two behind NAT64":             {[]Visit{home(day, bob, at("64:ff9b::c633:6401", "DE", 3320))}, home(0, at("64:ff9b::c633:6402", "DE", 3320)), policy.Address{Known: true, People30d: 1}},
		"spelt otherwise":              {[]Visit{home(day, bob, at("::ffff:198.51.100.7", "DE", 3320))}, home(0), policy.Address{Known: true, People30d: 2}},
		"with a zone":                  {[]Visit{home(day, bob, at("2001:db8::1%eth0", "DE", 3320))}, home(0, at("2001:db8::2", "DE", 3320)), policy.Address{Known: true, People30d: 2}},
		"nobody signed in":             {[]Visit{home(day, bob)}, home(0, func(v *Visit) { v.Subject = authn.Subject{} }), policy.Address{Known: true, People30d: 1}},
		"an office":                    {[]Visit{home(day, bob, at("192.0.2.7", "DE", 3320))}, home(0, at("192.0.2.7", "DE", 3320)), policy.Address{}},
		"an office, mapped":            {nil, home(0, at("::ffff:192.0.2.7", "DE", 3320)), policy.Address{}},
		"private":                      {nil, home(0, at("10.0.0.1", "ZZ", 0), private), policy.Address{}},
		"T-Mobile USA":                 {nil, home(0, at("198.51.100.7", "US", 21928)), policy.Address{}},
		"a configured carrier":         {nil, home(0, at("198.51.100.7", "US", 64511)), policy.Address{}},
		"Starlink":                     {nil, home(0, at("198.51.100.7", "US", 14593)), policy.Address{}},
		"a VPN":                        {nil, home(0, flagged), policy.Address{}},
		"was a VPN then":               {[]Visit{home(day, bob, flagged)}, home(0), policy.Address{Known: true, People30d: 1}},
		"no address":                   {nil, home(0, func(v *Visit) { v.Place.Addr = netip.Addr{} }), policy.Address{}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracker(t, func(c *Config) {
				c.Offices, c.MobileASNs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []uint32{64511}
			})
			allow(tr, c.before...)
			if got := tr.Assess(c.now).Address; got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// Where a provider gives each customer a /64, the operator says so.
func TestHouseholdIsConfigurable(t *testing.T) {
	for bits, want := range map[int]int64{64: 1, 60: 2, 56: 3, 48: 4} {
		tr := newTracker(t, func(c *Config) { c.Household = bits })
		allow(tr, home(time.Hour, who("bob"), at("2001:db8:0:1::1", "DE", 3320)), home(time.Hour, who("carol"), at("2001:db8:0:11::1", "DE", 3320)),
			home(time.Hour, who("dave"), at("2001:db8:0:111::1", "DE", 3320)))
		if got := tr.Assess(home(0, at("2001:db8::1", "DE", 3320))).Address.People30d; got != want {
			t.Errorf("/%d: %d people, want %d", bits, got, want)
		}
	}
}

func TestPeopleOnADevice(t *testing.T) {
	const day = 24 * time.Hour
	tr := newTracker(t)
	elsewhere := at("203.0.113.1", "FR", 3215)
	allow(tr, home(day, who("bob"), elsewhere), home(day, who("carol"), flagged), home(31*day, who("dave")))
	refuse(tr, home(day, who("erin")))
	for name, c := range map[string]struct {
		now  Visit
		want policy.Device
	}{
		"bob and carol before, alice now": {home(0), policy.Device{Known: true, People30d: 3}},
		"bob himself":                     {home(0, who("bob")), policy.Device{Known: true, People30d: 2}},
		"another device":                  {home(0, device("phone")), policy.Device{Known: true, People30d: 1}},
		"no device":                       {home(0, device("")), policy.Device{}},
		"nobody signed in":                {home(0, func(v *Visit) { v.Subject = authn.Subject{} }), policy.Device{Known: true, People30d: 2}},
	} {
		if got := tr.Assess(c.now).Device; got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestBlockedPeopleAreNotAtAnAddress(t *testing.T) {
	tr := newTracker(t)
	refuse(tr, home(time.Hour, who("bob")))
	if got := tr.Assess(home(0)).Address.People30d; got != 1 {
		t.Errorf("%d people", got)
	}
}

func TestCrowdExpires(t *testing.T) {
	now := momentOf(noon)
	old := now - moment(31*24*3600)
	var c sharers
	for i, at := range []moment{old, now, old, now - 60} {
		c = c.add(uint64(i+1), at)
	}
	if n := c.count(0, now); n != 2 {
		t.Errorf("%d people", n)
	}
	c = c.expire(now)
	if c.one.what != 2 || len(*c.more) != 1 || c.count(0, now) != 2 || c.count(2, now) != 2 || c.count(1, now) != 3 {
		t.Errorf("%+v", c)
	}
	if c = c.expire(now + moment(31*24*3600)); c != (sharers{}) {
		t.Errorf("somebody is left: %+v", c)
	}
}

func TestCrowdsAreBounded(t *testing.T) {
	now := momentOf(noon)
	var c sharers
	for i := range uint64(5000) {
		c = c.add(i+1, now)
	}
	if n := c.count(0, now); n != maxSharers {
		t.Errorf("%d people are told apart", n)
	}
	many := newSharerTable(parts * 4)
	for i := range uint64(100_000) {
		many.add(i<<8, 1, now-moment(100_000-i))
	}
	if n := many.parts[0].m; len(n) > 4 || many.len() > 4*parts {
		t.Errorf("%d places, %d in all", len(n), many.len())
	}
	if many.count(99_999<<8, 0, now) != 1 {
		t.Error("the newest place made room for itself")
	}
}

func TestConcurrentSessions(t *testing.T) {
	tr := newTracker(t)
	allow(tr, home(time.Minute), home(15*time.Minute, session("s2")), home(15*time.Minute+time.Second, session("s3")), home(time.Minute, who("bob"), session("s4")))
	refuse(tr, home(time.Minute, session("s5")))
	for s, want := range map[string]int64{"s1": 3, "s2": 3, "s3": 4, "new": 4, "": 3} {
		if got := tr.Assess(home(0, session(s))).Concurrent; got != want {
			t.Errorf("%q: %d sessions, want %d", s, got, want)
		}
	}
	for i := range 100 {
		allow(tr, home(0, session(fmt.Sprint("x", i))))
	}
	if got := tr.Assess(home(0, session("new"))).Concurrent; got != maxSessions+1 {
		t.Errorf("%d sessions", got)
	}
}
