package sqlstore

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"sallyport/proxy/rollout"
)

func TestDataBaselines(t *testing.T) {
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "state.db")
	d, err := Open(t.Context(), dsn, Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := micro(time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC))
	put := func(b rollout.Baseline) {
		t.Helper()
		if err := d.PutDataBaseline(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	put(rollout.Baseline{"vpn", "list vpn.txt", at, "", "00", `{"networks":1}`})
	put(rollout.Baseline{"vpn", "list other.txt", at, "", "01", `{"networks":2}`})
	put(rollout.Baseline{"vpn", "list vpn.txt", at.Add(time.Hour), "root", "02", `{"networks":3}`})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(t.Context(), dsn, Options{}); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := d.DataBaselines(t.Context())
	want := []rollout.Baseline{
		{"vpn", "list other.txt", at, "", "01", `{"networks":2}`},
		{"vpn", "list vpn.txt", at.Add(time.Hour), "root", "02", `{"networks":3}`},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}
