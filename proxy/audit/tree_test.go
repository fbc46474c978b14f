package audit

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// The tree is ours for speed; what it stores and signs must be what tlog says.
func TestTreeIsTlog(t *testing.T) {
	var ours tree
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, x := range at {
			out[i] = stored[x]
		}
		return out, nil
	})
	for n := int64(0); n < 300; n++ {
		root, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if ours.root() != root {
			t.Fatalf("root of %d records differs", n)
		}
		var raw []byte
		for _, h := range stored {
			raw = append(raw, h[:]...)
		}
		file := newHashFile(bytes.NewReader(raw), int64(len(raw)))
		if got := file.records(); got != n {
			t.Fatalf("records() = %d, want %d", got, n)
		}
		edge, err := file.edge(n)
		if err != nil || edge.root() != root {
			t.Fatalf("edge of %d: %v", n, err)
		}
		line := []byte(fmt.Sprint("line ", n))
		want, err := tlog.StoredHashes(n, line, reader)
		if err != nil {
			t.Fatal(err)
		}
		got := ours.add(tlog.RecordHash(line), nil)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("stored hashes of %d differ", n)
		}
		stored = append(stored, got...)
	}
}
