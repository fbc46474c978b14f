package app

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/policy/behavior"
)

// recall has history read, as Run does beside the requests.
func (d *harness) recall() {
	d.t.Helper()
	ctx, stop := context.WithCancel(d.t.Context())
	done := make(chan error, 1)
	go func() { done <- d.behavior.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); !d.behavior.HistoryKnown(); <-time.After(time.Millisecond) { // no event tells
		if time.Now().After(deadline) {
			d.t.Fatal("history is not read")
		}
	}
	stop()
	if err := <-done; err != nil {
		d.t.Fatal(err)
	}
}

// A product that was told to stop has written what was seen last, and its successor
// knows of it, under the same key.
func TestWhatWasSeenOutlivesARestart(t *testing.T) {
	v := behavior.Visit{Subject: authn.Subject{Issuer: "https://idp.test", ID: "alice"}, At: time.Now(), Device: "a laptop", Session: "s1",
		Place: behavior.Place{Addr: netip.MustParseAddr("203.0.113.7"), Country: "CH", ASN: 64500}}
	r := newHarness(t).run()
	r.behavior.Record(v, policy.Allow)
	r.behavior.Active(v.Subject, v.At)
	r.end()

	d := newHarness(t, [3]string{"sallyport.yaml", "policy: policy.yaml", "policy: policy.yaml\nstore: sqlite:" + r.dir + "/state/sallyport.db\naudit: {file: " + r.dir + "/state/audit.jsonl}"})
	defer d.closeApp()
	if a := d.behavior.Assess(v); a.Seen.Known {
		t.Error("history is known before it was read")
	}
	if got := d.askOps("/metrics").Body.String(); !strings.Contains(got, `sallyport_healthy{part="history"} 0`) {
		t.Error("metrics call history that was not read healthy")
	}
	if got := d.failing(); !strings.Contains(strings.Join(got, " "), "history") {
		t.Errorf("fails for %q without history", got)
	}
	d.recall()
	a := d.behavior.Assess(v)
	if !a.Seen.Known || a.Seen.NewCountry || a.Seen.NewASN || a.Seen.NewDevice || a.Activity.ActiveHours24h != 1 || a.Device.People30d != 1 {
		t.Errorf("after a restart: %+v", a)
	}
	other := v
	other.Subject.ID = "bob"
	if a := d.behavior.Assess(other); a.Address.People30d != 2 || a.Device.People30d != 2 {
		t.Errorf("for somebody else there: %+v", a)
	}
	if got := d.askOps("/metrics").Body.String(); !strings.Contains(got, `sallyport_healthy{part="history"} 1`) || !strings.Contains(got, `sallyport_history_entries{kind="people"} 1`) {
		t.Error(got)
	}
}
