package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sitetest"
)

// site is the deployment that tests begin with: names of files, and what they hold.
var site = sitetest.Files()

// log is what the product logged.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// harness is the product in this process, on the files of site.
type harness struct {
	*App
	t   *testing.T
	dir string
	log *log

	class authn.Class // of the passkeys of those who are alive; zero: unattested
}

// newHarness writes the files of site, changed as edits say (file, old, new), and
// builds the product. It listens on nothing.
func newHarness(t *testing.T, edits ...[3]string) *harness {
	t.Helper()
	d := &harness{t: t, dir: t.TempDir(), log: &log{}}
	for name, port := range map[string]string{"PORT": "8080", "OPS": "9090", "IDP": "9"} {
		t.Setenv(name, port)
	}
	for name, content := range site {
		d.write(name, content)
	}
	for _, e := range edits {
		d.edit(e[0], e[1], e[2])
	}
	d.edit("sallyport.yaml", "policy: policy.yaml", "policy_settle: 0s\npolicy: policy.yaml")
	c, err := config.Load(filepath.Join(d.dir, "sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d.App, err = New(t.Context(), c, Options{Logger: slog.New(slog.NewJSONHandler(d.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(d.log)
		}
	})
	return d
}

func (d *harness) write(name, content string) {
	d.t.Helper()
	file := filepath.Join(d.dir, name)
	if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		d.t.Fatal(err)
	}
}

func (d *harness) edit(name, old, with string) {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		d.t.Fatalf("%s does not hold %q", name, old)
	}
	d.write(name, strings.Replace(string(text), old, with, 1))
}

// closeApp ends a product that serve did not end.
func (d *harness) closeApp() {
	d.t.Helper()
	if err := d.App.Close(d.t.Context()); err != nil {
		d.t.Error(err)
	}
}

// TestRefusedStartClosesWhatItOpened: each step of the start can fail, and what came
// before it is closed, so that a second attempt in the same process succeeds.
func TestRefusedStartClosesWhatItOpened(t *testing.T) {
	for name, e := range map[string][3]string{
		"policy": {"policy.yaml", "when: ip.vpn", "when: ip.vnp"},
		"audit":  {"sallyport.yaml", "policy: policy.yaml", "policy: policy.yaml\naudit: {file: secret/audit.jsonl}"},
		"store":  {"sallyport.yaml", "policy: policy.yaml", "policy: policy.yaml\nstore: sqlite:notes.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newHarness(t)
			d.closeApp()
			d.edit(e[0], e[1], e[2])
			d.write("notes.txt", "no database at all, though it is long enough to be looked at as one\n")
			c, err := config.Load(filepath.Join(d.dir, "sallyport.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if a, err := New(t.Context(), c, Options{Logger: slog.New(slog.DiscardHandler), Strict: true}); err == nil || a != nil {
				t.Fatal("started")
			}
			if open := openFiles(t, d.dir); open != nil {
				t.Errorf("still open: %v", open)
			}
			d.edit(e[0], e[2], e[1])
			if c, err = config.Load(filepath.Join(d.dir, "sallyport.yaml")); err != nil {
				t.Fatal(err)
			}
			if d.App, err = New(t.Context(), c, Options{Logger: slog.New(slog.DiscardHandler)}); err != nil {
				t.Fatal(err)
			}
			d.closeApp()
		})
	}
}

// openFiles lists what this process has open below dir, where the system tells.
func openFiles(t *testing.T, dir string) (list []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, dir) {
			list = append(list, to)
		}
	}
	return list
}
