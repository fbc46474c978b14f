package ipintel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter/mmdbtype"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, c Config) *Watcher {
	t.Helper()
	if c.Now == nil {
		c.Now = clock
	}
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// many gives a list or database of n networks in 10.0.0.0/8.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "11.%d.%d.0/24\n", i/256, i%256)
	}
	return b.String()
}

func manyCountries(n int) mmdb {
	d := mmdb{kind: "GeoLite2-Country", records: map[string]mmdbtype.DataType{}}
	for i := range n {
		c := []string{"KP", "US"}[i%2]
		d.records[fmt.Sprintf("11.%d.%d.0/24", i/256, i%256)] = m{"country": m{"iso_code": s(c)}}
	}
	return d
}

// When any other content replaces a good file, what was there before stays in use, and says that it ages.
func TestAttackBadReplacementKeepsTheOld(t *testing.T) {
	good := manyCountries(40)
	whole := good.bytes(t)
	future := good
	future.built = now.Add(1000 * time.Hour)
	small := manyCountries(19)
	other := good
	other.kind = "Unheard-Of"
	for name, replace := range map[string]func(t *testing.T, db, list string){
		"truncated in place": func(t *testing.T, db, list string) {
			if err := errors.Join(os.Truncate(db, int64(len(whole)/2)), os.WriteFile(list, []byte("11.0.0.0/24\n11.0.1"), 0o600)); err != nil {
				t.Fatal(err)
			}
		},
		"emptied": func(t *testing.T, db, list string) { write(t, db, ""); write(t, list, "") },
		"removed": func(t *testing.T, db, list string) {
			if err := errors.Join(os.Remove(db), os.Remove(list)); err != nil {
				t.Fatal(err)
			}
		},
		"error page":      func(t *testing.T, db, list string) { write(t, db, "<html>"); write(t, list, "<html>") },
		"less than half":  func(t *testing.T, db, list string) { small.write(t, db); write(t, list, many(19)) },
		"from the future": func(t *testing.T, db, list string) { future.write(t, db); write(t, list, many(40)+"oops\n") },
		"another type":    func(t *testing.T, db, list string) { other.write(t, db); write(t, list, "{}") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db, list := write(t, filepath.Join(dir, "c.mmdb"), whole), write(t, filepath.Join(dir, "l.txt"), many(40))
			var log bytes.Buffer
			w := open(t, Config{Databases: []string{db}, Lists: []List{{Name: "l", Signal: "vpn", File: list}}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			before := w.Current()
			hashes := [2]string{before.Sources()[0].SHA256, before.Sources()[1].SHA256}
			replace(t, db, list)
			err := w.Reload(context.Background())
			if err == nil || !strings.Contains(err.Error(), db) || !strings.Contains(err.Error(), list) {
				t.Fatalf("the error does not name both: %v", err)
			}
			n := w.Current().Lookup(addr("11.0.0.1"))
			if n.Country != "KP" || !n.Signals.Has(VPN) || len(n.Missing) != 0 {
				t.Errorf("the old data is gone: %+v", n)
			}
			if got := n.Facts(now.Add(100 * time.Hour)).DataAgeHours; got < 100 {
				t.Errorf("it does not age: %d", got)
			}
			for i, src := range w.Current().Sources() {
				if src.Err == "" || src.Failures != 1 || src.Missing || src.SHA256 != hashes[i] {
					t.Errorf("%+v", src)
				}
			}
			if st := w.Stats(); st.LoadFailures != 2 || st.Swaps != 2 {
				t.Errorf("%+v", st)
			}
			if got := strings.Count(log.String(), "IP data not loaded"); got != 2 {
				t.Errorf("logged %d times:\n%s", got, log.String())
			}

			_ = w.Reload(context.Background())
			if src := w.Current().Sources()[0]; src.Failures != 2 || w.Stats().Swaps != 2 || w.Current().cache == before.cache {
				t.Errorf("the same failure again: %+v, %+v", src, w.Stats())
			}
			if got := strings.Count(log.String(), "IP data not loaded"); got != 2 {
				t.Errorf("the same failure is said again and again:\n%s", log.String())
			}

			good.write(t, db)
			write(t, list, many(41))
			if err := w.Reload(context.Background()); err != nil {
				t.Fatal(err)
			}
			for _, src := range w.Current().Sources() {
				if src.Err != "" || src.Failures != 0 {
					t.Errorf("recovered: %+v", src)
				}
			}
		})
	}
}

// What may shrink: a hand-kept list without a signal. Exactly half passes everywhere.
func TestShrinking(t *testing.T) {
	for name, tc := range map[string]struct {
		signal        string
		before, after int
		ok            bool
	}{
		"signal, half":              {"vpn", 10, 5, true},
		"signal, less":              {"vpn", 10, 4, false},
		"hand-kept":                 {"", 10, 1, true},
		"long list without signal":  {"", 101, 50, false},
		"long list without signal2": {"", 101, 51, true},
	} {
		file := listFile(t, "l.txt", many(tc.before))
		w := open(t, Config{Lists: []List{{Name: "l", Signal: tc.signal, File: file}}})
		write(t, file, many(tc.after))
		err := w.Reload(context.Background())
		if errors.Is(err, errShrunk) == tc.ok || (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
		// A fresh start has no "before": the way to say that it is meant.
		if err := Check(Config{Lists: []List{{Name: "l", Signal: tc.signal, File: file}}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMissingSourceComesLater(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.mmdb")
	w := open(t, Config{Databases: []string{file}})
	if n := w.Current().Lookup(addr("11.0.0.1")); len(n.Missing) != 1 || n.Country != "ZZ" {
		t.Fatalf("%+v", n)
	}
	manyCountries(4).write(t, file)
	if err := w.refresh(t.Context(), whatChanged); err != nil {
		t.Fatal(err)
	}
	if n := w.Current().Lookup(addr("11.0.0.1")); len(n.Missing) != 0 || n.Country != "KP" {
		t.Fatalf("%+v", n)
	}
}

// Only what changed is read again, and nothing is swapped for nothing.
func TestUnchangedFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	db, list := manyCountries(4).write(t, filepath.Join(dir, "c.mmdb")), write(t, filepath.Join(dir, "l.txt"), many(4))
	w := open(t, Config{Databases: []string{db}, Lists: []List{{Name: "l", File: list}}})
	first := w.Current()
	if err := w.refresh(t.Context(), whatChanged); err != nil || w.Current() != first || w.Stats().Swaps != 1 {
		t.Fatalf("%v %+v", err, w.Stats())
	}
	write(t, list, many(5))
	if err := w.refresh(t.Context(), whatChanged); err != nil {
		t.Fatal(err)
	}
	second := w.Current()
	if second == first || second.members[0].data != first.members[0].data || second.members[1].data == first.members[1].data {
		t.Error("not just the list was replaced")
	}
	if first.Lookup(addr("11.0.4.1")).Lists == nil || len(first.Lookup(addr("11.0.4.1")).Lists) != 0 || len(second.Lookup(addr("11.0.4.1")).Lists) != 1 {
		t.Error("a snapshot changed")
	}
}

// Readers under constant replacement, truncation and reload: no crash, no torn answer. With mapped
// files the truncation would kill the process.
func TestAttackTruncationUnderReaders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.mmdb")
	whole := manyCountries(300).bytes(t)
	write(t, file, whole)
	w := open(t, Config{Databases: []string{file}})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			for i := r; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				a := netip.AddrFrom4([4]byte{11, 0, byte(i % 256), byte(i / 256)})
				if c := w.Current().Lookup(a).Country; c != []string{"KP", "US"}[i%2] {
					t.Errorf("%s: %s", a, c)
					return
				}
			}
		})
	}
	for i := range 20 {
		if err := os.WriteFile(file, whole[:len(whole)/(i%3+1)], 0o600); err != nil { // in place
			t.Fatal(err)
		}
		_ = w.Reload(context.Background())
	}
	close(stop)
	readers.Wait()
}

// run starts Run and gives every new snapshot.
func run(t *testing.T, w *Watcher) <-chan *Snapshot {
	t.Helper()
	swaps := make(chan *Snapshot, 100)
	cancelSwap := w.OnSwap(func(s *Snapshot) { swaps <- s })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		cancelSwap()
	})
	return swaps
}

func await(t *testing.T, swaps <-chan *Snapshot, want func(*Snapshot) bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case s := <-swaps:
			if want(s) {
				return
			}
		case <-limit:
			t.Fatal("no such snapshot came")
		}
	}
}

func holds(a string) func(*Snapshot) bool {
	return func(s *Snapshot) bool { return len(s.Lookup(addr(a)).Lists) == 1 }
}

func TestRunSeesRenamesWritesAndLinkSwaps(t *testing.T) {
	t.Run("rename", func(t *testing.T) {
		file := listFile(t, "l.txt", "11.0.0.1\n")
		w := open(t, Config{Lists: []List{{Name: "l", File: file}}, Poll: time.Hour})
		swaps := run(t, w)
		write(t, file, "11.0.0.2\n")
		await(t, swaps, holds("11.0.0.2"))
	})
	t.Run("write in place", func(t *testing.T) {
		file := listFile(t, "l.txt", "11.0.0.1\n")
		w := open(t, Config{Lists: []List{{Name: "l", File: file}}, Poll: time.Hour})
		swaps := run(t, w)
		if err := os.WriteFile(file, []byte("11.0.0.1\n11.0.0.2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		await(t, swaps, holds("11.0.0.2"))
	})
	t.Run("bad, then good", func(t *testing.T) {
		file := listFile(t, "l.txt", "11.0.0.1\n")
		w := open(t, Config{Lists: []List{{Name: "l", File: file}}, Poll: time.Hour})
		swaps := run(t, w)
		write(t, file, "nonsense\n")
		await(t, swaps, func(s *Snapshot) bool { return s.Sources()[0].Err != "" && holds("11.0.0.1")(s) })
		write(t, file, "11.0.0.2\n")
		await(t, swaps, func(s *Snapshot) bool { return s.Sources()[0].Err == "" && holds("11.0.0.2")(s) })
	})
	t.Run("link swap, as Kubernetes does", func(t *testing.T) {
		dir := versions(t)
		link(t, "v1", filepath.Join(dir, "..data"))
		file := filepath.Join(dir, "l.txt")
		link(t, "..data/l.txt", file)
		w := open(t, Config{Lists: []List{{Name: "l", File: file}}, Poll: time.Hour})
		swaps := run(t, w)
		link(t, "v2", filepath.Join(dir, "..data"))
		await(t, swaps, holds("11.0.0.2"))
	})
	t.Run("link swap above the folder, which only polling sees", func(t *testing.T) {
		dir := versions(t)
		current := filepath.Join(t.TempDir(), "current")
		link(t, filepath.Join(dir, "v1"), current)
		w := open(t, Config{Lists: []List{{Name: "l", File: filepath.Join(current, "l.txt")}}, Poll: 20 * time.Millisecond})
		swaps := run(t, w)
		write(t, filepath.Join(dir, "v1", "l.txt"), "11.0.0.3\n")
		await(t, swaps, holds("11.0.0.3")) // from here on it is watching
		link(t, filepath.Join(dir, "v2"), current)
		await(t, swaps, holds("11.0.0.2"))
	})
	t.Run("folder that comes later, by polling", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "later", "l.txt")
		w := open(t, Config{Lists: []List{{Name: "l", File: file}}, Poll: 20 * time.Millisecond})
		swaps := run(t, w)
		if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, file, "11.0.0.2\n")
		await(t, swaps, holds("11.0.0.2"))
	})
}

// versions makes a folder with two versions of a list, v1/l.txt and v2/l.txt.
func versions(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for v, data := range map[string]string{"v1": "11.0.0.1\n", "v2": "11.0.0.2\n"} {
		if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, v, "l.txt"), data)
	}
	return dir
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := errors.Join(os.Symlink(to, at+".new"), os.Rename(at+".new", at)); err != nil {
		t.Fatal(err)
	}
}

func TestOnSwapUntilCancelled(t *testing.T) {
	file := listFile(t, "l.txt", "11.0.0.1\n")
	w := open(t, Config{Lists: []List{{Name: "l", File: file}}})
	calls := 0
	var cancel func()
	cancel = w.OnSwap(func(s *Snapshot) {
		calls++
		if s != w.Current() {
			t.Error("told before the swap")
		}
		cancel()
	})
	for range 3 {
		if err := w.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := w.Reload(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
