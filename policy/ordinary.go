package policy

import "time"

// OrdinaryTime is time.now in tests that do not say: a Monday noon.
var OrdinaryTime = time.Date(2026, time.January, 5, 12, 0, 0, 0, time.UTC)

// notSaid is session.verified_age in tests that do not give one. Negative, and so never
// fresh: no step-up counts as answered. Nor is it old: a rule about stale assertions
// matches only in tests that say how old theirs is.
const notSaid = -24 * time.Hour

// Ordinary returns the facts of a person at this session.level without anything that
// speaks against them. Their last assertion has no age, so it answers no question. Tests,
// counter-examples and the linter begin with it.
func Ordinary(level string) Facts {
	f := ordinary()
	if level != f.Session.Level {
		Lower(&f, level)
		f.Session.Level = level
	}
	return f
}

func ordinary() Facts {
	return Facts{
		IP:         IP{Address: "192.0.2.1", Version: 4, Country: "ZZ"},
		User:       User{Email: "someone@example.com", Subject: "someone", Issuer: "https://idp.example.com", StartedDays: 365, Devices30d: 1, HomeKM: -1},
		Session:    Session{ID: "test", Level: "verified", VerifiedAge: notSaid, Concurrent: 1},
		Credential: Credential{Class: "unattested", Age: 30 * 24 * time.Hour},
		Seen:       Seen{Known: true, Countries1h: 1, Countries24h: 1, ASNs24h: 1, Prefixes24h: 1, FirstDays: 365},
		Address:    Address{Known: true, People30d: 1},
		Device:     Device{Known: true, People30d: 1},
		Activity:   Activity{Known: true, ActiveHours24h: 4, LongestBreak48h: 14 * time.Hour, UsualHours: 90},
		Request:    Request{Purpose: PurposeAccess, Method: "GET", Host: "example.com", Path: "/", PathFolded: "/"},
		Time:       Time{Now: OrdinaryTime},
	}
}

// Lower takes away the facts that a person at a lower session.level does not have.
func Lower(f *Facts, level string) {
	switch level {
	case "none":
		f.User, f.Session, f.Credential = User{StartedDays: -1, Devices30d: -1, HomeKM: -1}, Session{}, Credential{Class: "none"}
		for _, group := range []string{"seen", "activity", "address", "device"} {
			Forget(f, group)
		}
	case "signed_in":
		f.Session.VerifiedAge, f.Credential = 0, Credential{Class: "none"}
	}
}

// Forget gives the facts of a group the values that they have where its "known" is false.
// It does nothing to a group that has no such fact.
func Forget(f *Facts, group string) {
	switch group {
	case "seen":
		f.Seen = Seen{}
	case "travel":
		f.Travel = Travel{}
	case "address":
		f.Address = Address{}
	case "device":
		f.Device = Device{}
	case "activity":
		f.Activity = Activity{UsualHours: -1}
	case "handoff":
		f.Handoff = Handoff{}
	}
}
