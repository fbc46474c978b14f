package app

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"sallyport/authn/authntest"
	"sallyport/cmd/sallyport/internal/ops"
)

// ops asks the operator's port.
func (d *harness) askOps(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	ops.New(d.opsConfig()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path, nil))
	return w
}

// failing asks /readyz and returns the conditions that fail.
func (d *harness) failing() (names []string) {
	d.t.Helper()
	w := d.askOps("/readyz")
	var answer struct {
		Ready      bool
		Conditions []struct {
			Name, Error, Note string
			OK                bool
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Header().Get("Content-Type") != "application/json" {
		d.t.Fatalf("%v: %s", err, w.Body)
	}
	for _, c := range answer.Conditions {
		if !c.OK {
			names = append(names, c.Name)
		}
		if c.OK != (c.Error == "") {
			d.t.Errorf("condition without a reason, or the reverse: %+v", c)
		}
	}
	if answer.Ready != (names == nil) || (w.Code == http.StatusOK) != answer.Ready || len(answer.Conditions) != 8 {
		d.t.Errorf("%d %s", w.Code, w.Body)
	}
	return names
}

func TestReadiness(t *testing.T) {
	idp := authntest.StartIdP(t, authntest.IdPConfig{})
	known := [3]string{"sallyport.yaml", "http://127.0.0.1:${IDP}", idp.Issuer()}
	ready := func(t *testing.T, edits ...[3]string) *harness {
		t.Helper()
		d := newHarness(t, append(edits, known)...)
		if err := d.identity.provider.Discover(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.recall()
		return d
	}
	expect := func(t *testing.T, d *harness, want string) {
		t.Helper()
		if got := strings.Join(d.failing(), " "); got != want {
			t.Errorf("fails for %q, want %q", got, want)
		}
	}
	t.Run("everything works", func(t *testing.T) {
		d := ready(t)
		defer d.closeApp()
		expect(t, d, "")
	})
	t.Run("openid_provider", func(t *testing.T) {
		d := newHarness(t, known)
		defer d.closeApp()
		expect(t, d, "openid_provider history")
	})
	t.Run("ip_data", func(t *testing.T) {
		d := ready(t, [3]string{"vpn.txt", "203.0.113.64/27", "not a network"})
		defer d.closeApp()
		expect(t, d, "ip_data")
		d.write("vpn.txt", "203.0.113.0/24\n")
		if err := d.intel.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(t, d, "")
		// A source that goes bad later keeps its data: people are judged by it.
		d.write("vpn.txt", "not a network\n")
		if err := d.intel.Reload(t.Context()); err == nil {
			t.Fatal("loaded")
		}
		expect(t, d, "")
	})
	t.Run("store", func(t *testing.T) {
		d := ready(t)
		defer d.closeApp()
		file := filepath.Join(d.dir, "state", "sallyport.db")
		if err := os.Rename(file, file+".away"); err != nil {
			t.Fatal(err)
		}
		expect(t, d, "store")
		if err := os.Rename(file+".away", file); err != nil {
			t.Fatal(err)
		}
		expect(t, d, "")
	})
	t.Run("audit", func(t *testing.T) {
		d := ready(t)
		if err := d.audit.Close(); err != nil {
			t.Fatal(err)
		}
		expect(t, d, "audit")
		d.closeApp()
	})
	t.Run("serving", func(t *testing.T) {
		d := ready(t)
		defer d.closeApp()
		d.stopping.Store(true)
		expect(t, d, "serving")
		if w := d.askOps("/healthz"); w.Code != http.StatusOK {
			t.Error("a process that finishes its requests is alive")
		}
	})
}

func TestMetrics(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	w := d.askOps("/metrics")
	problems, err := promlint.New(strings.NewReader(w.Body.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p.Metric, p.Text)
	}
	for _, want := range []string{
		`sallyport_ip_source_loaded{source="places"} 1`,
		`sallyport_ip_source_loaded{source="vpn-exits"} 1`,
		`sallyport_ip_source_networks{source="places"} 3`,
		`sallyport_ip_source_failed_loads{source="vpn-exits"} 0`,
		`sallyport_ip_source_age_seconds{source="vpn-exits"} `,
		`sallyport_ip_data_swaps_total 1`,
		`sallyport_sessions 0`,
		`sallyport_ip_lookup_faults_total 0`,
		`sallyport_config_reloads_total{outcome="applied"} 0`,
		`sallyport_config_reloads_total{outcome="refused"} 0`,
		`sallyport_config_reloaded 1`,
		`sallyport_audit_records_total 1`,
		`sallyport_history_entries{kind="people"} 0`,
		`sallyport_history_waiting 0`,
		`sallyport_history_dropped_total{outcome="lost"} 0`,
		`sallyport_history_errors_total{operation="read"} 0`,
		`sallyport_healthy{part="audit"} 1`,
		`sallyport_healthy{part="store"} 1`,
		`sallyport_healthy{part="openid_provider"} 0`,
		"go_goroutines ",
	} {
		if !strings.Contains(w.Body.String(), "\n"+want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
	d.write("vpn.txt", "not a network\n")
	if err := d.intel.Reload(t.Context()); err == nil {
		t.Fatal(errors.New("loaded"))
	}
	if got := d.askOps("/metrics").Body.String(); !strings.Contains(got, `sallyport_ip_source_failed_loads{source="vpn-exits"} 1`) || !strings.Contains(got, `sallyport_ip_source_loaded{source="vpn-exits"} 1`) {
		t.Error("a failed load is not counted, or its data is given up:", got)
	}
}

func TestOpsPortServesNothingElse(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	for _, path := range []string{"/", "/wiki", "/.sallyport/whoami", "/debug/pprof/"} {
		if w := d.askOps(path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestOpsServerHasTheGuard(t *testing.T) {
	d := newHarness(t)
	defer d.closeApp()
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/routes", "/debug/pprof/"} {
		w := httptest.NewRecorder()
		ops.New(d.opsConfig()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://rebound.example.com"+path, nil))
		if w.Code != http.StatusMisdirectedRequest {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
