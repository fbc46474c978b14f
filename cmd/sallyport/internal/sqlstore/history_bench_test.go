package sqlstore

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy/behavior"
	"sallyport/proxy/proxytest"
)

// settledYear writes what a year leaves of n people, as hourly tidying has left it: of each 10 places of
// five trips, 12 of the last month with their addresses, 4 sightings of two days, and 18 hours of
// activity.
func settledYear(b *testing.B, d *DB, n int, now time.Time) {
	b.Helper()
	const at, chunk = 24 * time.Hour, 2000
	r := rand.New(rand.NewPCG(1, 1))
	hash := func() int64 { return int64(r.Uint64()>>1 | 1) }
	for from := 0; from < n; from += chunk {
		var batch behavior.Batch
		err := d.update(b.Context(), "fill", func(tx tx) error {
			place, err := tx.PrepareContext(tx.ctx, `insert into behavior_places (`+placeColumns+`, first_at, last_at)
				values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`)
			if err != nil {
				return err
			}
			defer place.Close()
			for i := from; i < min(from+chunk, n); i++ {
				who := authn.Subject{Issuer: "https://login.corp.example", ID: fmt.Sprintf("00u%017d", i)}
				addr := netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)})
				for j := range 22 {
					last, address, host := now.Add(-time.Duration(300-20*j)*at), "", int64(0)
					country, asn := []string{"DE", "US", "SG"}[j%3], 64500+j
					if j >= 10 {
						last, address, host, country, asn = now.Add(-time.Duration(28-2*(j-10))*at), addr.String(), hash(), "DE", 3209
					}
					if _, err := place.ExecContext(tx.ctx, who.Issuer, who.ID, address, host, hash(), country, asn, 0, 0, fmt.Sprint("device-", i, "-", j%2),
						micros(last.Add(-time.Hour)), micros(last)); err != nil {
						return err
					}
				}
				for j := range 4 {
					seen := now.Add(-time.Duration(j*11)*time.Hour - time.Duration(r.IntN(3600))*time.Second)
					batch.Sightings = append(batch.Sightings, behavior.Sighting{
						Subject: who, First: seen, At: seen, Addr: addr, Host: uint64(hash()), Network: uint64(hash()), Country: "DE", ASN: 3209, Allowed: true,
						Device: fmt.Sprint("device-", i, "-", j%2), Session: fmt.Sprint("session-", i, "-", j%2), Point: behavior.Point{Lat: 52.52, Lon: 13.4, RadiusKm: 20, Known: true},
					})
				}
				for h := range 48 {
					if h%24 >= 9 && h%24 < 18 {
						batch.Activity = append(batch.Activity, behavior.Activity{Subject: who, Hour: now.Unix()/3600 - int64(h), Bits: 1<<12 - 1})
					}
				}
			}
			return nil
		})
		if err == nil {
			err = d.AppendBehavior(b.Context(), batch)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// startup is a store and a log that say when something is done.
type startup struct {
	behavior.Store
	tidied chan time.Duration
	loaded chan struct{}
}

func (s startup) TidyBehavior(ctx context.Context, l behavior.Limits) error {
	begin := time.Now()
	err := s.Store.TidyBehavior(ctx, l)
	s.tidied <- time.Since(begin)
	return err
}

func (s startup) Enabled(context.Context, slog.Level) bool { return true }
func (s startup) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s startup) WithGroup(string) slog.Handler            { return s }
func (s startup) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "history loaded" {
		close(s.loaded)
	}
	return nil
}

// BenchmarkHistory is a start with a year's history in SQLite, after 16 hours without a proxy: how long until
// it is known, how long it then takes to tidy what has fallen due, what there is in memory, and how long the
// longest sign-in waits for its write, and a session for its read, meanwhile.
func BenchmarkHistory(b *testing.B) {
	for _, people := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(people), func(b *testing.B) { benchmarkHistory(b, people) })
	}
}

func benchmarkHistory(b *testing.B, people int) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		b.StopTimer()
		d := open(b, filepath.Join(b.TempDir(), "s.db"))
		create(b, d, "s0")
		settledYear(b, d, people, epoch)
		before := heap()
		b.StartTimer()
		s := startup{d, make(chan time.Duration, 1), make(chan struct{})}
		t, err := behavior.New(behavior.Config{Retention: proxytest.BehaviorRetention, Household: proxytest.BehaviorHousehold, Store: s, Key: make([]byte, 32), RawAddresses: 30 * 24 * time.Hour, People: max(people, 1000),
			Now: func() time.Time { return epoch.Add(16 * time.Hour) }, Logger: slog.New(s)})
		if err != nil {
			b.Fatal(err)
		}
		ctx, stop := context.WithCancel(b.Context())
		ran, begin := make(chan error, 1), time.Now()
		go func() { ran <- t.Run(ctx) }()
		var write, read, load time.Duration
		tidied := time.Duration(-1)
		tick := time.NewTicker(20 * time.Millisecond) // some sign-ins, not as many as there can be
		for load == 0 || tidied < 0 {
			select {
			case <-s.loaded:
				load, s.loaded = time.Since(begin), nil
			case tidied = <-s.tidied:
			case <-tick.C:
				at := time.Now()
				if err := d.TouchSessions(ctx, map[string]time.Time{"s0": epoch.Add(time.Since(begin))}); err != nil {
					b.Fatal(err)
				}
				write = max(write, time.Since(at))
				at = time.Now()
				if _, _, err := d.LoadSession(ctx, digest("s0")); err != nil {
					b.Fatal(err)
				}
				read = max(read, time.Since(at))
			}
		}
		tick.Stop()
		b.ReportMetric(load.Seconds(), "s/load")
		b.ReportMetric(tidied.Seconds(), "s/tidy")
		b.ReportMetric(float64(write.Milliseconds()), "ms/longest-write")
		b.ReportMetric(float64(read.Milliseconds()), "ms/longest-read")
		stop()
		if err := <-ran; err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(heap()-before)/float64(people), "B/person")
		runtime.KeepAlive(t)
	}
}
