package sqlstore

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/authn/session"
)

func filled(b *testing.B, n int) *DB {
	b.Helper()
	d := open(b, filepath.Join(b.TempDir(), "s.db"))
	for i := range n {
		create(b, d, fmt.Sprint("s", i))
	}
	return d
}

func BenchmarkLoadSession(b *testing.B) {
	d := filled(b, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, _, err := d.LoadSession(ctx, digest(fmt.Sprint("s", i%1000))); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkTouchSessions100(b *testing.B) {
	d := filled(b, 100)
	at := epoch
	for b.Loop() {
		at = at.Add(time.Second)
		seen := map[string]time.Time{}
		for i := range 100 {
			seen[fmt.Sprint("s", i)] = at
		}
		if err := d.TouchSessions(context.Background(), seen); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplaceToken(b *testing.B) {
	d := filled(b, 1)
	_, tok := sample("s0")
	i := 0
	for b.Loop() {
		next := tok
		next.Digest = session.Digest(digest(fmt.Sprint("next", i)))
		if err := d.ReplaceToken(context.Background(), tok.Digest, next); err != nil {
			b.Fatal(err)
		}
		tok = next
		i++
	}
}

// What beginning a sign-in costs while strangers keep the store full of flows that no one finishes.
func BenchmarkPutBoundedFull(b *testing.B) {
	d := filled(b, 1)
	payload := bytes.Repeat([]byte("x"), 7<<10)
	const inAll = 10_000
	i := 0
	put := func() {
		at := epoch.Add(time.Duration(i) * time.Microsecond)
		bound := authn.BoundOf(netip.AddrFrom4([4]byte{byte(i), byte(i >> 8), 0, 1}), 500, inAll)
		if err := d.PutBounded(context.Background(), "flow", digest(fmt.Sprint("f", i)), payload, at, bound); err != nil {
			b.Fatal(err)
		}
		i++
	}
	for range inAll {
		put()
	}
	b.ResetTimer()
	for b.Loop() {
		put()
	}
	if n, err := d.PurgeOnce(context.Background(), epoch.Add(time.Hour)); err != nil || n > inAll || n < inAll*49/50 {
		b.Fatalf("%d records in the end: %v", n, err)
	}
}

// What every process does four times a second.
func BenchmarkSessionChangesIdle(b *testing.B) {
	d := filled(b, 1)
	_, last, err := d.SessionChanges(context.Background(), 0)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := d.SessionChanges(context.Background(), last); err != nil {
			b.Fatal(err)
		}
	}
}
