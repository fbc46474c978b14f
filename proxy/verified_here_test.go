package proxy_test

import "testing"

// In these networks one /64 holds everyone who comes by IPv4: a proof made by
// one of them says nothing of another.
func TestVerifiedHereOfTranslatedAddresses(t *testing.T) {
	g, who := newCrowdHarness(t)
	for _, c := range [][2]string{
		{"64:ff9b::203.0.113.7", "64:ff9b::203.0.113.99"},                 // NAT64, SIIT
		{"64:ff9b:1:2::203.0.113.7", "64:ff9b:1:2::203.0.113.99"},         // the same, local
		{"2001:0:c633:6401:0:1234:5555:1", "2001:0:c633:6401:0:1:2222:2"}, // Teredo
		{"::203.0.113.7", "::203.0.113.99"},
		{"::ffff:0:203.0.113.7", "::ffff:0:203.0.113.99"},
	} {
		who.by["alice"] = somebody("alice", c[0], "treasury")
		for i, want := range []bool{true, false} {
			if v := g.check("alice", c[i], "GET", treasury+"/"); v.Facts.Session.VerifiedHere != want {
				t.Errorf("verified from %s, now from %s: %v", c[0], c[i], v.Facts.Session.VerifiedHere)
			}
		}
	}
}
