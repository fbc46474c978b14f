package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyport/internal/config"
	"sallyport/policy/ipintel"
	"sallyport/proxy/rollout"
)

// networks is a list of n exits where none of our people are.
func networks(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "203.0.%d.%d\n", 114+i/250, i%250)
	}
	return b.String()
}

// hashOf is the hash of what the file of vpn-exits holds now.
func (d *harness) hashOf() string {
	d.t.Helper()
	snapshot, failed := ipintel.Load(d.config.IPData)
	if snapshot == nil {
		d.t.Fatal(failed)
	}
	return snapshot.Sources()[1].SHA256
}

// ask asks as `data apply --force` does, and has it answered.
func (d *harness) ask(at time.Time, sources map[string]string) {
	d.t.Helper()
	if _, err := d.store.AddDataRequest(d.t.Context(), rollout.DataRequest{At: at, By: "root", Forced: true, Sources: sources}); err != nil {
		d.t.Fatal(err)
	}
	if err := d.reloader.data.AnswerRequests(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
}

// inUse is how many networks of vpn-exits are in use.
func (d *harness) inUse() int { return d.intel.Current().Sources()[1].Networks }

// An approval is for one content of one source, once, for an hour.
func TestApprovalCountsOnce(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		approve func(d *harness, hash string)
		taken   bool
	}{
		"this content of this source":  {func(d *harness, h string) { d.reloader.data.Approve("vpn-exits", h, "root", now.Add(time.Hour)) }, true},
		"this content, another source": {func(d *harness, h string) { d.reloader.data.Approve("places", h, "root", now.Add(time.Hour)) }, false},
		"other content of this source": {func(d *harness, h string) {
			d.reloader.data.Approve("vpn-exits", strings.Repeat("0", 64), "root", now.Add(time.Hour))
		}, false},
		"the time is over": {func(d *harness, h string) { d.reloader.data.Approve("vpn-exits", h, "root", now.Add(-time.Second)) }, false},
		"other content was approved since": {func(d *harness, h string) {
			d.reloader.data.Approve("vpn-exits", h, "root", now.Add(time.Hour))
			d.reloader.data.Approve("vpn-exits", strings.Repeat("0", 64), "root", now.Add(time.Hour))
		}, false},
		"asked for": {func(d *harness, h string) {
			d.ask(now, map[string]string{"vpn-exits": h})
		}, true},
		"asked for an hour ago": {func(d *harness, h string) {
			d.ask(now.Add(-time.Hour), map[string]string{"vpn-exits": h})
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newHarness(t)
			defer d.closeApp()
			d.write("vpn.txt", networks(150)) // of two
			c.approve(d, d.hashOf())
			if err := d.intel.Reload(t.Context()); (err == nil) != c.taken || (d.inUse() == 150) != c.taken {
				t.Fatalf("%v; %d in use", err, d.inUse())
			}
			if !c.taken {
				if e := d.events(); e[len(e)-1] != "data_refused" || !strings.Contains(d.lastDetail("data_refused")["against"], "150 networks, 2 before") {
					t.Errorf("audit: %v, %v", e, d.lastDetail("data_refused"))
				}
				return
			}
			if e := d.events(); e[len(e)-1] != "data_forced" || !strings.Contains(d.lastDetail("data_forced")["against"], "vpn-exits: more than ten times what it held before: 150 networks, 2 before") {
				t.Errorf("audit: %v, %v", e, d.lastDetail("data_forced"))
			}
			d.write("vpn.txt", networks(80))
			if err := d.intel.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.write("vpn.txt", networks(10))
			if err := d.intel.Reload(t.Context()); err == nil {
				t.Fatal("a tenth was taken")
			}
			d.write("vpn.txt", networks(30)+"# a comment\n")
			d.reloader.data.Approve("vpn-exits", d.hashOf(), "root", time.Now().Add(time.Hour))
			if err := d.intel.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.write("vpn.txt", networks(301))
			if d.reloader.data.Approved("vpn-exits", d.hashOf()) || d.reloader.data.Approved("vpn-exits", d.intel.Current().Sources()[1].SHA256) {
				t.Error("an approval is left")
			}
		})
	}
}

// A list that grows by less than tenfold every day is refused when it is tenfold what an operator last stood by. A
// restart takes it, says so, and changes nothing about that.
func TestSlowBoilAcrossRestarts(t *testing.T) {
	d := newHarness(t)
	restart := func() {
		t.Helper()
		d.closeApp()
		a, err := New(t.Context(), d.config, Options{Logger: d.options.Logger})
		if err != nil {
			t.Fatal(err)
		}
		d.App = a
	}
	day := func(n int) error {
		d.write("vpn.txt", networks(n))
		return d.intel.Reload(t.Context())
	}
	from := 0 // where in the log to look
	for _, n := range []int{40, 90} {
		if err := day(n); err != nil {
			t.Fatal(err)
		}
		restart()
	}
	err := day(101)
	if err == nil || !strings.Contains(err.Error(), "vpn-exits: it has drifted from what was last approved") || !strings.Contains(err.Error(), "101 networks, 2 on ") ||
		!strings.Contains(err.Error(), "sallyport data apply --force") || d.inUse() != 90 {
		t.Fatalf("%v; %d in use", err, d.inUse())
	}
	restart()
	if d.inUse() != 101 || !strings.Contains(d.log.String(), "this start takes IP data that was refused") {
		t.Error("the restart says nothing")
	}
	from = len(d.log.String())
	restart()
	if !strings.Contains(d.log.String()[from:], "this start takes IP data that is far from what was last approved") || !strings.Contains(d.lastDetail("data_applied")["against"], "101 networks, 2 on ") {
		t.Errorf("the next one does not: %v", d.lastDetail("data_applied"))
	}
	if err := day(102); err == nil || d.inUse() != 101 {
		t.Error("a restart was taken for an approval")
	}
	// What is in use is approved: nothing changes, and what follows is compared with it.
	d.ask(time.Now(), map[string]string{"vpn-exits": d.intel.Current().Sources()[1].SHA256})
	if d.inUse() != 102 {
		t.Error("not in use")
	}
	from = len(d.log.String())
	restart()
	if strings.Contains(d.log.String()[from:], "far from what was last approved") {
		t.Error("the approval is forgotten")
	}
	// Another file under that name is another source.
	d.edit("sallyport.yaml", "file: vpn.txt", "file: more.txt")
	d.write("more.txt", "203.0.113.64/27\n")
	d.closeApp()
	c, err := config.Load(d.config.File)
	if err != nil {
		t.Fatal(err)
	}
	if d.App, err = New(t.Context(), c, Options{Logger: d.options.Logger}); err != nil {
		t.Fatal(err)
	}
	defer d.closeApp()
	if strings.Contains(d.log.String()[from:], "far from what was last approved") {
		t.Error("another file is compared with that one")
	}
}
