package sqlstore

import (
	"fmt"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"
)

func TestOperatorEvents(t *testing.T) {
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "state.db")
	open := func() *DB {
		d, err := Open(t.Context(), dsn, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	cli, server := open(), open()
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	want := []OperatorEvent{
		{1, micro(at), "root", "ticket_create", map[string]string{"ticket": "t1", "note": "video \"call\"\n"}},
		{2, micro(at.Add(-time.Hour)), "alice", "keys_rotate", nil}, // regardless of the clock
	}
	for _, e := range want {
		e.Seq = 99
		if err := cli.AddOperatorEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(limit int, want ...OperatorEvent) {
		t.Helper()
		got, err := server.OperatorEvents(t.Context(), limit)
		if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
	wants(10, want...)
	wants(1, want[0])
	if err := server.DeleteOperatorEvents(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	wants(10, want[1])
	if err := server.DeleteOperatorEvents(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	wants(10)

	// A number is never given twice: a slow process deletes up to 2 once more.
	if err := cli.AddOperatorEvent(t.Context(), want[0]); err != nil {
		t.Fatal(err)
	}
	if err := server.DeleteOperatorEvents(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	third := want[0]
	third.Seq = 3
	wants(10, third)
	for _, bad := range []OperatorEvent{{By: "root", Event: "x"}, {At: at, Event: "x"}, {At: at, By: "root"}} {
		if err := cli.AddOperatorEvent(t.Context(), bad); err == nil {
			t.Errorf("stored %+v", bad)
		}
	}
}

// Several commands at once: each event has a number, and none is lost.
func TestOperatorEventsAtOnce(t *testing.T) {
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "state.db")
	var wg sync.WaitGroup
	for i := range 4 {
		d, err := Open(t.Context(), dsn, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		wg.Go(func() {
			for j := range 5 {
				if err := d.AddOperatorEvent(t.Context(), OperatorEvent{At: time.Now(), By: "root", Event: fmt.Sprint(i, j)}); err != nil {
					t.Error(err)
				}
			}
		})
		if i == 3 {
			wg.Wait()
			if es, err := d.OperatorEvents(t.Context(), 100); err != nil || len(es) != 20 || es[19].Seq != 20 {
				t.Fatalf("%d events, %v", len(es), err)
			}
		}
	}
}
