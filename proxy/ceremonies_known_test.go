package proxy_test

import (
	"testing"
	"time"
)

// readCeremonies reads what history says of ceremonies, so that records have it.
const readCeremonies = "  - {name: never, when: 'seen.abandoned_step_ups_24h > 90 || address.enrolments_30d > 90 || device.enrolments_30d > 90', then: block}\n"

// A prompt for the passkey that was shown and left is counted after ten minutes. One that
// was answered is not, nor one whose person came back to it in time.
func TestPromptsThatAreLeftAreCounted(t *testing.T) {
	g, _ := behaving(t, readCeremonies+"  - {name: again, when: request.route == \"treasury\", then: step_up, max_age: 20m}\n")
	b := g.enrolled("alice", home)
	count := func(after string, want int64) {
		t.Helper()
		g.audit.reset() // else the second look at a page is counted with the first
		if a := b.get(wiki + "/wiki"); a.StatusCode != 200 {
			t.Fatalf("%s: %d %s", after, a.StatusCode, a.location())
		}
		if f := g.last("access"); !f.Seen.Known || f.Seen.AbandonedStepUps24h != want {
			t.Errorf("%s: %d prompts were left, want %d", after, f.Seen.AbandonedStepUps24h, want)
		}
	}
	leave := func() {
		t.Helper()
		if _, a := b.begin(b.follow(treasury + "/").ceremony(b)); a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	answer := func() {
		t.Helper()
		if a := b.pressAndGo(b.follow(treasury + "/")); a.body != "the tool" {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	g.clock.Add(30 * time.Minute)
	count("enrolling", 0)
	answer()
	g.clock.Add(30 * time.Minute)
	count("an answer", 0)
	leave()
	g.clock.Add(5 * time.Minute)
	count("a prompt that still waits", 0)
	answer()
	g.clock.Add(30 * time.Minute)
	count("a prompt that was answered later", 0)
	leave()
	g.clock.Add(11 * time.Minute)
	count("a prompt that was left", 1)
	leave()
	g.clock.Add(11 * time.Minute)
	count("another one", 2)
}

// Enrolments are counted where they are made: at the address and on the device, and only
// those that went through.
func TestEnrolmentsAreCounted(t *testing.T) {
	g, _ := behaving(t, readCeremonies)
	count := func(b *browser, who string, address, device int64) {
		t.Helper()
		g.audit.reset() // else the second look at a page is counted with the first
		if a := b.get(wiki + "/wiki"); a.StatusCode != 200 {
			t.Fatalf("%s: %d %s", who, a.StatusCode, a.location())
		}
		f := g.last("access")
		if !f.Address.Known || f.Address.Enrolments30d != address || !f.Device.Known || f.Device.Enrolments30d != device {
			t.Errorf("%s: %d enrolments at the address and %d on the device, want %d and %d", who, f.Address.Enrolments30d, f.Device.Enrolments30d, address, device)
		}
	}
	alice := g.enrolled("alice", home)
	g.clock.Add(2 * time.Minute)
	count(alice, "alice alone", 1, 1)
	bob := g.enrolled("bob", home)
	g.clock.Add(2 * time.Minute)
	count(alice, "alice, after bob enrolled at her address", 2, 1)
	count(bob, "bob", 2, 1)

	// A further passkey that is proposed and not confirmed is none.
	bob.pressAndGo(bob.get(login + "/.sallyport/step-up"))
	if _, a := bob.proposed(); a.StatusCode != 200 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	bob.addr = zurich
	g.clock.Add(2 * time.Minute)
	count(bob, "bob elsewhere", 0, 1)
	alice.addr = zurich
	alice.pressAndGo(alice.get(login + "/.sallyport/step-up"))
	if _, a := alice.adds(); a.StatusCode != 200 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	g.clock.Add(2 * time.Minute)
	count(bob, "bob, where alice enrolled another one", 1, 1)
}
