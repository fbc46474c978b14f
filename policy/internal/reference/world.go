package reference

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/policy"
)

// Dimension is a part of a request that takes one value after another, and the conditions
// that are about it.
type Dimension struct {
	Values     []func(*policy.Facts)
	Conditions []Condition
}

// World is a part of all requests that is small enough to go through.
type World []Dimension

// Size is how many requests there are in it.
func (w World) Size() int {
	n := 1
	for _, d := range w {
		n *= len(d.Values)
	}
	return n
}

// Conditions are those of all its dimensions.
func (w World) Conditions() (out []Condition) {
	for _, d := range w {
		out = append(out, d.Conditions...)
	}
	return out
}

// Each calls visit with every request until it says no.
func (w World) Each(visit func(*policy.Facts) bool) {
	at := make([]int, len(w))
	for {
		f := policy.Ordinary("verified")
		f.IP.Addr, f.Request.Route = netip.MustParseAddr(f.IP.Address), "wiki"
		for d, i := range at {
			w[d].Values[i](&f)
		}
		if lower := f.Session.Level; lower != "verified" { // what is not known below it
			policy.Lower(&f, lower)
			f.Session.Level = lower
		}
		if !visit(&f) {
			return
		}
		d := 0
		for ; d < len(at); d++ {
			if at[d]++; at[d] < len(w[d].Values) {
				break
			}
			at[d] = 0
		}
		if d == len(at) {
			return
		}
	}
}

// Thin leaves out values of the largest dimensions until at most most requests are left.
func (w World) Thin(r *rand.Rand, most int) World {
	w = slices.Clone(w)
	for w.Size() > most {
		d := &w[0]
		for i := range w {
			if len(w[i].Values) > len(d.Values) {
				d = &w[i]
			}
		}
		i := r.IntN(len(d.Values))
		d.Values = slices.Delete(slices.Clone(d.Values), i, i+1)
	}
	return w
}

// values makes a dimension's values from a setter.
func values[T any](set func(*policy.Facts, T), of ...T) (out []func(*policy.Facts)) {
	for _, v := range of {
		out = append(out, func(f *policy.Facts) { set(f, v) })
	}
	return out
}

func flag(fact string, to func(*policy.Facts) *bool) Dimension {
	return Dimension{values(func(f *policy.Facts, v bool) { *to(f) = v }, false, true),
		[]Condition{is(fact, func(f *policy.Facts) bool { return *to(f) }, fact)}}
}

// Stage is who asks for what: every level, purpose and route.
func Stage() Dimension {
	d := Dimension{Conditions: []Condition{
		is(`session.level == "verified"`, func(f *policy.Facts) bool { return f.Session.Level == "verified" }, "session.level"),
		is(`session.level in ["none", "signed_in"]`, func(f *policy.Facts) bool { return f.Session.Level != "verified" }, "session.level"),
		is(`request.purpose == "access"`, func(f *policy.Facts) bool { return f.Request.Purpose == "access" }, "request.purpose"),
		is(`request.purpose in ["enroll", "sign_in"]`, func(f *policy.Facts) bool { return f.Request.Purpose == "enroll" || f.Request.Purpose == "sign_in" }, "request.purpose"),
		is(`request.purpose != "step_up"`, func(f *policy.Facts) bool { return f.Request.Purpose != "step_up" }, "request.purpose"),
		is(`request.route == "wiki"`, func(f *policy.Facts) bool { return f.Request.Route == "wiki" }, "request.route"),
	}}
	for _, level := range []string{"verified", "signed_in", "none"} {
		for _, to := range [][2]string{{"access", "wiki"}, {"access", "vault"}, {"sign_in", ""}, {"enroll", ""}, {"step_up", ""}} {
			d.Values = append(d.Values, func(f *policy.Facts) { f.Session.Level, f.Request.Purpose, f.Request.Route = level, to[0], to[1] })
		}
	}
	return d
}

// Route is access by a verified person.
func Route() Dimension { d := Stage(); d.Values = d.Values[:2]; return d }

// Age is how old the last assertion is, around everything that rules ask for.
func Age() Dimension {
	of := func(f *policy.Facts) *time.Duration { return &f.Session.VerifiedAge }
	return Dimension{values(func(f *policy.Facts, v time.Duration) { *of(f) = v },
		-2*time.Minute, -time.Minute, 0, time.Minute, 2*time.Minute, 15*time.Minute, 15*time.Minute+1, 30*time.Minute, 45*time.Minute, time.Hour,
		80*time.Minute, 90*time.Minute, 91*time.Minute, 5*time.Hour, 400*time.Hour), []Condition{
		is(`session.verified_age > duration("1h")`, func(f *policy.Facts) bool { return *of(f) > time.Hour }, "session.verified_age"),
		is(`session.verified_age <= duration("1m")`, func(f *policy.Facts) bool { return *of(f) <= time.Minute }, "session.verified_age"),
		is(`session.verified_age > duration("90m")`, func(f *policy.Facts) bool { return *of(f) > 90*time.Minute }, "session.verified_age"),
		is(`session.verified_age < duration("0s")`, func(f *policy.Facts) bool { return *of(f) < 0 }, "session.verified_age"),
	}}
}

// Passkey is what the last assertion was made with.
func Passkey() Dimension {
	set := func(f *policy.Facts, v int) {
		f.Credential.Class = []string{"unattested", "synced", "attested", "attested"}[v]
		f.Credential.BackupEligible, f.Credential.BackedUp = v%2 == 1, v == 1
	}
	return Dimension{values(set, 0, 1, 2, 3), []Condition{
		is(`credential.class == "synced"`, func(f *policy.Facts) bool { return f.Credential.Class == "synced" }, "credential.class"),
		is(`credential.class in ["attested", "unattested"]`, func(f *policy.Facts) bool {
			return f.Credential.Class == "attested" || f.Credential.Class == "unattested"
		}, "credential.class"),
		is(`credential.backup_eligible`, func(f *policy.Facts) bool { return f.Credential.BackupEligible }, "credential.backup_eligible"),
	}}
}

// Person is the person that a rule may be enforced for.
func Person() Dimension {
	set := func(f *policy.Facts, id string) { f.User.Subject, f.User.Email = id, id+"@example.com" }
	return Dimension{values(set, "ann", "ben", "eve"), []Condition{
		is(`user.subject == "ann"`, func(f *policy.Facts) bool { return f.User.Subject == "ann" }, "user.subject"),
	}}
}

// Groups are those of the person.
func Groups() Dimension {
	in := func(f *policy.Facts, g string) bool { return slices.Contains(f.User.Groups, g) }
	return Dimension{values(func(f *policy.Facts, v []string) { f.User.Groups = v }, nil, []string{"ops"}, []string{"infra"}, []string{"infra", "ops"}), []Condition{
		is(`"ops" in user.groups`, func(f *policy.Facts) bool { return in(f, "ops") }, "user.groups"),
		is(`user.groups.exists(g, g == "infra")`, func(f *policy.Facts) bool { return in(f, "infra") }, "user.groups"),
		is(`size(user.groups) > 1`, func(f *policy.Facts) bool { return len(f.User.Groups) > 1 }, "user.groups"),
		may(`user.groups[0] == "ops"`, func(f *policy.Facts) (bool, bool) {
			return len(f.User.Groups) > 0 && f.User.Groups[0] == "ops", len(f.User.Groups) > 0
		}, "user.groups"),
	}}
}

// Country is where the address is, and where the person works.
func Country() []Dimension {
	return []Dimension{{values(func(f *policy.Facts, v string) { f.IP.Country = v }, "ZZ", "KP", "US"), []Condition{
		is(`ip.country == "KP"`, func(f *policy.Facts) bool { return f.IP.Country == "KP" }, "ip.country"),
		is(`ip.country in ["KP", "US"]`, func(f *policy.Facts) bool { return f.IP.Country == "KP" || f.IP.Country == "US" }, "ip.country"),
		is(`ip.country != "ZZ"`, func(f *policy.Facts) bool { return f.IP.Country != "ZZ" }, "ip.country"),
	}}, {values(func(f *policy.Facts, v []string) { f.User.Countries = v }, nil, []string{"US"}, []string{"KP", "US"}), []Condition{
		is(`ip.country in user.countries`, func(f *policy.Facts) bool { return slices.Contains(f.User.Countries, f.IP.Country) }, "ip.country", "user.countries"),
		is(`size(user.countries) > 0`, func(f *policy.Facts) bool { return len(f.User.Countries) > 0 }, "user.countries"),
	}}}
}

// Number is one that a condition cannot always be evaluated for.
func Number() Dimension {
	return Dimension{values(func(f *policy.Facts, v int64) { f.IP.ASN = v }, 0, 3, 5, 6), []Condition{
		is(`ip.asn > 5`, func(f *policy.Facts) bool { return f.IP.ASN > 5 }, "ip.asn"),
		is(`ip.asn in [3, 5]`, func(f *policy.Facts) bool { return f.IP.ASN == 3 || f.IP.ASN == 5 }, "ip.asn"),
		may(`10 / ip.asn > 2`, func(f *policy.Facts) (bool, bool) { return f.IP.ASN != 0 && 10/max(f.IP.ASN, 1) > 2, f.IP.ASN != 0 }, "ip.asn"),
	}}
}

// Missing is whether IP data is.
func Missing() Dimension {
	return Dimension{values(func(f *policy.Facts, v []string) { f.IP.DataMissing = v }, nil, []string{"geo"}), []Condition{
		is(`size(ip.data_missing) > 0`, func(f *policy.Facts) bool { return len(f.IP.DataMissing) > 0 }, "ip.data_missing"),
	}}
}

// History is what can be unknown.
func History() []Dimension {
	return []Dimension{{values(func(f *policy.Facts, v int) {
		f.Seen = policy.Seen{Known: v > 0, Countries1h: int64(v), NewCountry: v == 2}
	}, 0, 1, 2), []Condition{
		is(`seen.known`, func(f *policy.Facts) bool { return f.Seen.Known }, "seen.known"),
		is(`seen.countries_1h >= 2`, func(f *policy.Facts) bool { return f.Seen.Countries1h >= 2 }, "seen.countries_1h"),
		is(`seen.new_country`, func(f *policy.Facts) bool { return f.Seen.NewCountry }, "seen.new_country"),
	}},
		{values(func(f *policy.Facts, v int64) { f.Device = policy.Device{Known: v > 0, People30d: v} }, 0, 1, 2), []Condition{
			is(`device.known`, func(f *policy.Facts) bool { return f.Device.Known }, "device.known"),
			is(`device.people_30d > 1`, func(f *policy.Facts) bool { return f.Device.People30d > 1 }, "device.people_30d"),
		}},
		{values(func(f *policy.Facts, v int64) { f.Address = policy.Address{Known: v > 0, People30d: v} }, 0, 3), []Condition{
			is(`address.people_30d > 2`, func(f *policy.Facts) bool { return f.Address.People30d > 2 }, "address.people_30d"),
		}},
		flag("travel.known", func(f *policy.Facts) *bool { return &f.Travel.Known }),
		flag("browser.timezone_known", func(f *policy.Facts) *bool { return &f.Browser.TimezoneKnown }),
		flag("activity.known", func(f *policy.Facts) *bool { return &f.Activity.Known }),
	}
}

// Clock is the moment and the person's time zone: nights, edges of hours, half hours, and
// the days on which clocks are put forward and back.
func Clock() []Dimension {
	at := func(text string) time.Time { t, _ := time.Parse(time.RFC3339, text); return t }
	hour := func(f *policy.Facts) (int, bool) { now, ok := local(f); return now.Hour(), ok }
	return []Dimension{{values(func(f *policy.Facts, v time.Time) { f.Time.Now = v },
		at("2026-01-05T03:29:00Z"), at("2026-01-05T03:30:00Z"), at("2026-01-05T08:59:59Z"), at("2026-01-05T09:00:00Z"), at("2026-01-05T12:00:00Z"),
		at("2026-01-05T14:00:00Z"), at("2026-01-05T17:59:00Z"), at("2026-01-05T18:00:00Z"), at("2026-01-05T22:15:00Z"), at("2026-01-05T23:00:00Z"),
		at("2026-03-08T06:59:00Z"), at("2026-03-08T13:00:00Z"), at("2026-11-01T05:30:00Z"), at("2026-11-01T14:00:00Z")), []Condition{
		is(`time.hour("UTC") >= 9`, func(f *policy.Facts) bool { return f.Time.Now.UTC().Hour() >= 9 }, "time.now"),
		is(`time.weekday("UTC") == "Sun"`, func(f *policy.Facts) bool { return f.Time.Now.UTC().Weekday() == time.Sunday }, "time.now"),
		is(`time.now < timestamp("2026-03-01T00:00:00Z")`, func(f *policy.Facts) bool { return f.Time.Now.Before(at("2026-03-01T00:00:00Z")) }, "time.now"),
	}}, {values(func(f *policy.Facts, v string) { f.User.TimeZone = v }, "", "UTC", "Asia/Kolkata", "America/New_York", "Nowhere/Land"), []Condition{
		is(`user.time_zone != ""`, func(f *policy.Facts) bool { return f.User.TimeZone != "" }, "user.time_zone"),
		is(`user.time_zone == "UTC"`, func(f *policy.Facts) bool { return f.User.TimeZone == "UTC" }, "user.time_zone"),
		may(`time.hour(user.time_zone) >= 9`, func(f *policy.Facts) (bool, bool) { h, ok := hour(f); return h >= 9, ok }, "user.time_zone", "time.now"),
		may(`time.hour(user.time_zone) < 18`, func(f *policy.Facts) (bool, bool) { h, ok := hour(f); return h < 18, ok }, "user.time_zone", "time.now"),
		may(`time.hour(user.time_zone) in [22, 23, 0, 1, 2, 3, 4, 5]`, func(f *policy.Facts) (bool, bool) { h, ok := hour(f); return h >= 22 || h < 6, ok }, "user.time_zone", "time.now"),
	}}}
}

// local is the time where the person is, if that is known.
func local(f *policy.Facts) (time.Time, bool) {
	zone, ok := zones.Load(f.User.TimeZone)
	if !ok {
		location, err := time.LoadLocation(f.User.TimeZone)
		if f.User.TimeZone == "" || f.User.TimeZone == "Local" || err != nil {
			location = nil
		}
		zone, _ = zones.LoadOrStore(f.User.TimeZone, location)
	}
	location := zone.(*time.Location)
	if location == nil {
		return time.Time{}, false
	}
	return f.Time.Now.In(location), true
}

var zones sync.Map // what time.LoadLocation said, which reads a file

// Here is whether the last assertion was made from this address and with this browser.
func Here() []Dimension {
	return []Dimension{
		flag("session.verified_here", func(f *policy.Facts) *bool { return &f.Session.VerifiedHere }),
		flag("session.ua_changed", func(f *policy.Facts) *bool { return &f.Session.UAChanged }),
		flag("session.tls_changed", func(f *policy.Facts) *bool { return &f.Session.TLSChanged }),
		flag("session.country_changed", func(f *policy.Facts) *bool { return &f.Session.CountryChanged }),
	}
}

// Later are facts that other dimensions do not set: of a person, and of histories beside
// that of countries.
func Later() []Dimension {
	return []Dimension{
		{values(func(f *policy.Facts, v string) { f.IP.Provider, f.IP.VPN = v, v != "" }, "", "Mullvad", "NordVPN"), []Condition{
			is(`ip.provider == "Mullvad"`, func(f *policy.Facts) bool { return f.IP.Provider == "Mullvad" }, "ip.provider"),
			is(`ip.provider != ""`, func(f *policy.Facts) bool { return f.IP.Provider != "" }, "ip.provider"),
			is(`ip.provider in ["NordVPN", "Mullvad"]`, func(f *policy.Facts) bool { return f.IP.Provider == "NordVPN" || f.IP.Provider == "Mullvad" }, "ip.provider"),
			is(`ip.provider.startsWith("Mull")`, func(f *policy.Facts) bool { return strings.HasPrefix(f.IP.Provider, "Mull") }, "ip.provider"),
		}},
		{values(func(f *policy.Facts, v int64) { f.User.HomeKM = v }, -1, 0, 50, 499, 500, 501, 20015), []Condition{
			is(`user.home_km > 500`, func(f *policy.Facts) bool { return f.User.HomeKM > 500 }, "user.home_km"),
			is(`user.home_km >= 0`, func(f *policy.Facts) bool { return f.User.HomeKM >= 0 }, "user.home_km"),
			is(`user.home_km == -1`, func(f *policy.Facts) bool { return f.User.HomeKM == -1 }, "user.home_km"),
			is(`user.home_km < 50`, func(f *policy.Facts) bool { return f.User.HomeKM < 50 }, "user.home_km"),
			is(`user.home_km <= 20015`, func(f *policy.Facts) bool { return f.User.HomeKM <= 20015 }, "user.home_km"),
		}},
		{values(func(f *policy.Facts, v int64) { f.User.Devices30d = v }, -1, 0, 1, 5, 64), []Condition{
			is(`user.devices_30d > 3`, func(f *policy.Facts) bool { return f.User.Devices30d > 3 }, "user.devices_30d"),
			is(`user.devices_30d < 0`, func(f *policy.Facts) bool { return f.User.Devices30d < 0 }, "user.devices_30d"),
			is(`user.devices_30d != 1`, func(f *policy.Facts) bool { return f.User.Devices30d != 1 }, "user.devices_30d"),
		}},
		{values(func(f *policy.Facts, v int64) {
			f.Address.Known, f.Address.Enrolments30d, f.Address.People30d = v > 0, v, v
		}, 0, 1, 3), []Condition{
			is(`address.enrolments_30d >= 2`, func(f *policy.Facts) bool { return f.Address.Enrolments30d >= 2 }, "address.enrolments_30d"),
			is(`address.known && address.enrolments_30d == 0`, func(f *policy.Facts) bool { return f.Address.Known && f.Address.Enrolments30d == 0 }, "address.enrolments_30d", "address.known"),
		}},
		{values(func(f *policy.Facts, v int64) {
			f.Device.Known, f.Device.Enrolments30d, f.Device.People30d = v > 0, v, v
		}, 0, 1, 3), []Condition{
			is(`device.enrolments_30d >= 2`, func(f *policy.Facts) bool { return f.Device.Enrolments30d >= 2 }, "device.enrolments_30d"),
			is(`device.enrolments_30d < 0`, func(f *policy.Facts) bool { return f.Device.Enrolments30d < 0 }, "device.enrolments_30d"),
		}},
		{values(func(f *policy.Facts, v int64) { f.Activity.Known, f.Activity.UsualHours = v > -2, max(v, -1) }, -2, -1, 0, 4, 100), []Condition{
			is(`activity.usual_hours < 5`, func(f *policy.Facts) bool { return f.Activity.UsualHours < 5 }, "activity.usual_hours"),
			is(`activity.usual_hours >= 0`, func(f *policy.Facts) bool { return f.Activity.UsualHours >= 0 }, "activity.usual_hours"),
			is(`activity.known && activity.usual_hours == -1`, func(f *policy.Facts) bool { return f.Activity.Known && f.Activity.UsualHours == -1 }, "activity.usual_hours", "activity.known"),
		}},
		{values(func(f *policy.Facts, v int64) { f.Seen = policy.Seen{Known: v >= 0, AbandonedStepUps24h: max(v, 0)} }, -1, 0, 2, 64), []Condition{
			is(`seen.abandoned_step_ups_24h > 1`, func(f *policy.Facts) bool { return f.Seen.AbandonedStepUps24h > 1 }, "seen.abandoned_step_ups_24h"),
			is(`seen.known && seen.abandoned_step_ups_24h == 0`, func(f *policy.Facts) bool { return f.Seen.Known && f.Seen.AbandonedStepUps24h == 0 }, "seen.abandoned_step_ups_24h", "seen.known"),
		}},
		{values(func(f *policy.Facts, v [2]string) {
			f.User.Region, f.IP.Region = v[0], v[1]
			f.IP.Subdivisions = nil
			if v[1] != "" {
				f.IP.Subdivisions = []string{v[1]}
				f.IP.Country = v[1][:2]
			}
		}, [2]string{"", ""}, [2]string{"US-CA", ""}, [2]string{"US-CA", "US-CA"}, [2]string{"US-CA", "US-NY"}, [2]string{"", "US-NY"}), []Condition{
			is(`user.region == ip.region`, func(f *policy.Facts) bool { return f.User.Region == f.IP.Region }, "user.region", "ip.region"),
			is(`user.region != "" && user.region != ip.region`, func(f *policy.Facts) bool { return f.User.Region != "" && f.User.Region != f.IP.Region }, "user.region", "ip.region"),
			is(`ip.region == "US-NY"`, func(f *policy.Facts) bool { return f.IP.Region == "US-NY" }, "ip.region"),
		}},
		{values(func(f *policy.Facts, v int64) { f.User.StartedDays = v }, -1, 0, 89, 90, 91), []Condition{
			is(`user.started_days < 90`, func(f *policy.Facts) bool { return f.User.StartedDays < 90 }, "user.started_days"),
			is(`user.started_days == -1`, func(f *policy.Facts) bool { return f.User.StartedDays == -1 }, "user.started_days"),
		}},
		{values(func(f *policy.Facts, v string) { f.User.Issuer = v }, "https://idp.example.com", "https://other.example.com"), []Condition{
			is(`user.issuer == "https://idp.example.com"`, func(f *policy.Facts) bool { return f.User.Issuer == "https://idp.example.com" }, "user.issuer"),
		}},
	}
}

// Wire is what each request brings along.
func Wire() []Dimension {
	return []Dimension{{values(func(f *policy.Facts, v string) { f.Request.Method = v }, "GET", "POST"), []Condition{
		is(`request.method == "POST"`, func(f *policy.Facts) bool { return f.Request.Method == "POST" }, "request.method"),
	}}, flag("tls.client_cert", func(f *policy.Facts) *bool { return &f.TLS.ClientCert }),
		flag("handoff.known", func(f *policy.Facts) *bool { return &f.Handoff.Known })}
}

// Network are signals of the address.
func Network() []Dimension {
	return []Dimension{flag("ip.vpn", func(f *policy.Facts) *bool { return &f.IP.VPN }), flag("ip.tor", func(f *policy.Facts) *bool { return &f.IP.Tor })}
}

// RandomWorld has the assertion in it, who asks for what, and some of all else.
func RandomWorld(r *rand.Rand) World {
	w := World{Age(), Here()[0], Network()[0]}
	if r.IntN(3) == 0 {
		w = append(w, Stage())
	} else {
		w = append(w, Route())
	}
	more := slices.Concat(Later(), []Dimension{Passkey(), Person(), Groups(), Number(), Missing(), Network()[1]}, Here()[1:], Country(), History(), Wire())
	r.Shuffle(len(more), func(i, j int) { more[i], more[j] = more[j], more[i] })
	w = append(w, more[:3+r.IntN(4)]...)
	if r.IntN(2) == 0 {
		w = append(w, Clock()...)
	}
	return w
}
