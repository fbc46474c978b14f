package audit

import (
	"fmt"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is the right edge of a Merkle tree: the roots of its complete subtrees,
// largest first. It is all that is needed to append and to know the root.
type tree struct {
	n     int64
	peaks []tlog.Hash
}

func (t tree) clone() tree { return tree{t.n, slices.Clone(t.peaks)} }

// add appends a leaf. It appends to dst the hashes that have to be stored for it,
// in the order of tlog.StoredHashIndex: the leaf and the subtrees it completes.
func (t *tree) add(leaf tlog.Hash, dst []tlog.Hash) []tlog.Hash {
	dst = append(dst, leaf)
	for i := t.n; i&1 == 1; i >>= 1 {
		last := len(t.peaks) - 1
		leaf = tlog.NodeHash(t.peaks[last], leaf)
		t.peaks = t.peaks[:last]
		dst = append(dst, leaf)
	}
	t.peaks = append(t.peaks, leaf)
	t.n++
	return dst
}

func (t *tree) root() tlog.Hash {
	if t.n == 0 {
		empty, _ := tlog.TreeHash(0, nil)
		return empty
	}
	h := t.peaks[len(t.peaks)-1]
	for i := len(t.peaks) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.peaks[i], h)
	}
	return h
}

// hashFile reads the stored hashes of a tree. It is a tlog.HashReader.
type hashFile struct {
	src   io.ReaderAt
	count int64 // whole hashes in the file
	chunk []byte
	first int64 // index of the first hash in chunk
}

const hashChunk = 2048 // hashes read at a time

func newHashFile(src io.ReaderAt, bytes int64) *hashFile {
	return &hashFile{src: src, count: bytes / tlog.HashSize}
}

func (h *hashFile) at(i int64) (tlog.Hash, error) {
	var out tlog.Hash
	if i < 0 || i >= h.count {
		return out, fmt.Errorf("hash file has %d hashes, number %d is wanted", h.count, i)
	}
	if i < h.first || i >= h.first+int64(len(h.chunk)/tlog.HashSize) {
		n := min(hashChunk, h.count-i)
		if h.chunk == nil {
			h.chunk = make([]byte, hashChunk*tlog.HashSize)
		}
		h.chunk = h.chunk[:n*tlog.HashSize]
		if _, err := h.src.ReadAt(h.chunk, i*tlog.HashSize); err != nil {
			h.chunk = h.chunk[:0]
			return out, fmt.Errorf("hash file: %w", err)
		}
		h.first = i
	}
	copy(out[:], h.chunk[(i-h.first)*tlog.HashSize:])
	return out, nil
}

// ReadHashes implements tlog.HashReader.
func (h *hashFile) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		var err error
		if out[i], err = h.at(x); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (h *hashFile) leaf(n int64) (tlog.Hash, error) { return h.at(tlog.StoredHashIndex(0, n)) }

// records is for how many records the file has all hashes.
func (h *hashFile) records() int64 {
	lo, hi := int64(0), h.count // StoredHashCount(n) >= n
	for lo < hi {
		mid := lo + (hi-lo+1)/2
		if tlog.StoredHashCount(mid) <= h.count {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// edge is the tree over the first n records.
func (h *hashFile) edge(n int64) (tree, error) {
	t := tree{n: n}
	var start int64
	for level := 62; level >= 0; level-- {
		if n&(1<<level) == 0 {
			continue
		}
		x, err := h.at(tlog.StoredHashIndex(level, start>>level))
		if err != nil {
			return tree{}, err
		}
		t.peaks = append(t.peaks, x)
		start += 1 << level
	}
	return t, nil
}
