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
	put(rollout.Baseline{Source: "vpn", Setting: "list vpn.txt", At: at, By: "", SHA256: "00", Figures: `{"networks":1}`})
	put(rollout.Baseline{Source: "vpn", Setting: "list other.txt", At: at, By: "", SHA256: "01", Figures: `{"networks":2}`})
	put(rollout.Baseline{Source: "vpn", Setting: "list vpn.txt", At: at.Add(time.Hour), By: "root", SHA256: "02", Figures: `{"networks":3}`})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(t.Context(), dsn, Options{}); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := d.DataBaselines(t.Context())
	want := []rollout.Baseline{
		{Source: "vpn", Setting: "list other.txt", At: at, By: "", SHA256: "01", Figures: `{"networks":2}`},
		{Source: "vpn", Setting: "list vpn.txt", At: at.Add(time.Hour), By: "root", SHA256: "02", Figures: `{"networks":3}`},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}
